// FedAvgM (Hsu et al. 2019; methods.md 4.6): the clients' mean move Delta = sum_k N_k (w_k - w_g) / sum_k N_k is a step of SGD with
// momentum at the server,
//   p := beta p - Delta (p = 0 at the start),   w_g := w_g - server_lr p.
#include "server/averaging.hpp"

namespace ivory {
namespace {

template <class Real>
struct MomentumStep {
  const double* IVORY_RESTRICT total;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT momentum;
  double weight, beta, rate;
  IVORY_HD void operator()(std::size_t i) const {
    const double m = mean[i];
    const double p = beta * static_cast<double>(momentum[i]) - (weight * total[i] - m);
    momentum[i] = static_cast<Real>(p);
    mean[i] = static_cast<Real>(m - rate * p);
  }
};

constexpr AlgorithmTraits fedavgm_traits{
    .vectors_down = 1, .vectors_up = 1, .vectors_server = 2, .weighs_losses = true};

template <class Real>
class FedAvgM final : public Averaging<Real> {
 public:
  explicit FedAvgM(const Options& options) : rate_(options.real("server_lr")), beta_(options.real("beta")) {}

  AlgorithmTraits traits() const override { return fedavgm_traits; }

  void initialise(ServerState<Real>& state) const override {
    start_at_initial_weights(state);
    open_memory(state, 1);  // p
  }

 private:
  void step(ServerState<Real>& state) const override {
    for_each(*state.device, state.stride,
             MomentumStep<Real>{state.sums[0].data(), state.mean.data(), state.memory[0].data(), 1.0 / state.weight_sum,
                                beta_, rate_});
  }

  double rate_, beta_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<FedAvgM<Real>>(options);
}

}  // namespace

AlgorithmPlugin fedavgm_plugin() {
  return {.name = "fedavgm",
          .help = "FedAvg with momentum at the server (Hsu et al. 2019)",
          .options = {server_lr_option(1.0),
                      {.name = "beta",
                       .default_value = 0.9,
                       .help = "server momentum; 0 with server_lr = 1 is FedAvg",
                       .unit = "1",
                       .low = 0,
                       .high = 1,
                       .high_open = true}},
          .traits = fedavgm_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
