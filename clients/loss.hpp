// Losses of a network's outputs f: softmax and binary cross-entropy for classes, a Gaussian for regression. One formula of each
// serves training (gradients), evaluation (predictions, log-likelihoods) and curvature (Gauss-Newton seeds); methods.md, section 0.1.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ivory/elementwise.hpp"

namespace ivory {

/// Which loss a network is trained with.
struct Loss {
  enum class Kind { softmax, binary, gaussian };
  Kind kind = Kind::softmax;
  double smoothing = 0;  // softmax: share of the target spread evenly over all classes in training, in [0, 1)
  double precision = 1;  // gaussian: of the observation noise, above 0
};

/// What the rows of a minibatch are compared with: their classes [rows], or their target values [rows x outputs].
template <class Real>
struct Targets {
  Targets(const std::int32_t* labels_, const Real* values_ = nullptr) : labels(labels_), values(values_) {}
  Targets from(std::size_t row, std::size_t outputs) const {
    return {labels + row, values != nullptr ? values + row * outputs : nullptr};
  }
  const std::int32_t* labels;
  const Real* values;  // null where there are none
};

/// In (0, 1).
IVORY_HD double uniform(std::uint32_t word) { return (static_cast<double>(word) + 0.5) * 0x1p-32; }

/// Each formula knows one row: `f` are its [outputs] outputs, r its place among the targets. `train` writes weight * dl/df and
/// returns the loss l; `predict` writes the [predicted()] numbers that evaluation works with and returns log p(target | f);
/// `seed` writes u_c of seeds() vectors with sum_c u_c u_c' = d2l/df2, `sampled_seed` one random u with that mean of u u'.

/// -sum_c t_c log softmax(f)_c, t the one-hot label mixed with the uniform distribution in training. Predicts probabilities.
template <class Real>
struct SoftmaxCrossEntropy {
  std::size_t outputs;
  double smoothing;

  IVORY_HD std::size_t predicted() const { return outputs; }
  IVORY_HD std::size_t seeds() const { return outputs; }

  IVORY_HD double train(const Real* f, const Targets<Real>& targets, std::size_t r, Real weight, Real* gradient) const {
    const auto label = static_cast<std::size_t>(targets.labels[r]);
    const Sum sum = exponentials(f, gradient);
    const double spread = smoothing / static_cast<double>(outputs);
    const Real off = static_cast<Real>(spread), on = static_cast<Real>(1.0 - smoothing + spread);
    const Real inverse = Real(1) / sum.total;
    for (std::size_t c = 0; c < outputs; ++c) gradient[c] = (gradient[c] * inverse - (c == label ? on : off)) * weight;
    const double log_total = math::log(static_cast<double>(sum.total));
    const double loss = log_total - static_cast<double>(f[label] - sum.largest);
    if (smoothing == 0) return loss;
    double all = 0;  // of the losses that every class would have as the label
    for (std::size_t c = 0; c < outputs; ++c) all += log_total - static_cast<double>(f[c] - sum.largest);
    return (1.0 - smoothing) * loss + spread * all;
  }
  IVORY_HD double predict(const Real* f, const Targets<Real>& targets, std::size_t r, Real* p) const {
    const Sum sum = softmax(f, p);
    return static_cast<double>(f[targets.labels[r]] - sum.largest) - math::log(static_cast<double>(sum.total));
  }
  IVORY_HD void probabilities(const Real* f, Real* p) const { softmax(f, p); }
  /// weight * d CE(soft, softmax f)/df for a distribution `soft`, exactly 0 where soft is what `probabilities` gives for f. All
  /// zeros are no label.
  IVORY_HD void train_soft(const Real* f, const Real* soft, Real weight, Real* gradient) const {
    Real total = 0;
    for (std::size_t c = 0; c < outputs; ++c) total += soft[c];
    softmax(f, gradient);
    const Real used = total == Real(0) ? Real(0) : weight;
    for (std::size_t c = 0; c < outputs; ++c) gradient[c] = (gradient[c] - soft[c]) * used;
  }
  IVORY_HD void seed(const Real* f, std::size_t c, Real* u) const {
    softmax(f, u);
    const Real root = math::sqrt(u[c]);
    for (std::size_t j = 0; j < outputs; ++j) u[j] = root * ((j == c ? Real(1) : Real(0)) - u[j]);
  }
  IVORY_HD void sampled_seed(const Real* f, const Stream& draws, std::size_t r, Real* u) const {
    softmax(f, u);
    const double chance = uniform(draws.block(r).a);
    std::size_t drawn = 0;
    for (double below = static_cast<double>(u[0]); drawn + 1 < outputs && below < chance;) {
      below += static_cast<double>(u[++drawn]);
    }
    u[drawn] -= Real(1);
  }

 private:
  struct Sum {
    Real largest, total;
  };
  IVORY_HD Sum exponentials(const Real* f, Real* out) const {
    Real largest = f[0], total = 0;
    for (std::size_t c = 1; c < outputs; ++c) largest = f[c] > largest ? f[c] : largest;
    for (std::size_t c = 0; c < outputs; ++c) {
      const Real e = math::exp(f[c] - largest);
      out[c] = e;
      total += e;
    }
    return {largest, total};
  }
  IVORY_HD Sum softmax(const Real* f, Real* p) const {
    const Sum sum = exponentials(f, p);
    const Real inverse = Real(1) / sum.total;
    for (std::size_t c = 0; c < outputs; ++c) p[c] *= inverse;
    return sum;
  }
};

/// Two classes and one output, the log-odds of class 1: softmax cross-entropy of the outputs (0, f). Predicts both probabilities.
template <class Real>
struct BinaryCrossEntropy {
  static constexpr std::size_t outputs = 1;

  IVORY_HD std::size_t predicted() const { return 2; }
  IVORY_HD std::size_t seeds() const { return 1; }

  IVORY_HD double train(const Real* f, const Targets<Real>& targets, std::size_t r, Real weight, Real* gradient) const {
    const bool one = targets.labels[r] == 1;
    const Odds odds = odds_of(*f);
    *gradient = (one ? -odds.zero : odds.one) * weight;
    return loss(*f, odds, one);
  }
  IVORY_HD double predict(const Real* f, const Targets<Real>& targets, std::size_t r, Real* p) const {
    const Odds odds = odds_of(*f);
    p[0] = odds.zero;
    p[1] = odds.one;
    return -loss(*f, odds, targets.labels[r] == 1);
  }
  IVORY_HD void seed(const Real* f, std::size_t, Real* u) const {
    const Odds odds = odds_of(*f);
    *u = math::sqrt(odds.zero * odds.one);
  }
  IVORY_HD void sampled_seed(const Real* f, const Stream& draws, std::size_t r, Real* u) const {
    const Odds odds = odds_of(*f);
    const double chance = uniform(draws.block(r).a);
    *u = static_cast<double>(odds.zero) < chance ? -odds.zero : odds.one;
  }

 private:
  struct Odds {
    Real zero, one, smaller;  // the probabilities, and exp(-|f|), the smaller one over the larger
  };
  // Each probability from the exponential that cannot overflow; neither is 1 minus the other, which would lose the small one.
  IVORY_HD static Odds odds_of(Real f) {
    const Real e = math::exp(-math::abs(f));
    const Real larger = Real(1) / (Real(1) + e), small = e * larger;
    return f > Real(0) ? Odds{small, larger, e} : Odds{larger, small, e};
  }
  // log(1 + exp(f)) for class 0, log(1 + exp(-f)) for class 1.
  IVORY_HD static double loss(Real f, const Odds& odds, bool one) {
    const double wrong = static_cast<double>(one ? -f : f);
    return (wrong > 0 ? wrong : 0.0) + math::log1p(static_cast<double>(odds.smaller));
  }
};

/// precision/2 |f - y|^2, summed over outputs: -log N(y | f, 1/precision) without its constant. Predicts f, the mean of y.
template <class Real>
struct GaussianLoss {
  std::size_t outputs;
  double precision;
  double constant;  // of the log-likelihood: outputs/2 log(precision / 2 pi)

  IVORY_HD std::size_t predicted() const { return outputs; }
  IVORY_HD std::size_t seeds() const { return outputs; }

  IVORY_HD double train(const Real* f, const Targets<Real>& targets, std::size_t r, Real weight, Real* gradient) const {
    const Real* const y = targets.values + r * outputs;
    const Real factor = static_cast<Real>(precision);
    for (std::size_t j = 0; j < outputs; ++j) gradient[j] = factor * (f[j] - y[j]) * weight;
    return loss(f, y);
  }
  IVORY_HD double predict(const Real* f, const Targets<Real>& targets, std::size_t r, Real* mean) const {
    for (std::size_t j = 0; j < outputs; ++j) mean[j] = f[j];
    return constant - loss(f, targets.values + r * outputs);
  }
  // The Hessian does not depend on f, but f that is not a number must show.
  IVORY_HD void seed(const Real* f, std::size_t c, Real* u) const {
    for (std::size_t j = 0; j < outputs; ++j) u[j] = j == c ? root() : Real(0);
    u[c] += f[c] - f[c];
  }
  IVORY_HD void sampled_seed(const Real* f, const Stream& draws, std::size_t r, Real* u) const {
    const std::size_t blocks = (outputs + 3) / 4;
    for (std::size_t block = 0; block < blocks; ++block) {
      float z[4];
      normals(draws.block(r * blocks + block), z);
      for (std::size_t j = 4 * block; j < outputs && j < 4 * block + 4; ++j) {
        u[j] = root() * static_cast<Real>(z[j % 4]) + (f[j] - f[j]);
      }
    }
  }

 private:
  IVORY_HD Real root() const { return static_cast<Real>(math::sqrt(precision)); }
  IVORY_HD double loss(const Real* f, const Real* y) const {
    double squares = 0;
    for (std::size_t j = 0; j < outputs; ++j) {
      const double difference = static_cast<double>(f[j]) - static_cast<double>(y[j]);
      squares += difference * difference;
    }
    return 0.5 * precision * squares;
  }
};

/// Calls use(formula) for the loss of a network with so many outputs.
template <class Real, class Use>
auto with_formula(const Loss& loss, std::size_t outputs, const Use& use) {
  switch (loss.kind) {
    case Loss::Kind::binary:
      return use(BinaryCrossEntropy<Real>{});
    case Loss::Kind::gaussian:
      return use(
          GaussianLoss<Real>{outputs, loss.precision,
                             0.5 * static_cast<double>(outputs) * math::log(loss.precision / 6.283185307179586476925)});
    case Loss::Kind::softmax:
      break;
  }
  return use(SoftmaxCrossEntropy<Real>{outputs, loss.smoothing});
}

// The loops over rows: f is [rows x outputs]. Rows from `live` on are empty; they get zeros.

/// gradient [rows x outputs] = weight * dl/df; `loss` [rows] (may be null) grows by weight * l.
template <class Real, class Formula>
struct TrainRows {
  Formula formula;
  const Real* f;
  Targets<Real> targets;
  Real* gradient;
  double* loss;
  Real weight;  // 1 / live for a mean loss
  std::size_t live;

  IVORY_HD void operator()(std::size_t r) const {
    const std::size_t n = formula.outputs;
    if (r >= live) {
      for (std::size_t c = 0; c < n; ++c) gradient[r * n + c] = Real(0);
      return;
    }
    const double value = formula.train(f + r * n, targets, r, weight, gradient + r * n);
    if (loss != nullptr) loss[r] += static_cast<double>(weight) * value;
  }
};

template <class Real, class Formula>
struct PredictRows {
  Formula formula;
  const Real* f;
  Targets<Real> targets;
  Real* prediction;        // [rows x predicted]
  double* log_likelihood;  // [rows]

  IVORY_HD void operator()(std::size_t r) const {
    log_likelihood[r] = formula.predict(f + r * formula.outputs, targets, r, prediction + r * formula.predicted());
  }
};

/// u [rows x outputs]: seed number `seed` of each row.
template <class Real, class Formula>
struct CurvatureSeed {
  Formula formula;
  const Real* f;
  Real* u;
  std::size_t seed, live;

  IVORY_HD void operator()(std::size_t r) const {
    const std::size_t n = formula.outputs;
    if (r < live) return formula.seed(f + r * n, seed, u + r * n);
    for (std::size_t c = 0; c < n; ++c) u[r * n + c] = Real(0);
  }
};

/// The same with one random seed per row, drawn from the blocks of `draws` that the row's number names.
template <class Real, class Formula>
struct SampledCurvatureSeed {
  Formula formula;
  const Real* f;
  Real* u;
  Stream draws;
  std::size_t live;

  IVORY_HD void operator()(std::size_t r) const {
    const std::size_t n = formula.outputs;
    if (r < live) return formula.sampled_seed(f + r * n, draws, r, u + r * n);
    for (std::size_t c = 0; c < n; ++c) u[r * n + c] = Real(0);
  }
};

}  // namespace ivory
