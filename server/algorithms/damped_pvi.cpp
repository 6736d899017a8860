// PVI whose sites move a part of the way in each round (methods.md 3.1).
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return make_vb_admm<Real>(options, {.rho = 1, .damping = 0.2, .alpha = 1}, "damped_pvi");
}

}  // namespace

AlgorithmPlugin damped_pvi_plugin() {
  return {.name = "damped_pvi",
          .help =
              "partitioned variational inference whose sites go a part of the way: VB-ADMM with rho = 1, alpha = 1, "
              "damping 0.2",
          .options =
              with_default(vb_admm_options({"posterior", "temperature", "prior_precision", "damping"}), "damping", 0.2),
          .traits = vb_admm_diagonal_traits(),
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
