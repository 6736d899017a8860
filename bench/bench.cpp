// The project's benchmark: convolutions against a library's, normals, IVON updates, matrix products, one round of the MNIST setting
// against its matrix products alone, the server's step against a copy, the second thread's gain, many small clients, start-up, and the same round on a GPU. Random
// data of the right shapes: no files needed. It checks results before it times them, prints a table, and with --json one JSON
// object that docs/performance.md quotes.
#include <omp.h>
#include <unistd.h>

#include <filesystem>
#include <numeric>

#include "bench/convolution.hpp"
#include "bench/federation.hpp"
#include "bench/gpu.hpp"
#include "bench/measure.hpp"
#include "bench/server.hpp"

namespace ivory::bench {
namespace {

void products_of_a_round(std::size_t clients, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const auto device = make_cpu_device();
    Products products(*device);
#pragma omp for schedule(dynamic)
    for (std::ptrdiff_t k = 0; k < static_cast<std::ptrdiff_t>(clients); ++k) products.visit();
  }
}

// The parts of one IVON step, one by one, in the same run.
void parts(Report& report, int repetitions) {
  const auto device = make_cpu_device();
  Federation one(random_data(examples_per_client, features, classes), hidden, 1, examples_per_client,
                 {.seed = 1, .epochs = epochs, .batch = batch}, make_cpu_device(), cpu_lanes(1));
  const std::size_t stride = one.network.layout().stride(), parameters = one.network.layout().size();
  std::vector<float> z(stride);
  Products products(*device);

  TrainingBlock<float> block(*device, 1, stride, one.optimizer->vectors());
  Buffer<float> site(*device, 2 * stride), anchor(*device, stride),
      precision(*device, std::vector<float>(stride, 60.0F));
  auto& client = block.clients[0];
  const double lambda = examples_per_client / (0.01 * 5);
  client.terms = {.start = anchor.data(),
                  .anchor_mean = anchor.data(),
                  .anchor_precision = precision.data(),
                  .site_mean = site.data(),
                  .site_precision = site.data() + stride,
                  .anchor_weight = 1.0 / lambda,
                  .site_weight = 0.01 / examples_per_client,
                  .effective_samples = lambda};
  client.learning_rate = 1e-3;
  client.examples = examples_per_client;
  one.optimizer->begin(block);

  constexpr int inner = 50;
  const auto timings = interleave(
      {{"normals",
        [&] {
          for (std::uint32_t i = 0; i < inner; ++i) {
            fill_normals(make_stream(1, {.purpose = Purpose::data, .step = i}), 0, stride / tile_size, z.data());
          }
        },
        static_cast<double>(inner * stride)},
       {"ivon",
        [&] {
          for (std::uint32_t i = 0; i < inner; ++i) {
            client.noise = {.stream = make_stream(1, {.purpose = Purpose::training_noise, .step = i})};
            one.optimizer->advance(block, 0);
          }
        },
        static_cast<double>(inner) * static_cast<double>(parameters)},
       {"products",
        [&] {
          for (int i = 0; i < inner; ++i) products.step(batch);
        },
        inner},
       {"visit", [&] { one.round(); }, 100}},
      repetitions);
  const Timing &normals = timings[0], &ivon = timings[1], &product = timings[2], &visit = timings[3];
  report.number("normals_ns", normals.per_unit() * 1e9, "ns/normal");
  report.number("normals_per_second", 1.0 / normals.per_unit(), "1/s");
  report.number("ivon_update_with_noise_ns", ivon.per_unit() * 1e9, "ns/parameter", "one fused pass, noise included");
  report.number("ivon_updates_per_second", 1.0 / ivon.per_unit(), "1/s");
  report.number("products_gflops_one_thread", products.flops(batch) / product.per_unit() * 1e-9, "GFLOP/s");
  report.number("products_us_per_step", product.per_unit() * 1e6, "us");
  report.number("step_us_one_thread", visit.per_unit() * 1e6, "us", "a whole IVON step of batch 64");
}

void round_of_mnist(Report& report, int threads, int repetitions) {
  constexpr std::size_t clients = 100;
  const VisitPlan plan{.seed = 1, .epochs = epochs, .batch = batch};
  Federation two(random_data(6000, features, classes), hidden, clients, examples_per_client, plan, make_cpu_device(),
                 cpu_lanes(threads));
  Federation single(random_data(6000, features, classes), hidden, clients, examples_per_client, plan, make_cpu_device(),
                    cpu_lanes(1));
  const auto timings = interleave({{"round", [&] { two.round(); }},
                                   {"products", [&] { products_of_a_round(clients, threads); }},
                                   {"round, one thread", [&] { single.round(); }},
                                   {"products, one thread", [&] { products_of_a_round(clients, 1); }}},
                                  repetitions);
  report.number("threads", threads, "");
  report.number("round_seconds", timings[0].median, "s",
                fmt::format("{:.2f} to {:.2f}", timings[0].fastest, timings[0].slowest));
  report.number("round_products_seconds", timings[1].median, "s",
                fmt::format("{:.2f} to {:.2f}", timings[1].fastest, timings[1].slowest));
  report.number("round_over_products", timings[0].median / timings[1].median, "ratio", "target at most 1.8");
  report.number("round_over_products_one_thread", timings[2].median / timings[3].median, "ratio", "target at most 1.8");
  const double gain = timings[2].median / timings[0].median, product_gain = timings[3].median / timings[1].median;
  report.number("round_speed_up", gain, "ratio", fmt::format("{} threads over one", threads));
  report.number("products_speed_up", product_gain, "ratio", fmt::format("{} threads over one", threads));
  report.number("speed_up_over_products_speed_up", gain / product_gain, "ratio", "target at least 0.9");
}

void many_clients(Report& report, int threads, int repetitions) {
  constexpr std::size_t clients = 10000;
  Federation federation(random_data(60000, 64, 10), {}, clients, 6, {.seed = 1, .epochs = 1, .batch = batch},
                        make_cpu_device(), cpu_lanes(threads));
  const Timing round = measure({"10,000 clients", [&] { federation.round(); }}, repetitions);
  report.number("ten_thousand_clients_round_seconds", round.median, "s",
                fmt::format("6 examples each, P = {}", federation.network.layout().size()));
}

// The program itself, from its start to the end of a run of one round: an upper bound of the time to the first local step.
void start_up(Report& report, int repetitions) {
  namespace fs = std::filesystem;
  // Beside the benchmark where both were carried elsewhere, else where Meson put it.
  const char* const carried = std::getenv("IVORY_SOURCE_DIR");
  const fs::path here = fs::read_symlink("/proc/self/exe").parent_path();
  const fs::path program = (carried != nullptr ? here : here.parent_path()) / "ivory";
  const std::string source = carried != nullptr ? carried : IVORY_SOURCE_DIR;
  const fs::path out = fs::temp_directory_path() / fmt::format("ivory-bench-{}", getpid());
  const std::string command =
      fmt::format("'{}' run '{}/scenarios/quickstart.toml' --only fedavg --set rounds=1 --quiet --out '{}' >/dev/null",
                  program.string(), source, out.string());
  const Timing run = measure({"start-up",
                              [&] {
                                fs::remove_all(out);
                                if (std::system(command.c_str()) != 0) {
                                  fmt::print(stderr, "bench: {} failed\n", command);
                                  std::exit(1);
                                }
                              }},
                             repetitions);
  fs::remove_all(out);
  report.number("quickstart_one_round_seconds", run.median, "s",
                "the program from start to end, one round: bounds the start-up; target below 0.5");
}

}  // namespace

int run(int argc, char** argv) {
  bool json = false, quick = false, convolutions_alone = false, server_alone = false, gpu_alone = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--json") {
      json = true;
    } else if (flag == "--quick") {
      quick = true;
    } else if (flag == "--convolutions") {
      convolutions_alone = true;
    } else if (flag == "--server") {
      server_alone = true;
    } else if (flag == "--gpu") {
      gpu_alone = true;
    } else {
      fmt::print(stderr, "usage: ivory_bench [--json] [--quick] [--convolutions] [--server] [--gpu]\n");
      return 2;
    }
  }
  const int threads = omp_get_max_threads();
  Report report;
  fmt::print("{}, {} threads\n", make_cpu_device()->describe(), threads);
  const bool all = !convolutions_alone && !server_alone && !gpu_alone;
  if (all || convolutions_alone) convolution(report, quick ? 3 : 15);
  if (all || server_alone) server(report, quick ? 1 : 5);
  if (all) {
    parts(report, quick ? 3 : 15);
    round_of_mnist(report, threads, quick ? 1 : 5);
    many_clients(report, threads, quick ? 1 : 5);
    start_up(report, quick ? 1 : 5);
  }
  if (all || gpu_alone) gpu(report, quick ? 2 : 7);
  if (json) fmt::print("{{{}}}\n", report.json);
  return 0;
}

}  // namespace ivory::bench

int main(int argc, char** argv) { return ivory::bench::run(argc, argv); }
