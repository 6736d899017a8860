// PVI, partitioned variational inference: VB-ADMM with rho = 1 and alpha = 1. The server is prior times sites after every round,
// and a client is anchored at its cavity (methods.md 3.1).
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return make_vb_admm<Real>(options, {.rho = 1, .alpha = 1}, "pvi");
}

}  // namespace

AlgorithmPlugin pvi_plugin() {
  return {.name = "pvi",
          .help = "partitioned variational inference (Ashman et al. 2022): VB-ADMM with rho = 1, alpha = 1",
          .options = vb_admm_options({"posterior", "temperature", "prior_precision"}),
          .traits = vb_admm_diagonal_traits(),
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
