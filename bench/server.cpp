#include "bench/server.hpp"

#include <cstring>

#include "bench/measure.hpp"

namespace ivory::bench {
namespace {

constexpr std::size_t parameters = 10'000'000, clients = 16;  // the cost is linear in clients

// What one client's update and absorption must at least read and write, in bytes per parameter.
struct Diagonal {
  const char* name;
  GivenTable options;
  bool posterior, curvature;
  double bytes;
};

GivenTable given(std::initializer_list<std::pair<const char*, OptionValue>> values) {
  GivenTable table;
  for (const auto& [name, value] : values) table[name].value = value;
  return table;
}

/// One server step of `algorithm` in float, with the same update for every client.
class ServerStep {
 public:
  explicit ServerStep(const Diagonal& choice)
      : algorithm_(
            find_algorithm(choice.name)
                ->make_float(resolve_options(find_algorithm(choice.name)->options, choice.options, "server", {}))),
        device_(make_cpu_device()),
        state_(*device_, parameters, round_up_to_tile(parameters), std::vector<double>(clients, 600.0), true),
        mean_(state_.stride, 0.01F), precision_(state_.stride, 2.0F), choice_(choice) {
    algorithm_->initialise(state_);
  }
  void run() {
    algorithm_->open_round(state_);
    for (std::uint32_t k = 0; k < clients; ++k) {
      ClientUpdate<float> update{.client = k,
                                 .mean = mean_.data(),
                                 .precision = choice_.posterior ? precision_.data() : nullptr,
                                 .curvature = choice_.curvature ? precision_.data() : nullptr,
                                 .examples = 600,
                                 .steps = 1};
      algorithm_->update_site(state_, update);
      algorithm_->absorb(state_, k, &update);
    }
    (void)algorithm_->close_round(state_);
    ++state_.round;
  }

 private:
  std::unique_ptr<Algorithm<float>> algorithm_;
  std::unique_ptr<Device> device_;
  ServerState<float> state_;
  std::vector<float> mean_, precision_;
  Diagonal choice_;
};

void diagonal_steps(Report& report, int repetitions) {
  // Floats read and written by update_site and absorb, doubles of the sums read and written.
  const std::vector<Diagonal> choices = {
      {"fedavg", {}, false, false, 4 + 16},
      {"vb_admm", given({{"rho", 0.1}}), true, false, (4 * 4 + 2 * 8) + (4 * 4 + 2 * 16)},
      {"fedlap_cov", {}, false, true, (4 * 4 + 2 * 8) + 2 * (4 + 16)},
  };
  std::vector<float> from(parameters, 1.0F), to(parameters);
  for (const Diagonal& choice : choices) {
    ServerStep step(choice);
    const auto timings = interleave({{choice.name, [&] { step.run(); }, clients * parameters * choice.bytes},
                                     {"copy",
                                      [&] {
                                        for (int i = 0; i < 10; ++i)
                                          std::memcpy(to.data(), from.data(), parameters * sizeof(float));
                                      },
                                      10.0 * parameters * 2 * sizeof(float)}},
                                    repetitions);
    report.number(fmt::format("server_{}_bandwidth_over_copy", choice.name),
                  timings[1].per_unit() / timings[0].per_unit(), "ratio",
                  fmt::format("P = 1e7, one thread, {:.1f} GB/s; target at least 0.6", 1e-9 / timings[0].per_unit()));
  }
}

void full_covariance_steps(Report& report, int repetitions) {
  constexpr std::uint32_t few = 5;
  for (const std::size_t size : {500U, 2000U}) {
    const auto device = make_cpu_device();
    const auto algorithm = find_algorithm("vb_admm")->make_double(
        resolve_options(find_algorithm("vb_admm")->options, given({{"posterior", std::string("full")}}), "server", {}));
    ServerState<double> state(*device, size, round_up_to_tile(size), std::vector<double>(few, 600.0), true);
    algorithm->initialise(state);
    std::vector<double> mean(state.stride, 0.01), precision(size * size, 1e-3);
    for (std::size_t i = 0; i < size; ++i) precision[i * size + i] = 10;
    const Timing timing =
        measure({"full",
                 [&] {
                   algorithm->open_round(state);
                   for (std::uint32_t k = 0; k < few; ++k) {
                     const ClientUpdate<double> update{
                         .client = k, .mean = mean.data(), .precision = precision.data(), .examples = 600};
                     algorithm->update_site(state, update);
                     algorithm->absorb(state, k, &update);
                   }
                   (void)algorithm->close_round(state);
                 }},
                repetitions);
    report.number(fmt::format("server_full_covariance_seconds_{}", size), timing.median, "s",
                  fmt::format("P = {}, 5 clients, one thread", size));
  }
}

// One epoch of a client of the MNIST setting with and without the exact Gauss-Newton diagonal at its end.
void gauss_newton(Report& report, int repetitions) {
  const Dataset data = random_data(examples_per_client, features, classes);
  const auto network = make_mlp<float>(features, hidden, classes, "sigmoid", true);
  const auto device = make_cpu_device();
  const auto sgd =
      find_optimizer("sgd")->make_float(resolve_options(find_optimizer("sgd")->options, {}, "clients.optimizer", {}));
  std::vector<std::uint32_t> rows(examples_per_client);
  for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::uint32_t>(i);
  const std::vector<float> start = network.initialise(1);
  Visit<float> visit{.task = {}, .examples = rows};
  visit.task.terms.start = start.data();
  const VisitPlan plain{.seed = 1, .epochs = 1, .batch = batch};
  VisitPlan with = plain, sampled = plain;
  with.curvature = Curvature::exact;
  sampled.curvature = Curvature::sampled;
  Trainer<float> without(*device, network, *sgd, data, plain, LearningRate(0.01)),
      exact(*device, network, *sgd, data, with, LearningRate(0.01)),
      drawn(*device, network, *sgd, data, sampled, LearningRate(0.01));
  const auto timings = interleave({{"epoch",
                                    [&] {
                                      without.train({&visit, 1});
                                    }},
                                   {"exact",
                                    [&] {
                                      exact.train({&visit, 1});
                                    }},
                                   {"sampled",
                                    [&] {
                                      drawn.train({&visit, 1});
                                    }}},
                                  repetitions);
  report.number("gauss_newton_exact_epochs", (timings[1].median - timings[0].median) / timings[0].median, "epochs",
                fmt::format("of SGD; target at most C + 2 = {}", classes + 2));
  report.number("gauss_newton_sampled_epochs", (timings[2].median - timings[0].median) / timings[0].median, "epochs");
}

}  // namespace

void server(Report& report, int repetitions) {
  diagonal_steps(report, repetitions);
  full_covariance_steps(report, repetitions);
  gauss_newton(report, 3 * repetitions);
}

}  // namespace ivory::bench
