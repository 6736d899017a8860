// The non-data part of a client's objective (LocalTerms) as the optimizers' inner loops see it: its gradient and its diagonal
// curvature at one coordinate. One formula for SGD, Adam and IVON.
#pragma once
#include <algorithm>
#include <cstddef>

#include "ivory/optimizer.hpp"

namespace ivory {

/// What a client's objective holds beside its loss; each kind contains those before it.
enum class TermKind { none, anchor, anchor_and_site, all };

/// For coordinate i, on the mean-loss scale: `precision` is the anchor's weight d_i, `curvature` what the site subtracts from
/// the Hessian (V'_i), `gradient` the derivative of all terms. Without an anchor it is plain weight decay: d = `isotropic`, m = 0.
/// An array that is absent has another one's address and the factor 0, which costs less than a branch in the loop.
template <class Real, TermKind kind>
struct TermsView {
  const Real* IVORY_RESTRICT anchor_mean;
  const Real* IVORY_RESTRICT anchor_precision;
  const Real* IVORY_RESTRICT site_mean;
  const Real* IVORY_RESTRICT site_precision;
  const Real* IVORY_RESTRICT common_mean;
  Real anchor_mean_factor, anchor_weight, isotropic, site_mean_weight, site_precision_weight, common_weight;

  IVORY_HD Real precision(std::size_t i) const {
    if constexpr (kind == TermKind::none) return isotropic;
    return anchor_precision[i] * anchor_weight + isotropic;
  }
  IVORY_HD Real curvature(std::size_t i) const {
    if constexpr (kind >= TermKind::anchor_and_site) return site_precision[i] * site_precision_weight;
    return Real(0);
  }
  IVORY_HD Real gradient(std::size_t i, Real theta) const {
    if constexpr (kind == TermKind::none) {
      return isotropic * theta;
    } else {
      const Real anchor = precision(i) * (theta - anchor_mean_factor * anchor_mean[i]);
      if constexpr (kind == TermKind::anchor) return anchor;
      const Real both = anchor + (site_mean_weight * site_mean[i] - site_precision_weight * site_precision[i] * theta);
      if constexpr (kind == TermKind::anchor_and_site) return both;
      return both + common_weight * common_mean[i];
    }
  }
};

template <class Real>
TermKind kind_of(const LocalTerms<Real>& terms) {
  if (terms.common_mean != nullptr) return TermKind::all;
  if (terms.site_mean != nullptr || terms.site_precision != nullptr) return TermKind::anchor_and_site;
  return terms.anchor_weight > 0 ? TermKind::anchor : TermKind::none;
}

/// The kind that holds every client of a block: what a client lacks of it counts with the factor 0.
template <class Real>
TermKind kind_of(const TrainingBlock<Real>& block) {
  TermKind widest = TermKind::none;
  for (const auto& client : block.clients) widest = std::max(widest, kind_of(client.terms));
  return widest;
}

/// `decay` is the weight decay of an optimizer for which it is a prior, and gives way to an anchor.
template <class Real, TermKind kind>
TermsView<Real, kind> view_of(const LocalTerms<Real>& terms, double decay) {
  const Real* some = terms.start;
  // Named, because nvcc loses a list in a range-for.
  const Real* const arrays[] = {terms.common_mean, terms.site_precision, terms.site_mean, terms.anchor_mean,
                                terms.anchor_precision};
  for (const Real* array : arrays) {
    if (array != nullptr) some = array;
  }
  const auto array = [some](const Real* wanted) { return wanted != nullptr ? wanted : some; };
  const auto factor = [](const Real* wanted, double value) {
    return static_cast<Real>(wanted != nullptr ? value : 0.0);
  };
  const bool anchored = terms.anchor_weight > 0;
  const double isotropic = !anchored ? decay : (terms.anchor_precision == nullptr ? terms.anchor_weight : 0.0);
  return {array(terms.anchor_mean),
          array(terms.anchor_precision),
          array(terms.site_mean),
          array(terms.site_precision),
          array(terms.common_mean),
          factor(terms.anchor_mean, anchored ? 1.0 : 0.0),
          factor(terms.anchor_precision, anchored ? terms.anchor_weight : 0.0),
          static_cast<Real>(isotropic),
          factor(terms.site_mean, terms.site_weight),
          factor(terms.site_precision, terms.site_weight),
          factor(terms.common_mean, terms.common_weight)};
}

/// Calls `run` with the kind as a compile-time constant: run.template operator()<kind>().
template <class Run>
void with_kind(TermKind kind, const Run& run) {
  switch (kind) {
    case TermKind::none:
      return run.template operator()<TermKind::none>();
    case TermKind::anchor:
      return run.template operator()<TermKind::anchor>();
    case TermKind::anchor_and_site:
      return run.template operator()<TermKind::anchor_and_site>();
    case TermKind::all:
      return run.template operator()<TermKind::all>();
  }
}
template <class Real, class Run>
void with_kind(const TrainingBlock<Real>& block, const Run& run) {
  with_kind(kind_of(block), run);
}

}  // namespace ivory
