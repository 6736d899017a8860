// Metrics from probabilities: pure functions, tested against reference numbers.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "src/evaluation.hpp"

namespace ivory {
namespace {

struct Totals {
  double n = 0, correct = 0, nll = 0, brier = 0, entropy = 0;

  void add(const Totals& other) {
    n += other.n, correct += other.correct, nll += other.nll, brier += other.brier, entropy += other.entropy;
  }
  Metrics metrics(double ece) const {
    if (n == 0) return {};
    Metrics out;
    out.accuracy = correct / n, out.nll = nll / n, out.ece = std::isnan(correct) ? no_value : ece,
    out.brier = brier / n, out.entropy = entropy / n;
    return out;
  }
};

// Of regression.
struct Errors {
  double n = 0, nll = 0, squares = 0;

  template <class Real>
  void add(const Real* mean, const float* targets, std::size_t outputs, double log_likelihood) {
    n += 1;
    nll -= log_likelihood;
    for (std::size_t j = 0; j < outputs; ++j) {
      const double error = static_cast<double>(mean[j]) - static_cast<double>(targets[j]);
      squares += error * error / static_cast<double>(outputs);
    }
  }
  Metrics metrics() const {
    Metrics out;
    if (n > 0) out.nll = nll / n, out.rmse = std::sqrt(squares / n);
    return out;
  }
};

struct Row {
  Totals totals;
  std::size_t predicted = 0;
  double confidence = 0;

  bool is_prediction() const { return !std::isnan(confidence); }
};

template <class Real>
Row score(const Real* p, std::size_t classes, std::size_t label, const double* log_likelihood) {
  Row row;
  double brier = 0;
  bool is_number = true;
  for (std::size_t c = 0; c < classes; ++c) {
    const auto q = static_cast<double>(p[c]);
    if (p[c] > p[row.predicted]) row.predicted = c;
    if (std::isnan(q)) is_number = false;
    const double difference = q - (c == label ? 1.0 : 0.0);
    brier += difference * difference;
  }
  if (!is_number) {  // no prediction: its set has no number either
    row.confidence = no_value;
    row.totals = {1.0, no_value, no_value, no_value, no_value};
    return row;
  }
  row.confidence = static_cast<double>(p[row.predicted]);
  const double ll = log_likelihood != nullptr ? *log_likelihood
                                              : std::log(std::max(static_cast<double>(p[label]), smallest_probability));
  row.totals = {1.0, row.predicted == label ? 1.0 : 0.0, -ll, brier, predictive_entropy(p, classes)};
  return row;
}

// Right-closed bins (j/M, (j+1)/M]; confidence 0 belongs to the first.
std::size_t bin_of(double confidence, std::size_t bins) {
  const double place = std::ceil(confidence * static_cast<double>(bins)) - 1.0;
  auto bin = place > 0 ? std::min(static_cast<std::size_t>(place), bins - 1) : 0;
  // confidence * M may round across a boundary; j/M itself decides.
  if (bin > 0 && confidence <= static_cast<double>(bin) / static_cast<double>(bins)) --bin;
  if (bin + 1 < bins && confidence > static_cast<double>(bin + 1) / static_cast<double>(bins)) ++bin;
  return bin;
}

CalibrationBins empty_bins(std::size_t bins) {
  return {std::vector<double>(bins), std::vector<double>(bins), std::vector<double>(bins)};
}

void put(CalibrationBins& bins, const Row& row) {
  if (!row.is_prediction()) return;
  const std::size_t bin = bin_of(row.confidence, bins.count.size());
  bins.count[bin] += 1;
  bins.confidence[bin] += row.confidence;
  bins.correct[bin] += row.totals.correct;
}

}  // namespace

template <class Real>
double predictive_entropy(const Real* p, std::size_t classes) {
  double entropy = 0;
  for (std::size_t c = 0; c < classes; ++c) {
    const auto q = static_cast<double>(p[c]);
    if (q > 0) entropy -= q * std::log(q);
    if (std::isnan(q)) entropy = q;
  }
  return entropy;
}

double calibration_error(const CalibrationBins& bins) {
  double n = 0, gap = 0;
  for (std::size_t b = 0; b < bins.count.size(); ++b) {
    n += bins.count[b];
    gap += std::abs(bins.correct[b] - bins.confidence[b]);
  }
  return n > 0 ? gap / n : no_value;
}

template <class Real>
Evaluation evaluate_probabilities(const Real* probability, const std::int32_t* labels, std::size_t n,
                                  std::size_t classes, std::size_t bins, const double* log_likelihood) {
  Evaluation result;
  result.bins = empty_bins(bins);
  result.confusion.assign(classes * classes, 0.0);
  std::vector<Totals> by_class(classes);
  std::vector<CalibrationBins> class_bins(classes, empty_bins(bins));
  for (std::size_t i = 0; i < n; ++i) {
    const auto label = static_cast<std::size_t>(labels[i]);
    const Row row =
        score(probability + i * classes, classes, label, log_likelihood != nullptr ? log_likelihood + i : nullptr);
    by_class[label].add(row.totals);
    put(result.bins, row);
    put(class_bins[label], row);
    if (row.is_prediction()) result.confusion[label * classes + row.predicted] += 1;
  }
  Totals all;
  for (std::size_t c = 0; c < classes; ++c) {
    all.add(by_class[c]);
    result.classes.examples.push_back(by_class[c].n);
    result.classes.rows.push_back(by_class[c].metrics(calibration_error(class_bins[c])));
  }
  result.metrics = all.metrics(calibration_error(result.bins));
  return result;
}

template <class Real>
Metrics evaluate_means(const Real* mean, const float* targets, std::size_t n, std::size_t outputs,
                       const double* log_likelihood) {
  Errors all;
  for (std::size_t i = 0; i < n; ++i) all.add(mean + i * outputs, targets + i * outputs, outputs, log_likelihood[i]);
  return all.metrics();
}

Evaluation evaluate(const Predictions& predictions, const Dataset& data, std::size_t bins) {
  const double* const log_likelihood = predictions.log_likelihood.data();
  if (data.outputs == 0) {
    return evaluate_probabilities(predictions.values.data(), data.labels.data(), data.size(),
                                  static_cast<std::size_t>(data.classes), bins, log_likelihood);
  }
  Evaluation evaluation;
  evaluation.metrics =
      evaluate_means(predictions.values.data(), data.targets.data(), data.size(), data.outputs, log_likelihood);
  return evaluation;
}

Metrics metrics_of_rows(const Predictions& predictions, const Dataset& data, std::span<const std::uint32_t> rows,
                        std::size_t bins) {
  if (data.outputs > 0) {
    Errors own;
    for (const std::uint32_t i : rows) {
      const std::size_t at = i * data.outputs;
      own.add(predictions.values.data() + at, data.targets.data() + at, data.outputs, predictions.log_likelihood[i]);
    }
    return own.metrics();
  }
  const auto classes = static_cast<std::size_t>(data.classes);
  Totals all;
  CalibrationBins reliability = empty_bins(bins);
  for (const std::uint32_t i : rows) {
    const Row row = score(predictions.values.data() + i * classes, classes, static_cast<std::size_t>(data.labels[i]),
                          predictions.log_likelihood.data() + i);
    all.add(row.totals);
    put(reliability, row);
  }
  return all.metrics(calibration_error(reliability));
}

template double predictive_entropy(const float*, std::size_t);
template double predictive_entropy(const double*, std::size_t);
template Evaluation evaluate_probabilities(const float*, const std::int32_t*, std::size_t, std::size_t, std::size_t,
                                           const double*);
template Evaluation evaluate_probabilities(const double*, const std::int32_t*, std::size_t, std::size_t, std::size_t,
                                           const double*);

template Metrics evaluate_means(const float*, const float*, std::size_t, std::size_t, const double*);
template Metrics evaluate_means(const double*, const float*, std::size_t, std::size_t, const double*);

}  // namespace ivory
