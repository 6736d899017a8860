// The Laplace posterior: its precision in closed form where there is one, the prior that the evidence chooses, and whole runs.
#define BOOST_TEST_MODULE laplace
#include <cmath>
#include "tests/support/boost_test.hpp"

#include "src/laplace.hpp"
#include "src/log_reader.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/quickstart.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;
using Clients = std::vector<std::vector<std::uint32_t>>;

const std::string quickstart = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";

constexpr std::size_t features = 3, outputs = 2;

Dataset numbers_to_predict(std::size_t examples) {
  Dataset data = labelled_noise(examples, features, 1);
  data.outputs = outputs;
  data.targets.assign(examples * outputs, 0.25F);
  return data;
}

// Unlike sizes, one longer than a piece; row 3 belongs to two clients and counts twice.
const Clients& some_clients() {
  static const Clients clients = [] {
    Clients all(4);
    for (std::uint32_t row = 0; row < 300; ++row) all[0].push_back(row);
    for (std::uint32_t row = 300; row < 341; ++row) all[2].push_back(row);
    all[3] = {3, 399};
    return all;
  }();
  return clients;
}

std::vector<double> curvature_on_cpu(const Network<float>& network, const Dataset& data, int threads) {
  const auto device = make_cpu_device();
  const Buffer<float> parameters(*device, network.initialise(7));
  return summed_curvature(*device, network, data, some_clients(), parameters.data(), threads);
}

// log p(D | delta) of a diagonal Laplace approximation, without what delta does not move.
double evidence(const std::vector<double>& h, const std::vector<float>& m, double delta) {
  double sum = 0;
  for (std::size_t i = 0; i < h.size(); ++i) {
    const double mean = m[i];
    sum += 0.5 * (std::log(delta) - std::log(h[i] + delta) - delta * mean * mean);
  }
  return sum;
}

std::vector<RoundRecord> run(const std::string& arm, const Texts& overrides, const RunSettings& settings) {
  return run_arm(quickstart, arm, overrides, settings);
}
std::vector<RoundRecord> run(const std::string& arm, const Texts& overrides) {
  RunSettings settings;
  settings.threads = 2;
  return run(arm, overrides, settings);
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_linear_gaussian_model_has_its_exact_precisions) {
  const Dataset data = numbers_to_predict(400);
  const double noise = 2.5, delta = 0.75;
  const Network<float> network =
      make_mlp<float>(features, {}, outputs, "relu", true, {.kind = Loss::Kind::gaussian, .precision = noise});
  // Each output has the same design: noise * diag(X'X) for its weights, noise * N for its bias.
  std::vector<double> expected(network.layout().size(), 0.0);
  double examples = 0;
  for (const auto& rows : some_clients()) {
    for (const std::uint32_t row : rows) {
      for (std::size_t o = 0; o < outputs; ++o) {
        for (std::size_t j = 0; j < features; ++j) {
          const double x = data.x[row * features + j];
          expected[o * features + j] += noise * x * x;
        }
        expected[outputs * features + o] += noise;
      }
      ++examples;
    }
  }
  BOOST_REQUIRE_EQUAL(examples, 343);
  BOOST_TEST(relative_difference(curvature_on_cpu(network, data, 1), expected) < 1e-6);

  const auto device = make_cpu_device();
  const Buffer<float> parameters(*device, network.initialise(7));
  const auto posterior = laplace_posterior(*device, network, data, some_clients(), parameters.data(), delta, 2);
  BOOST_TEST_REQUIRE(posterior.has_value());
  BOOST_TEST(posterior->prior_precision == delta);
  BOOST_TEST_REQUIRE(posterior->precision.size() == network.layout().stride());
  for (double& h : expected) h += delta;
  const std::vector<float> precision(posterior->precision.begin(),
                                     posterior->precision.begin() + static_cast<std::ptrdiff_t>(expected.size()));
  BOOST_TEST(relative_difference(precision, expected) < 1e-6);
  BOOST_TEST(posterior->precision.back() == 1.0F);  // the padding, which is drawn from, too
}

BOOST_AUTO_TEST_CASE(neither_threads_nor_devices_decide_the_order_of_sums) {
  const Dataset data = labelled_noise(400, 5, 3);
  const Network<float> network = residual_network<float>(5, 3, 0.5);  // its dropout does not matter here
  const std::vector<double> one = curvature_on_cpu(network, data, 1);
  BOOST_TEST(*std::min_element(one.begin(), one.end()) >= 0.0);
  BOOST_TEST(largest_magnitude(one) > 0.0);
  for (const int threads : {2, 3, 9}) {
    BOOST_TEST(curvature_on_cpu(network, data, threads) == one, boost::test_tools::per_element());
  }
  BOOST_TEST(relative_difference(curvature_on_cpu(residual_network<float>(5, 3, 0.0), data, 2), one) == 0.0);
  const auto device = make_emulated_device(make_emulated_memory());
  const Buffer<float> parameters(*device, network.initialise(7));
  const auto far = summed_curvature(*device, network, data, some_clients(), parameters.data(), 4);
  BOOST_TEST(relative_difference(far, one) < 1e-5);
}

BOOST_AUTO_TEST_CASE(mackays_prior_precision_has_the_largest_evidence) {
  for (const double scale : {1e-6, 1.0, 1e6}) {  // small: gamma is far below P, and the plain iteration swings
    BOOST_TEST_CONTEXT("curvature " << scale) {
      std::vector<double> h = numbers(40, 0.0, 5.0, 1);
      for (double& value : h) value *= scale * value;
      h[7] = 0;
      const Vector wide_mean = numbers(40, -2.0, 2.0, 2);
      const std::vector<float> m(wide_mean.begin(), wide_mean.end());
      const auto delta = evidence_prior_precision(h, m);
      BOOST_TEST_REQUIRE(delta.has_value());
      double gamma = 0, squares = 0;
      for (const double value : h) gamma += value / (value + *delta);
      for (const float value : m) squares += static_cast<double>(value) * static_cast<double>(value);
      BOOST_TEST(*delta == gamma / squares, boost::test_tools::tolerance(1e-9));
      // By brute force over 24 powers of ten.
      double best = 0, highest = -std::numeric_limits<double>::infinity();
      for (int i = 0; i <= 48000; ++i) {
        const double candidate = std::pow(10.0, -12.0 + i / 2000.0);
        if (const double value = evidence(h, m, candidate); value > highest) highest = value, best = candidate;
      }
      BOOST_TEST(*delta == best, boost::test_tools::tolerance(2e-3));
      BOOST_TEST(evidence(h, m, *delta) >= highest);
    }
  }
}

BOOST_AUTO_TEST_CASE(where_the_evidence_has_no_maximum_there_is_none) {
  const double infinite = std::numeric_limits<double>::infinity();
  using H = std::vector<double>;
  using M = std::vector<float>;
  BOOST_TEST(!evidence_prior_precision(H{0, 0}, M{1, 2}).has_value());
  BOOST_TEST(!evidence_prior_precision(H{1, 2}, M{0, 0}).has_value());
  BOOST_TEST(!evidence_prior_precision(H{1, std::nan("")}, M{1, 2}).has_value());
  BOOST_TEST(!evidence_prior_precision(H{1, infinite}, M{1, 2}).has_value());
  BOOST_TEST(!evidence_prior_precision(H{1, 2}, M{1, std::nanf("")}).has_value());
  BOOST_TEST(evidence_prior_precision(H{1, 0}, M{1, 0}).has_value());
}

BOOST_AUTO_TEST_CASE(a_point_method_has_a_posterior_average_in_its_last_round) {
  const Texts plain = {"rounds=3", "evaluation.samples=8", "evaluation.curve=true", "data.validation=0.1",
                       "evaluation.clients_every=1"};
  Texts wanted = plain;
  wanted.push_back("evaluation.laplace=true");
  const auto without = run("fedavg", plain), with = run("fedavg", wanted);
  BOOST_TEST(hashes(with) == hashes(without), boost::test_tools::per_element());
  const RoundRecord& last = with.back();
  BOOST_TEST(last.mean.metrics.nll == without.back().mean.metrics.nll);
  BOOST_TEST(std::isnan(with[1].bayes.metrics.nll));
  BOOST_TEST(std::isnan(with[1].laplace_prior_precision));
  BOOST_TEST(with[1].client_metrics_bayes.empty());
  BOOST_TEST(std::isnan(without.back().bayes.metrics.nll));
  BOOST_TEST(last.laplace_prior_precision > 0);
  // Ten classes: far from a guess, and not the mean model's number.
  BOOST_TEST(last.bayes.metrics.accuracy > 0.5);
  BOOST_TEST(std::isfinite(last.bayes.metrics.nll));
  BOOST_TEST(last.bayes.metrics.nll != last.mean.metrics.nll);
  BOOST_TEST(std::isfinite(last.bayes.metrics.ece));
  BOOST_TEST(std::isfinite(last.bayes.metrics.brier));
  BOOST_TEST(last.bayes_error.nll > 0);
  BOOST_TEST(std::isfinite(last.validation_bayes.nll));
  BOOST_TEST_REQUIRE(last.bayes_curve.size() == 8U);
  BOOST_TEST(last.bayes_curve.back().nll == last.bayes.metrics.nll);
  BOOST_TEST_REQUIRE(last.client_metrics_bayes.size() == 10U);
  BOOST_TEST(std::isnan(last.negative_elbo));

  RunSettings alone;
  alone.threads = 1;
  const auto one = run("fedavg", wanted, alone).back();
  BOOST_TEST(one.laplace_prior_precision == last.laplace_prior_precision);
  BOOST_TEST(one.bayes.metrics.nll == last.bayes.metrics.nll);
  RunSettings far;
  const auto memory = make_emulated_memory();
  far.devices = {[memory](ProductPrecision) { return make_emulated_device(memory); }};
  const auto elsewhere = run("fedavg", wanted, far).back();
  BOOST_TEST(elsewhere.laplace_prior_precision == last.laplace_prior_precision, boost::test_tools::tolerance(0.05));
  BOOST_TEST(elsewhere.bayes.metrics.nll == last.bayes.metrics.nll, boost::test_tools::tolerance(0.1));
}

// So narrow a posterior is the mean; one as wide as the weights themselves is not.
BOOST_AUTO_TEST_CASE(a_given_prior_precision_is_taken) {
  const Texts common = {"rounds=3", "evaluation.laplace=true", "evaluation.laplace_prior_precision="};
  const auto last = [&](const std::string& prior) {
    Texts overrides = common;
    overrides.back() += prior;
    return run("fedavg", overrides).back();
  };
  const RoundRecord narrow = last("1e12"), wide = last("1");
  BOOST_TEST(narrow.laplace_prior_precision == 1e12);
  BOOST_TEST(narrow.bayes.metrics.nll == narrow.mean.metrics.nll, boost::test_tools::tolerance(1e-4));
  BOOST_TEST(wide.bayes.metrics.entropy > 1.2 * wide.mean.metrics.entropy);
}

BOOST_AUTO_TEST_CASE(methods_with_their_own_posterior_or_no_common_model_are_as_they_were) {
  const Texts plain = {"rounds=2"}, wanted = {"rounds=2", "evaluation.laplace=true"};
  const auto without = run("vb-admm", plain), with = run("vb-admm", wanted);
  BOOST_TEST(hashes(with) == hashes(without), boost::test_tools::per_element());
  BOOST_TEST(with.back().bayes.metrics.nll == without.back().bayes.metrics.nll);
  BOOST_TEST(std::isnan(with.back().laplace_prior_precision));
  const auto local = run("fedavg", {"rounds=2", "evaluation.laplace=true", "server.algorithm=local"}).back();
  BOOST_TEST(std::isnan(local.bayes.metrics.nll));
  BOOST_TEST(std::isfinite(local.mean.metrics.nll));
}

BOOST_AUTO_TEST_CASE(the_log_has_the_posterior_that_was_drawn_from) {
  const Texts overrides = {"rounds=3", "evaluation.laplace=true", "log.posterior_every=1"}, only = {"fedavg"};
  const auto scenario = read_scenario(quickstart, overrides, only).front();
  const TemporaryFolder folder;
  RoundRecord last;
  RunSettings settings;
  settings.threads = 2;
  settings.log_file = folder / "a.h5";
  settings.on_round = [&](const RoundRecord& record) { last = record; };
  run_experiment(scenario, settings);
  const LogReader log(folder / "a.h5");
  BOOST_TEST(log.header().has_posterior);
  BOOST_TEST(log.column("laplace_prior_precision").back() == last.laplace_prior_precision);
  BOOST_TEST(std::isnan(log.column("laplace_prior_precision").front()));
  BOOST_TEST(log.column("nll_bayes").back() == last.bayes.metrics.nll);
  BOOST_TEST(std::isnan(log.column("nll_bayes").front()));
  BOOST_TEST(std::isnan(log.posterior_precision(1).front()));
  const std::vector<float> precision = log.posterior_precision(2);
  BOOST_REQUIRE_EQUAL(precision.size(), 3760U);
  // delta is where gamma = sum h/s = delta |m|^2, and h = s - delta >= 0.
  const double delta = last.laplace_prior_precision;
  double gamma = 0, squares = 0;
  for (const float s : precision) {
    BOOST_REQUIRE(s >= static_cast<float>(delta));
    gamma += 1 - delta / static_cast<double>(s);
  }
  for (const float m : log.posterior_mean(2)) squares += static_cast<double>(m) * static_cast<double>(m);
  BOOST_TEST(gamma == delta * squares, boost::test_tools::tolerance(1e-5));
}
