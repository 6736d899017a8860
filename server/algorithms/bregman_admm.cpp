// Bregman ADMM (Wang and Banerjee 2014): VB-ADMM with the dual step in expectation parameters (methods.md 3.2).
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return make_vb_admm<Real>(options, {.rho = 1, .damping = 0.2, .step = DualStep::bregman}, "bregman_admm");
}

}  // namespace

AlgorithmPlugin bregman_admm_plugin() {
  return {.name = "bregman_admm",
          .help = "Bregman ADMM (Wang and Banerjee 2014): VB-ADMM whose dual step is taken in expectation parameters",
          .options =
              with_default(with_default(vb_admm_options({"posterior", "rho", "temperature", "prior_precision",
                                                         "damping", "alpha", "bregman_ref_sign", "ref_start_identity"}),
                                        "damping", 0.2),
                           "rho", 1.0),
          .traits = vb_admm_diagonal_traits(),
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
