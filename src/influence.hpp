// What the server's Gaussian would be without one client, from its site alone (methods.md 7.4), and what that does to predictions.
#pragma once
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "ivory/record.hpp"

namespace ivory {

/// The server's Gaussian with one site taken out of it.
struct LeaveOut {
  std::vector<double> mean, precision;  // [P]
  double shift = 0;                     // |m_wo - m_g|
  double score = 0;                     // 1/2 sum s_g (m_wo - m_g)^2, in nats
  double clamped = 0;                   // entries of the precision that were raised to the floor
};

/// s_wo = max(s_g - V_k, floor), m_wo = (s_g m_g - v_k) / s_wo. All [P]; in double whatever the arrays are. An empty site is one that
/// is 1 everywhere (v = V = 0).
template <class Real>
LeaveOut leave_out(std::span<const Real> mean, std::span<const Real> precision, std::span<const Real> site_mean,
                   std::span<const Real> site_precision, double floor);

/// 1/2 sum s (a - b)^2, the length of a shift in the metric of the server's posterior, in nats.
template <class Real>
double shift_score(std::span<const Real> precision, std::span<const Real> from, std::span<const Real> to);

/// Numbers of a run without one client: predicted, or measured by training without it.
struct Without {
  double score = no_value;     // see LeaveOut
  double test_nll = no_value;  // of the mean model on the test set, nats
  double own_nll = no_value;   // of the mean model on the client's own training examples, nats
};

struct ClientInfluence {
  std::uint32_t client = 0;
  double examples = 0;
  int visited = 0;  // the round of its last visit; 0: never
  double shift = no_value, clamped = no_value;
  double test_accuracy = no_value;
  Without predicted;  // NaN: its site after the last visit is not in the log
  Without measured;   // NaN: no such run was given
};

struct InfluenceReport {
  std::string log;
  int round = 0;            // after which the sites were logged
  bool regression = false;  // no accuracies
  bool rounded = false;     // the log is in float16
  Without everybody;        // the server as it is; `own_nll` means nothing
  double test_accuracy = no_value;
  std::vector<double> own_nll;           // [K] at the server's mean
  std::vector<ClientInfluence> clients;  // the largest score first; unknown ones last
};

/// Every client of a log with sites, one after the other. `retrained` are logs of the same scenario with one client less
/// ([clients] without); `threads` 0: all. Throws InputError where the log has no sites, its data are not those of the log, or a
/// retrained log is of something else.
InfluenceReport client_influence(const std::string& file, std::span<const std::string> retrained, int threads);

/// For terminals, and for programs.
std::string influence_table(const InfluenceReport& report);
std::string influence_csv(const InfluenceReport& report);

}  // namespace ivory
