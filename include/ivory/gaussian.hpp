// Diagonal Gaussians in the two forms the methods use: mean form (m, s) with precision s > 0, and natural form
// (eta = s m, s). Sites are Gaussians in natural form whose precision may be negative. Adding natural parameters multiplies
// densities, which is why every server step is a sum (methods.md sections 0 and 2).
#pragma once
#include <cstddef>

#include "ivory/elementwise.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// The floor of the server's precision, in shares of the prior's (methods.md section 16).
inline constexpr double precision_floor = 1e-3;

/// A precision below its floor is raised to it; the number of such entries is a finding that the log keeps.
template <class Real>
struct FloorPrecision {
  Real* precision;
  Real floor;
  IVORY_HD void operator()(std::size_t i) const { precision[i] = precision[i] < floor ? floor : precision[i]; }
};

template <class Real>
struct IsBelow {
  const Real* value;
  Real floor;
  IVORY_HD double operator()(std::size_t i) const { return value[i] < floor ? 1.0 : 0.0; }
};

/// Raises precision[0, padded) to `floor` and returns how many of the first `count` entries were below it.
template <class Real>
double floor_precision(Device& device, std::size_t count, std::size_t padded, Real* precision, Real floor) {
  const double below = sum(device, count, IsBelow<Real>{precision, floor});
  for_each(device, padded, FloorPrecision<Real>{precision, floor});
  return below;
}

/// theta = m + z / sqrt(s), a sample of N(m, 1/s).
template <class Real>
struct SampleGaussian {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT precision;
  Real* IVORY_RESTRICT sample;
  IVORY_HD void operator()(std::size_t i, Real z) const { sample[i] = mean[i] + z / math::sqrt(precision[i]); }
};

/// Term i of KL(N(m1, 1/s1) || N(m2, 1/s2)) (methods.md section 12). A null mean is 0, a null precision is the scalar.
template <class Real>
struct KlTerm {
  const Real* mean1;
  const Real* precision1;
  const Real* mean2;
  const Real* precision2;
  double scalar_mean2 = 0, scalar_precision2 = 1;
  IVORY_HD double operator()(std::size_t i) const {
    const double s1 = precision1[i];
    const double s2 = precision2 != nullptr ? static_cast<double>(precision2[i]) : scalar_precision2;
    const double d = static_cast<double>(mean1[i]) - (mean2 != nullptr ? static_cast<double>(mean2[i]) : scalar_mean2);
    return 0.5 * (s2 / s1 + s2 * d * d - 1.0 + math::log(s1 / s2));
  }
};

/// KL(N(m1, 1/s1) || N(m2, 1/s2)) over `count` coordinates, in nats.
template <class Real>
double kl_diagonal(Device& device, std::size_t count, const KlTerm<Real>& term) {
  return sum(device, count, term);
}

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
