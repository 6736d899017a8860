// Detection of out-of-distribution inputs: does the prediction's certainty tell them from the test set? (methods.md section 12)
#pragma once
#include <span>

#include "ivory/record.hpp"

namespace ivory {

/// From the scores of in-distribution examples and of others; larger scores say "in". A threshold takes all scores at or
/// above it, so equal scores stand together: they count one half in the AUROC. The areas under precision-recall curves are
/// average precisions, without interpolation; that of "out" takes negated scores. Every number is NaN where a set is empty or a
/// score is not a number.
Detection detection(std::span<const double> in, std::span<const double> out);

/// The same from probabilities [examples x classes] of the test set and of the others.
template <class Real>
OodDetection ood_detection(std::span<const Real> in, std::span<const Real> out, std::size_t classes);

}  // namespace ivory
