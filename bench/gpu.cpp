#include "bench/gpu.hpp"

#include <omp.h>

#include <numeric>

#include "bench/measure.hpp"

namespace ivory::bench {
namespace {

constexpr std::size_t clients = 100;
// Arrays of P floats that a step of a client must move: gradient, mean, momentum, Hessian, evaluation point, server mean and
// precision, site mean and precision are read; mean, momentum, Hessian and evaluation point are written.
constexpr double arrays_of_step = 13;

// Bytes per second read and written by a copy within the device.
double copy_rate(Device& device, int repetitions) {
  constexpr std::size_t bytes = std::size_t{1} << 28;
  constexpr int inner = 10;
  Buffer<float> from(device, bytes / sizeof(float)), to(device, bytes / sizeof(float));
  const Timing timing = measure({"copy",
                                 [&] {
                                   for (int i = 0; i < inner; ++i) device.copy(to.data(), from.data(), bytes);
                                   device.synchronise();
                                 },
                                 inner},
                                repetitions);
  return 2.0 * static_cast<double>(bytes) / timing.per_unit();
}

// Local training alone: every client with an anchor and a site, as in later rounds of VB-ADMM.
class LocalTraining {
 public:
  LocalTraining(Device& device, const Federation& federation, const VisitPlan& plan)
      : start_(device, federation.network.initialise(1)), site_(device, clients * 2 * start_.size()),
        precision_(device, std::vector<float>(start_.size(), 60.0F)),
        trainer_(device, federation.network, *federation.optimizer, federation.data, plan, LearningRate(0.02),
                 clients) {
    constexpr double lambda = examples_per_client / (0.01 * 5);
    for (std::size_t k = 0; k < clients; ++k) {
      rows_.emplace_back(examples_per_client);
      std::iota(rows_.back().begin(), rows_.back().end(), static_cast<std::uint32_t>(k * examples_per_client % 5000));
    }
    for (std::size_t k = 0; k < clients; ++k) {
      Visit<float> visit{.task = {.client = static_cast<std::uint32_t>(k), .round = 1, .terms = {}},
                         .examples = rows_[k]};
      visit.task.terms = {.start = start_.data(),
                          .anchor_mean = start_.data(),
                          .anchor_precision = precision_.data(),
                          .site_mean = site_.data() + 2 * k * start_.size(),
                          .site_precision = site_.data() + (2 * k + 1) * start_.size(),
                          .anchor_weight = 1.0 / lambda,
                          .site_weight = 0.01 / examples_per_client,
                          .effective_samples = lambda};
      visits_.push_back(visit);
    }
  }
  void run() {
    for (const VisitResult& result : trainer_.train(visits_)) {
      if (std::isfinite(result.train_loss) && std::isfinite(result.final_loss)) continue;
      fmt::print(stderr, "bench: local training on the GPU must stay finite\n");
      std::exit(1);
    }
  }

 private:
  Buffer<float> start_, site_, precision_;
  Trainer<float> trainer_;
  std::vector<std::vector<std::uint32_t>> rows_;
  std::vector<Visit<float>> visits_;
};

}  // namespace

void gpu(Report& report, int repetitions) {
  if (const CudaDevices found = cuda_devices(); found.count == 0) {
    fmt::print("no figures of a GPU: {}\n", found.reason);
    return;
  }
  const auto make = [](ProductPrecision precision) { return make_cuda_device(0, precision); };
  const auto device = make(ProductPrecision::float32);
  fmt::print("{}\n", device->describe());
  constexpr std::size_t step_count = epochs * ((examples_per_client + batch - 1) / batch);
  const auto steps = static_cast<double>(step_count);
  const double rate = copy_rate(*device, repetitions);
  report.number("gpu_copy_gigabytes_per_second", rate * 1e-9, "GB/s", "read and written");

  Products products(*device, clients);
  const Timing product = measure({"products",
                                  [&] {
                                    device->repeat(step_count, [&](std::uint64_t) { products.step(batch); });
                                    device->synchronise();
                                  },
                                  steps},
                                 repetitions);
  report.number("gpu_products_us_per_step", product.per_unit() * 1e6, "us", "100 clients, float32");
  report.number("gpu_products_tflops", products.flops(batch) / product.per_unit() * 1e-12, "TFLOP/s");

  const int cpu_threads = std::min(2, omp_get_max_threads());
  const VisitPlan plan{.seed = 1, .epochs = epochs, .batch = batch};
  const auto federation = [&](ProductPrecision precision) {
    Lanes lanes;
    lanes.devices.push_back(make(precision));
    lanes.block = clients;
    return std::make_unique<Federation>(random_data(6000, features, classes), hidden, clients, examples_per_client,
                                        plan, make(ProductPrecision::float32), std::move(lanes));
  };
  const auto on_gpu = federation(ProductPrecision::float32);
  Federation on_cpu(random_data(6000, features, classes), hidden, clients, examples_per_client, plan, make_cpu_device(),
                    cpu_lanes(cpu_threads));
  const auto parameters = static_cast<double>(on_gpu->network.layout().size());
  const double floor = steps * (arrays_of_step * parameters * sizeof(float) * clients / rate + product.per_unit());
  report.number("gpu_floor_seconds", floor, "s", "of a round's local training");

  LocalTraining local(*device, *on_gpu, plan);
  const auto timings = interleave({{"local training on the GPU", [&] { local.run(); }},
                                   {"round on the GPU", [&] { on_gpu->round(); }},
                                   {"round on the CPU", [&] { on_cpu.round(); }}},
                                  repetitions);
  device->measure_work(true);
  const Timing watched = measure({"local training, measured", [&] { local.run(); }}, 1);
  const double busy = device->seconds_at_work() / 2;  // of the warm-up and the measured run
  device->measure_work(false);
  report.number("gpu_local_training_seconds", timings[0].median, "s",
                fmt::format("{:.4f} to {:.4f}", timings[0].fastest, timings[0].slowest));
  report.number("gpu_local_training_over_floor", timings[0].median / floor, "ratio", "target at most 1.5");
  report.number("gpu_busy_share", busy / watched.median, "ratio",
                "of local training's wall time, by events; target above 0.9");
  report.number("gpu_round_seconds", timings[1].median, "s",
                fmt::format("{:.4f} to {:.4f}, server step included", timings[1].fastest, timings[1].slowest));
  report.number("cpu_round_over_gpu_round", timings[2].median / timings[1].median, "ratio",
                fmt::format("{} CPU threads; target at least 50 with two", cpu_threads));

  // What faster products cost in exactness: the server's mean after one round, against float32 products.
  const auto server_mean = [&](ProductPrecision precision) {
    const auto fresh = federation(precision);
    fresh->round();
    return fresh->state.mean.to_host();
  };
  const std::vector<float> exact = server_mean(ProductPrecision::float32);
  for (const auto& [precision, name] :
       {std::pair{ProductPrecision::tf32, "tf32"}, {ProductPrecision::bfloat16, "bfloat16"}}) {
    const std::vector<float> rough = server_mean(precision);
    double error = 0, size = 0;
    for (std::size_t i = 0; i < exact.size(); ++i) {
      error += std::pow(static_cast<double>(rough[i]) - static_cast<double>(exact[i]), 2);
      size += std::pow(static_cast<double>(exact[i]), 2);
    }
    report.number(fmt::format("gpu_{}_relative_error", name), std::sqrt(error / size), "ratio",
                  "server mean after one round, root mean square");
    const auto fast = federation(precision);
    const Timing round = measure({name, [&] { fast->round(); }}, repetitions);
    report.number(fmt::format("gpu_{}_round_seconds", name), round.median, "s");
  }
  gpu_convolutions(*device, report, repetitions);
}

}  // namespace ivory::bench
