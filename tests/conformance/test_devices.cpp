// Every loss, optimizer and algorithm on an accelerator: the CPU's results within float32 rounding, and the same bits for every
// block size, lane and device. Runs once per family of devices (tests/support/devices.hpp).
#define BOOST_TEST_MODULE devices
#define BOOST_TEST_NO_MAIN
#include <unistd.h>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <set>

#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "src/experiment.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/diagnostics_check.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quickstart.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;

std::unique_ptr<Device> lane() { return lane_makers(1).front()(ProductPrecision::float32); }

// What a network and its loss leave of a block with unequal clients: outputs, gradients, row losses, predictions, curvature seeds.
struct PassThroughLoss {
  PassThroughLoss(Device& device, const Loss& loss, std::size_t outputs) {
    constexpr std::size_t inputs = 6, clients = 3, rows = 5;
    const std::vector<int> live = {5, 2, 3};
    const auto network = make_mlp<float>(inputs, {}, outputs, "relu", true, loss);
    const std::size_t stride = network.layout().stride();
    StreamReader random(4, {.purpose = Purpose::data});
    std::vector<float> x(clients * rows * inputs), y(clients * rows * outputs), parameters;
    std::vector<std::int32_t> labels(clients * rows);
    for (float& entry : y) entry = static_cast<float>(random.normal());
    for (auto& label : labels) label = static_cast<std::int32_t>(random.below(2));
    for (std::size_t i = 0; i < x.size(); ++i) {  // rows without an example are zeros
      const std::size_t row = i / inputs;
      x[i] = static_cast<int>(row % rows) < live[row / rows] ? static_cast<float>(random.normal()) : 0.0F;
    }
    std::vector<Stream> draws;
    for (std::uint64_t b = 0; b < clients; ++b) {
      const auto own = network.initialise(b + 1);
      parameters.insert(parameters.end(), own.begin(), own.end());
      draws.push_back(make_stream(8, {.purpose = Purpose::data, .client = b}));
    }
    const Buffer<float> on_device(device, x), theta(device, parameters), values(device, y);
    const Buffer<std::int32_t> classes(device, labels);
    const Targets<float> targets(classes.data(), values.data());
    Buffer<float> gradient(device, parameters.size()), prediction(device, clients * rows * network.predicted());
    Buffer<double> row_losses(device, clients * rows), log_likelihood(device, clients * rows);
    Workspace<float> workspace = network.make_workspace(device, clients, rows);
    const BatchShape shape{.clients = clients,
                           .rows = rows,
                           .live = live.data(),
                           .parameter_stride = stride,
                           .nominal = !device.shares_host_memory()};
    const auto keep = [&](const auto& array) {
      const auto host = array.to_host();
      numbers.emplace_back(host.begin(), host.end());
    };
    const auto keep_live = [&](const auto& array) {  // what lies in the rows of no example has no meaning on the CPU
      keep(array);
      std::vector<double>& kept = numbers.back();
      const std::size_t width = kept.size() / (clients * rows);
      for (std::size_t i = 0; i < kept.size(); ++i) {
        const std::size_t row = i / width;
        if (static_cast<int>(row % rows) >= live[row / rows]) kept[i] = 0;
      }
    };
    network.gradient(device, shape, theta.data(), on_device.data(), targets, workspace, gradient.data(),
                     row_losses.data());
    keep(gradient);
    keep(row_losses);
    const float* const f = network.forward(device, shape, theta.data(), on_device.data(), workspace);
    network.predict(device, shape, f, targets, prediction.data(), rows * network.predicted(), log_likelihood.data(),
                    rows);
    keep_live(prediction);
    keep_live(log_likelihood);
    const auto backward = [&] {
      network.backward(device, shape, theta.data(), on_device.data(), workspace, gradient.data());
      keep(gradient);
    };
    for (std::size_t seed = 0; seed < network.curvature_seeds(); ++seed) {
      network.seed_curvature(device, shape, f, seed, workspace);
      backward();
    }
    network.seed_sampled_curvature(device, shape, f, draws.data(), workspace);
    backward();
  }
  std::vector<std::vector<double>> numbers;
};

const std::string quickstart = source_dir() + "/scenarios/quickstart.toml";

std::vector<RoundRecord> run(const std::string& arm, const Texts& overrides, const std::vector<DeviceMaker>& devices,
                             std::size_t block = 0) {
  RunSettings settings;
  settings.threads = 2;
  settings.devices = devices;
  settings.block = block;
  return run_arm(quickstart, arm, overrides, settings);
}

void check_same_run(const std::vector<RoundRecord>& a, const std::vector<RoundRecord>& b) {
  BOOST_TEST(hashes(a) == hashes(b), boost::test_tools::per_element());
  BOOST_TEST(a.back().train_loss == b.back().train_loss);
  BOOST_TEST(a.back().mean.metrics.nll == b.back().mean.metrics.nll);
  if (std::isfinite(a.back().bayes.metrics.nll)) BOOST_TEST(a.back().bayes.metrics.nll == b.back().bayes.metrics.nll);
  // Sums on the server's device, in the order of its kind; the optimizer's numbers by client.
  check_diagnostics(a.back().diagnostics, b.back().diagnostics, 0);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_loss) {
  struct Case {
    Loss loss;
    std::size_t outputs;
  };
  for (const auto& [loss, outputs] : {Case{{}, 4}, Case{{.smoothing = 0.2}, 4}, Case{{.kind = Loss::Kind::binary}, 1},
                                      Case{{.kind = Loss::Kind::gaussian, .precision = 2.5}, 6}}) {
    BOOST_TEST_CONTEXT("loss " << static_cast<int>(loss.kind) << ", smoothing " << loss.smoothing) {
      const PassThroughLoss there(*make_cpu_device(), loss, outputs), here(*lane(), loss, outputs);
      BOOST_REQUIRE_EQUAL(here.numbers.size(), there.numbers.size());
      for (std::size_t i = 0; i < here.numbers.size(); ++i) {
        // Sums of at most 6 products in another order, then the formula: entries are below 30.
        BOOST_TEST(largest_difference(here.numbers[i], there.numbers[i]) < 2e-5, "array " << i);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(every_optimizer) {
  const auto device = lane(), cpu = make_cpu_device();
  for (const OptimizerPlugin& plugin : optimizer_plugins()) {
    if (plugin.full_covariance) continue;  // full_covariances below
    std::vector<OptionValues> settings = {{}};
    if (plugin.name == "ivon") settings = {{}, {{"samples", std::int64_t{2}}}, {{"estimator", "gradsq"}}};
    if (plugin.name == "sgd") settings = {{{"momentum", 0.9}}};
    if (plugin.name == "adamw") settings = {{}, {{"weight_decay", 0.5}}};
    if (plugin.name.ends_with("vsgd"))
      settings = {{}, {{"weight_decay", 0.5}, {"variance_ratio", 4.0}, {"gamma", 1e-3}}};
    for (const OptionValues& values : settings) {
      const auto optimizer = make_optimizer<float>(plugin.name, values);
      for (const auto terms : {ClientTerms::none, ClientTerms::sites, ClientTerms::mixed}) {
        BOOST_TEST_CONTEXT("optimizer " << plugin.name << ", " << values.size() << " options, terms "
                                        << static_cast<int>(terms)) {
          // One step: a gradient of sums over at most 16 examples and 7 inputs in another order, relative error below 2^-19,
          // then the optimizer's own formula. IVON multiplies it by up to lambda (h + d) and Adam divides by |g|, which
          // leaves relative errors of that size; entries are below 4.
          const VisitPlan one{.seed = 5, .steps = 1, .batch = 16, .clip_norm = 0.5, .start_gradients = true};
          const auto here = train_in_blocks(*device, *optimizer, one, 7, terms);
          const auto there = train_in_blocks(*cpu, *optimizer, one, 1, terms);
          for (std::size_t k = 0; k < here.size(); ++k) {
            BOOST_TEST(largest_difference(here[k].mean, there[k].mean) < 2e-5, "client " << k);
            BOOST_TEST(largest_difference(here[k].start_gradient, there[k].start_gradient) < 2e-6, "client " << k);
            if (optimizer->gives_posterior())
              BOOST_TEST(relative_difference(here[k].precision, there[k].precision) < 2e-5, "client " << k);
            BOOST_TEST(std::abs(here[k].loss - there[k].loss) < 2e-6 * std::abs(there[k].loss) + 1e-7);
          }
          // Many steps, epochs with a partial last batch: a client's bits do not depend on its block.
          for (const VisitPlan& plan :
               {VisitPlan{.seed = 5, .epochs = 3, .batch = 8}, VisitPlan{.seed = 5, .steps = 21, .batch = 16},
                VisitPlan{.seed = 5, .epochs = 3, .batch = 2, .clip_norm = 0.5, .start_gradients = true}}) {
            const auto alone = train_in_blocks(*device, *optimizer, plan, 1, terms);
            for (const std::size_t block : {2U, 7U}) {
              const auto together = train_in_blocks(*device, *optimizer, plan, block, terms);
              for (std::size_t k = 0; k < alone.size(); ++k) {
                BOOST_TEST((alone[k] == together[k]), "client " << k << " differs in blocks of " << block);
              }
            }
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(a_network_that_drops_and_skips) {
  // Every step has its own random numbers, also where steps are recorded once and replayed.
  const auto device = lane(), cpu = make_cpu_device();
  const Network<float> network = residual_network<float>(7, 4, 0.4);
  for (const auto& optimizer :
       {make_optimizer<float>("sgd", {}), make_optimizer<float>("ivon", {{"samples", std::int64_t{2}}})}) {
    const auto outcomes = [&](Device& here, const VisitPlan& plan, std::size_t block) {
      return train_in_blocks(here, *optimizer, plan, block, ClientTerms::none, &network);
    };
    // As in every_optimizer; the normalisation of 3 numbers divides by down to 0.1, which makes rounding ten times as large.
    const VisitPlan one{.seed = 5, .steps = 1, .batch = 16, .start_gradients = true};
    const auto here = outcomes(*device, one, 7), there = outcomes(*cpu, one, 1);
    for (std::size_t k = 0; k < here.size(); ++k) {
      BOOST_TEST(largest_difference(here[k].mean, there[k].mean) < 2e-4, "client " << k);
      BOOST_TEST(largest_difference(here[k].start_gradient, there[k].start_gradient) < 2e-5, "client " << k);
    }
    const VisitPlan many{.seed = 5, .epochs = 3, .batch = 2};
    const auto alone = outcomes(*device, many, 1), together = outcomes(*device, many, 7);
    for (std::size_t k = 0; k < alone.size(); ++k) BOOST_TEST((alone[k] == together[k]), "client " << k);
    // Dropout is that of the CPU after many steps, too: without it, or with another step's, results are far off.
    const auto long_there = outcomes(*cpu, many, 1);
    for (std::size_t k = 0; k < alone.size(); ++k)
      BOOST_TEST(largest_difference(alone[k].mean, long_there[k].mean) < 1e-2, "client " << k);
  }
}

BOOST_AUTO_TEST_CASE(every_algorithm_gives_the_same_bits_for_every_block_lane_and_device) {
  for (const AlgorithmPlugin& plugin : algorithm_plugins()) {
    const std::string arm = plugin.traits.needs_posterior ? "vb-admm" : "fedavg";
    std::vector<Texts> settings = {
        {}, {"clients.participation=0.5", "clients.keep_opt_state=true", "evaluation.clients_every=1"}};
    // Other paths through the code: the gradient's norm inside a step, and what clients send beside their weights.
    if (plugin.name == "fedavg") settings.push_back({"clients.clip_norm=0.5"});
    if (plugin.name == "feddyn") settings.push_back({"server.unsquared_prox=true", "clients.clip_norm=0.5"});
    if (plugin.name == "fedlap_func") settings.push_back({"server.tau_f=0.1", "clients.clip_norm=0.5"});
    if (plugin.name == "scaffold") settings.push_back({"server.option=I", "clients.participation=0.7"});
    for (const Texts& extra : settings) {
      Texts overrides = {"rounds=3", "server.algorithm=" + plugin.name, "evaluation.samples=5"};
      if (plugin.traits.uses_public_pool) overrides.emplace_back("data.public=150");
      if (plugin.traits.needs_plain_sgd) {
        overrides.insert(overrides.end(), {"clients.optimizer.name=sgd", "clients.optimizer.lr=0.1"});
      }
      overrides.insert(overrides.end(), extra.begin(), extra.end());
      BOOST_TEST_CONTEXT("algorithm " << plugin.name << ", " << extra.size() << " more options") {
        const auto whole = run(arm, overrides, lane_makers(1), 100);
        BOOST_REQUIRE_EQUAL(whole.size(), 3U);
        BOOST_TEST(whole.back().refused == 0);
        check_same_run(whole, run(arm, overrides, lane_makers(1), 100));
        for (const std::size_t block : {1U, 7U}) check_same_run(whole, run(arm, overrides, lane_makers(1), block));
        check_same_run(whole, run(arm, overrides, lane_makers(2), 3));
        check_same_run(whole, run(arm, overrides, lane_makers(3, 2), 4));
        // The CPU, after one round: rounding, grown by up to 90 steps. Seen below 1e-7 on the emulated accelerator; a GPU's
        // products may add in many more orders.
        const auto cpu = run(arm, overrides, {});
        BOOST_TEST(std::abs(whole[0].train_loss - cpu[0].train_loss) < 1e-4 * cpu[0].train_loss);
        BOOST_TEST(std::abs(whole[0].mean.metrics.nll - cpu[0].mean.metrics.nll) < 1e-4 * cpu[0].mean.metrics.nll);
        check_diagnostics(whole[0].diagnostics, cpu[0].diagnostics, 1e-3, 1e-3);
      }
    }
  }
}

// Hessians, Cholesky factors and matrices of sites, in double.
BOOST_AUTO_TEST_CASE(full_covariances) {
  const Texts overrides = {"rounds=2",
                           "server.posterior=full",
                           "clients.optimizer.name=von",
                           "clients.optimizer.lr=0.3",
                           "clients.optimizer.samples=1",
                           "model.hidden=[]",
                           "clients.steps=2",
                           "clients.epochs=0",
                           "clients.batch=24",
                           "clients.participation=0.2",
                           "evaluation.samples=2",
                           "evaluation.elbo_samples=2"};
  const auto whole = run("vb-admm", overrides, lane_makers(1), 100);
  BOOST_REQUIRE_EQUAL(whole.size(), 2U);
  BOOST_TEST(whole.back().refused == 0);
  const auto single = run("vb-admm", overrides, lane_makers(1), 1);
  check_same_run(whole, single);
  BOOST_TEST(whole.back().negative_elbo == single.back().negative_elbo);
  const auto cpu = run("vb-admm", overrides, {});
  for (std::size_t r = 0; r < 2; ++r) {
    // Sums in another order, in double; condition numbers below 1e4.
    BOOST_TEST(std::abs(whole[r].train_loss - cpu[r].train_loss) < 1e-9 * cpu[r].train_loss);
    BOOST_TEST(std::abs(whole[r].mean.metrics.nll - cpu[r].mean.metrics.nll) < 1e-5 * cpu[r].mean.metrics.nll);
    BOOST_TEST(std::abs(whole[r].bayes.metrics.nll - cpu[r].bayes.metrics.nll) < 1e-5 * cpu[r].bayes.metrics.nll);
    BOOST_TEST(std::abs(whole[r].negative_elbo - cpu[r].negative_elbo) < 1e-5 * std::abs(cpu[r].negative_elbo));
  }
}

BOOST_AUTO_TEST_CASE(a_convolutional_network_gives_the_same_bits_for_every_block_lane_and_device) {
  const Texts overrides = {"rounds=2", "clients.epochs=1", "evaluation.samples=2", "model.kind=sequential",
                           "model.layers=" + small_cnn};
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    const auto whole = run(arm, overrides, lane_makers(1), 100);
    BOOST_TEST(whole.back().refused == 0);
    check_same_run(whole, run(arm, overrides, lane_makers(1), 1));
    check_same_run(whole, run(arm, overrides, lane_makers(3, 2), 4));
    if (arm == "vb-admm") continue;  // its first round has losses of 16 here, which make rounding grow fast
    // The CPU, after one round: rounding, grown by up to 18 steps.
    const auto cpu = run(arm, overrides, {});
    BOOST_TEST(std::abs(whole[0].train_loss - cpu[0].train_loss) < 1e-4 * cpu[0].train_loss);
    BOOST_TEST(std::abs(whole[0].mean.metrics.nll - cpu[0].mean.metrics.nll) < 1e-4 * cpu[0].mean.metrics.nll);
  }
}

BOOST_AUTO_TEST_CASE(quickstart_learns_what_it_learns_on_the_cpu) {
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    double nll_here = 0, nll_there = 0;
    for (int seed = 1; seed <= 5; ++seed) {
      const Texts overrides = {"rounds=10", "seed=" + std::to_string(seed), "evaluation.every=10",
                               "evaluation.clients=none"};
      const auto here = run(arm, overrides, lane_makers(1)).back();
      const auto there = run(arm, overrides, {}).back();
      const double images = 300 * std::abs(here.mean.metrics.accuracy - there.mean.metrics.accuracy);
      BOOST_TEST(images <= 3.001, arm << ", seed " << seed << ": " << images << " of 300 images");
      nll_here += here.mean.metrics.nll / 5;
      nll_there += there.mean.metrics.nll / 5;
    }
    BOOST_TEST(std::abs(nll_here - nll_there) < 0.02 * nll_there, arm << ": " << nll_here << " and " << nll_there);
  }
}

BOOST_AUTO_TEST_CASE(a_failure_on_the_device_names_the_round) {
  if (device_family() != "emulated") return;  // a GPU is not to be broken on purpose
  std::set<std::string> kinds;
  for (const int waits : {0, 1, 2, 5, 9, 14, 20, 33}) {
    const auto memory = make_emulated_memory();
    const std::vector<DeviceMaker> devices = {[&](ProductPrecision) { return make_emulated_device(memory); }};
    std::string message;
    int rounds = 0;
    try {
      const Texts only = {"vb-admm"}, overrides = {"rounds=8", "evaluation.samples=2"};
      const auto scenario = read_scenario(source_dir() + "/scenarios/quickstart.toml", overrides, only).front();
      const TemporaryFolder folder;
      RunSettings settings;
      settings.devices = devices;
      settings.block = 4;
      settings.log_file = folder / "a.h5";
      settings.on_round = [&](const RoundRecord& record) {
        rounds = record.round;
        if (record.round == 3) fail_after_waits(*memory, waits);
      };
      run_experiment(scenario, settings);
    } catch (const RunError& error) {
      message = error.what();
    }
    BOOST_TEST(rounds >= 3);
    BOOST_TEST(message.find("in round " + std::to_string(rounds + 1)) != std::string::npos, message);
    BOOST_TEST(message.find("an illegal access") != std::string::npos, message);
    kinds.insert(message.substr(0, message.find(']') + 1));
    if (message.starts_with("[client]")) BOOST_TEST(message.find(", clients ") != std::string::npos, message);
  }
  BOOST_TEST(kinds.size() == 2U);  // in local training, and in the server step or evaluation
}

// NOLINTNEXTLINE(bugprone-exception-escape): a test that cannot be set up may end so
int main(int argc, char** argv) {
  if (device_family() == "cuda" && cuda_devices().count == 0) {
    std::printf("skipped: %s\n", cuda_devices().reason.c_str());
    return 77;
  }
  return boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
}
