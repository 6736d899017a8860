// The non-data part of a client's objective (LocalTerms) as the optimizers' inner loops see it: its gradient and its diagonal
// curvature at one coordinate. One formula for SGD, Adam and IVON.
#pragma once
#include <cstddef>

#include "ivory/elementwise.hpp"
#include "ivory/messages.hpp"

namespace ivory {

enum class TermKind { none, anchor, anchor_and_site };

/// For coordinate i, on the mean-loss scale: `precision` is the anchor's weight d_i, `curvature` what the site subtracts from
/// the Hessian (V'_i), `gradient` the derivative of all terms. Without an anchor it is plain weight decay: d = `decay`, m = 0.
template <class Real, TermKind kind>
struct TermsView {
  const Real* IVORY_RESTRICT anchor_mean;
  const Real* IVORY_RESTRICT anchor_precision;
  const Real* IVORY_RESTRICT site_mean;
  const Real* IVORY_RESTRICT site_precision;
  Real anchor_weight, site_weight, decay;

  IVORY_HD Real precision(std::size_t i) const {
    if constexpr (kind == TermKind::none) return decay;
    return anchor_precision[i] * anchor_weight;
  }
  IVORY_HD Real curvature(std::size_t i) const {
    if constexpr (kind == TermKind::anchor_and_site) return site_precision[i] * site_weight;
    return Real(0);
  }
  IVORY_HD Real gradient(std::size_t i, Real theta) const {
    if constexpr (kind == TermKind::none) {
      return decay * theta;
    } else {
      const Real anchor = precision(i) * (theta - anchor_mean[i]);
      if constexpr (kind == TermKind::anchor) return anchor;
      return anchor + site_weight * (site_mean[i] - site_precision[i] * theta);
    }
  }
};

template <class Real>
TermKind kind_of(const LocalTerms<Real>& terms) {
  if (terms.anchor_precision == nullptr) return TermKind::none;
  return terms.site_mean == nullptr ? TermKind::anchor : TermKind::anchor_and_site;
}

template <class Real, TermKind kind>
TermsView<Real, kind> view_of(const LocalTerms<Real>& terms, double decay) {
  return {terms.anchor_mean,
          terms.anchor_precision,
          terms.site_mean,
          terms.site_precision,
          static_cast<Real>(terms.anchor_weight),
          static_cast<Real>(terms.site_weight),
          static_cast<Real>(decay)};
}

/// Calls `run` with the TermKind of `terms` as a compile-time constant: run.template operator()<kind>().
template <class Real, class Run>
void with_kind(const LocalTerms<Real>& terms, const Run& run) {
  switch (kind_of(terms)) {
    case TermKind::none: return run.template operator()<TermKind::none>();
    case TermKind::anchor: return run.template operator()<TermKind::anchor>();
    case TermKind::anchor_and_site: return run.template operator()<TermKind::anchor_and_site>();
  }
}

}  // namespace ivory
