// FedAvg (McMahan et al. 2017; methods.md 4.1): plain weighted averaging, w_g = sum_k N_k w_k / sum_k N_k over participants.
// As Gaussian sites: client k sends an isotropic Gaussian with mean w_k and precision N_k; their product has this mean.
#include "ivory/algorithm.hpp"
#include "server/sums.hpp"

namespace ivory {
namespace {

constexpr AlgorithmTraits fedavg_traits{.vectors_down = 1, .vectors_up = 1};

template <class Real>
class FedAvg final : public Algorithm<Real> {
 public:
  AlgorithmTraits traits() const override { return fedavg_traits; }

  void initialise(ServerState<Real>& state) const override {
    state.mean = Buffer<Real>(*state.device, state.stride);
    state.device->copy(state.mean.data(), state.start.data(), state.stride * sizeof(Real));
  }

  // The client minimises its own mean loss, starting from the server's weights.
  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    return terms;
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t, const ClientUpdate<Real>* update) const override {
    if (update == nullptr) return;
    state.weight_sum += update->examples;
    for_each(*state.device, state.stride, AddWeighted<Real>{update->mean, state.sums[0].data(), update->examples});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    // Nobody came back: the server keeps its weights.
    if (state.weight_sum > 0) {
      for_each(*state.device, state.stride,
               TakeScaled<Real>{state.sums[0].data(), state.mean.data(), 1.0 / state.weight_sum});
    }
    return {};
  }
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options&) {
  return std::make_unique<FedAvg<Real>>();
}

}  // namespace

AlgorithmPlugin fedavg_plugin() {
  return {.name = "fedavg",
          .help = "weighted average of the clients' weights (McMahan et al. 2017)",
          .options = {},
          .traits = fedavg_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
