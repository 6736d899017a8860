#include "src/evaluation.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "ivory/full_gaussian.hpp"
#include "ivory/gaussian.hpp"

namespace ivory {
namespace {

constexpr int jackknife_groups = 8;
constexpr std::size_t evaluation_bytes = std::size_t{1} << 28;  // of an accelerator's memory, for networks side by side

// Standard error of a statistic from its leave-one-group-out values: sqrt((G-1)/G sum (x_g - mean)^2).
double jackknife_error(std::span<const double> values) {
  const auto groups = static_cast<double>(values.size());
  if (values.size() < 2) return no_value;
  double mean = 0, squares = 0;
  for (const double x : values) mean += x / groups;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return std::sqrt((groups - 1.0) / groups * squares);
}

struct MirrorAt {
  const float* IVORY_RESTRICT mean;
  float* IVORY_RESTRICT sample;
  IVORY_HD void operator()(std::size_t i) const { sample[i] = mean[i] - (sample[i] - mean[i]); }
};

// log sum exp of numbers that come one by one. NaN stays NaN; the sum of none is -infinity.
class LogSum {
 public:
  LogSum() = default;
  void add(double x) { add({x, 1.0}); }
  void add(const LogSum& other) {
    if (other.largest_ > largest_) {
      scaled_ = scaled_ * std::exp(largest_ - other.largest_) + other.scaled_;
      largest_ = other.largest_;
    } else {  // equal ones may both be infinite
      scaled_ += other.largest_ == largest_ ? other.scaled_ : other.scaled_ * std::exp(other.largest_ - largest_);
    }
  }
  double value() const { return largest_ + std::log(scaled_); }

 private:
  LogSum(double largest, double scaled) : largest_(largest), scaled_(scaled) {}
  double largest_ = -std::numeric_limits<double>::infinity(), scaled_ = 0;
};

// Of averaged predictions; `log_likelihood` is for regression, the averaged probability knows the label's own.
Evaluation evaluate_average(const std::vector<double>& average, const Dataset& data, std::size_t bins,
                            const std::vector<double>& log_likelihood) {
  if (data.outputs == 0) {
    return evaluate_probabilities(average.data(), data.labels.data(), data.size(),
                                  static_cast<std::size_t>(data.classes), bins);
  }
  Evaluation evaluation;
  evaluation.metrics =
      evaluate_means(average.data(), data.targets.data(), data.size(), data.outputs, log_likelihood.data());
  return evaluation;
}

// The mean of predictions that come one by one; their log p is of the mean probability or density.
class MeanPrediction {
 public:
  explicit MeanPrediction(const Dataset& data) : data_(data), density_(data.outputs > 0 ? data.size() : 0) {}

  void add(const Predictions& predictions) {
    total_.resize(predictions.values.size(), 0.0);
    for (std::size_t i = 0; i < total_.size(); ++i) total_[i] += static_cast<double>(predictions.values[i]);
    for (std::size_t r = 0; r < density_.size(); ++r) density_[r].add(predictions.log_likelihood[r]);
    ++count_;
  }

  Predictions value() const {
    const std::size_t n = data_.size(), width = total_.size() / std::max<std::size_t>(n, 1);
    Predictions mean{.values = std::vector<float>(total_.size()), .log_likelihood = std::vector<double>(n)};
    for (std::size_t i = 0; i < total_.size(); ++i) mean.values[i] = static_cast<float>(total_[i] / count_);
    for (std::size_t r = 0; r < n; ++r) {
      if (data_.outputs > 0) {
        mean.log_likelihood[r] = density_[r].value() - std::log(count_);
        continue;
      }
      const double likelihood = total_[r * width + static_cast<std::size_t>(data_.labels[r])] / count_;
      mean.log_likelihood[r] = std::log(std::max(likelihood, smallest_probability));
    }
    return mean;
  }

 private:
  const Dataset& data_;
  std::vector<double> total_;
  std::vector<LogSum> density_;
  int count_ = 0;
};

}  // namespace

Predictions average_of(std::span<const Predictions> predictions, const Dataset& data) {
  MeanPrediction mean(data);
  for (const Predictions& one : predictions) mean.add(one);
  return mean.value();
}

// What one thread needs to run the network.
struct Predictor::Lane {
  explicit Lane(const Network<float>& network)
      : device(make_cpu_device()), workspace(network.make_workspace(*device, 1, chunk_rows)) {}
  std::unique_ptr<Device> device;
  Workspace<float> workspace;
};

Predictor::Predictor(const Network<float>& network, int threads) : network_(network), threads_(std::max(threads, 1)) {
  for (int t = 0; t < threads_; ++t) lanes_.push_back(std::make_unique<Lane>(network));
  device_ = lanes_[0]->device.get();
}
Predictor::Predictor(const Network<float>& network, Device& device, int threads, std::size_t runs)
    : network_(network), device_(&device), threads_(std::max(threads, 1)), runs_(runs) {}
Predictor::~Predictor() = default;

void Predictor::keep(const Dataset& data) {
  if (!device_->shares_host_memory()) kept_.emplace(&data, ResidentData(*device_, data));
}

void Predictor::run(const float* parameters, std::size_t networks, const Dataset& data,
                    std::span<Predictions> out) const {
  if (device_->shares_host_memory()) {
    run_on_cpu(parameters, data, out.front());  // networks_at_a_time is 1 there
  } else {
    run_on_accelerator(parameters, networks, data, out);
  }
}

void Predictor::run_on_cpu(const float* parameters, const Dataset& data, Predictions& out) const {
  const std::size_t n = data.size(), width = network_.predicted();
  const ResidentData resident(*device_, data);
  const auto chunks = static_cast<std::ptrdiff_t>((n + chunk_rows - 1) / chunk_rows);
#pragma omp parallel for num_threads(static_cast <int>(lanes_.size())) schedule(dynamic)
  for (std::ptrdiff_t chunk = 0; chunk < chunks; ++chunk) {
    Lane& lane = *lanes_[static_cast<std::size_t>(omp_get_thread_num())];
    const std::size_t first = static_cast<std::size_t>(chunk) * chunk_rows;
    const std::size_t rows = std::min(chunk_rows, n - first);
    const BatchShape shape{.clients = 1, .rows = rows, .parameter_stride = network_.layout().stride()};
    const float* const outputs = network_.forward(*lane.device, shape, parameters, data.row(first), lane.workspace);
    network_.predict(*lane.device, shape, outputs, resident.targets(first), out.values.data() + first * width, 0,
                     out.log_likelihood.data() + first, 0);
  }
}

// All networks see the same chunk in one pass; a chunk's empty rows are zeros, so that every product has its nominal shape.
void Predictor::run_on_accelerator(const float* parameters, std::size_t networks, const Dataset& data,
                                   std::span<Predictions> out) const {
  const std::size_t n = data.size(), width = network_.predicted();
  std::optional<ResidentData> sent;
  const auto found = kept_.find(&data);
  const ResidentData& resident = found != kept_.end() ? found->second : sent.emplace(*device_, data);
  Workspace<float> workspace = network_.make_workspace(*device_, networks, chunk_rows);
  Buffer<float> x(*device_, networks * chunk_rows * data.features), values(*device_, networks * n * width);
  Buffer<double> log_likelihood(*device_, networks * n);
  for (std::size_t first = 0; first < n; first += chunk_rows) {
    const int rows = static_cast<int>(std::min(chunk_rows, n - first));
    const std::vector<int> live(networks, rows);
    const BatchShape shape{.clients = networks,
                           .rows = chunk_rows,
                           .live = live.data(),
                           .parameter_stride = network_.layout().stride(),
                           .nominal = true};
    resident.copy_rows(*device_, first, shape, x.data());
    const float* const outputs = network_.forward(*device_, shape, parameters, x.data(), workspace);
    network_.predict(*device_, shape, outputs, resident.targets(first), values.data() + first * width, n * width,
                     log_likelihood.data() + first, n);
  }
  for (std::size_t i = 0; i < networks; ++i) {
    auto& to = out[i];
    device_->download(to.values.data(), values.data() + i * n * width, n * width * sizeof(float));
    device_->download(to.log_likelihood.data(), log_likelihood.data() + i * n, n * sizeof(double));
  }
}

std::size_t Predictor::networks_at_a_time(const Dataset& data, std::size_t wanted) const {
  if (device_->shares_host_memory()) return 1;
  const std::size_t per_network =
      network_.bytes_at_work(chunk_rows) + data.size() * network_.predicted() * sizeof(float);
  const std::size_t room = std::min(evaluation_bytes, device_->free_memory() / 2) / runs_;
  return std::clamp<std::size_t>(room / std::max<std::size_t>(per_network, 1), 1, wanted);
}

Predictions Predictor::room_for(const Dataset& data) const {
  return {.values = std::vector<float>(data.size() * network_.predicted()),
          .log_likelihood = std::vector<double>(data.size())};
}

Buffer<double> Predictor::factor_of(const double* precision) const {
  const std::size_t size = network_.layout().size();
  Buffer<double> factor(*device_, size * size);
  factorise(*device_, size, precision, factor.data());
  return factor;
}

template <class Use>
void Predictor::sample(const PosteriorView& q, const Dataset& data, int samples, Purpose purpose, std::uint64_t seed,
                       std::uint64_t round, const Use& use, bool in_pairs) const {
  const std::size_t size = network_.layout().size(), stride = network_.layout().stride();
  const bool full = q.factor != nullptr;
  Buffer<double> work(*device_, full ? size : 0);
  const std::size_t block = networks_at_a_time(data, static_cast<std::size_t>(samples));
  Buffer<float> theta(*device_, block * stride);
  std::vector<Predictions> predictions(block, room_for(data));
  for (int t = 0; t < samples; t += static_cast<int>(block)) {
    const std::size_t here = std::min(block, static_cast<std::size_t>(samples - t));
    const auto number = [&](std::size_t i) { return static_cast<std::uint64_t>(t) + i; };
    const auto noise = [&](std::size_t i) {
      return NoiseSource<float>{
          .stream =
              make_stream(seed, {.purpose = purpose, .round = round, .sample = in_pairs ? number(i) / 2 : number(i)})};
    };
    // One after the other: a solve for several at once might round differently, and their number is the device's affair.
    for (std::size_t i = 0; full && i < here; ++i) {
      sample_full(*device_, size, q.exact_mean, q.factor, noise(i), work.data(), theta.data() + i * stride);
    }
    for_each_client_with_noise(*device_, full ? 0 : here, stride, [&](std::size_t i) {
      return NoisyShare{stride, SampleGaussian<float>{q.mean, q.precision, theta.data() + i * stride}, noise(i)};
    });
    for (std::size_t i = 0; in_pairs && i < here; ++i) {
      if (number(i) % 2 == 1) for_each(*device_, size, MirrorAt{q.mean, theta.data() + i * stride});
    }
    run(theta.data(), here, data, predictions);
    for (std::size_t i = 0; i < here; ++i) use(t + static_cast<int>(i), predictions[i]);
  }
}

Predictions Predictor::predict(const float* parameters, const Dataset& data) const {
  Predictions predictions = room_for(data);
  run(parameters, 1, data, {&predictions, 1});
  return predictions;
}

Predictions Predictor::average_predictions(const PosteriorView& q, const Dataset& data, int samples, std::uint64_t seed,
                                           std::uint64_t round) const {
  MeanPrediction average(data);
  sample(q, data, samples, Purpose::evaluation_noise, seed, round,
         [&](int, const Predictions& predictions) { average.add(predictions); });
  return average.value();
}

PosteriorAverage Predictor::posterior_average(const PosteriorView& q, const Dataset& data, int samples,
                                              std::size_t bins, std::uint64_t seed, std::uint64_t round,
                                              const AverageWishes& wishes) const {
  const std::size_t n = data.size(), values = n * network_.predicted();
  const auto groups = static_cast<std::size_t>(std::min(samples, jackknife_groups));
  std::vector<std::vector<float>> group_sum(groups, std::vector<float>(values, 0.0F));
  std::vector<std::vector<LogSum>> group_density(groups, std::vector<LogSum>(data.outputs > 0 ? n : 0));
  std::vector<double> group_size(groups, 0.0);
  // Log of the mean density of `count` samples, those of all groups but one (`groups`: of all); empty for classes.
  const auto log_densities = [&](std::size_t left_out, double count) {
    std::vector<double> logs(group_density.front().size());
    for (std::size_t r = 0; r < logs.size(); ++r) {
      LogSum sum;
      for (std::size_t g = 0; g < groups; ++g) {
        if (g != left_out) sum.add(group_density[g][r]);
      }
      logs[r] = sum.value() - std::log(count);
    }
    return logs;
  };
  std::vector<double> total(values), average(values);
  const auto evaluate_first = [&](int count) {
    std::fill(total.begin(), total.end(), 0.0);
    for (const auto& group : group_sum) {
      for (std::size_t i = 0; i < values; ++i) total[i] += static_cast<double>(group[i]);
    }
    for (std::size_t i = 0; i < values; ++i) average[i] = total[i] / count;
    return evaluate_average(average, data, bins, log_densities(groups, count));
  };
  PosteriorAverage result;
  std::vector<double> exact(wishes.probability ? values : 0, 0.0);  // the groups' sums are rounded to float
  sample(q, data, samples, Purpose::evaluation_noise, seed, round, [&](int t, const Predictions& predictions) {
    const std::size_t g = static_cast<std::size_t>(t) % groups;
    for (std::size_t i = 0; i < values; ++i) group_sum[g][i] += predictions.values[i];
    for (std::size_t r = 0; r < group_density[g].size(); ++r) {
      group_density[g][r].add(predictions.log_likelihood[r]);
    }
    for (std::size_t i = 0; i < exact.size(); ++i) exact[i] += static_cast<double>(predictions.values[i]);
    group_size[g] += 1;
    if (wishes.curve) result.curve.push_back(evaluate_first(t + 1).metrics);
  });
  result.evaluation = evaluate_first(samples);
  for (const double sum : exact) result.probability.push_back(static_cast<float>(sum / samples));

  std::vector<Metrics> without(groups);
#pragma omp parallel for num_threads(threads_) schedule(dynamic)
  for (std::ptrdiff_t left_out = 0; left_out < static_cast<std::ptrdiff_t>(groups > 1 ? groups : 0); ++left_out) {
    const auto g = static_cast<std::size_t>(left_out);
    std::vector<double> rest(values);
    const double size = static_cast<double>(samples) - group_size[g];
    for (std::size_t i = 0; i < values; ++i) rest[i] = (total[i] - static_cast<double>(group_sum[g][i])) / size;
    without[g] = evaluate_average(rest, data, bins, log_densities(g, size)).metrics;
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
                  .entropy = error_of(&Metrics::entropy),
                  .rmse = error_of(&Metrics::rmse)};
  return result;
}

std::size_t Predictor::label_noise_bytes(const Network<float>& network, std::size_t examples, int threads) {
  const std::size_t example = (network.inputs() + network.target_values()) * sizeof(float) + sizeof(std::int32_t);
  // Predictions at the mean and of one draw, each with its log-likelihood; mean and deviation in double.
  const std::size_t result = network.predicted() * (2 * sizeof(float) + 2 * sizeof(double)) + 2 * sizeof(double);
  return examples * (example + result) + network.layout().stride() * sizeof(float) +
         static_cast<std::size_t>(std::max(threads, 1)) * network.bytes_at_work(chunk_rows);
}

LabelNoise Predictor::label_noise(const PosteriorView& q, const Dataset& data, int draws, std::uint64_t seed,
                                  std::uint64_t round) const {
  const std::vector<float> at_mean = predict(q.mean, data).values;
  const int count = draws + draws % 2;
  LabelNoise noise{.mean = std::vector<double>(at_mean.size(), 0.0),
                   .deviation = std::vector<double>(at_mean.size(), 0.0)};
  // Differences to the mean model, so that what hardly moves loses no digits.
  sample(
      q, data, count, Purpose::label_noise, seed, round,
      [&](int, const Predictions& predictions) {
        for (std::size_t i = 0; i < at_mean.size(); ++i) {
          const double moved = static_cast<double>(at_mean[i]) - static_cast<double>(predictions.values[i]);
          noise.mean[i] += moved;
          noise.deviation[i] += moved * moved;
        }
      },
      true);
  for (std::size_t i = 0; i < at_mean.size(); ++i) {
    noise.mean[i] /= count;
    const double squares = noise.deviation[i] - count * noise.mean[i] * noise.mean[i];
    noise.deviation[i] = std::sqrt(std::max(squares, 0.0) / std::max(count - 1, 1));
  }
  return noise;
}

NegativeElbo Predictor::negative_elbo(const PosteriorView& q, const Dataset& data, std::span<const float> weights,
                                      double temperature, double prior_precision, int samples, std::uint64_t seed,
                                      std::uint64_t round) const {
  std::vector<double> losses;
  sample(q, data, samples, Purpose::elbo_noise, seed, round, [&](int, const Predictions& predictions) {
    double loss = 0;
    for (std::size_t i = 0; i < data.size(); ++i) {
      loss -= static_cast<double>(weights[i]) * predictions.log_likelihood[i];
    }
    losses.push_back(loss / temperature);
  });
  double average = 0, squares = 0;
  for (const double loss : losses) average += loss / samples;
  for (const double loss : losses) squares += (loss - average) * (loss - average);
  const std::size_t size = network_.layout().size();
  const double kl =
      q.factor != nullptr
          ? kl_full(*device_, size, q.exact_mean, q.factor, prior_precision)
          : kl_diagonal(*device_, size, KlTerm<float>{q.mean, q.precision, nullptr, nullptr, 0.0, prior_precision});
  return {.value = average + kl, .error = samples > 1 ? std::sqrt(squares / (samples - 1.0) / samples) : no_value};
}

}  // namespace ivory
