#include "src/evaluation.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>

#include "clients/loss.hpp"
#include "ivory/gaussian.hpp"

namespace ivory {
namespace {

constexpr std::size_t chunk_rows = 256;  // fixed: the shape of a product decides its bits
constexpr int jackknife_groups = 8;

// Standard error of a statistic from its leave-one-group-out values: sqrt((G-1)/G sum (x_g - mean)^2).
double jackknife_error(std::span<const double> values) {
  const auto groups = static_cast<double>(values.size());
  if (values.size() < 2) return no_value;
  double mean = 0, squares = 0;
  for (const double x : values) mean += x / groups;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return std::sqrt((groups - 1.0) / groups * squares);
}

}  // namespace

// What one thread needs to run the network.
struct Predictor::Lane {
  Lane(const Network<float>& network, std::unique_ptr<Device> device_)
      : device(std::move(device_)), workspace(network.make_workspace(*device, 1, chunk_rows)) {}
  std::unique_ptr<Device> device;
  Workspace<float> workspace;
};

Predictor::Predictor(const Network<float>& network, int threads) : network_(network) {
  for (int t = 0; t < std::max(threads, 1); ++t) lanes_.push_back(std::make_unique<Lane>(network, make_cpu_device()));
}
Predictor::~Predictor() = default;

void Predictor::run(const float* parameters, const Dataset& data, float* probability, double* log_likelihood) const {
  const std::size_t n = data.size(), classes = network_.classes();
  const auto chunks = static_cast<std::ptrdiff_t>((n + chunk_rows - 1) / chunk_rows);
#pragma omp parallel for num_threads(static_cast <int>(lanes_.size())) schedule(dynamic)
  for (std::ptrdiff_t chunk = 0; chunk < chunks; ++chunk) {
    Lane& lane = *lanes_[static_cast<std::size_t>(omp_get_thread_num())];
    const std::size_t first = static_cast<std::size_t>(chunk) * chunk_rows;
    const std::size_t rows = std::min(chunk_rows, n - first);
    const BatchShape shape{.clients = 1, .rows = rows, .parameter_stride = network_.layout().stride()};
    const float* const logits = network_.forward(*lane.device, shape, parameters, data.row(first), lane.workspace);
    for_each(*lane.device, rows,
             SoftmaxCrossEntropy<float>{logits, data.labels.data() + first, nullptr, probability + first * classes,
                                        log_likelihood + first, classes, 1.0F});
  }
}

Predictions Predictor::room_for(const Dataset& data) const {
  return {.probability = std::vector<float>(data.size() * network_.classes()),
          .log_likelihood = std::vector<double>(data.size())};
}

template <class Use>
void Predictor::sample(const float* mean, const float* precision, const Dataset& data, int samples, Purpose purpose,
                       std::uint64_t seed, std::uint64_t round, const Use& use) const {
  std::vector<float> theta(network_.layout().stride());
  Predictions predictions = room_for(data);
  for (int t = 0; t < samples; ++t) {
    const Stream stream =
        make_stream(seed, {.purpose = purpose, .round = round, .sample = static_cast<std::uint64_t>(t)});
    for_each_with_noise(*lanes_[0]->device, theta.size(), NoiseSource<float>{.stream = stream},
                        SampleGaussian<float>{mean, precision, theta.data()});
    run(theta.data(), data, predictions.probability.data(), predictions.log_likelihood.data());
    use(t, predictions);
  }
}

Predictions Predictor::predict(const float* parameters, const Dataset& data) const {
  Predictions predictions = room_for(data);
  run(parameters, data, predictions.probability.data(), predictions.log_likelihood.data());
  return predictions;
}

Predictions Predictor::average_predictions(const float* mean, const float* precision, const Dataset& data, int samples,
                                           std::uint64_t seed, std::uint64_t round) const {
  Predictions average = room_for(data);
  std::vector<double> total(average.probability.size(), 0.0);
  sample(mean, precision, data, samples, Purpose::evaluation_noise, seed, round,
         [&](int, const Predictions& predictions) {
           for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(predictions.probability[i]);
         });
  const std::size_t classes = network_.classes();
  for (std::size_t i = 0; i < total.size(); ++i) average.probability[i] = static_cast<float>(total[i] / samples);
  for (std::size_t r = 0; r < data.size(); ++r) {
    const double likelihood = total[r * classes + static_cast<std::size_t>(data.labels[r])] / samples;
    average.log_likelihood[r] = std::log(std::max(likelihood, smallest_probability));
  }
  return average;
}

PosteriorAverage Predictor::posterior_average(const float* mean, const float* precision, const Dataset& data,
                                              int samples, std::size_t bins, std::uint64_t seed,
                                              std::uint64_t round) const {
  const std::size_t n = data.size(), classes = network_.classes(), values = n * classes;
  const int groups = std::min(samples, jackknife_groups);
  std::vector<std::vector<float>> group_sum(static_cast<std::size_t>(groups), std::vector<float>(values, 0.0F));
  std::vector<double> group_size(static_cast<std::size_t>(groups), 0.0);
  sample(mean, precision, data, samples, Purpose::evaluation_noise, seed, round,
         [&](int t, const Predictions& predictions) {
           const auto g = static_cast<std::size_t>(t % groups);
           for (std::size_t i = 0; i < values; ++i) group_sum[g][i] += predictions.probability[i];
           group_size[g] += 1;
         });

  std::vector<double> total(values, 0.0), average(values);
  for (const auto& group : group_sum) {
    for (std::size_t i = 0; i < values; ++i) total[i] += static_cast<double>(group[i]);
  }
  for (std::size_t i = 0; i < values; ++i) average[i] = total[i] / samples;
  PosteriorAverage result;
  result.evaluation = evaluate_probabilities(average.data(), data.labels.data(), n, classes, bins);

  std::vector<Metrics> without(static_cast<std::size_t>(groups));
#pragma omp parallel for num_threads(static_cast <int>(lanes_.size())) schedule(dynamic)
  for (std::ptrdiff_t left_out = 0; left_out < (groups > 1 ? groups : 0); ++left_out) {
    const auto g = static_cast<std::size_t>(left_out);
    std::vector<double> rest(values);
    const double size = static_cast<double>(samples) - group_size[g];
    for (std::size_t i = 0; i < values; ++i) rest[i] = (total[i] - static_cast<double>(group_sum[g][i])) / size;
    without[g] = evaluate_probabilities(rest.data(), data.labels.data(), n, classes, bins).metrics;
  }
  const auto error_of = [&](double Metrics::*field) {
    std::vector<double> column;
    for (const Metrics& row : without) column.push_back(row.*field);
    return jackknife_error(column);
  };
  result.error = {.accuracy = error_of(&Metrics::accuracy),
                  .nll = error_of(&Metrics::nll),
                  .ece = error_of(&Metrics::ece),
                  .brier = error_of(&Metrics::brier),
                  .entropy = error_of(&Metrics::entropy)};
  return result;
}

NegativeElbo Predictor::negative_elbo(const float* mean, const float* precision, const Dataset& data,
                                      std::span<const float> weights, double temperature, double prior_precision,
                                      int samples, std::uint64_t seed, std::uint64_t round) const {
  std::vector<double> losses;
  sample(mean, precision, data, samples, Purpose::elbo_noise, seed, round, [&](int, const Predictions& predictions) {
    double loss = 0;
    for (std::size_t i = 0; i < data.size(); ++i) {
      loss -= static_cast<double>(weights[i]) * predictions.log_likelihood[i];
    }
    losses.push_back(loss / temperature);
  });
  double average = 0, squares = 0;
  for (const double loss : losses) average += loss / samples;
  for (const double loss : losses) squares += (loss - average) * (loss - average);
  const double kl = kl_diagonal(*lanes_[0]->device, network_.layout().size(),
                                KlTerm<float>{mean, precision, nullptr, nullptr, 0.0, prior_precision});
  return {.value = average + kl, .error = samples > 1 ? std::sqrt(squares / (samples - 1.0) / samples) : no_value};
}

}  // namespace ivory
