// What the benchmarks share: the MNIST setting on random data, its matrix products alone, and the report.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "clients/trainer.hpp"
#include "ivory/registry.hpp"
#include "src/client_runner.hpp"

namespace ivory::bench {

inline constexpr std::size_t features = 784, classes = 10, batch = 64, examples_per_client = 600, epochs = 10;
inline const std::vector<std::size_t> hidden = {200, 100};

inline Dataset random_data(std::size_t examples, std::size_t width, int class_count) {
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

inline Options ivon_options() {
  GivenTable given;
  given["lr"] = {0.02, {}};
  given["hess_init"] = {5e-3, {}};
  given["beta2"] = {0.9998, {}};
  given["rescale_lr"] = {false, {}};
  return resolve_options(find_optimizer("ivon")->options, given, "clients.optimizer", {});
}

inline Options vb_admm_options() {
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
             const VisitPlan& plan, std::unique_ptr<Device> server, Lanes lanes)
      : data(std::move(data_)),
        network(make_mlp<float>(data.features, widths, static_cast<std::size_t>(data.classes), "sigmoid", true)),
        optimizer(find_optimizer("ivon")->make_float(ivon_options())),
        algorithm(find_algorithm("vb_admm")->make_float(vb_admm_options())), device(std::move(server)),
        state(*device, network.layout().size(), network.layout().stride(),
              std::vector<double>(clients, static_cast<double>(examples)), true) {
    std::vector<std::vector<std::uint32_t>> rows(clients);
    for (std::size_t k = 0; k < clients; ++k) {
      for (std::size_t i = 0; i < examples; ++i) {
        rows[k].push_back(static_cast<std::uint32_t>((k * examples + i) % data.size()));
      }
      cohort.push_back(static_cast<std::uint32_t>(k));
    }
    state.start.from_host(network.initialise(1));
    algorithm->initialise(state);
    const VisitPlan fitted = plan.for_clients(rows);
    auto places = own_places<float>(std::move(lanes), {.network = network,
                                                       .optimizer = *optimizer,
                                                       .data = data,
                                                       .plan = fitted,
                                                       .learning_rate = LearningRate(0.02),
                                                       .precision_size = network.layout().stride()});
    runner = std::make_unique<ClientRunner<float>>(network, *optimizer, *algorithm, std::move(rows), fitted, *device,
                                                   std::move(places));
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
  std::unique_ptr<ClientRunner<float>> runner;
};

// The matrix products of one training step of `clients` clients with `rows` examples each, on memory of their own, as the layers
// ask for them.
class Products {
 public:
  explicit Products(Device& device, std::size_t clients = 1) : device_(device), clients_(clients) {
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
    return total * static_cast<double>(clients_);
  }

  void step(std::size_t rows) {
    const auto rows_of = [&](std::size_t width) { return batch * width; };  // of one client's activations
    for (std::size_t l = 0; l < shapes_.size(); ++l) {
      const auto [in, out] = shapes_[l];
      MatrixProduct<float> forward =
          product(rows, out, in, activations_[l], in, weights_[l], in, activations_[l + 1], out);
      forward.transpose_b = forward.accumulate = true;
      forward.stride_a = rows_of(in), forward.stride_b = in * out, forward.stride_c = rows_of(out);
      device_.multiply(forward);
    }
    for (std::size_t l = shapes_.size(); l-- > 0;) {
      const auto [in, out] = shapes_[l];
      MatrixProduct<float> by_weight =
          product(out, in, rows, errors_[l + 1], out, activations_[l], in, gradients_[l], in);
      by_weight.transpose_a = true;
      by_weight.stride_a = rows_of(out), by_weight.stride_b = rows_of(in), by_weight.stride_c = in * out;
      device_.multiply(by_weight);
      if (l == 0) continue;
      MatrixProduct<float> by_input = product(rows, in, out, errors_[l + 1], out, weights_[l], in, errors_[l], in);
      by_input.stride_a = rows_of(out), by_input.stride_b = in * out, by_input.stride_c = rows_of(in);
      device_.multiply(by_input);
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
  MatrixProduct<float> product(std::size_t m, std::size_t n, std::size_t k, const Buffer<float>& a, std::size_t lda,
                               const Buffer<float>& b, std::size_t ldb, Buffer<float>& c, std::size_t ldc) const {
    MatrixProduct<float> description;
    description.m = m, description.n = n, description.k = k;
    description.a = a.data(), description.b = b.data(), description.c = c.data();
    description.lda = lda, description.ldb = ldb, description.ldc = ldc;
    description.count = clients_;
    return description;
  }
  Buffer<float> ones(std::size_t n) { return {device_, std::vector<float>(clients_ * n, 1e-3F)}; }

  Device& device_;
  std::size_t clients_;
  std::vector<Shape> shapes_;
  std::vector<Buffer<float>> weights_, gradients_, activations_, errors_;
};

struct Report {
  std::string json;
  void number(std::string_view name, double value, std::string_view unit, std::string_view note = "") {
    fmt::print("{:<44} {:>10.4g} {:<14} {}\n", name, value, unit, note);
    json += fmt::format("{}\"{}\": {:.6g}", json.empty() ? "" : ", ", name, value);
  }
};

}  // namespace ivory::bench
