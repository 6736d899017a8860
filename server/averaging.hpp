// What FedAvg and the methods built on it share: clients start at the server's weights, and the server takes the mean of what
// comes back, weighted by examples. As Gaussian sites: client k sends an isotropic Gaussian with mean w_k and precision N_k;
// their product has this mean.
#pragma once
#include "server/sums.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// The server's weights become the initial ones.
template <class Real>
void start_at_initial_weights(ServerState<Real>& state) {
  state.mean = Buffer<Real>(*state.device, state.stride);
  state.device->copy(state.mean.data(), state.start.data(), state.stride * sizeof(Real));
}

/// Adds `vectors` arrays of zeros to what the server keeps.
template <class Real>
void open_memory(ServerState<Real>& state, std::size_t vectors) {
  for (std::size_t i = 0; i < vectors; ++i) state.memory.emplace_back(*state.device, state.stride);
}

/// Leaves the server step to the method: `step` finds sum_k N_k w_k in sums[0] and sum_k N_k, above 0, in weight_sum.
template <class Real>
class Averaging : public Algorithm<Real> {
 public:
  void initialise(ServerState<Real>& state) const override { start_at_initial_weights(state); }

  // The client minimises its own mean loss, starting from the server's weights.
  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    return terms;
  }

  void open_round(ServerState<Real>& state) const final { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t, const ClientUpdate<Real>* update) const final {
    if (update == nullptr) return;
    state.weight_sum += update->examples;
    for_each(*state.device, state.stride, AddWeighted<Real>{update->mean, state.sums[0].data(), update->examples});
  }

  // Nobody came back: the server keeps its weights.
  AbsorbReport close_round(ServerState<Real>& state) const final {
    if (state.weight_sum > 0) step(state);
    return {};
  }

 protected:
  virtual void step(ServerState<Real>& state) const {
    for_each(*state.device, state.stride,
             TakeScaled<Real>{state.sums[0].data(), state.mean.data(), 1.0 / state.weight_sum});
  }
};

}  // namespace IVORY_TRANSLATION

inline OptionSpec server_lr_option(double value) {
  return {.name = "server_lr",
          .default_value = value,
          .help = "server learning rate",
          .unit = "1",
          .low = 0,
          .low_open = true};
}

}  // namespace ivory
