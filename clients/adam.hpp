// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019) in PyTorch's form, torch.optim.Adam and torch.optim.AdamW:
//   g := gradient + terms + decay*m (AdamW: without decay*m, but m := (1 - lr*decay)*m),
//   a := b1*a + (1-b1)*g,  v := b2*v + (1-b2)*g^2,  m := m - lr/(1-b1^t) * a / ( sqrt(v)/sqrt(1-b2^t) + epsilon ).
// On N_k times the objective a and sqrt(v) are N_k times as large, which is the same step as with epsilon/N_k and, where it is
// part of the gradient, decay/N_k. methods.md, section 1.3.
#pragma once
#include <cmath>
#include <string>

#include "clients/terms.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {

/// Where the weight decay acts: in the gradient, through both moments (Adam), or on the weights alone (AdamW).
enum class WeightDecay { coupled, decoupled };

inline namespace IVORY_TRANSLATION {

template <class Real, TermKind kind>
struct AdamStep {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT first;
  Real* IVORY_RESTRICT second;
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  Real coupled_decay, kept;  // kept: 1 - lr*decay where the decay is decoupled, else 1
  Real beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inverse_root_correction, epsilon;

  IVORY_HD void operator()(std::size_t i) const {
    const Real m = mean[i];
    const Real g = gradient[i] + terms.gradient(i, m) + coupled_decay * m;
    const Real a = beta1 * first[i] + one_minus_beta1 * g;
    const Real v = beta2 * second[i] + one_minus_beta2 * g * g;
    const Real next = kept * m - step_size * a / (math::sqrt(v) * inverse_root_correction + epsilon);
    first[i] = a;
    second[i] = v;
    mean[i] = next;
    point[i] = next;
  }
};

template <class Real, WeightDecay weight_decay>
class Adam final : public Optimizer<Real> {
 public:
  explicit Adam(const Options& options)
      : beta1_(options.real("beta1")), beta2_(options.real("beta2")), epsilon_(options.real("epsilon")) {
    (weight_decay == WeightDecay::coupled ? coupled_ : decoupled_) = options.real("weight_decay");
  }

  bool takes_sum_loss() const override { return true; }
  std::size_t vectors() const override { return 2; }
  std::size_t kept_vectors(bool keep_state) const override { return keep_state ? 2 : 0; }

  void begin(TrainingBlock<Real>& block) const override { start_point_optimizer(block, 2); }

  void advance(TrainingBlock<Real>& block, int /*sample*/) const override {
    for (auto& client : block.clients) client.optimizer_step += client.active ? 1 : 0;
    with_kind(block, [&]<TermKind kind>() {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        const auto t = static_cast<double>(client.optimizer_step);
        // Constants such as 1 - beta2 are formed in double: in float 1 - 0.99999 is off by 0.14 %.
        const double correction1 = 1.0 - std::pow(beta1_, t), correction2 = 1.0 - std::pow(beta2_, t);
        const auto real = [](double x) { return static_cast<Real>(x); };
        return Share{block.work(b), AdamStep<Real, kind>{.gradient = block.row(block.gradient, b),
                                                         .mean = block.row(block.mean, b),
                                                         .first = block.row(block.slots[0], b),
                                                         .second = block.row(block.slots[1], b),
                                                         .point = block.row(block.point, b),
                                                         .terms = view_of<Real, kind>(client.terms, 0.0),
                                                         .coupled_decay = real(coupled_ / client.loss_scale),
                                                         .kept = real(1.0 - client.learning_rate * decoupled_),
                                                         .beta1 = real(beta1_),
                                                         .one_minus_beta1 = real(1.0 - beta1_),
                                                         .beta2 = real(beta2_),
                                                         .one_minus_beta2 = real(1.0 - beta2_),
                                                         .step_size = real(client.learning_rate / correction1),
                                                         .inverse_root_correction = real(1.0 / std::sqrt(correction2)),
                                                         .epsilon = real(epsilon_ / client.loss_scale)}};
      });
    });
  }

 private:
  double beta1_, beta2_, epsilon_;
  double coupled_ = 0, decoupled_ = 0;
};

}  // namespace IVORY_TRANSLATION

/// The plug-in; both have PyTorch's defaults, which differ in the weight decay.
template <WeightDecay weight_decay>
OptimizerPlugin adam_like_plugin(const std::string& name, const std::string& help, double default_decay,
                                 const std::string& help_of_decay) {
  return {.name = name,
          .help = help,
          .options =
              {{.name = "lr", .default_value = 1e-3, .help = "learning rate", .unit = "1", .low = 0, .low_open = true},
               {.name = "beta1",
                .default_value = 0.9,
                .help = "decay of the first moment",
                .unit = "1",
                .low = 0,
                .high = 1,
                .high_open = true},
               {.name = "beta2",
                .default_value = 0.999,
                .help = "decay of the second moment",
                .unit = "1",
                .low = 0,
                .high = 1,
                .high_open = true},
               {.name = "epsilon",
                .default_value = 1e-8,
                .help = "added to the root of the second moment",
                .unit = "1",
                .low = 0,
                .low_open = true},
               {.name = "weight_decay", .default_value = default_decay, .help = help_of_decay, .unit = "1", .low = 0}},
          .gives_posterior = false,
          .make_float = [](const Options& options) -> std::unique_ptr<Optimizer<float>> {
            return std::make_unique<Adam<float, weight_decay>>(options);
          },
          .make_double = [](const Options& options) -> std::unique_ptr<Optimizer<double>> {
            return std::make_unique<Adam<double, weight_decay>>(options);
          }};
}

}  // namespace ivory
