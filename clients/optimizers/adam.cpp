// Adam (Kingma and Ba 2015) in PyTorch's form (torch.optim.Adam): weight decay enters the gradient,
//   g := gradient + terms + decay*m,  a := b1*a + (1-b1)*g,  v := b2*v + (1-b2)*g^2,
//   m := m - lr/(1-b1^t) * a / ( sqrt(v)/sqrt(1-b2^t) + epsilon ).
// On N_k times the objective a and sqrt(v) are N_k times as large, which is the same step as with epsilon/N_k and decay/N_k.
#include <cmath>

#include "clients/terms.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

template <class Real, TermKind kind>
struct AdamStep {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT first;
  Real* IVORY_RESTRICT second;
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  Real decay, beta1, one_minus_beta1, beta2, one_minus_beta2, step_size, inverse_root_correction, epsilon;

  IVORY_HD void operator()(std::size_t i) const {
    const Real m = mean[i];
    const Real g = gradient[i] + terms.gradient(i, m) + decay * m;
    const Real a = beta1 * first[i] + one_minus_beta1 * g;
    const Real v = beta2 * second[i] + one_minus_beta2 * g * g;
    const Real next = m - step_size * a / (math::sqrt(v) * inverse_root_correction + epsilon);
    first[i] = a;
    second[i] = v;
    mean[i] = next;
    point[i] = next;
  }
};

template <class Real>
class Adam final : public Optimizer<Real> {
 public:
  explicit Adam(const Options& options)
      : beta1_(options.real("beta1")), beta2_(options.real("beta2")), epsilon_(options.real("epsilon")),
        decay_(options.real("weight_decay")) {}

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
        return Share{block.work(b),
                     AdamStep<Real, kind>{block.row(block.gradient, b), block.row(block.mean, b),
                                          block.row(block.slots[0], b), block.row(block.slots[1], b),
                                          block.row(block.point, b), view_of<Real, kind>(client.terms, 0.0),
                                          real(decay_ / client.loss_scale), real(beta1_), real(1.0 - beta1_),
                                          real(beta2_), real(1.0 - beta2_), real(client.learning_rate / correction1),
                                          real(1.0 / std::sqrt(correction2)), real(epsilon_ / client.loss_scale)}};
      });
    });
  }

 private:
  double beta1_, beta2_, epsilon_, decay_;
};

template <class Real>
std::unique_ptr<Optimizer<Real>> make(const Options& options) {
  return std::make_unique<Adam<Real>>(options);
}

}  // namespace

OptimizerPlugin adam_plugin() {
  return {.name = "adam",
          .help = "Adam (torch.optim.Adam)",
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
               {.name = "weight_decay",
                .default_value = 0.0,
                .help = "L2 gradient weight_decay * m",
                .unit = "1",
                .low = 0}},
          .gives_posterior = false,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
