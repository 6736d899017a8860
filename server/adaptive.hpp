// FedAdam, FedYogi and FedAdagrad (Reddi et al. 2021; methods.md 4.6): the clients' mean move
// Delta = sum_k N_k (w_k - w_g) / sum_k N_k is a step of an adaptive optimizer at the server,
//   a := beta1 a + (1 - beta1) Delta,   v := the method's rule,   w_g := w_g + server_lr a / ( sqrt(v) + tau ),
// from a = v = 0.
#pragma once
#include <cmath>

#include "server/averaging.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// `Rule::second_moment(v, square, beta2)` is the new v; `square` is Delta^2.
template <class Real, class Rule>
struct AdaptiveStep {
  const double* IVORY_RESTRICT total;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT first;
  Real* IVORY_RESTRICT second;
  double weight, beta1, beta2, rate, tau;
  IVORY_HD void operator()(std::size_t i) const {
    const double m = mean[i];
    const double move = weight * total[i] - m;
    const double a = beta1 * static_cast<double>(first[i]) + (1.0 - beta1) * move;
    const double v = Rule::second_moment(static_cast<double>(second[i]), move * move, beta2);
    first[i] = static_cast<Real>(a);
    second[i] = static_cast<Real>(v);
    mean[i] = static_cast<Real>(m + rate * a / (math::sqrt(v) + tau));
  }
};

inline constexpr AlgorithmTraits adaptive_traits{
    .vectors_down = 1, .vectors_up = 1, .vectors_server = 3, .weighs_losses = true};

template <class Real, class Rule>
class AdaptiveServer final : public Averaging<Real> {
 public:
  explicit AdaptiveServer(const Options& options)
      : rate_(options.real("server_lr")), beta1_(options.real("beta1")),
        beta2_(options.has("beta2") ? options.real("beta2") : 0.0), tau_(options.real("tau")),
        corrects_bias_(options.has("bias_correct_fedadam") && options.boolean("bias_correct_fedadam")) {}

  AlgorithmTraits traits() const override { return adaptive_traits; }

  void initialise(ServerState<Real>& state) const override {
    start_at_initial_weights(state);
    open_memory(state, 2);  // a, v
  }

 private:
  void step(ServerState<Real>& state) const override {
    // The exponent is the number of the round, from 1, plus 1: as in the code this is compatible with.
    const double t = static_cast<double>(state.round) + 2.0;
    const double correction = corrects_bias_ ? std::sqrt(1.0 - std::pow(beta2_, t)) / (1.0 - std::pow(beta1_, t)) : 1.0;
    for_each(*state.device, state.stride,
             AdaptiveStep<Real, Rule>{state.sums[0].data(), state.mean.data(), state.memory[0].data(),
                                      state.memory[1].data(), 1.0 / state.weight_sum, beta1_, beta2_,
                                      rate_ * correction, tau_});
  }

  double rate_, beta1_, beta2_, tau_;
  bool corrects_bias_;
};

}  // namespace IVORY_TRANSLATION

/// `decays`: the second moment has a decay beta2.
inline std::vector<OptionSpec> adaptive_options(double server_lr, double beta1, bool decays) {
  std::vector<OptionSpec> options = {server_lr_option(server_lr),
                                     {.name = "beta1",
                                      .default_value = beta1,
                                      .help = "decay of the mean move's average",
                                      .unit = "1",
                                      .low = 0,
                                      .high = 1,
                                      .high_open = true}};
  if (decays) {
    options.push_back({.name = "beta2",
                       .default_value = 0.99,
                       .help = "decay of the second moment",
                       .unit = "1",
                       .low = 0,
                       .high = 1});
  }
  options.push_back({.name = "tau",
                     .default_value = 1e-3,
                     .help = "added to the root of the second moment; large: all coordinates alike",
                     .unit = "weight",
                     .low = 0,
                     .low_open = true});
  return options;
}

}  // namespace ivory
