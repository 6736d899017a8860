// Sums over clients: in double, one client after the other, so that their order depends on the clients alone.
#pragma once
#include "ivory/algorithm.hpp"
#include "ivory/elementwise.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// Zeroes `count` running sums of a round and the weight sum.
template <class Real>
void open_sums(ServerState<Real>& state, std::size_t count) {
  state.weight_sum = 0;
  if (state.sums.empty()) {
    for (std::size_t i = 0; i < count; ++i) state.sums.emplace_back(*state.device, state.stride);
    return;
  }
  for (auto& total : state.sums) for_each(*state.device, state.stride, Fill<double>{total.data(), 0.0});
}

template <class Real>
struct AddWeighted {
  const Real* IVORY_RESTRICT from;
  double* IVORY_RESTRICT total;
  double weight;
  IVORY_HD void operator()(std::size_t i) const { total[i] += weight * static_cast<double>(from[i]); }
};

/// total += w_k - w_g: how far a client went.
template <class Real>
struct AddMove {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  double* IVORY_RESTRICT total;
  IVORY_HD void operator()(std::size_t i) const {
    total[i] += static_cast<double>(client_mean[i]) - static_cast<double>(server_mean[i]);
  }
};

template <class Real>
struct MoveBy {
  const double* IVORY_RESTRICT total;
  Real* IVORY_RESTRICT to;
  double scale;
  IVORY_HD void operator()(std::size_t i) const {
    to[i] = static_cast<Real>(static_cast<double>(to[i]) + scale * total[i]);
  }
};

template <class Real>
struct TakeScaled {
  const double* IVORY_RESTRICT total;
  Real* IVORY_RESTRICT to;
  double scale;
  IVORY_HD void operator()(std::size_t i) const { to[i] = static_cast<Real>(total[i] * scale); }
};

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
