// Whole runs with the losses that are not softmax: regression with generated data and from a table, two classes with one output,
// smoothed labels.
#define BOOST_TEST_MODULE regression
#include <cmath>
#include <fstream>
#include <numbers>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "src/data_sets.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_reader.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/quickstart.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;

std::string shipped(const std::string& name) { return std::string(IVORY_SOURCE_DIR) + "/scenarios/" + name; }

std::vector<RoundRecord> run(const std::string& arm, const Texts& overrides, int threads = 2) {
  RunSettings settings;
  settings.threads = threads;
  return run_arm(shipped("regression.toml"), arm, overrides, settings);
}

void check_only_regression(const Metrics& metrics) {
  BOOST_TEST(std::isfinite(metrics.rmse));
  BOOST_TEST(std::isfinite(metrics.nll));
  for (const double absent : {metrics.accuracy, metrics.ece, metrics.brier, metrics.entropy}) {
    BOOST_TEST(std::isnan(absent));
  }
}

// Of one model, with outputs and noise precision: what nll and rmse have to do with each other.
double nll_of(double rmse, double outputs, double precision) {
  return outputs * 0.5 * (precision * rmse * rmse - std::log(precision / (2 * std::numbers::pi)));
}

std::string refusal(const Texts& overrides, const std::string& file = "regression.toml") {
  try {
    RunSettings settings;
    run_arm(shipped(file), "fedavg", overrides, settings);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

BOOST_AUTO_TEST_CASE(both_arms_reach_the_noise) {
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    BOOST_TEST_CONTEXT(arm) {
      const auto records = run(arm, {"data.outputs=2", "data.validation=0.1", "evaluation.clients_every=1",
                                     "evaluation.elbo_samples=4", "evaluation.curve=true"});
      const RoundRecord& last = records.back();
      BOOST_TEST(last.refused == 0);
      BOOST_TEST(last.regression);
      check_only_regression(last.mean.metrics);
      check_only_regression(last.validation);
      // sqrt(0.5^2 + 8 * 0.1^2) = 0.574 is the best on average; 1000 test values have it within 0.04 (3 standard errors).
      BOOST_TEST(std::abs(last.mean.metrics.rmse - 0.574) < 0.04);
      BOOST_TEST(records.front().mean.metrics.rmse > last.mean.metrics.rmse);
      BOOST_TEST(std::abs(last.mean.metrics.nll - nll_of(last.mean.metrics.rmse, 2, 4)) < 1e-6);
      BOOST_TEST(last.mean.confusion.empty());
      BOOST_TEST(last.mean.classes.rows.empty());
      BOOST_TEST(last.mean.bins.count.empty());
      BOOST_REQUIRE_EQUAL(last.client_metrics.size(), 10U);
      // The clients' examples together are the training set; each has as many but for the validation split.
      for (const Metrics& client : last.client_metrics) {
        check_only_regression(client);
        BOOST_TEST(std::abs(client.nll - nll_of(client.rmse, 2, 4)) < 1e-6);
      }
      if (arm == "fedavg") {
        BOOST_TEST(std::isnan(last.bayes.metrics.rmse));
        continue;
      }
      check_only_regression(last.bayes.metrics);
      check_only_regression(last.validation_bayes);
      check_only_regression(last.client_metrics_bayes.front());
      check_only_regression(last.bayes_curve.back());
      BOOST_TEST(last.bayes_curve.back().nll == last.bayes.metrics.nll);
      BOOST_TEST(last.bayes_error.rmse > 0);
      BOOST_TEST(last.bayes_error.rmse < 0.01);
      BOOST_TEST(last.bayes_error.nll > 0);
      BOOST_TEST(std::isfinite(last.negative_elbo));
      // The mean of densities is above the density of the mean by what the samples scatter; Jensen, over many examples.
      BOOST_TEST(last.bayes.metrics.nll < nll_of(last.bayes.metrics.rmse, 2, 4) + 0.05);
    }
  }
}

BOOST_AUTO_TEST_CASE(threads_and_blocks_do_not_change_a_bit) {
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    BOOST_TEST_CONTEXT(arm) {
      const Texts overrides = {"rounds=3", "data.outputs=3"};
      const auto one = run(arm, overrides, 1), many = run(arm, overrides, 3);
      BOOST_TEST(hashes(one) == hashes(many), boost::test_tools::per_element());
      BOOST_TEST(one.back().mean.metrics.rmse == many.back().mean.metrics.rmse);
      std::vector<RoundRecord> alone;
      for (const std::size_t block : {1U, 3U, 100U}) {
        const auto memory = make_emulated_memory();
        RunSettings settings;
        settings.devices = {[memory](ProductPrecision) { return make_emulated_device(memory); }};
        settings.block = block;
        const auto here = run_arm(shipped("regression.toml"), arm, overrides, settings);
        if (alone.empty()) alone = here;
        BOOST_TEST(hashes(here) == hashes(alone), boost::test_tools::per_element());
        // Rounding of float32 sums in another order, over 30 steps.
        BOOST_TEST(std::abs(here.back().mean.metrics.rmse - one.back().mean.metrics.rmse) < 1e-4);
        if (arm == "vb-admm") {
          BOOST_TEST(std::abs(here.back().bayes.metrics.nll - one.back().bayes.metrics.nll) < 1e-3);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(models_of_the_clients_own) {
  const auto records =
      run("fedavg", {"server.algorithm=local", "data.shift=2", "evaluation.clients_every=1", "rounds=30"});
  const RoundRecord& last = records.back();
  check_only_regression(last.mean.metrics);
  // Each client's own model fits its own examples down to the noise, and the others' not at all.
  for (const Metrics& client : last.client_metrics) BOOST_TEST(client.rmse < 0.6);
  BOOST_TEST(last.mean.metrics.rmse > 2.0);
}

BOOST_AUTO_TEST_CASE(the_log_has_what_there_is) {
  const TemporaryFolder folder;
  const Texts only = {"vb-admm"}, overrides = {"rounds=4", "evaluation.every=2"};
  const auto scenario = read_scenario(shipped("regression.toml"), overrides, only).front();
  RunSettings settings;
  settings.log_file = folder / "run.h5";
  std::vector<double> rmse;
  settings.on_round = [&](const RoundRecord& record) { rmse.push_back(record.mean.metrics.rmse); };
  run_experiment(scenario, settings);
  const LogReader log(settings.log_file);
  const std::vector<double> column = log.column("rmse");
  BOOST_REQUIRE_EQUAL(column.size(), 4U);
  BOOST_TEST(std::isnan(column[0]));
  BOOST_TEST(column[1] == rmse[1]);
  BOOST_TEST(column[3] == rmse[3]);
  BOOST_TEST(std::isfinite(log.column("rmse_bayes")[3]));
  BOOST_TEST(std::isfinite(log.column("rmse_bayes_se")[3]));
  BOOST_TEST(std::isfinite(log.column("nll_bayes")[3]));
  for (const char* absent : {"accuracy", "ece", "brier", "entropy", "accuracy_bayes", "validation_rmse"}) {
    BOOST_TEST(std::isnan(log.column(absent)[3]), absent);
  }
  for (const double entry : log.file().read<double>("/rounds/confusion").values) BOOST_TEST(std::isnan(entry));
  check_only_regression(log.client_metrics(0).front());
  BOOST_TEST(log.header().scenario.find("loss = \"gaussian\"") != std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_table_with_two_targets) {
  const TemporaryFolder folder;
  // y = (1 + 2 a - b, 3 b) without noise: a linear model has it all.
  std::ofstream table(folder / "table.csv");
  table << "a,b,u,v\n";
  for (int i = 0; i < 200; ++i) {
    const double a = std::sin(i), b = std::cos(0.7 * i);
    table << a << ',' << b << ',' << 1 + 2 * a - b << ',' << 3 * b << '\n';
  }
  table.close();
  const std::string file = folder / "table.toml";
  std::ofstream(file) << "name = \"table\"\nrounds = 40\n[data]\nkind = \"csv\"\nfile = \"table.csv\"\ntargets = "
                         "\"u,v\"\n[partition]\nkind = \"iid\"\n[model]\nkind = \"linear\"\nloss = \"gaussian\"\n"
                         "[clients]\ncount = 4\nbatch = 10\n[clients.optimizer]\nname = \"sgd\"\nlr = 0.1\n[server]\n"
                         "algorithm = \"fedavg\"\n";
  RunSettings settings;
  settings.log_file = folder / "run.h5";
  double rmse = 1, first = 0;
  settings.on_round = [&](const RoundRecord& record) {
    rmse = record.mean.metrics.rmse;
    if (record.round == 1) first = rmse;
  };
  run_experiment(read_scenario(file, Texts{}, Texts{}).front(), settings);
  BOOST_TEST(first > 0.1);
  BOOST_TEST(rmse < 1e-3);
}

BOOST_AUTO_TEST_CASE(two_classes_with_one_output) {
  const auto with = [&](const std::string& loss, const std::string& arm) {
    const TemporaryFolder folder;
    const std::string file = folder / "binary.toml";
    std::ofstream(file) << R"(name = "binary"
rounds = 30
data = { kind = "blobs", classes = 2, separation = 2.5 }
partition.kind = "iid"
clients = { count = 5, epochs = 2 }
evaluation.clients_every = 30
model = { kind = "linear", loss = ")"
                        << loss << R"(" }
[[compare]]
name = "sgd"
server.algorithm = "fedavg"
clients.optimizer = { name = "sgd", lr = 0.5 }
[[compare]]
name = "ivon"
server.algorithm = "vb_admm"
clients.optimizer = { name = "ivon", lr = 0.1, hess_init = 0.1 }
)";
    RunSettings settings;
    return run_arm(file, arm, {}, settings).back();
  };
  for (const std::string arm : {"sgd", "ivon"}) {
    BOOST_TEST_CONTEXT(arm) {
      const RoundRecord binary = with("binary", arm), softmax = with("softmax", arm);
      for (const RoundRecord* record : {&binary, &softmax}) {
        const Metrics& metrics = arm == "ivon" ? record->bayes.metrics : record->mean.metrics;
        // Phi(2.5 / 2) = 0.894 is the best; 1000 examples have it within 0.03.
        BOOST_TEST(std::abs(metrics.accuracy - 0.894) < 0.03);
        for (const double value : {metrics.nll, metrics.ece, metrics.brier, metrics.entropy}) {
          BOOST_TEST(std::isfinite(value));
        }
        BOOST_TEST(std::isnan(metrics.rmse));
      }
      BOOST_REQUIRE_EQUAL(binary.mean.confusion.size(), 4U);
      double counted = 0;
      for (const double n : binary.mean.confusion) counted += n;
      BOOST_TEST(counted == 1000);
      BOOST_TEST(std::isfinite(binary.client_metrics.front().brier));
      // Without a prior both have the same convex problem.
      if (arm == "sgd") BOOST_TEST(std::abs(binary.mean.metrics.nll - softmax.mean.metrics.nll) < 0.005);
    }
  }
}

BOOST_AUTO_TEST_CASE(smoothed_labels_change_training_and_not_the_measure) {
  RunSettings settings;
  const auto with = [&](const char* smoothing) {
    return run_arm(shipped("quickstart.toml"), "fedavg",
                   {"rounds=10", std::string("model.label_smoothing=") + smoothing}, settings);
  };
  const auto plain = with("0"), smoothed = with("0.2");
  BOOST_TEST(plain.back().state_hash != smoothed.back().state_hash);
  // The smoothed target has entropy log 10 * 0.2 and more, which no prediction gets below.
  const double on = 0.82, off = 0.02, entropy = -on * std::log(on) - 9 * off * std::log(off);
  BOOST_TEST(plain.back().train_loss < 0.5 * entropy);
  BOOST_TEST(smoothed.back().train_loss > entropy);
  // Softer predictions: more entropy, and still the right classes.
  BOOST_TEST(smoothed.back().mean.metrics.entropy > plain.back().mean.metrics.entropy);
  BOOST_TEST(smoothed.back().mean.metrics.accuracy > 0.7);
}

BOOST_AUTO_TEST_CASE(losses_that_do_not_fit_are_refused) {
  BOOST_TEST(refusal({"model.loss=softmax", "model.noise_precision=1"}) ==
             "[model] loss = \"softmax\" needs data with classes, got 1 target value(s) per example, in --set "
             "model.loss; use loss = \"gaussian\", or other data");
  BOOST_TEST(refusal({"model.loss=binary", "model.noise_precision=1"})
                 .starts_with("[model] loss = \"binary\" needs data with classes, got 1 target"));
  BOOST_TEST(refusal({"model.loss=gaussian"}, "quickstart.toml")
                 .starts_with("[model] loss = \"gaussian\" needs data with target values (regression), got 10 classes, "
                              "in --set model.loss; use loss = \"softmax\""));
  BOOST_TEST(refusal({"model.loss=binary"}, "quickstart.toml")
                 .starts_with("[model] loss = \"binary\" needs data with two classes, got 10 classes"));
  BOOST_TEST(refusal({"model.label_smoothing=0.1"}) ==
             "[scenario] model.label_smoothing belongs to loss = \"softmax\", got 0.1 with loss = \"gaussian\", in "
             "--set model.label_smoothing; leave it out");
  BOOST_TEST(refusal({"model.noise_precision=2"}, "quickstart.toml")
                 .starts_with("[scenario] model.noise_precision belongs to loss = \"gaussian\", got 2"));
  BOOST_TEST(refusal({"model.noise_precision=0"}) != "");
  BOOST_TEST(refusal({"model.label_smoothing=1"}, "quickstart.toml") != "");
}
