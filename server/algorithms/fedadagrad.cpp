// FedAdagrad (Reddi et al. 2021; methods.md 4.6), the adaptive server step with v := v + Delta^2.
#include "server/adaptive.hpp"

namespace ivory {
namespace {

struct Rule {
  IVORY_HD static double second_moment(double v, double square, double /*beta2*/) { return v + square; }
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<AdaptiveServer<Real, Rule>>(options);
}

}  // namespace

AlgorithmPlugin fedadagrad_plugin() {
  return {.name = "fedadagrad",
          .help = "Adagrad at the server, on the clients' mean move (Reddi et al. 2021)",
          .options = adaptive_options(0.1, 0.0, false),
          .traits = adaptive_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
