// FedYogi (Reddi et al. 2021; methods.md 4.6), the adaptive server step with
//   v := v - (1 - beta2) Delta^2 sign(v - Delta^2),   which keeps v at 0 or above.
#include "server/adaptive.hpp"

namespace ivory {
namespace {

struct Rule {
  IVORY_HD static double second_moment(double v, double square, double beta2) {
    const double sign = v > square ? 1.0 : (v < square ? -1.0 : 0.0);
    return v - (1.0 - beta2) * square * sign;
  }
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<AdaptiveServer<Real, Rule>>(options);
}

}  // namespace

AlgorithmPlugin fedyogi_plugin() {
  return {.name = "fedyogi",
          .help = "Yogi at the server, on the clients' mean move (Reddi et al. 2021)",
          .options = adaptive_options(0.01, 0.9, true),
          .traits = adaptive_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
