// How far a round is from a fixed point, measured on the server's device while the round goes on (docs/methods.md 2.6). Of the
// clients only sums are kept.
#pragma once
#include <cstddef>

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
  /// For every accepted update, while it is in place and before the server's step.
  void add(const ServerState<Real>& state, const ClientUpdate<Real>& update);
  /// After the server's step. `optimizer` of the result is left to those who trained. Waits.
  Diagnostics close(const ServerState<Real>& state, const Algorithm<Real>& algorithm);

 private:
  void add_site_gaps(const ServerState<Real>& state, const Algorithm<Real>& algorithm);

  DiagnosticsKind kind_;
  std::size_t participants_ = 0;
  Buffer<Real> mean_;     // [stride] the server's before the round
  Buffer<double> total_;  // [stride] sum of the participants' moves; later of the sites
  SumsToCome sums_;
};

}  // namespace ivory
