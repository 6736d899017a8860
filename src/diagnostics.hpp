// How far a round is from a fixed point, measured on the server's device while the round goes on (docs/methods.md 2.6). Of the
// clients only sums are kept.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ivory/algorithm.hpp"
#include "ivory/elementwise.hpp"
#include "ivory/record.hpp"

namespace ivory {

DiagnosticsKind diagnostics_kind(const AlgorithmTraits& traits);

template <class Real>
class RoundDiagnostics {
 public:
  RoundDiagnostics(const ServerState<Real>& state, const AlgorithmTraits& traits);

  /// Device memory that it takes, beside the server's own.
  static std::size_t bytes(std::size_t stride);

  /// Before the round's training.
  void open(const ServerState<Real>& state);
  /// For every accepted update, while it is in place and before the server's step: first `measure`, on the CPU side by side for
  /// several clients and in any order, then `add`, one after the other in the server's order.
  void measure(const ServerState<Real>& state, const ClientUpdate<Real>& update);
  void add(const ServerState<Real>& state, const ClientUpdate<Real>& update);
  /// After the server's step. `optimizer` of the result is left to those who trained. Waits.
  Diagnostics close(const ServerState<Real>& state, const Algorithm<Real>& algorithm);

 private:
  void add_site_gaps(const ServerState<Real>& state, const Algorithm<Real>& algorithm);

  struct OfClient {
    double squares = 0, divergence = 0;
  };
  void ask(SumsToCome& sums, const ServerState<Real>& state, const ClientUpdate<Real>& update) const;
  OfClient next(const std::vector<double>& sums, std::size_t& at) const;

  DiagnosticsKind kind_;
  std::vector<OfClient> measured_;           // by client of the run, on the CPU
  std::vector<std::uint32_t> participants_;  // in the server's order
  Buffer<Real> mean_;                        // [stride] the server's before the round
  Buffer<double> total_;                     // [stride] sum of the participants' moves; later of the sites
  SumsToCome sums_;
};

}  // namespace ivory
