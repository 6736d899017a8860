#include "src/sensitivity.hpp"

#include <omp.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "clients/resident_data.hpp"
#include "ivory/full_gaussian.hpp"
#include "ivory/rng.hpp"

namespace ivory {
namespace {

constexpr std::size_t most_at_a_time = 16;
constexpr std::size_t block_bytes = std::size_t{1} << 26;  // of perturbed parameters and gradients

template <class From>
struct InDouble {
  const From* IVORY_RESTRICT from;
  double* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = static_cast<double>(from[i]); }
};

/// dm = g / (tau s)
struct DivideByPrecision {
  const double* IVORY_RESTRICT precision;
  double* IVORY_RESTRICT step;
  double temperature;
  IVORY_HD void operator()(std::size_t i) const { step[i] = step[i] / (temperature * precision[i]); }
};

struct ScaleBy {
  double* values;
  double factor;
  IVORY_HD void operator()(std::size_t i) const { values[i] *= factor; }
};

/// dp = (dp/df) df for what the network's loss predicts: (diag(p) - p p') df of softmax, the same of the two classes (0, f) of a
/// single log-odds, and df itself of regression.
void prediction_deviation(const double* p, std::size_t predicted, const double* df, std::size_t outputs,
                          bool regression, double* dp) {
  if (regression) {
    std::copy_n(df, outputs, dp);
    return;
  }
  const auto logit = [&](std::size_t c) { return outputs == predicted ? df[c] : (c == 0 ? 0.0 : df[0]); };
  double mean = 0;
  for (std::size_t c = 0; c < predicted; ++c) mean += p[c] * logit(c);
  for (std::size_t c = 0; c < predicted; ++c) dp[c] = p[c] * (logit(c) - mean);
}

std::size_t block_for(const Network<double>& network, std::size_t examples) {
  const std::size_t each = 2 * network.layout().stride() * sizeof(double) + network.bytes_at_work(1);
  return std::clamp<std::size_t>(block_bytes / each, 1, std::clamp<std::size_t>(examples, 1, most_at_a_time));
}

}  // namespace

std::vector<std::uint32_t> draw_probe(std::uint64_t seed, const std::vector<std::uint32_t>& candidates,
                                      std::size_t count) {
  std::vector<std::uint32_t> rows = candidates;
  if (count >= rows.size()) return rows;
  StreamReader(seed, {.purpose = Purpose::probe}).shuffle(rows.begin(), rows.size());
  rows.resize(count);
  std::sort(rows.begin(), rows.end());
  return rows;
}

std::vector<std::uint32_t> probe_rows(const Scenario& scenario, const char* key,
                                      const std::vector<std::uint32_t>& candidates) {
  const auto count = static_cast<std::size_t>(scenario.evaluation.integer(key));
  if (count == 0) return {};
  return draw_probe(scenario.seed, candidates, count);
}

// What one thread needs: every example is a client with one row and parameters of its own.
struct SensitivityProbe::Lane {
  Lane(std::unique_ptr<Device> own_, Device& device_, const Network<double>& network, const Dataset& data,
       std::size_t block)
      : own(std::move(own_)), device(own ? *own : device_), resident(device, data),
        workspace(network.make_workspace(device, block, 1)), x(device, block * network.inputs()),
        values(device, block * network.target_values()), labels(device, block),
        step(device, block * network.layout().stride()), moved(device, block * network.layout().stride()),
        outputs(device, block * network.outputs()), predictions(device, block * network.predicted()),
        log_likelihood(device, block) {
    if (device.shares_host_memory()) return;
    std::vector<std::uint32_t> all(data.size());
    std::iota(all.begin(), all.end(), 0U);
    numbers = Buffer<std::uint32_t>(device, all);
  }

  std::unique_ptr<Device> own;  // null: the server's device
  Device& device;
  ResidentData resident;
  Workspace<double> workspace;
  Buffer<double> x, values;
  Buffer<std::int32_t> labels;
  Buffer<double> step, moved;  // [block x stride] dm_i, m + dm_i
  Buffer<double> outputs, predictions, log_likelihood;
  Buffer<std::uint32_t> numbers;  // 0, 1, ... where the device has memory of its own

  // Of the posterior at work; those of all lanes are the same.
  const double* mean = nullptr;
  const double* precision = nullptr;
  const double* factor = nullptr;
  double temperature = 1;
};

SensitivityProbe::SensitivityProbe(Device& device, const Network<double>& network, Dataset examples, int threads)
    : device_(device), network_(network), examples_(std::move(examples)), block_(block_for(network, examples_.size())) {
  const bool on_cpu = device.shares_host_memory();
  const std::size_t blocks = (examples_.size() + block_ - 1) / block_;
  const std::size_t lanes =
      on_cpu ? std::clamp<std::size_t>(blocks, 1, static_cast<std::size_t>(std::max(threads, 1))) : 1;
  for (std::size_t i = 0; i < lanes; ++i) {
    lanes_.push_back(std::make_unique<Lane>(on_cpu ? make_cpu_device() : nullptr, device, network_, examples_, block_));
  }
}
SensitivityProbe::~SensitivityProbe() = default;

std::size_t SensitivityProbe::bytes(const Network<double>& network, std::size_t examples, int threads) {
  const std::size_t block = block_for(network, examples), blocks = (examples + block - 1) / block;
  const std::size_t lanes = std::clamp<std::size_t>(blocks, 1, static_cast<std::size_t>(std::max(threads, 1)));
  const std::size_t example = (network.inputs() + network.target_values()) * sizeof(float) + sizeof(std::int32_t);
  const std::size_t row =
      (network.inputs() + network.target_values() + network.outputs() + network.predicted() + 1) * sizeof(double) +
      sizeof(std::int32_t);
  const std::size_t result = (3 + network.outputs() + network.predicted()) * sizeof(double);
  // Mean and precision are the same for all lanes; moved parameters, gradients and activations are each lane's own.
  return 2 * network.layout().stride() * sizeof(double) + examples * (example + result) +
         lanes * (2 * block * network.layout().stride() * sizeof(double) + network.bytes_at_work(block) + block * row);
}

Sensitivity SensitivityProbe::compute(const PosteriorView& q, double temperature) const {
  const std::size_t n = examples_.size(), stride = network_.layout().stride(), size = network_.layout().size();
  Buffer<double> mean(device_, stride), precision(device_, q.factor == nullptr ? stride : 0);
  if (q.factor == nullptr) {
    for_each(device_, size, InDouble<float>{q.mean, mean.data()});
    for_each(device_, size, InDouble<float>{q.precision, precision.data()});
  } else {
    for_each(device_, size, InDouble<double>{q.exact_mean, mean.data()});
  }
  device_.synchronise();
  for (const auto& lane : lanes_) {
    lane->mean = mean.data();
    lane->precision = precision.data();
    lane->factor = q.factor;
    lane->temperature = temperature;
  }
  Sensitivity result{.parameter_deviation = std::vector<double>(n),
                     .output_deviation = std::vector<double>(n * network_.outputs()),
                     .prediction_deviation = std::vector<double>(n * network_.predicted()),
                     .nll = std::vector<double>(n),
                     .leave_one_out_nll = std::vector<double>(n)};
  const auto blocks = static_cast<std::ptrdiff_t>((n + block_ - 1) / block_);
  const auto compute = [&](Lane& lane, std::ptrdiff_t block) {
    const std::size_t first = static_cast<std::size_t>(block) * block_;
    compute_block(lane, first, std::min(block_, n - first), result);
  };
  if (lanes_.size() == 1) {  // an accelerator's failure must get out, which it cannot from a parallel region
    for (std::ptrdiff_t block = 0; block < blocks; ++block) compute(*lanes_.front(), block);
    return result;
  }
#pragma omp parallel for num_threads(static_cast <int>(lanes_.size())) schedule(dynamic)
  for (std::ptrdiff_t block = 0; block < blocks; ++block) {
    compute(*lanes_[static_cast<std::size_t>(omp_get_thread_num())], block);
  }
  return result;
}

void SensitivityProbe::compute_block(Lane& lane, std::size_t first, std::size_t count, Sensitivity& result) const {
  Device& device = lane.device;
  const std::size_t size = network_.layout().size(), stride = network_.layout().stride();
  const std::size_t outputs = network_.outputs(), predicted = network_.predicted();
  const bool on_cpu = device.shares_host_memory();
  BatchShape shape{
      .clients = count, .rows = 1, .parameter_stride = 0, .nominal = !on_cpu, .own_gradient_stride = stride};
  std::vector<std::uint32_t> own(on_cpu ? count : 0);
  std::iota(own.begin(), own.end(), static_cast<std::uint32_t>(first));
  const std::uint32_t* const numbers = on_cpu ? own.data() : lane.numbers.data() + first;
  lane.resident.gather(device, shape, lane.x.data(), lane.labels.data(), lane.values.data(), [&](std::size_t b) {
    return Gathered{1, numbers + b};
  });
  const Targets<double> targets(lane.labels.data(), examples_.outputs > 0 ? lane.values.data() : nullptr);

  // Outputs f [count x outputs] and what is predicted from them, each example with its own target: one client with `count` rows.
  const auto predict = [&](const double* f, double* f_to, double* p_to, double* log_p_to) {
    const BatchShape rows{.clients = 1, .rows = count, .nominal = !on_cpu};
    network_.predict(device, rows, f, targets, lane.predictions.data(), 0, lane.log_likelihood.data(), 0);
    device.download(f_to, f, count * outputs * sizeof(double));
    if (p_to != nullptr) device.download(p_to, lane.predictions.data(), count * predicted * sizeof(double));
    device.download(log_p_to, lane.log_likelihood.data(), count * sizeof(double));
  };
  std::vector<double> f(count * outputs), p(count * predicted), log_p(count), f_moved(count * outputs),
      log_moved(count);
  predict(network_.forward(device, shape, lane.mean, lane.x.data(), lane.workspace), f.data(), p.data(), log_p.data());

  network_.gradient(device, shape, lane.mean, lane.x.data(), targets, lane.workspace, lane.step.data(), nullptr);
  const auto step_of = [&](std::size_t b) { return lane.step.data() + b * stride; };
  if (lane.factor == nullptr) {
    for_each_client(device, count, size, [&](std::size_t b) {
      return Share{size, DivideByPrecision{lane.precision, step_of(b), lane.temperature}};
    });
  } else {
    for (std::size_t b = 0; b < count; ++b) {  // one after the other: several at once might round differently
      for_each(device, size, ScaleBy{step_of(b), 1.0 / lane.temperature});
      device.solve_triangular(lane.factor, false, step_of(b), size, 1);
      device.solve_triangular(lane.factor, true, step_of(b), size, 1);
    }
  }
  for_each_client(device, count, size, [&](std::size_t b) {
    return Share{size, AddStep<double>{lane.mean, step_of(b), lane.moved.data() + b * stride}};
  });
  const std::vector<double> squares = sum_per_client(device, count, [&](std::size_t b) {
    return Share{size, Squared{step_of(b)}};
  });
  shape.parameter_stride = stride;
  predict(network_.forward(device, shape, lane.moved.data(), lane.x.data(), lane.workspace), f_moved.data(), nullptr,
          log_moved.data());

  for (std::size_t b = 0; b < count; ++b) {
    const std::size_t i = first + b;
    double* const df = result.output_deviation.data() + i * outputs;
    for (std::size_t c = 0; c < outputs; ++c) df[c] = f_moved[b * outputs + c] - f[b * outputs + c];
    prediction_deviation(p.data() + b * predicted, predicted, df, outputs, examples_.outputs > 0,
                         result.prediction_deviation.data() + i * predicted);
    result.parameter_deviation[i] = std::sqrt(squares[b]);
    result.nll[i] = -log_p[b];
    result.leave_one_out_nll[i] = -log_moved[b];
  }
}

LeaveOneOutNll leave_one_out_nll(const Sensitivity& sensitivity) {
  const std::vector<double>& nll = sensitivity.leave_one_out_nll;
  const auto n = static_cast<double>(nll.size());
  if (nll.empty()) return {};
  double sum = 0, squares = 0;
  for (const double one : nll) sum += one;
  const double mean = sum / n;
  for (const double one : nll) squares += (one - mean) * (one - mean);
  return {.value = mean, .error = nll.size() > 1 ? std::sqrt(squares / (n - 1) / n) : no_value};
}

}  // namespace ivory
