// The project's benchmark: normals, IVON updates, matrix products, one round of the MNIST setting against its matrix products
// alone, the second thread's gain, many small clients, and start-up. Random data of the right shapes: no files needed. It
// checks results before it times them, prints a table, and with --json one JSON object that docs/performance.md quotes.
#include <fmt/format.h>
#include <omp.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <numeric>
#include <string_view>

#include "bench/measure.hpp"
#include "clients/trainer.hpp"
#include "ivory/registry.hpp"
#include "src/client_runner.hpp"

namespace ivory::bench {
namespace {

constexpr std::size_t features = 784, classes = 10, batch = 64, examples_per_client = 600, epochs = 10;
const std::vector<std::size_t> hidden = {200, 100};

Dataset random_data(std::size_t examples, std::size_t width, int class_count) {
  Dataset data;
  data.features = width;
  data.classes = class_count;
  StreamReader random(1, {.purpose = Purpose::data});
  data.x.resize(examples * width);
  data.labels.resize(examples);
  for (float& x : data.x) x = static_cast<float>(random.uniform());
  for (auto& label : data.labels)
    label = static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(class_count)));
  return data;
}

Options ivon_options() {
  GivenTable given;
  given["lr"] = {0.02, {}};
  given["hess_init"] = {5e-3, {}};
  given["beta2"] = {0.9998, {}};
  given["rescale_lr"] = {false, {}};
  return resolve_options(find_optimizer("ivon")->options, given, "clients.optimizer", {});
}

Options vb_admm_options() {
  GivenTable given;
  given["rho"] = {5.0, {}};
  given["temperature"] = {0.01, {}};
  given["prior_precision"] = {0.01, {}};
  given["damping"] = {0.1, {}};
  return resolve_options(find_algorithm("vb_admm")->options, given, "server", {});
}

// A federation on random data: what a round of the simulator does, without evaluation and log.
struct Federation {
  Federation(Dataset data_, const std::vector<std::size_t>& widths, std::size_t clients, std::size_t examples,
             int threads, const VisitPlan& plan)
      : data(std::move(data_)),
        network(make_mlp<float>(data.features, widths, static_cast<std::size_t>(data.classes), "sigmoid", true)),
        optimizer(find_optimizer("ivon")->make_float(ivon_options())),
        algorithm(find_algorithm("vb_admm")->make_float(vb_admm_options())), device(make_cpu_device()),
        state(*device, network.layout().size(), network.layout().stride(), clients, true) {
    std::vector<std::vector<std::uint32_t>> rows(clients);
    for (std::size_t k = 0; k < clients; ++k) {
      for (std::size_t i = 0; i < examples; ++i) {
        rows[k].push_back(static_cast<std::uint32_t>((k * examples + i) % data.size()));
      }
      cohort.push_back(static_cast<std::uint32_t>(k));
    }
    state.start.from_host(network.initialise(1));
    algorithm->initialise(state);
    runner = std::make_unique<ClientRunner>(network, *optimizer, *algorithm, data, std::move(rows), plan,
                                            LearningRate(0.02), *device, cpu_lanes(threads));
  }
  void round() {
    const CohortReport report = runner->run(state, cohort, {});
    if (report.refused > 0 || !std::isfinite(report.train_loss)) {
      fmt::print(stderr, "bench: a round must train every client, {} were refused\n", report.refused);
      std::exit(1);
    }
    algorithm->close_round(state);
    state.round += 1;
  }

  Dataset data;
  Network<float> network;
  std::unique_ptr<Optimizer<float>> optimizer;
  std::unique_ptr<Algorithm<float>> algorithm;
  std::unique_ptr<Device> device;
  ServerState<float> state;
  std::vector<std::uint32_t> cohort;
  std::unique_ptr<ClientRunner> runner;
};

// The matrix products of one training step with `rows` examples, on memory of their own, as the layers ask for them.
class Products {
 public:
  Products() : device_(make_cpu_device()) {
    std::vector<std::size_t> widths = {features};
    widths.insert(widths.end(), hidden.begin(), hidden.end());
    widths.push_back(classes);
    for (std::size_t l = 0; l + 1 < widths.size(); ++l) {
      shapes_.push_back({widths[l], widths[l + 1]});
      weights_.push_back(ones(widths[l] * widths[l + 1]));
      gradients_.push_back(ones(widths[l] * widths[l + 1]));
    }
    for (const std::size_t width : widths) {
      activations_.push_back(ones(batch * width));
      errors_.push_back(ones(batch * width));
    }
  }

  double flops(std::size_t rows) const {
    double total = 0;
    for (std::size_t l = 0; l < shapes_.size(); ++l) {
      total += (l == 0 ? 4.0 : 6.0) * static_cast<double>(rows * shapes_[l].in * shapes_[l].out);
    }
    return total;
  }

  void step(std::size_t rows) {
    using Product = MatrixProduct<float>;
    for (std::size_t l = 0; l < shapes_.size(); ++l) {
      const auto [in, out] = shapes_[l];
      device_->multiply(Product{.transpose_b = true,
                                .accumulate = true,
                                .m = rows,
                                .n = out,
                                .k = in,
                                .a = activations_[l].data(),
                                .b = weights_[l].data(),
                                .c = activations_[l + 1].data(),
                                .lda = in,
                                .ldb = in,
                                .ldc = out});
    }
    for (std::size_t l = shapes_.size(); l-- > 0;) {
      const auto [in, out] = shapes_[l];
      device_->multiply(Product{.transpose_a = true,
                                .m = out,
                                .n = in,
                                .k = rows,
                                .a = errors_[l + 1].data(),
                                .b = activations_[l].data(),
                                .c = gradients_[l].data(),
                                .lda = out,
                                .ldb = in,
                                .ldc = in});
      if (l > 0) {
        device_->multiply(Product{.m = rows,
                                  .n = in,
                                  .k = out,
                                  .a = errors_[l + 1].data(),
                                  .b = weights_[l].data(),
                                  .c = errors_[l].data(),
                                  .lda = out,
                                  .ldb = in,
                                  .ldc = in});
      }
    }
  }

  // All products of one client's visit.
  void visit() {
    for (std::size_t epoch = 0; epoch < epochs; ++epoch) {
      for (std::size_t left = examples_per_client; left > 0;) {
        const std::size_t rows = std::min(batch, left);
        step(rows);
        left -= rows;
      }
    }
  }

 private:
  struct Shape {
    std::size_t in, out;
  };
  Buffer<float> ones(std::size_t n) { return {*device_, std::vector<float>(n, 1e-3F)}; }

  std::unique_ptr<Device> device_;
  std::vector<Shape> shapes_;
  std::vector<Buffer<float>> weights_, gradients_, activations_, errors_;
};

void products_of_a_round(std::size_t clients, int threads) {
#pragma omp parallel num_threads(threads)
  {
    Products products;
#pragma omp for schedule(dynamic)
    for (std::ptrdiff_t k = 0; k < static_cast<std::ptrdiff_t>(clients); ++k) products.visit();
  }
}

struct Report {
  std::string json;
  void number(std::string_view name, double value, std::string_view unit, std::string_view note = "") {
    fmt::print("{:<44} {:>10.4g} {:<14} {}\n", name, value, unit, note);
    json += fmt::format("{}\"{}\": {:.6g}", json.empty() ? "" : ", ", name, value);
  }
};

// The parts of one IVON step, one by one, in the same run.
void parts(Report& report, int repetitions) {
  const auto device = make_cpu_device();
  Federation one(random_data(examples_per_client, features, classes), hidden, 1, examples_per_client, 1,
                 {.seed = 1, .epochs = epochs, .batch = batch});
  const std::size_t stride = one.network.layout().stride(), parameters = one.network.layout().size();
  std::vector<float> z(stride);
  Products products;

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
  Federation two(random_data(6000, features, classes), hidden, clients, examples_per_client, threads, plan);
  Federation single(random_data(6000, features, classes), hidden, clients, examples_per_client, 1, plan);
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
  Federation federation(random_data(60000, 64, 10), {}, clients, 6, threads, {.seed = 1, .epochs = 1, .batch = batch});
  const Timing round = measure({"10,000 clients", [&] { federation.round(); }}, repetitions);
  report.number("ten_thousand_clients_round_seconds", round.median, "s",
                fmt::format("6 examples each, P = {}", federation.network.layout().size()));
}

// The program itself, from its start to the end of a run of one round: an upper bound of the time to the first local step.
void start_up(Report& report, int repetitions) {
  namespace fs = std::filesystem;
  const fs::path program = fs::read_symlink("/proc/self/exe").parent_path().parent_path() / "ivory";
  const fs::path out = fs::temp_directory_path() / fmt::format("ivory-bench-{}", getpid());
  const std::string command =
      fmt::format("'{}' run '{}/scenarios/quickstart.toml' --only fedavg --set rounds=1 --quiet --out '{}' >/dev/null",
                  program.string(), IVORY_SOURCE_DIR, out.string());
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
  bool json = false, quick = false;
  for (int i = 1; i < argc; ++i) {
    const std::string_view flag = argv[i];
    if (flag == "--json") {
      json = true;
    } else if (flag == "--quick") {
      quick = true;
    } else {
      fmt::print(stderr, "usage: ivory_bench [--json] [--quick]\n");
      return 2;
    }
  }
  const int threads = omp_get_max_threads();
  Report report;
  fmt::print("{}, {} threads\n", make_cpu_device()->describe(), threads);
  parts(report, quick ? 3 : 15);
  round_of_mnist(report, threads, quick ? 1 : 5);
  many_clients(report, threads, quick ? 1 : 5);
  start_up(report, quick ? 1 : 5);
  if (json) fmt::print("{{{}}}\n", report.json);
  return 0;
}

}  // namespace ivory::bench

int main(int argc, char** argv) { return ivory::bench::run(argc, argv); }
