// VSGD, variational stochastic gradient descent (Chen et al. 2025): the true gradient is a random walk seen through the noise of
// minibatches, both variances are learned with Gamma priors, and the step follows the filtered gradient. methods.md, section 5.1:
//   with A = 2 gamma + 1 + 1e-4,  B_g = 2 gamma,  B_h = 2 K_g gamma  and variances  s_g, s_h = b_g/A, b_h/A  (t = 1: B/(A-1)),
//   mu'   := (s_g ghat + s_h mu)/(s_g + s_h),   sigma = s_g s_h/(s_g + s_h)
//   b_g   := (1 - t^-k1) b_g + t^-k1 ( B_g + sigma + (mu' - mu)^2 )
//   b_h   := (1 - t^-k2) b_h + t^-k2 ( B_h + sigma + (mu' - ghat)^2 )
//   m     := (1 - lr decay) m - lr mu'/( sqrt(mu'^2 + sigma) + epsilon ).
// On N_k times the objective mu is N_k and the b are N_k^2 times as large: the same step as with B/N_k^2 and epsilon/N_k.
#include "clients/vsgd.hpp"

#include <cmath>

#include "clients/terms.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

template <class Real, TermKind kind>
struct VsgdStep {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT filtered;    // mu
  Real* IVORY_RESTRICT drift_rate;  // b_g, twice the rate of the Gamma posterior
  Real* IVORY_RESTRICT noise_rate;  // b_h
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  FilteredStep<Real> step;
  Real inverse_shape;                               // 1/A
  Real first_drift_variance, first_noise_variance;  // B/(A-1) in the first step, whose b are 0; then 0
  Real prior_drift_rate, prior_noise_rate;          // B_g, B_h
  Real drift_weight, one_minus_drift_weight, noise_weight, one_minus_noise_weight;  // t^-k1, t^-k2

  IVORY_HD void operator()(std::size_t i) const {
    const Real m = mean[i];
    const Real g = gradient[i] + terms.gradient(i, m);
    const Real drift = drift_rate[i] * inverse_shape + first_drift_variance;
    const Real noise = noise_rate[i] * inverse_shape + first_noise_variance;
    const Real inverse = Real(1) / (drift + noise);
    const Real before = filtered[i];
    const Real mu = (drift * g + noise * before) * inverse;
    const Real sigma = drift * (noise * inverse);
    const Real moved = mu - before, missed = mu - g;
    filtered[i] = mu;
    drift_rate[i] = one_minus_drift_weight * drift_rate[i] + drift_weight * (prior_drift_rate + sigma + moved * moved);
    noise_rate[i] =
        one_minus_noise_weight * noise_rate[i] + noise_weight * (prior_noise_rate + sigma + missed * missed);
    const Real next = step(m, mu, sigma);
    mean[i] = next;
    point[i] = next;
  }
};

template <class Real>
class Vsgd final : public Optimizer<Real> {
 public:
  explicit Vsgd(const Options& options)
      : gamma_(options.real("gamma")), variance_ratio_(options.real("variance_ratio")), kappa1_(options.real("kappa1")),
        kappa2_(options.real("kappa2")), epsilon_(options.real("epsilon")), decay_(options.real("weight_decay")) {}

  bool takes_sum_loss() const override { return true; }
  std::size_t vectors() const override { return 3; }
  std::size_t kept_vectors(bool keep_state) const override { return keep_state ? 3 : 0; }

  void begin(TrainingBlock<Real>& block) const override { start_point_optimizer(block, 3); }

  void advance(TrainingBlock<Real>& block, int /*sample*/) const override {
    for (auto& client : block.clients) client.optimizer_step += client.active ? 1 : 0;
    const auto real = [](double x) { return static_cast<Real>(x); };
    const double shape = 2.0 * gamma_ + 1.0 + 1e-4;
    with_kind(block, [&]<TermKind kind>() {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        const auto t = static_cast<double>(client.optimizer_step);
        const double drift_rate = 2.0 * gamma_ / (client.loss_scale * client.loss_scale),
                     noise_rate = variance_ratio_ * drift_rate;
        const double prior_counts = client.optimizer_step == 1 ? 1.0 / (shape - 1.0) : 0.0;
        const double weight1 = std::pow(t, -kappa1_), weight2 = std::pow(t, -kappa2_);
        return Share{block.work(b), VsgdStep<Real, kind>{.gradient = block.row(block.gradient, b),
                                                         .mean = block.row(block.mean, b),
                                                         .filtered = block.row(block.slots[0], b),
                                                         .drift_rate = block.row(block.slots[1], b),
                                                         .noise_rate = block.row(block.slots[2], b),
                                                         .point = block.row(block.point, b),
                                                         .terms = view_of<Real, kind>(client.terms, 0.0),
                                                         .step = {.kept = real(1.0 - client.learning_rate * decay_),
                                                                  .rate = real(client.learning_rate),
                                                                  .epsilon = real(epsilon_ / client.loss_scale)},
                                                         .inverse_shape = real(1.0 / shape),
                                                         .first_drift_variance = real(drift_rate * prior_counts),
                                                         .first_noise_variance = real(noise_rate * prior_counts),
                                                         .prior_drift_rate = real(drift_rate),
                                                         .prior_noise_rate = real(noise_rate),
                                                         .drift_weight = real(weight1),
                                                         .one_minus_drift_weight = real(1.0 - weight1),
                                                         .noise_weight = real(weight2),
                                                         .one_minus_noise_weight = real(1.0 - weight2)}};
      });
    });
  }

 private:
  double gamma_, variance_ratio_, kappa1_, kappa2_, epsilon_, decay_;
};

template <class Real>
std::unique_ptr<Optimizer<Real>> make(const Options& options) {
  return std::make_unique<Vsgd<Real>>(options);
}

}  // namespace

OptimizerPlugin vsgd_plugin() {
  std::vector<OptionSpec> options = vsgd_options();
  options.push_back(averaging_exponent(
      "kappa1", 0.81, "t^-kappa1 is the weight of step t in the variance of the true gradient's change"));
  options.push_back(
      averaging_exponent("kappa2", 0.9, "t^-kappa2 is the weight of step t in the variance of a minibatch gradient"));
  return {.name = "vsgd",
          .help = "variational SGD: steps along a gradient that is filtered with learned noise (Chen et al. 2025)",
          .options = std::move(options),
          .gives_posterior = false,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
