// VB-ADMM with every option; the equations are in server/vb_admm.hpp, each family of posteriors in a file beside it.
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return make_vb_admm<Real>(options, {}, "vb_admm");
}

}  // namespace

AlgorithmPlugin vb_admm_plugin() {
  return {.name = "vb_admm",
          .help =
              "variational Bayes ADMM with isotropic, diagonal or full covariances; PVI and Bregman ADMM are settings "
              "of it",
          .options = vb_admm_options({"posterior", "rho", "temperature", "prior_precision", "damping", "alpha",
                                      "bregman", "bregman_ref_sign", "ref_bayes_eval", "ref_start_identity"}),
          .traits = vb_admm_diagonal_traits(),
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
