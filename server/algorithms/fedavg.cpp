// FedAvg (McMahan et al. 2017; methods.md 4.1): plain weighted averaging, w_g = sum_k N_k w_k / sum_k N_k over participants.
#include "server/averaging.hpp"

namespace ivory {
namespace {

constexpr AlgorithmTraits fedavg_traits{.vectors_down = 1, .vectors_up = 1, .weighs_losses = true};

template <class Real>
class FedAvg final : public Averaging<Real> {
 public:
  AlgorithmTraits traits() const override { return fedavg_traits; }
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
