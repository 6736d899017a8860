// The steps of VB-ADMM with diagonal Gaussians, one parameter each (methods.md 2.1, 3.2): the server of a run takes them, and so
// does a preview of it (server/merging.hpp).
#pragma once
#include "ivory/elementwise.hpp"
#include "server/vb_admm.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// v and V move by `rate` times the difference of client and server in natural (or expectation) parameters.
template <class Real>
struct UpdateSite {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT client_precision;
  const Real* IVORY_RESTRICT server_mean;
  const Real* IVORY_RESTRICT server_precision;
  Real* IVORY_RESTRICT site_mean;
  Real* IVORY_RESTRICT site_precision;
  double rate;  // d rho
  DualStep step;

  IVORY_HD void operator()(std::size_t i) const {
    const double m = client_mean[i], s = client_precision[i], m_g = server_mean[i], s_g = server_precision[i];
    double v_step = 0, precision_step = 0;
    if (step == DualStep::natural) {
      v_step = s * m - s_g * m_g;
      precision_step = s - s_g;
    } else {
      const double second_moment = 1.0 / s + m * m - (1.0 / s_g + m_g * m_g);
      v_step = m - m_g;
      precision_step = step == DualStep::bregman ? -2.0 * second_moment : second_moment;
    }
    site_mean[i] = static_cast<Real>(static_cast<double>(site_mean[i]) + rate * v_step);
    site_precision[i] = static_cast<Real>(static_cast<double>(site_precision[i]) + rate * precision_step);
  }
};

/// eta_sum += a s m + b v and precision_sum += a s + b V: one client's share of the server's sums.
template <class Real>
struct AddClient {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT precision;
  const Real* IVORY_RESTRICT site_mean;
  const Real* IVORY_RESTRICT site_precision;
  double* IVORY_RESTRICT eta_sum;
  double* IVORY_RESTRICT precision_sum;
  double posterior_weight, site_weight;

  IVORY_HD void operator()(std::size_t i) const {
    const double s = precision[i], m = mean[i];
    eta_sum[i] += posterior_weight * (s * m) + site_weight * static_cast<double>(site_mean[i]);
    precision_sum[i] += posterior_weight * s + site_weight * static_cast<double>(site_precision[i]);
  }
};

template <class Real>
struct TakePrecision {
  const double* IVORY_RESTRICT precision_sum;
  Real* IVORY_RESTRICT precision;
  double prior;  // alpha * s0
  IVORY_HD void operator()(std::size_t i) const { precision[i] = static_cast<Real>(precision_sum[i] + prior); }
};

template <class Real>
struct TakeMean {
  const double* IVORY_RESTRICT eta_sum;
  const Real* IVORY_RESTRICT precision;
  Real* IVORY_RESTRICT mean;
  IVORY_HD void operator()(std::size_t i) const {
    mean[i] = static_cast<Real>(eta_sum[i] / static_cast<double>(precision[i]));
  }
};

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
