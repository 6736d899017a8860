// What the methods share that hold clients near the server's weights by an isotropic anchor (FedProx, FedADMM, FedDyn, FedLap),
// and those of them that have dual variables.
#pragma once
#include "server/sums.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// v_k += rate (w_k - w_g): the dual step of VB-ADMM in natural parameters, with every precision fixed (methods.md 2.1).
template <class Real>
struct MoveDual {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  Real* IVORY_RESTRICT dual;
  double rate;
  double server_factor;  // 0: the client's anchor was at 0
  IVORY_HD void operator()(std::size_t i) const {
    const double away = static_cast<double>(client_mean[i]) - server_factor * static_cast<double>(server_mean[i]);
    dual[i] = static_cast<Real>(static_cast<double>(dual[i]) + rate * away);
  }
};

}  // namespace IVORY_TRANSLATION

inline OptionSpec unsquared_prox_option() {
  return {.name = "unsquared_prox",
          .default_value = false,
          .help = "compatibility: the distance to the server's weights instead of its square (methods.md D6)"};
}

inline OptionSpec round1_zero_anchor_option() {
  return {.name = "ref_round1_zero_anchor",
          .default_value = false,
          .help = "compatibility: in round 1 clients take the server's weights to be 0 (methods.md D7)"};
}

}  // namespace ivory
