// Full covariances in evaluation: samples, divergence, posterior average and negative ELBO against closed forms, and a whole run.
#define BOOST_TEST_MODULE full_gaussian
#include <numbers>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "ivory/full_gaussian.hpp"
#include "ivory/gaussian.hpp"
#include "src/data_sets.hpp"
#include "src/evaluation.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_reader.hpp"
#include "src/model.hpp"
#include "src/run_parts.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/full_quadratic.hpp"
#include "tests/support/quickstart.hpp"

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;

namespace {

constexpr std::size_t bins = 15;

// B with a diagonal of 1 to 3 and what couples below it: the Cholesky factor of S = B B', so that all about S is known.
struct Known {
  explicit Known(std::size_t n_, bool coupled = true) : n(n_), B(Dense::diagonal(n, 0.0)), S(B) {
    const Vector below = numbers(n * n, -1.0, 1.0, 70), diagonal = numbers(n, 1.0, 3.0, 71);
    for (std::size_t i = 0; i < n; ++i) {
      B(i, i) = diagonal[i];
      for (std::size_t j = 0; coupled && j < i && i < j + 6; ++j) B(i, j) = below[i * n + j];
    }
    for (std::size_t i = 0; i < n; ++i)
      for (std::size_t j = 0; j < n; ++j)
        for (std::size_t k = 0; k <= std::min(i, j); ++k) S(i, j) += B(i, k) * B(j, k);
  }
  // Column by column; symmetric up to rounding.
  static Dense inverse(const Dense& a) {
    Dense x = a;
    for (std::size_t j = 0; j < a.n; ++j) {
      Vector unit(a.n, 0.0);
      unit[j] = 1.0;
      const Vector column = a.solve(unit);
      for (std::size_t i = 0; i < a.n; ++i) x(i, j) = column[i];
    }
    return x;
  }
  Vector factor(Device& device) const {
    Vector l(n * n);
    factorise(device, n, S.a.data(), l.data());
    return l;
  }
  std::size_t n;
  Dense B, S;
};

// Largest distance of a sample covariance from `expected`, in standard errors: an entry has variance (C_ii C_jj + C_ij^2)/N.
double covariance_score(const Dense& sample, const Dense& expected, double count) {
  double worst = 0;
  for (std::size_t i = 0; i < sample.n; ++i)
    for (std::size_t j = 0; j < sample.n; ++j) {
      const double variance = (expected(i, i) * expected(j, j) + expected(i, j) * expected(i, j)) / count;
      const double score = std::fabs(sample(i, j) - expected(i, j)) / std::sqrt(variance);
      BOOST_TEST_REQUIRE(std::isfinite(score));
      worst = std::max(worst, score);
    }
  return worst;
}

}  // namespace

BOOST_AUTO_TEST_CASE(samples_have_the_inverse_of_the_precision_as_covariance) {
  constexpr std::size_t n = 5, samples = 40000;
  const auto device = make_cpu_device();
  const Known q(n);
  const Vector factor = q.factor(*device), mean = numbers(n, -1.0, 1.0, 72);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t j = 0; j <= i; ++j) BOOST_TEST(std::fabs(factor[i * n + j] - q.B(i, j)) < 1e-12);
  Dense covariance = Dense::diagonal(n, 0.0);
  Vector average(n, 0.0), work(n), theta(n);
  for (std::size_t t = 0; t < samples; ++t) {
    const NoiseSource<float> noise{.stream = make_stream(5, {.purpose = Purpose::evaluation_noise, .sample = t})};
    sample_full(*device, n, mean.data(), factor.data(), noise, work.data(), theta.data());
    for (std::size_t i = 0; i < n; ++i) {
      average[i] += theta[i] / samples;
      for (std::size_t j = 0; j < n; ++j) covariance(i, j) += (theta[i] - mean[i]) * (theta[j] - mean[j]) / samples;
    }
  }
  const Dense expected = Known::inverse(q.S);
  BOOST_TEST(covariance_score(covariance, expected, samples) < 4.5);
  for (std::size_t i = 0; i < n; ++i)
    BOOST_TEST(std::fabs(average[i] - mean[i]) < 4.5 * std::sqrt(expected(i, i) / samples));
  // What would be wrong is told from it: m + L^-1 z (methods.md D3), and the diagonal alone.
  Dense transposed = Dense::diagonal(n, 0.0), diagonal = transposed;
  for (std::size_t i = 0; i < n; ++i) {
    diagonal(i, i) = 1.0 / q.S(i, i);
    for (std::size_t j = 0; j < n; ++j)
      for (std::size_t k = 0; k < n; ++k) transposed(i, j) += q.B(k, i) * q.B(k, j);
  }
  BOOST_TEST(covariance_score(covariance, Known::inverse(transposed), samples) > 20.0);
  BOOST_TEST(covariance_score(covariance, diagonal, samples) > 20.0);
}

BOOST_AUTO_TEST_CASE(the_divergence_from_the_prior_is_its_closed_form) {
  const auto device = make_cpu_device();
  for (const std::size_t n : {1U, 7U, 64U, 150U}) {  // one block of columns, several, a part of one
    const Known q(n);
    const Vector factor = q.factor(*device), mean = numbers(n, -1.0, 1.0, 73);
    const Dense covariance = Known::inverse(q.S);
    constexpr double prior = 0.4;
    double trace = 0, squares = 0, log_determinant = 0;
    for (std::size_t i = 0; i < n; ++i) {
      trace += covariance(i, i);
      squares += mean[i] * mean[i];
      log_determinant += 2 * std::log(q.B(i, i));
    }
    const double P = static_cast<double>(n);
    const double expected = 0.5 * (prior * trace + prior * squares - P + log_determinant - P * std::log(prior));
    const double kl = kl_full(*device, n, mean.data(), factor.data(), prior);
    BOOST_TEST(std::fabs(kl - expected) < 1e-10 * expected);
    BOOST_TEST(kl > 0.0);
    // A diagonal matrix is a diagonal Gaussian; the prior itself has none.
    const Known plain(n, false);
    Vector precision(n);
    for (std::size_t i = 0; i < n; ++i) precision[i] = plain.S(i, i);
    const double diagonal =
        kl_diagonal(*device, n, KlTerm<double>{mean.data(), precision.data(), nullptr, nullptr, 0.0, prior});
    BOOST_TEST(std::fabs(kl_full(*device, n, mean.data(), plain.factor(*device).data(), prior) - diagonal) <
               1e-12 * diagonal);
    const Dense root = Dense::diagonal(n, std::sqrt(prior));
    BOOST_TEST(std::fabs(kl_full(*device, n, Vector(n, 0.0).data(), root.a.data(), prior)) < 1e-12 * P);
  }
}

BOOST_AUTO_TEST_CASE(the_divergence_is_the_mean_log_ratio_of_densities) {
  constexpr std::size_t n = 4, samples = 20000;
  constexpr double prior = 0.4;
  const auto device = make_cpu_device();
  const Known q(n);
  const Vector factor = q.factor(*device), mean = numbers(n, -1.0, 1.0, 74);
  Vector work(n), theta(n), ratios;
  for (std::size_t t = 0; t < samples; ++t) {
    const NoiseSource<double> noise{.stream = make_stream(6, {.purpose = Purpose::elbo_noise, .sample = t})};
    sample_full(*device, n, mean.data(), factor.data(), noise, work.data(), theta.data());
    double ratio = 0;  // log q - log p
    const Vector step{theta[0] - mean[0], theta[1] - mean[1], theta[2] - mean[2], theta[3] - mean[3]};
    const Vector product = q.S.times(step);
    for (std::size_t i = 0; i < n; ++i) {
      ratio += std::log(q.B(i, i)) - 0.5 * step[i] * product[i];
      ratio -= 0.5 * std::log(prior) - 0.5 * prior * theta[i] * theta[i];
    }
    ratios.push_back(ratio);
  }
  double average = 0, squares = 0;
  for (const double r : ratios) average += r / samples;
  for (const double r : ratios) squares += (r - average) * (r - average);
  const double error = std::sqrt(squares / samples / samples);
  BOOST_TEST(std::fabs(average - kl_full(*device, n, mean.data(), factor.data(), prior)) < 4.0 * error);
}

BOOST_AUTO_TEST_CASE(a_matrix_that_is_no_precision_shows) {
  const auto device = make_cpu_device();
  Known q(3);
  q.S(2, 2) = -1.0;
  const Vector factor = q.factor(*device), mean(3, 0.0);
  for (const double l : factor) BOOST_TEST(std::isnan(l));
  BOOST_TEST(std::isnan(kl_full(*device, 3, mean.data(), factor.data(), 1.0)));
}

namespace {

// A linear model of two targets with a coupled posterior: y | x ~ N(m'x, 1/noise + x' S^-1 x), all in closed form.
struct Linear {
  static constexpr double noise = 3.0;
  Linear()
      : network(make_mlp<float>(2, {}, 2, "relu", false, {.kind = Loss::Kind::gaussian, .precision = noise})),
        mean(network.layout().stride(), 0.0) {
    std::copy_n(std::vector<double>{1.0, -0.5, 0.25, 2.0}.begin(), 4, mean.begin());
    data.features = data.outputs = 2;
    data.classes = 1;
    StreamReader random(37, {Purpose::data});
    for (int i = 0; i < 600; ++i) {
      double x[2];
      for (double& value : x) data.x.push_back(static_cast<float>(value = random.normal()));
      data.labels.push_back(0);
      for (std::size_t o = 0; o < 2; ++o)
        data.targets.push_back(static_cast<float>(mean[2 * o] * x[0] + mean[2 * o + 1] * x[1] + random.normal()));
    }
  }
  Network<float> network;
  Vector mean;  // [stride]
  Dataset data;

  // Mean over the examples of -log p(y | x): both targets share x, and the covariance of weights couples them.
  double nll(const Dense& covariance) const {
    double total = 0;
    for (std::size_t r = 0; r < data.size(); ++r) {
      const double x[2] = {static_cast<double>(data.x[2 * r]), static_cast<double>(data.x[2 * r + 1])};
      double v[2][2] = {{1 / noise, 0}, {0, 1 / noise}}, e[2];
      for (std::size_t o = 0; o < 2; ++o) {
        e[o] = static_cast<double>(data.targets[2 * r + o]) - mean[2 * o] * x[0] - mean[2 * o + 1] * x[1];
        for (std::size_t p = 0; p < 2; ++p)
          for (std::size_t i = 0; i < 2; ++i)
            for (std::size_t j = 0; j < 2; ++j) v[o][p] += x[i] * covariance(2 * o + i, 2 * p + j) * x[j];
      }
      const double determinant = v[0][0] * v[1][1] - v[0][1] * v[1][0];
      const double square = (v[1][1] * e[0] * e[0] - 2 * v[0][1] * e[0] * e[1] + v[0][0] * e[1] * e[1]) / determinant;
      total += 0.5 * (square + std::log(determinant)) + std::log(2 * std::numbers::pi);
    }
    return total / static_cast<double>(data.size());
  }
  // E_q of the same sum for networks instead of their average, times `weight`.
  double expected_loss(const Dense& covariance, double weight) const {
    double total = 0;
    for (std::size_t r = 0; r < data.size(); ++r)
      for (std::size_t o = 0; o < 2; ++o) {
        const double x[2] = {static_cast<double>(data.x[2 * r]), static_cast<double>(data.x[2 * r + 1])};
        double square = static_cast<double>(data.targets[2 * r + o]) - mean[2 * o] * x[0] - mean[2 * o + 1] * x[1];
        square *= square;
        for (std::size_t i = 0; i < 2; ++i)
          for (std::size_t j = 0; j < 2; ++j) square += x[i] * covariance(2 * o + i, 2 * o + j) * x[j];
        total += 0.5 * (noise * square + std::log(2 * std::numbers::pi / noise));
      }
    return weight * total;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(average_and_elbo_know_the_correlations) {
  const Linear r;
  const Known q(4);
  const Dense covariance = Known::inverse(q.S);
  Dense diagonal = Dense::diagonal(4, 0.0);
  for (std::size_t i = 0; i < 4; ++i) diagonal(i, i) = 1.0 / q.S(i, i);
  const Predictor predictor(r.network, 1), three(r.network, 3);
  const Buffer<double> factor = predictor.factor_of(q.S.a.data());
  const PosteriorView view{.exact_mean = r.mean.data(), .factor = factor.data()};
  constexpr int samples = 8192;
  const PosteriorAverage average = predictor.posterior_average(view, r.data, samples, bins, 7, 3);
  const double error = average.error.nll;
  BOOST_TEST((error > 0.0 && error < 0.01));
  BOOST_TEST(std::fabs(average.evaluation.metrics.nll - r.nll(covariance)) < 5.0 * error);
  BOOST_TEST(std::fabs(r.nll(diagonal) - r.nll(covariance)) > 10.0 * error, "the diagonal alone would be seen");
  BOOST_TEST(three.posterior_average(view, r.data, samples, bins, 7, 3).evaluation.metrics.nll ==
             average.evaluation.metrics.nll);
  BOOST_TEST(predictor.posterior_average(view, r.data, samples, bins, 7, 4).evaluation.metrics.nll !=
                 average.evaluation.metrics.nll,
             "another round draws other samples");

  constexpr double tau = 0.5, prior = 0.4;
  const std::vector<float> weights(r.data.size(), 2.0F);
  const NegativeElbo elbo = predictor.negative_elbo(view, r.data, weights, tau, prior, 2048, 7, 3);
  const auto device = make_cpu_device();
  const double kl = kl_full(*device, 4, r.mean.data(), factor.data(), prior);
  BOOST_TEST(std::fabs(elbo.value - kl - r.expected_loss(covariance, 2.0 / tau)) < 5.0 * elbo.error);
  BOOST_TEST(std::fabs(r.expected_loss(diagonal, 2.0 / tau) - r.expected_loss(covariance, 2.0 / tau)) >
             10.0 * elbo.error);
  BOOST_TEST(three.negative_elbo(view, r.data, weights, tau, prior, 2048, 7, 3).value == elbo.value);
}

BOOST_AUTO_TEST_CASE(a_diagonal_matrix_gives_what_a_diagonal_posterior_gives) {
  const Linear r;
  const Known q(4, false);
  const std::vector<float> mean(r.mean.begin(), r.mean.end());
  std::vector<float> precision(mean.size(), 1.0F);
  for (std::size_t i = 0; i < 4; ++i) precision[i] = static_cast<float>(q.S(i, i));
  const Predictor predictor(r.network, 2);
  const Buffer<double> factor = predictor.factor_of(q.S.a.data());
  const PosteriorView full{.exact_mean = r.mean.data(), .factor = factor.data()};
  const PosteriorView diagonal{.mean = mean.data(), .precision = precision.data()};
  // The same normals: what differs is rounding to float, of weights of about 1.
  const auto values = [&](const PosteriorView& view) {
    return predictor.average_predictions(view, r.data, 16, 7, 3).values;
  };
  BOOST_TEST(largest_difference(values(full), values(diagonal)) < 1e-5);
  BOOST_TEST(largest_difference(values(full), predictor.predict(mean.data(), r.data).values) > 1e-2);
  const std::vector<float> weights(r.data.size(), 1.0F);
  const auto elbo = [&](const PosteriorView& view) {
    return predictor.negative_elbo(view, r.data, weights, 1.0, 0.4, 16, 7, 3).value;
  };
  BOOST_TEST(std::fabs(elbo(full) - elbo(diagonal)) < 1e-6 * elbo(full));
}

namespace {

const std::string quickstart = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";

Texts full_run(const Texts& more) {
  Texts overrides = {"rounds=2",
                     "server.posterior=full",
                     "clients.optimizer={name=\"von\", lr=0.3, samples=1}",
                     "model.hidden=[]",
                     "clients={count=3, steps=2, batch=24}",
                     "evaluation={samples=6, elbo_samples=4, every=1, clients_every=1, clients=\"train\"}"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return overrides;
}

std::vector<RoundRecord> run(const Scenario& scenario, const std::string& log, int threads, RunSettings settings = {}) {
  std::vector<RoundRecord> records;
  settings.threads = threads;
  settings.log_file = log;
  settings.on_round = [&](const RoundRecord& record) { records.push_back(record); };
  run_experiment(scenario, settings);
  return records;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_run_evaluates_and_logs_the_matrix) {
  const TemporaryFolder folder;
  const Texts only = {"vb-admm"};
  const Scenario scenario =
      read_scenario(quickstart, full_run({"log={posterior_every=1, precision_matrix=true}"}), only).front();
  const auto records = run(scenario, folder / "a.h5", 1);
  BOOST_REQUIRE_EQUAL(records.size(), 2U);
  const auto again = run(scenario, folder / "b.h5", 3);
  for (std::size_t r = 0; r < 2; ++r) {
    BOOST_TEST(records[r].bayes.metrics.nll == again[r].bayes.metrics.nll);
    BOOST_TEST(records[r].negative_elbo == again[r].negative_elbo);
    BOOST_TEST(records[r].client_metrics_bayes[0].nll == again[r].client_metrics_bayes[0].nll);
  }

  // Everything again from the log.
  const DataSplit data = load_data(scenario);
  const auto network = make_network<float>(scenario, data.train);
  const std::size_t P = network.layout().size();
  const LogReader reader(folder / "a.h5");
  const auto matrices = Hdf5File::open(folder / "a.h5").read<double>("/posterior/precision_matrix");
  BOOST_TEST(matrices.shape == (std::vector<std::size_t>{2, P, P}), boost::test_tools::per_element());
  const Predictor predictor(network, 1);
  for (std::size_t row = 0; row < 2; ++row) {
    const double* const S = matrices.values.data() + row * P * P;
    const auto diagonal = reader.posterior_precision(row);
    std::vector<float> mean = reader.posterior_mean(row), precision = diagonal;
    mean.resize(network.layout().stride(), 0.0F);
    precision.resize(network.layout().stride(), 1.0F);
    double asymmetry = 0, coupling = 0;
    for (std::size_t i = 0; i < P; ++i) {
      BOOST_TEST(static_cast<float>(S[i * P + i]) == diagonal[i]);
      for (std::size_t j = 0; j < i; ++j) {
        asymmetry = std::max(asymmetry, std::fabs(S[i * P + j] - S[j * P + i]));
        coupling = std::max(coupling, std::fabs(S[i * P + j]));
      }
    }
    BOOST_TEST(asymmetry == 0.0);
    BOOST_TEST(coupling > 0.1);
    const Buffer<double> factor = predictor.factor_of(S);
    const Vector exact(mean.begin(), mean.end());  // the log's mean is in float
    const auto nll = [&](const PosteriorView& q) {
      return predictor.posterior_average(q, data.test, 6, bins, scenario.seed, row + 1).evaluation.metrics.nll;
    };
    const double logged = records[row].bayes.metrics.nll;
    BOOST_TEST(std::fabs(nll({.exact_mean = exact.data(), .factor = factor.data()}) - logged) < 1e-5);
    BOOST_TEST(std::fabs(nll({.mean = mean.data(), .precision = precision.data()}) - logged) > 1e-3);
  }
}

BOOST_AUTO_TEST_CASE(the_matrix_is_logged_on_request_where_there_is_one) {
  const TemporaryFolder folder;
  const Texts only = {"vb-admm"};
  run(read_scenario(quickstart, full_run({"rounds=1"}), only).front(), folder / "a.h5", 2);
  BOOST_TEST(!Hdf5File::open(folder / "a.h5").has_dataset("/posterior/precision_matrix"));
  const Texts diagonal = {"log.precision_matrix=true"};
  BOOST_CHECK_EXCEPTION(read_scenario(quickstart, diagonal, only), InputError, [](const InputError& error) {
    const std::string text = error.what();
    BOOST_TEST_MESSAGE(text);
    return text.find("log.precision_matrix needs an algorithm with full covariances") != std::string::npos &&
           text.find("posterior = \"diagonal\"") != std::string::npos && text.find("leave it out") != std::string::npos;
  });
}

BOOST_AUTO_TEST_CASE(an_accelerators_memory_is_enough_for_the_evaluation) {
  const Texts only = {"vb-admm"};
  const Scenario scenario = read_scenario(quickstart, full_run({"rounds=1"}), only).front();
  const MemoryPlan plan = RunParts<double>(scenario).memory();
  const std::size_t matrix = std::size_t{650} * 650 * sizeof(double);
  BOOST_TEST(plan.server > 3 * matrix);                          // precision, its sum, a factor
  BOOST_TEST(plan.log == 2 * matrix + 2 * 650 * sizeof(float));  // for the hash; a row of the log on its way
  BOOST_TEST(plan.on_cpu(1) > plan.server + plan.clients_state + plan.log);
  // As little as a block of one client takes, by the plan; and one client does not fit into less.
  const TemporaryFolder folder;
  const auto run_in = [&](std::size_t bytes) {
    const auto memory = make_emulated_memory(bytes);
    RunSettings settings;
    settings.devices.emplace_back([memory](ProductPrecision) { return make_emulated_device(memory); });
    return run(scenario, folder / "a.h5", 1, settings);
  };
  const std::size_t least = plan.on_accelerator(1, 1) / 9 * 10 + 100;
  const auto records = run_in(least);
  BOOST_REQUIRE_EQUAL(records.size(), 1U);
  BOOST_TEST(std::isfinite(records[0].negative_elbo));
  BOOST_CHECK_THROW(run_in(least - least / 20), MemoryError);
}
