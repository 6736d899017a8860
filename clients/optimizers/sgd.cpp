// Stochastic gradient descent with heavy-ball momentum and weight decay in PyTorch's form (torch.optim.SGD, dampening 0):
//   g := gradient + terms + decay*m,   b := momentum*b + g (b := g at the first step),   m := m - lr*b.
#include "clients/terms.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

template <class Real, TermKind kind>
struct SgdStep {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT velocity;
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  Real decay, momentum, learning_rate;

  IVORY_HD void operator()(std::size_t i) const {
    const Real m = mean[i];
    const Real g = gradient[i] + terms.gradient(i, m) + decay * m;
    const Real b = momentum * velocity[i] + g;
    const Real next = m - learning_rate * b;
    velocity[i] = b;
    mean[i] = next;
    point[i] = next;
  }
};

template <class Real>
class Sgd final : public Optimizer<Real> {
 public:
  explicit Sgd(const Options& options) : momentum_(options.real("momentum")), decay_(options.real("weight_decay")) {}

  bool plain_sgd() const override { return momentum_ == 0; }
  std::size_t vectors() const override { return 1; }
  std::size_t kept_vectors(bool keep_state) const override { return keep_state && momentum_ > 0 ? 1 : 0; }

  void begin(TrainingBlock<Real>& block) const override { start_point_optimizer(block, 1); }

  void advance(TrainingBlock<Real>& block, int /*sample*/) const override {
    for (auto& client : block.clients) client.optimizer_step += client.active ? 1 : 0;
    with_kind(block, [&]<TermKind kind>() {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        return Share{block.work(b),
                     SgdStep<Real, kind>{block.row(block.gradient, b), block.row(block.mean, b),
                                         block.row(block.slots[0], b), block.row(block.point, b),
                                         view_of<Real, kind>(client.terms, 0.0), static_cast<Real>(decay_),
                                         static_cast<Real>(momentum_), static_cast<Real>(client.learning_rate)}};
      });
    });
  }

 private:
  double momentum_, decay_;
};

template <class Real>
std::unique_ptr<Optimizer<Real>> make(const Options& options) {
  return std::make_unique<Sgd<Real>>(options);
}

}  // namespace

OptimizerPlugin sgd_plugin() {
  return {.name = "sgd",
          .help = "stochastic gradient descent (torch.optim.SGD with dampening 0)",
          .options =
              {{.name = "lr", .default_value = 0.1, .help = "learning rate", .unit = "1", .low = 0, .low_open = true},
               {.name = "momentum",
                .default_value = 0.0,
                .help = "heavy-ball momentum",
                .unit = "1",
                .low = 0,
                .high = 1,
                .high_open = true},
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
