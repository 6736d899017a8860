// Constant VSGD: VSGD with one precision for both noises, whose variances keep the ratio K_g. The filter is then an average with
// the fixed decay beta = K_g/(1 + K_g), and only the noise is learned: Adam with a centred second moment. methods.md, section 5.2:
//   e = ghat - mu,   mu := beta mu + (1 - beta) ghat,   sigma = (1 - beta) b/(gamma + 1)
//   b := (1 - t^-k) b + t^-k ( gamma + 1/2 ( b/(gamma + 1) + beta e^2 ) ),   b = gamma at the start
//   m := (1 - lr decay) m - lr mu/( sqrt(mu^2 + sigma) + epsilon ).
// On N_k times the objective mu is N_k and b is N_k^2 times as large: the same step as with the prior's rate gamma/N_k^2 (its
// shape stays) and epsilon/N_k.
#include <cmath>

#include "clients/terms.hpp"
#include "clients/vsgd.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

template <class Real, TermKind kind>
struct ConstantVsgdStep {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT filtered;  // mu
  Real* IVORY_RESTRICT rate;      // b, the rate of the Gamma posterior
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  FilteredStep<Real> step;
  Real beta, one_minus_beta;
  Real prior_rate;                // gamma
  Real inverse_shape;             // 1/(gamma + 1)
  Real first_variance;            // gamma/(gamma + 1) in the first step, whose b is 0; then 0
  Real weight, one_minus_weight;  // t^-k

  IVORY_HD void operator()(std::size_t i) const {
    const Real m = mean[i];
    const Real g = gradient[i] + terms.gradient(i, m);
    const Real before = filtered[i];
    const Real error = g - before;
    const Real mu = beta * before + one_minus_beta * g;
    const Real variance = rate[i] * inverse_shape + first_variance;
    filtered[i] = mu;
    rate[i] = one_minus_weight * rate[i] + weight * (prior_rate + Real(0.5) * (variance + beta * error * error));
    const Real next = step(m, mu, one_minus_beta * variance);
    mean[i] = next;
    point[i] = next;
  }
};

template <class Real>
class ConstantVsgd final : public Optimizer<Real> {
 public:
  explicit ConstantVsgd(const Options& options)
      : gamma_(options.real("gamma")), variance_ratio_(options.real("variance_ratio")), kappa_(options.real("kappa")),
        epsilon_(options.real("epsilon")), decay_(options.real("weight_decay")) {}

  bool takes_sum_loss() const override { return true; }
  std::size_t vectors() const override { return 2; }
  std::size_t kept_vectors(bool keep_state) const override { return keep_state ? 2 : 0; }

  void begin(TrainingBlock<Real>& block) const override { start_point_optimizer(block, 2); }

  void advance(TrainingBlock<Real>& block, int /*sample*/) const override {
    for (auto& client : block.clients) client.optimizer_step += client.active ? 1 : 0;
    const auto real = [](double x) { return static_cast<Real>(x); };
    const double shape = gamma_ + 1.0, one_minus_beta = 1.0 / (1.0 + variance_ratio_),
                 beta = variance_ratio_ * one_minus_beta;
    with_kind(block, [&]<TermKind kind>() {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        const double prior_rate = gamma_ / (client.loss_scale * client.loss_scale);
        const double weight = std::pow(static_cast<double>(client.optimizer_step), -kappa_);
        return Share{block.work(b), ConstantVsgdStep<Real, kind>{
                                        .gradient = block.row(block.gradient, b),
                                        .mean = block.row(block.mean, b),
                                        .filtered = block.row(block.slots[0], b),
                                        .rate = block.row(block.slots[1], b),
                                        .point = block.row(block.point, b),
                                        .terms = view_of<Real, kind>(client.terms, 0.0),
                                        .step = {.kept = real(1.0 - client.learning_rate * decay_),
                                                 .rate = real(client.learning_rate),
                                                 .epsilon = real(epsilon_ / client.loss_scale)},
                                        .beta = real(beta),
                                        .one_minus_beta = real(one_minus_beta),
                                        .prior_rate = real(prior_rate),
                                        .inverse_shape = real(1.0 / shape),
                                        .first_variance = real(client.optimizer_step == 1 ? prior_rate / shape : 0.0),
                                        .weight = real(weight),
                                        .one_minus_weight = real(1.0 - weight)}};
      });
    });
  }

 private:
  double gamma_, variance_ratio_, kappa_, epsilon_, decay_;
};

template <class Real>
std::unique_ptr<Optimizer<Real>> make(const Options& options) {
  return std::make_unique<ConstantVsgd<Real>>(options);
}

}  // namespace

OptimizerPlugin constant_vsgd_plugin() {
  std::vector<OptionSpec> options = vsgd_options();
  options.push_back(averaging_exponent("kappa", 0.9, "t^-kappa is the weight of step t in the noise's variance"));
  return {.name = "constant_vsgd",
          .help = "variational SGD with a fixed ratio of the variances: Adam with a centred second moment",
          .options = std::move(options),
          .gives_posterior = false,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
