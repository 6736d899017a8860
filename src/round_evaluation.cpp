#include "src/round_evaluation.hpp"

#include <cmath>
#include <numeric>
#include <optional>
#include <stdexcept>
#include <type_traits>
#include <utility>

#include "src/data_common.hpp"
#include "src/laplace.hpp"
#include "src/model.hpp"
#include "src/ood_metrics.hpp"
#include "src/partition.hpp"

namespace ivory {
namespace {

template <class Combine>
void combine(Evaluation& into, const Evaluation& from, const Combine& f) {
  const auto metrics = [&](Metrics& a, const Metrics& b) {
    f(a.accuracy, b.accuracy), f(a.nll, b.nll), f(a.ece, b.ece), f(a.brier, b.brier), f(a.entropy, b.entropy);
    f(a.rmse, b.rmse);
  };
  const auto column = [&](std::vector<double>& a, const std::vector<double>& b) {
    for (std::size_t i = 0; i < a.size(); ++i) f(a[i], b[i]);
  };
  const auto detection = [&](Detection& a, const Detection& b) {
    f(a.auroc, b.auroc), f(a.aupr_in, b.aupr_in), f(a.aupr_out, b.aupr_out), f(a.fpr95, b.fpr95), f(a.error, b.error);
  };
  metrics(into.metrics, from.metrics);
  detection(into.ood.confidence, from.ood.confidence);
  detection(into.ood.entropy, from.ood.entropy);
  for (std::size_t c = 0; c < into.classes.rows.size(); ++c) metrics(into.classes.rows[c], from.classes.rows[c]);
  column(into.classes.examples, from.classes.examples);
  column(into.confusion, from.confusion);
  column(into.bins.count, from.bins.count);
  column(into.bins.confidence, from.bins.confidence);
  column(into.bins.correct, from.bins.correct);
}
void add(Evaluation& into, const Evaluation& from) {
  combine(into, from, [](double& a, double b) { a += b; });
}
void scale(Evaluation& into, double factor) {
  combine(into, into, [factor](double& a, double) { a *= factor; });
}

}  // namespace

template <class Real>
RoundEvaluator<Real>::RoundEvaluator(const Scenario& scenario, const RunParts<Real>& parts,
                                     const ServerState<Real>& state, Device& server, int threads, std::size_t runs)
    : scenario_(scenario), parts_(parts), state_(state), server_(server), threads_(threads),
      client_examples_(scenario, parts.partition, parts.data.train),
      predictor_(server.shares_host_memory() ? Predictor(parts.network, threads)
                                             : Predictor(parts.network, server, threads, runs)) {
  fix_average_precision();
  for (const Dataset* data : {&parts.data.train, &parts.data.test, &parts.data.validation, &parts.data.ood}) {
    if (data->size() > 0) predictor_.keep(*data);
  }
  if (const Dataset& own = client_examples_.data(); &own != &parts_.data.train) predictor_.keep(own);
  make_probes();
}

// Both probes are the first of one shuffled order: the smaller one is a part of the larger.
template <class Real>
void RoundEvaluator<Real>::make_probes() {
  sensitivity_rows_ = probe_rows(scenario_, "sensitivity", parts_.all_examples);
  if (!sensitivity_rows_.empty()) {
    sensitivity_network_ = std::make_unique<Network<double>>(make_network<double>(scenario_, parts_.data.train));
    sensitivity_ = std::make_unique<SensitivityProbe>(server_, *sensitivity_network_,
                                                      subset(parts_.data.train, sensitivity_rows_), threads_);
  }
  label_noise_rows_ = probe_rows(scenario_, "label_noise_probe", parts_.all_examples);
  label_noise_examples_ = subset(parts_.data.train, label_noise_rows_);
  if (!label_noise_rows_.empty()) predictor_.keep(label_noise_examples_);
}

template <class Real>
void RoundEvaluator<Real>::take_mean(const std::vector<Real>& mean) {
  if constexpr (!std::is_same_v<Real, float>) {
    if (rounded_mean_.empty()) rounded_mean_ = Buffer<float>(server_, state_.stride);
    rounded_mean_.from_host({mean.begin(), mean.end()});
  }
}

template <class Real>
std::vector<float> RoundEvaluator<Real>::laplace_precision() const {
  std::vector<float> precision = laplace_.to_host();
  precision.resize(precision.empty() ? 0 : state_.parameters);
  return precision;
}

template <class Real>
Metrics RoundEvaluator<Real>::test_metrics(const std::vector<float>& model) const {
  std::vector<float> padded = model;
  padded.resize(state_.stride, 0.0F);
  Buffer<float> parameters(server_, padded.size());
  parameters.from_host(padded);
  return evaluate_test(parameters.data(), static_cast<std::size_t>(scenario_.evaluation.integer("bins"))).metrics;
}

template <class Real>
const float* RoundEvaluator<Real>::mean() const {
  if constexpr (std::is_same_v<Real, float>) return state_.mean.data();
  return rounded_mean_.data();
}

// What networks are drawn from. A full covariance is taken as it is; `factor` keeps its Cholesky factor as long as that lasts.
// Without a mean: there is no posterior (yet).
template <class Real>
PosteriorView RoundEvaluator<Real>::posterior(Buffer<double>& factor) const {
  if (!parts_.traits.gives_posterior) {
    if (laplace_.empty()) return {};
    return {.mean = mean(), .precision = laplace_.data()};
  }
  if constexpr (std::is_same_v<Real, float>) {
    return {.mean = state_.mean.data(), .precision = state_.precision.data()};
  } else {
    factor = predictor_.factor_of(state_.precision.data());
    return {.mean = rounded_mean_.data(), .exact_mean = state_.mean.data(), .factor = factor.data()};
  }
}

// Compatibility (methods.md D1).
template <class Real>
void RoundEvaluator<Real>::fix_average_precision() {
  if (!scenario_.optimizer.has("hess_init")) return;
  const double precision = parts_.algorithm->average_precision(
      std::accumulate(state_.examples.begin(), state_.examples.end(), 0.0), scenario_.optimizer.real("hess_init"));
  if (std::isnan(precision)) return;
  average_precision_ = Buffer<float>(server_, std::vector<float>(state_.stride, static_cast<float>(precision)));
}
template <class Real>
PosteriorView RoundEvaluator<Real>::averaged(PosteriorView q) const {
  if (!average_precision_.empty()) q.precision = average_precision_.data();
  return q;
}

template <class Real>
void RoundEvaluator<Real>::evaluate(RoundRecord& record) {
  record.regression = parts_.data.train.outputs > 0;
  const Options& options = scenario_.evaluation;
  const bool last = record.round == scenario_.rounds;
  const auto due = [&](const char* key) { return last || record.round % options.integer(key) == 0; };
  const auto bins = static_cast<std::size_t>(options.integer("bins"));
  record.evaluated = due("every");
  const bool clients_due = options.text("clients") != "none" && due("clients_every");
  if (parts_.traits.personal) {
    if (record.evaluated || clients_due) evaluate_personal(record, bins, clients_due);
    return;
  }
  if (last && parts_.laplace) fit_laplace(record);
  const float* const weights = mean();
  Buffer<double> factor;
  PosteriorView q;
  if (needs_posterior() && (record.evaluated || clients_due)) q = posterior(factor);
  if (record.evaluated) {
    record.mean = evaluate_test(weights, bins);
    if (parts_.data.validation.size() > 0) {
      record.validation =
          ivory::evaluate(predictor_.predict(weights, parts_.data.validation), parts_.data.validation, bins).metrics;
    }
    evaluate_posterior(record, bins, q);
    evaluate_sensitivity(record, q);
    evaluate_label_noise(record, q);
  }
  if (clients_due) evaluate_clients(record, bins, q);
}

template <class Real>
bool RoundEvaluator<Real>::needs_posterior() const {
  const Options& options = scenario_.evaluation;
  return (parts_.traits.gives_posterior || !laplace_.empty()) &&
         (options.integer("samples") > 0 || options.integer("elbo_samples") > 0 || sensitivity_ != nullptr);
}

template <class Real>
void RoundEvaluator<Real>::fit_laplace(RoundRecord& record) {
  const auto posterior = laplace_posterior(server_, parts_.network, parts_.data.train, parts_.examples, mean(),
                                           scenario_.evaluation.real("laplace_prior_precision"), threads_);
  if (!posterior) return;
  record.laplace_prior_precision = posterior->prior_precision;
  laplace_ = Buffer<float>(server_, posterior->precision);
}

// Its scores are those of probabilities.
template <class Real>
bool RoundEvaluator<Real>::has_ood() const {
  return parts_.has_ood();
}

template <class Real>
OodDetection RoundEvaluator<Real>::told_apart(const std::vector<float>& test, const Predictions& others) const {
  return ood_detection<float>(test, others.values, static_cast<std::size_t>(parts_.data.test.classes));
}

template <class Real>
Evaluation RoundEvaluator<Real>::evaluate_test(const float* parameters, std::size_t bins) const {
  const Predictions predictions = predictor_.predict(parameters, parts_.data.test);
  Evaluation evaluation = ivory::evaluate(predictions, parts_.data.test, bins);
  if (has_ood()) {
    evaluation.ood = told_apart(predictions.values, predictor_.predict(parameters, parts_.data.ood));
  }
  return evaluation;
}

template <class Real>
void RoundEvaluator<Real>::evaluate_clients(RoundRecord& record, std::size_t bins, const PosteriorView& q) const {
  const float* const weights = mean();
  const Dataset& data = client_examples_.data();
  const auto table = [&](const Predictions& predictions) {
    std::vector<Metrics> rows;
    for (const auto& own : client_examples_.rows()) rows.push_back(metrics_of_rows(predictions, data, own, bins));
    return rows;
  };
  record.client_metrics = table(predictor_.predict(weights, data));
  const auto samples = static_cast<int>(scenario_.evaluation.integer("samples"));
  if (q.mean == nullptr || samples == 0) return;
  record.client_metrics_bayes =
      table(predictor_.average_predictions(averaged(q), data, samples, scenario_.seed, state_.round));
}

template <class Real>
void RoundEvaluator<Real>::evaluate_posterior(RoundRecord& record, std::size_t bins, const PosteriorView& q) const {
  if (q.mean == nullptr) return;
  const Options& options = scenario_.evaluation;
  if (const auto samples = static_cast<int>(options.integer("samples")); samples > 0) {
    const bool last = record.round == scenario_.rounds;
    const PosteriorView drawn = averaged(q);
    PosteriorAverage average =
        predictor_.posterior_average(drawn, parts_.data.test, samples, bins, scenario_.seed, state_.round,
                                     {.curve = last && options.boolean("curve"), .probability = has_ood()});
    record.bayes = std::move(average.evaluation);
    if (has_ood()) {
      record.bayes.ood = told_apart(average.probability, predictor_.average_predictions(drawn, parts_.data.ood, samples,
                                                                                        scenario_.seed, state_.round));
    }
    record.bayes_error = average.error;
    record.bayes_curve = std::move(average.curve);
    if (const Dataset& validation = parts_.data.validation; validation.size() > 0) {
      record.validation_bayes =
          ivory::evaluate(predictor_.average_predictions(drawn, validation, samples, scenario_.seed, state_.round),
                          validation, bins)
              .metrics;
    }
  }
  if (parts_.traits.gives_posterior) evaluate_elbo(record, q);  // a Laplace posterior is fitted to no such objective
}

template <class Real>
void RoundEvaluator<Real>::evaluate_elbo(RoundRecord& record, const PosteriorView& q) const {
  const double tau = parts_.algorithm->temperature(), prior = parts_.algorithm->prior_precision();
  if (const auto samples = static_cast<int>(scenario_.evaluation.integer("elbo_samples"));
      samples > 0 && std::isfinite(tau)) {
    std::vector<float> weights(parts_.data.train.size(), 0.0F);
    const std::vector<double> of_client = parts_.client_weights();
    for (std::size_t k = 0; k < parts_.examples.size(); ++k) {
      for (const std::uint32_t row : parts_.examples[k]) weights[row] += static_cast<float>(of_client[k]);
    }
    const NegativeElbo elbo =
        predictor_.negative_elbo(q, parts_.data.train, weights, tau, prior, samples, scenario_.seed, state_.round);
    record.negative_elbo = elbo.value;
    record.negative_elbo_error = elbo.error;
  }
}

// A Laplace posterior is that of the plain sum of losses: temperature 1.
template <class Real>
void RoundEvaluator<Real>::evaluate_sensitivity(RoundRecord& record, const PosteriorView& q) const {
  if (sensitivity_ == nullptr || q.mean == nullptr) return;
  const double tau = parts_.algorithm->temperature();
  Sensitivity sensitivity = sensitivity_->compute(q, parts_.traits.gives_posterior && std::isfinite(tau) ? tau : 1.0);
  const LeaveOneOutNll estimate = leave_one_out_nll(sensitivity);
  record.leave_one_out_nll = estimate.value;
  record.leave_one_out_nll_error = estimate.error;
  record.probe_nll = std::accumulate(sensitivity.nll.begin(), sensitivity.nll.end(), 0.0) /
                     static_cast<double>(sensitivity.nll.size());
  if (record.round == scenario_.rounds) record.sensitivity = std::move(sensitivity);
}

template <class Real>
void RoundEvaluator<Real>::evaluate_label_noise(RoundRecord& record, const PosteriorView& q) const {
  if (label_noise_rows_.empty() || q.mean == nullptr) return;
  const Dataset& probe = label_noise_examples_;
  LabelNoise noise = predictor_.label_noise(q, probe, static_cast<int>(scenario_.evaluation.integer("samples")),
                                            scenario_.seed, state_.round);
  const std::size_t n = probe.size(), classes = noise.mean.size() / n;
  std::vector<double> size[2], label[2];  // by whether the label was changed
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double* const row = noise.mean.data() + i * classes;
    double sum = 0;
    for (std::size_t c = 0; c < classes; ++c) sum += std::fabs(row[c]);
    total += sum;
    const int changed = probe.true_labels()[i] != probe.labels[i] ? 1 : 0;
    size[changed].push_back(sum);
    label[changed].push_back(-row[static_cast<std::size_t>(probe.labels[i])]);
  }
  record.label_noise = total / static_cast<double>(n);
  record.label_noise_auroc = detection(size[1], size[0]).auroc;
  record.label_noise_label_auroc = detection(label[1], label[0]).auroc;
  if (record.round == scenario_.rounds) record.label_noise_examples = std::move(noise);
}

// Every client has its own model: test metrics are means over clients, confusion and bins too.
template <class Real>
void RoundEvaluator<Real>::evaluate_personal(RoundRecord& record, std::size_t bins, bool clients_due) const {
  const auto clients = static_cast<std::uint32_t>(parts_.examples.size());
  const auto sum_into = [](std::optional<Evaluation>& total, Evaluation&& own) {
    if (total) {
      add(*total, own);
    } else {
      total = std::move(own);
    }
  };
  std::optional<Evaluation> test, validation;
  for (std::uint32_t k = 0; k < clients; ++k) {
    const float* const own = personal_mean(k);
    const auto evaluation_on = [&](const Dataset& data) {
      return ivory::evaluate(predictor_.predict(own, data), data, bins);
    };
    if (record.evaluated) {
      sum_into(test, evaluate_test(own, bins));
      if (parts_.data.validation.size() > 0) sum_into(validation, evaluation_on(parts_.data.validation));
    }
    if (clients_due) {
      record.client_metrics.push_back(
          evaluation_on(subset(client_examples_.data(), client_examples_.rows()[k])).metrics);
    }
  }
  for (std::optional<Evaluation>* total : {&test, &validation}) {
    if (*total) scale(**total, 1.0 / static_cast<double>(clients));
  }
  if (test) record.mean = std::move(*test);
  if (validation) record.validation = validation->metrics;
}

template <class Real>
const float* RoundEvaluator<Real>::personal_mean(std::uint32_t client) const {
  if constexpr (std::is_same_v<Real, float>) return parts_.algorithm->personal_mean(state_, client);
  throw std::logic_error("no algorithm with full covariances is personal");
}

template class RoundEvaluator<float>;
template class RoundEvaluator<double>;

}  // namespace ivory
