// Softmax cross-entropy: one formula for training (gradients) and evaluation (probabilities, log-likelihoods).
#pragma once
#include <cstddef>
#include <cstdint>

#include "ivory/elementwise.hpp"

namespace ivory {

/// Row r of [rows x classes] logits: p = softmax(logits), log p_label = logit_label - max - log sum exp(logit - max).
/// `gradient` (may be null) gets (p - onehot) * weight, `probability` (may be null) gets p, `log_likelihood` log p_label;
/// `loss` (may be null) grows by -weight * log p_label. Rows from `live` on are empty: gradient and log-likelihood 0.
template <class Real>
struct SoftmaxCrossEntropy {
  const Real* logits;
  const std::int32_t* labels;
  Real* gradient;
  Real* probability;
  double* log_likelihood;
  std::size_t classes;
  Real weight;  // 1 / live for a mean loss
  std::size_t live;
  double* loss = nullptr;

  IVORY_HD void operator()(std::size_t r) const {
    if (r >= live) {
      for (std::size_t c = 0; c < classes && gradient != nullptr; ++c) gradient[r * classes + c] = Real(0);
      log_likelihood[r] = 0;
      return;
    }
    const Real* const row = logits + r * classes;
    Real largest = row[0];
    for (std::size_t c = 1; c < classes; ++c) largest = row[c] > largest ? row[c] : largest;
    Real total = 0;
    Real* const out = (gradient != nullptr ? gradient : probability) + r * classes;
    for (std::size_t c = 0; c < classes; ++c) {
      const Real e = math::exp(row[c] - largest);
      out[c] = e;
      total += e;
    }
    const Real inverse = Real(1) / total;
    const auto label = static_cast<std::size_t>(labels[r]);
    log_likelihood[r] = static_cast<double>(row[label] - largest) - math::log(static_cast<double>(total));
    if (loss != nullptr) loss[r] -= static_cast<double>(weight) * log_likelihood[r];
    if (gradient != nullptr) {
      for (std::size_t c = 0; c < classes; ++c) out[c] = (out[c] * inverse - (c == label ? Real(1) : Real(0))) * weight;
    } else {
      for (std::size_t c = 0; c < classes; ++c) out[c] *= inverse;
    }
  }
};

}  // namespace ivory
