// Whole runs on the shipped data: any number of threads gives the same bits, failures of one client do not end a run, and the
// bounds (pooled, local) and partial participation work end to end.
#define BOOST_TEST_MODULE experiment
#include <cmath>
#include <filesystem>
#include <set>
#include "tests/support/boost_test.hpp"

#include "ivory/registry.hpp"
#include "src/data_sets.hpp"
#include "src/evaluation.hpp"
#include "src/experiment.hpp"
#include "src/log_layout.hpp"
#include "src/log_reader.hpp"
#include "src/model.hpp"
#include "src/ood_metrics.hpp"
#include "src/run_parts.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/quickstart.hpp"

namespace {

using namespace ivory;
using test::hashes;
using Texts = std::vector<std::string>;

const std::string quickstart = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";

std::vector<RoundRecord> run(const std::string& arm, const Texts& overrides, int threads = 2) {
  RunSettings settings;
  settings.threads = threads;
  return test::run_arm(quickstart, arm, overrides, settings);
}

}  // namespace

BOOST_AUTO_TEST_CASE(threads_do_not_change_a_bit) {
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    for (const Texts& extra : {Texts{}, Texts{"clients.participation=0.5", "clients.keep_opt_state=true"}}) {
      Texts overrides = {"rounds=4", "evaluation.every=2"};
      overrides.insert(overrides.end(), extra.begin(), extra.end());
      const auto one = run(arm, overrides, 1);
      BOOST_REQUIRE_EQUAL(one.size(), 4U);
      for (const int threads : {2, 3, 8}) {
        const auto many = run(arm, overrides, threads);
        BOOST_TEST(hashes(one) == hashes(many), boost::test_tools::per_element());
        BOOST_TEST(one[3].mean.metrics.nll == many[3].mean.metrics.nll);
        if (arm == "vb-admm") BOOST_TEST(one[3].bayes.metrics.nll == many[3].bayes.metrics.nll);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(another_seed_is_another_run) {
  const auto a = run("vb-admm", {"rounds=2", "seed=1"}), b = run("vb-admm", {"rounds=2", "seed=2"});
  BOOST_TEST(a[1].state_hash != b[1].state_hash);
}

BOOST_AUTO_TEST_CASE(equal_draws_of_all_visits_are_an_option) {
  for (const bool wanted : {false, true}) {
    const Texts overrides = wanted ? Texts{"clients.ref_same_seed=true"} : Texts{};
    for (const Scenario& scenario : read_scenario(quickstart, overrides))
      BOOST_TEST(RunParts<float>(scenario).visit_plan.same_draws == wanted);
  }
  const auto independent = run("vb-admm", {"rounds=1"}),
             equal = run("vb-admm", {"rounds=1", "clients.ref_same_seed=true"});
  BOOST_TEST(independent[0].state_hash != equal[0].state_hash);
}

BOOST_AUTO_TEST_CASE(learns_and_reports) {
  const auto records = run("vb-admm", {"rounds=10"});
  const RoundRecord& last = records.back();
  BOOST_TEST(last.mean.metrics.accuracy > 0.75);  // ten classes; the run reaches 0.87 here
  BOOST_TEST(last.bayes.metrics.accuracy > 0.75);
  BOOST_TEST(last.bayes_error.nll > 0);
  BOOST_TEST(last.bayes_error.nll < 0.1);
  BOOST_TEST(last.train_loss < records.front().train_loss);
  BOOST_TEST(last.participants == 10);
  BOOST_TEST(last.bytes_up == 10 * 2 * 4.0 * (64 * 50 + 50 + 50 * 10 + 10));  // mean and precision of every weight
  BOOST_TEST(last.bytes_down == last.bytes_up);
  BOOST_TEST(last.client_metrics.size() == 10U);
  double counted = 0;
  for (const double n : last.mean.confusion) counted += n;
  BOOST_TEST(counted == 300);
  const auto points = run("fedavg", {"rounds=1"});
  BOOST_TEST(std::isnan(points[0].bayes.metrics.accuracy));
  BOOST_TEST(points[0].bytes_up == 10 * 4.0 * 3760);
}

BOOST_AUTO_TEST_CASE(clients_are_evaluated_with_the_posterior_average_too) {
  const auto records = run("vb-admm", {"rounds=2", "evaluation.clients_every=1"});
  BOOST_TEST(records[1].client_metrics_bayes.size() == 10U);
  // The clients' examples together are the training set: their accuracies are those of one prediction of it.
  double nll = 0, nll_bayes = 0, differing = 0;
  for (std::size_t k = 0; k < 10; ++k) {
    nll += records[1].client_metrics[k].nll;
    nll_bayes += records[1].client_metrics_bayes[k].nll;
    differing += records[1].client_metrics[k].nll != records[1].client_metrics_bayes[k].nll ? 1 : 0;
  }
  BOOST_TEST(differing == 10);
  BOOST_TEST(nll_bayes == nll, boost::test_tools::tolerance(0.5));
  BOOST_TEST(run("fedavg", {"rounds=1"})[0].client_metrics_bayes.empty());
}

BOOST_AUTO_TEST_CASE(the_last_round_has_a_curve_over_samples_on_request) {
  const Texts wanted = {"rounds=2", "evaluation.samples=6", "evaluation.curve=true"};
  const auto records = run("vb-admm", wanted);
  BOOST_TEST(records[0].bayes_curve.empty());
  BOOST_TEST_REQUIRE(records[1].bayes_curve.size() == 6U);
  BOOST_TEST(records[1].bayes_curve.back().nll == records[1].bayes.metrics.nll);
  BOOST_TEST(records[1].bayes_curve.front().nll != records[1].bayes.metrics.nll);
  BOOST_TEST(run("fedavg", wanted)[1].bayes_curve.empty());  // nothing to draw from
  BOOST_TEST(run("vb-admm", {"rounds=2", "evaluation.samples=6"})[1].bayes.metrics.nll == records[1].bayes.metrics.nll);
}

BOOST_AUTO_TEST_CASE(out_of_distribution_inputs_are_told_from_the_test_set_in_evaluated_rounds) {
  const Texts other = {"rounds=3", "evaluation.every=2", "evaluation.samples=5",
                       "evaluation.ood={kind=\"blobs\", features=64, test=120}"};
  const Texts only = {"vb-admm"};
  const Scenario scenario = read_scenario(quickstart, other, only).front();
  const test::TemporaryFolder folder;
  std::vector<RoundRecord> records;
  RunSettings settings;
  settings.threads = 2;
  settings.log_file = folder / "a.h5";
  settings.on_round = [&](const RoundRecord& record) { records.push_back(record); };
  run_experiment(scenario, settings);
  BOOST_TEST(std::isnan(records[0].mean.ood.confidence.auroc));  // not evaluated
  BOOST_TEST(std::isfinite(records[1].bayes.ood.entropy.auroc));

  // From the posterior in the log, the same numbers again.
  const DataSplit data = load_data(scenario);
  BOOST_REQUIRE(data.ood.size() == 120U);
  const auto network = make_network<float>(scenario, data.train);
  const Predictor predictor(network, 1);
  const LogReader log(folder / "a.h5");
  const auto padded = [&](std::vector<float> values, float fill) {
    values.resize(network.layout().stride(), fill);
    return values;
  };
  const auto mean = padded(log.posterior_mean(0), 0.0F), precision = padded(log.posterior_precision(0), 1.0F);
  const auto told = [&](const Predictions& in, const Predictions& out) {
    return ood_detection<float>(in.values, out.values, 10);
  };
  const auto average = [&](const Dataset& inputs) {
    return predictor.average_predictions({mean.data(), precision.data()}, inputs, 5, scenario.seed, 3);
  };
  const OodDetection at_mean =
      told(predictor.predict(mean.data(), data.test), predictor.predict(mean.data(), data.ood));
  const OodDetection of_average = told(average(data.test), average(data.ood));
  for (const auto& [got, wanted, suffix] :
       {std::tuple{records[2].mean.ood, at_mean, ""}, {records[2].bayes.ood, of_average, "_bayes"}}) {
    for (const DetectionScore& score : detection_scores) {
      for (const DetectionColumn& column : detection_columns) {
        const double value = got.*score.score.*column.value;
        BOOST_TEST(value == wanted.*score.score.*column.value, score.prefix << column.name << suffix);
        BOOST_TEST(log.column(std::string(score.prefix) + column.name + suffix)[2] == value);
        BOOST_TEST((value >= 0 && value <= 1));
      }
    }
  }
  BOOST_TEST(at_mean.confidence.auroc != of_average.confidence.auroc);

  // Models of their own: the mean over clients. Without such data nothing is said.
  const auto local = run("fedavg", {"rounds=1", "server.algorithm=local", other.back()});
  BOOST_TEST((local[0].mean.ood.confidence.auroc > 0 && local[0].mean.ood.confidence.auroc < 1));
  BOOST_TEST(std::isnan(run("fedavg", {"rounds=1"})[0].mean.ood.confidence.auroc));
}

BOOST_AUTO_TEST_CASE(partial_participation_draws_the_asked_share) {
  const auto records = run("vb-admm", {"rounds=6", "clients.participation=0.3"});
  std::set<std::size_t> seen;
  for (const auto& record : records) {
    BOOST_TEST(record.participants == 3);
    for (std::size_t k = 0; k < record.clients.size(); ++k) {
      if (record.clients[k].status == ClientStatus::trained) seen.insert(k);
    }
  }
  BOOST_TEST(seen.size() > 3U);  // not the same three every round: 6 draws of 3 out of 10
}

BOOST_AUTO_TEST_CASE(a_diverged_client_is_refused_and_the_run_goes_on) {
  // SGD at this rate overflows float within a visit of the larger clients.
  const auto records = run("fedavg", {"rounds=3", "clients.optimizer={name=\"sgd\", lr=1e30}"});
  BOOST_REQUIRE_EQUAL(records.size(), 3U);
  BOOST_TEST(records[0].refused > 0);
  BOOST_TEST(records[0].refused + records[0].participants == 10);
  BOOST_TEST(std::isfinite(records[2].mean.metrics.accuracy));
}

BOOST_AUTO_TEST_CASE(a_last_step_that_goes_astray_is_refused_too) {
  // One step per visit: every loss on the way is finite, and so are the weights, but not what they predict.
  const auto records = run("vb-admm", {"rounds=2", "clients.epochs=0", "clients.steps=1", "clients.optimizer.lr=1e30"});
  BOOST_TEST(records[0].refused == 10);
  BOOST_TEST(std::isfinite(records[1].mean.metrics.nll));
}

BOOST_AUTO_TEST_CASE(a_run_stops_between_rounds_when_told_to) {
  const Texts only = {"fedavg"}, overrides = {"rounds=5"};
  const auto scenario = read_scenario(quickstart, overrides, only).front();
  const auto log = std::filesystem::temp_directory_path() / ("ivory-test-stop-" + std::to_string(::getpid()) + ".h5");
  int seen = 0;
  const int rounds = run_experiment(scenario, {.threads = 1,
                                               .log_file = log.string(),
                                               .on_round = [&](const RoundRecord&) { ++seen; },
                                               .should_stop = [&] { return seen == 2; }});
  BOOST_TEST(rounds == 2);
  BOOST_TEST(seen == 2);
  std::filesystem::remove(log);
}

BOOST_AUTO_TEST_CASE(what_a_run_is_made_from_has_a_fingerprint) {
  const Texts only = {"fedavg"};
  const auto of = [&](const Texts& overrides) { return identify(read_scenario(quickstart, overrides, only).front()); };
  const RunIdentity first = of({}), same = of({"clients.batch=8"}), smaller = of({"data.limit_train=100"}),
                    seeded = of({"seed=2"});
  BOOST_TEST(first.data_checksum == same.data_checksum);
  BOOST_TEST(first.start_hash == same.start_hash);
  BOOST_TEST(first.data_checksum != smaller.data_checksum);
  BOOST_TEST(first.start_hash != seeded.start_hash);
}

BOOST_AUTO_TEST_CASE(everyone_refused_leaves_the_server_as_it_was) {
  const auto records = run(
      "fedavg", {"rounds=2", "clients.optimizer={name=\"sgd\", lr=1e38}", "clients.epochs=20", "partition.kind=iid"});
  BOOST_TEST(records[0].refused == 10);
  BOOST_TEST(records[0].state_hash == records[1].state_hash);
}

// Methods whose server starts at the prior's mean still begin at the initial weights: zeros are a dead point of a network.
BOOST_AUTO_TEST_CASE(a_first_round_without_an_update_does_not_lose_the_initial_weights) {
  for (const std::string algorithm : {"fedlap", "fedlap_cov", "vb_admm"}) {
    const bool bayes = algorithm == "vb_admm";
    Texts overrides = {"rounds=2", "server.algorithm=" + algorithm, "clients.participation=0.1", "clients.epochs=2"};
    if (bayes) {
      overrides.insert(overrides.end(), {"server.posterior=isotropic", "clients.optimizer={name=\"sgd\", lr=0.05}"});
    }
    const auto good = run(bayes ? "vb-admm" : "fedavg", overrides);
    // A rate that no visit survives in round 1, and the same as above from round 2 on.
    overrides.insert(overrides.end(), {"clients.optimizer={name=\"sgd\", lr=1e30}", "clients.schedule=step",
                                       "clients.schedule_step_rounds=1", "clients.schedule_step_factor=5e-32"});
    const auto late = run(bayes ? "vb-admm" : "fedavg", overrides);
    BOOST_TEST(good[0].refused == 0, algorithm);
    BOOST_TEST(late[0].refused == 1, algorithm);
    BOOST_TEST(late[1].refused == 0, algorithm);
    // A network of zeros would have the loss log(10) and, being symmetric, hardly learn.
    BOOST_TEST(late[1].train_loss < 0.9 * std::log(10.0), algorithm);
    BOOST_TEST(late[1].mean.metrics.nll != std::log(10.0), algorithm);
  }
}

BOOST_AUTO_TEST_CASE(the_two_bounds) {
  const auto pooled = run("fedavg", {"rounds=3", "clients.pool=true"});
  BOOST_TEST(pooled[2].participants == 1);
  BOOST_TEST(pooled[2].client_metrics.size() == 10U);
  BOOST_TEST(pooled[2].bytes_up == 0);
  const auto local = run("fedavg", {"rounds=3", "server.algorithm=local"});
  BOOST_TEST(local[2].bytes_up == 0);
  BOOST_TEST(local[2].client_metrics.size() == 10U);
  const auto validated = run("fedavg", {"rounds=1", "server.algorithm=local", "data.validation=0.2"});
  BOOST_TEST(validated[0].validation.accuracy > 0.1);
  BOOST_TEST(validated[0].validation.accuracy < 1.0);
  // Label-skewed clients alone do worse on all classes than one model of all data, and well on their own.
  BOOST_TEST(local[2].mean.metrics.accuracy < pooled[2].mean.metrics.accuracy - 0.1);
  double own = 0;
  for (const Metrics& metrics : local[2].client_metrics) own += metrics.accuracy / 10;
  BOOST_TEST(own > 0.85);
}

BOOST_AUTO_TEST_CASE(validation_holdout_and_elbo_are_reported) {
  const auto records =
      run("vb-admm", {"rounds=2", "data.validation=0.1", "partition.holdout=0.2", "evaluation.elbo_samples=8"});
  BOOST_TEST(std::isfinite(records[1].validation.nll));
  BOOST_TEST(std::isfinite(records[1].validation_bayes.nll));
  BOOST_TEST(records[1].validation_bayes.nll !=
             records[1].validation.nll);  // an average over draws, not the mean model
  BOOST_TEST(records[1].validation_bayes.nll != records[1].bayes.metrics.nll);  // and on other examples
  BOOST_TEST(std::isfinite(records[1].negative_elbo));
  BOOST_TEST(records[1].negative_elbo_error > 0);
}

// Compatibility (methods.md D1): every posterior average draws with N h0/(tau rho) + s0 around the server's mean; nothing else does.
// Duals have a mean alone, sites a precision too; a method's traits say which, and the log has it.
BOOST_AUTO_TEST_CASE(every_method_logs_the_sites_it_has) {
  std::size_t with_dual = 0, with_site = 0;
  for (const AlgorithmPlugin& plugin : algorithm_plugins()) {
    const bool ivon = plugin.traits.needs_posterior;
    Texts overrides = {"rounds=1", "log.sites=last", "clients.epochs=1", "server.algorithm=" + plugin.name};
    if (!ivon) overrides.emplace_back("clients.optimizer={name=\"sgd\", lr=0.05}");
    if (plugin.traits.uses_public_pool) overrides.emplace_back("data.public=10");
    std::vector<Texts> variants = {overrides};
    if (plugin.name == "vb_admm") {
      variants.push_back(overrides);
      variants.back().insert(variants.back().end(),
                             {"server.posterior=isotropic", "clients.optimizer={name=\"sgd\", lr=0.05}"});
      variants.push_back(overrides);
      variants.back().insert(variants.back().end(), {"server.posterior=full", "model.hidden=[]", "clients.count=2",
                                                     "clients.optimizer={name=\"von\", lr=0.1}"});
    }
    for (const Texts& variant : variants) {
      const std::vector<std::string> only = {ivon ? "vb-admm" : "fedavg"};
      const Scenario scenario = read_scenario(quickstart, variant, only).front();
      const test::TemporaryFolder folder;
      RunSettings settings;
      settings.threads = 2;
      settings.log_file = folder / "run.h5";
      run_experiment(scenario, settings);
      const LogReader log(settings.log_file);
      const auto traits = find_algorithm(plugin.name)->make_double(scenario.algorithm)->traits();
      const auto there = [&](const char* name) {
        const std::vector<float> values = log.client_vectors(name, 0);
        const auto finite = static_cast<std::size_t>(
            std::count_if(values.begin(), values.end(), [](float value) { return std::isfinite(value); }));
        BOOST_TEST((finite == 0 || finite == values.size()), plugin.name << " " << name);
        return finite > 0;
      };
      BOOST_TEST_CONTEXT(variant.back()) {
        BOOST_TEST(there("mean"), plugin.name);
        BOOST_TEST(there("precision") == traits.needs_posterior, plugin.name);
        BOOST_TEST(there("site_mean") == (traits.site != SiteKind::none), plugin.name);
        BOOST_TEST(there("site_precision") == (traits.site == SiteKind::gaussian), plugin.name);
      }
      with_dual += traits.site == SiteKind::dual;
      with_site += traits.site == SiteKind::gaussian;
    }
  }
  BOOST_TEST(with_dual == 5U);  // isotropic VB-ADMM, FedADMM, FedDyn, FedLap, FedLap-Func
  BOOST_TEST(with_site == 6U);  // VB-ADMM diagonal and full, PVI, damped PVI, Bregman ADMM, FedLap-Cov
}

BOOST_AUTO_TEST_CASE(the_references_posterior_average_has_one_precision) {
  const Texts overrides = {"rounds=2",
                           "evaluation={samples=5, elbo_samples=3, every=1, clients_every=1, clients=\"train\"}",
                           "data.validation=0.1", "log.posterior_every=1"};
  Texts flagged = overrides;
  flagged.emplace_back("server.ref_bayes_eval=true");
  const auto own = run("vb-admm", overrides);
  const Texts only = {"vb-admm"};
  const Scenario scenario = read_scenario(quickstart, flagged, only).front();
  const test::TemporaryFolder folder;
  std::vector<RoundRecord> records;
  RunSettings settings;
  settings.threads = 2;
  settings.log_file = folder / "a.h5";
  settings.on_round = [&](const RoundRecord& record) { records.push_back(record); };
  run_experiment(scenario, settings);
  BOOST_TEST(hashes(records) == hashes(own), boost::test_tools::per_element());

  const DataSplit data = load_data(scenario);
  const auto network = make_network<float>(scenario, data.train);
  const Predictor predictor(network, 1);
  const LogReader log(folder / "a.h5");
  const std::size_t stride = network.layout().stride();
  const double N = static_cast<double>(data.train.size());  // every example has one client
  const std::vector<float> precision(stride, static_cast<float>(N * 0.02 / (0.03 * 2.0) + 1.0));
  for (std::size_t row = 0; row < 2; ++row) {
    std::vector<float> mean = log.posterior_mean(row);
    mean.resize(stride, 0.0F);
    const auto nll = [&](const Dataset& inputs) {
      const Predictions average =
          predictor.average_predictions({mean.data(), precision.data()}, inputs, 5, scenario.seed, row + 1);
      return evaluate(average, inputs, 15).metrics.nll;
    };
    const RoundRecord& record = records[row];
    BOOST_TEST(std::fabs(record.bayes.metrics.nll - nll(data.test)) < 1e-6);  // sums in another order
    BOOST_TEST(std::fabs(record.bayes.metrics.nll - own[row].bayes.metrics.nll) > 1e-4);
    BOOST_TEST(record.validation_bayes.nll == nll(data.validation));
    double clients = 0, examples = 0;
    for (std::size_t k = 0; k < record.client_metrics_bayes.size(); ++k) {
      const double n = log.client_examples()[k];
      clients += n * record.client_metrics_bayes[k].nll;
      examples += n;
    }
    BOOST_TEST(examples == N);
    BOOST_TEST(std::fabs(clients / examples - nll(data.train)) < 1e-6);
    BOOST_TEST(record.mean.metrics.nll == own[row].mean.metrics.nll);
    BOOST_TEST(record.negative_elbo == own[row].negative_elbo);
  }
}
