// FedAdam (Reddi et al. 2021; methods.md 4.6), the adaptive server step with v := beta2 v + (1 - beta2) Delta^2.
#include "server/adaptive.hpp"

namespace ivory {
namespace {

struct Rule {
  IVORY_HD static double second_moment(double v, double square, double beta2) {
    return beta2 * v + (1.0 - beta2) * square;
  }
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<AdaptiveServer<Real, Rule>>(options);
}

}  // namespace

AlgorithmPlugin fedadam_plugin() {
  std::vector<OptionSpec> options = adaptive_options(0.1, 0.9, true);
  options.push_back(
      {.name = "bias_correct_fedadam",
       .default_value = false,
       .help = "compatibility: server_lr times sqrt(1 - beta2^(r+1))/(1 - beta1^(r+1)) in round r = 1, 2 ..., as "
               "in Flower (methods.md 4.6)"});
  return {.name = "fedadam",
          .help = "Adam at the server, on the clients' mean move (Reddi et al. 2021)",
          .options = options,
          .traits = adaptive_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
