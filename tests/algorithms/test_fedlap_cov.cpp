// FedLap-Cov on diagonal quadratics: the identities of methods.md 4.8.
#define BOOST_TEST_MODULE fedlap_cov
#include "tests/support/boost_test.hpp"

#include "src/experiment.hpp"
#include "src/log_reader.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// argmin lbar_k + terms, read off the terms alone, and the curvature of the sum loss there.
Sent<double> solve(const QuadraticClients& problem, std::uint32_t k, const LocalTerms<double>& terms) {
  Sent<double> sent{Vector(problem.size())};
  sent.curvature = problem.H[k];
  for (std::size_t i = 0; i < problem.size(); ++i) {
    const double h = problem.H[k][i] / problem.examples[k];
    const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
    const double V = terms.site_precision != nullptr ? terms.site_precision[i] : 0.0;
    const double a = terms.anchor_weight * terms.anchor_precision[i];
    sent.mean[i] =
        (h * problem.c[k][i] - terms.site_weight * v + a * terms.anchor_mean[i]) / (h - terms.site_weight * V + a);
  }
  return sent;
}
Federation<double>::Train solver(const QuadraticClients& problem) {
  return [&problem](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); };
}

std::unique_ptr<Algorithm<double>> make(double prior, double damping) {
  return make_algorithm<double>("fedlap_cov", {{"prior_precision", prior}, {"damping", damping}});
}

const Vector start{0.5, -0.5, 0.1};

// The server's precision after one undamped round on ten clients of a linear model, whose curvature is the same everywhere.
std::vector<float> precision_after_a_round(const std::string& more, RunSettings settings) {
  const std::vector<std::string> only = {"fedavg"},
                                 overrides = {
                                     "rounds=1", "clients.batch=16",
                                     "server={algorithm=\"fedlap_cov\", prior_precision=2.0, damping=1.0" + more + "}"};
  const auto scenario =
      read_scenario(std::string(IVORY_SOURCE_DIR) + "/scenarios/regression.toml", overrides, only).front();
  const TemporaryFolder folder;
  settings.log_file = folder / "run.h5";
  run_experiment(scenario, settings);
  return LogReader(settings.log_file).posterior_precision(0);
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_round_is_exact_on_quadratics) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(1.0, 2.0);
  const auto algorithm = make(2.0, 1.0);
  BOOST_TEST((algorithm->traits().needs_curvature == Curvature::exact));
  BOOST_TEST(algorithm->traits().vectors_up == 2);
  Federation<double> federation(*device, *algorithm, start, problem.examples);
  federation.round(solver(problem));
  for (std::size_t i = 0; i < 3; ++i) {
    BOOST_TEST(std::fabs(federation.precision()[i] - problem.posterior_precision(i)) < 1e-12);
    BOOST_TEST(std::fabs(federation.precision()[i] * federation.mean()[i] - problem.posterior_natural_mean(i)) < 1e-12);
  }
}

// After an exact solve v_k := (1-d) v_k + d (H_k w_k - N_k grad lbar_k(w_k)), and the server stays prior times sites.
BOOST_AUTO_TEST_CASE(sites_move_as_after_an_exact_solve) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(1.0, 2.0);
  const double d = 0.3;
  const auto algorithm = make(2.0, d);
  Federation<double> federation(*device, *algorithm, start, problem.examples);
  std::vector<Vector> v(4, Vector(3, 0.0)), V = v;
  for (int round = 0; round < 5; ++round) {
    federation.round(solver(problem));
    Vector precision(3, 2.0), eta(3, 0.0);
    for (std::uint32_t k = 0; k < 4; ++k) {
      for (std::size_t i = 0; i < 3; ++i) {
        const double w = federation.sent[k].mean[i], h = problem.H[k][i];
        v[k][i] = (1 - d) * v[k][i] + d * (h * w - h * (w - problem.c[k][i]));
        V[k][i] = (1 - d) * V[k][i] + d * h;
        precision[i] += V[k][i], eta[i] += v[k][i];
      }
      BOOST_TEST(largest_difference(federation.site_mean(k), v[k]) < 1e-12);
      BOOST_TEST(largest_difference(federation.site_precision(k), V[k]) < 1e-12);
    }
    BOOST_TEST(largest_difference(federation.precision(), precision) < 1e-12);
    for (std::size_t i = 0; i < 3; ++i) BOOST_TEST(std::fabs(federation.mean()[i] - eta[i] / precision[i]) < 1e-12);
  }
}

// PVI with tau = 1 and the delta method, whatever the damping.
BOOST_AUTO_TEST_CASE(it_is_damped_pvi_with_the_delta_method) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(1.0, 2.0);
  for (const double d : {1.0, 0.4}) {
    const auto algorithm = make(2.0, d),
               pvi = make_algorithm<double>("damped_pvi", {{"prior_precision", 2.0}, {"damping", d}});
    Federation<double> a(*device, *algorithm, start, problem.examples), b(*device, *pvi, start, problem.examples);
    for (int round = 0; round < 4; ++round) {
      a.round(solver(problem));
      b.round(problem.solver());  // exact: on a quadratic the delta method is
      BOOST_TEST(largest_difference(a.mean(), b.mean()) < 1e-11);
      BOOST_TEST(largest_difference(a.precision(), b.precision()) < 1e-11);
    }
  }
}

// 4.8: curvatures of at least 0 keep V_k >= 0, S_g >= s0 and S_g - V_k >= s0, whatever the weights: no floor is needed.
BOOST_AUTO_TEST_CASE(no_precision_falls_below_the_prior_whatever_the_clients_send) {
  const auto device = make_cpu_device();
  const double s0 = 2.0;
  for (const bool everyone : {true, false}) {
    const auto algorithm = make(s0, 0.7);
    Federation<double> federation(*device, *algorithm, start, {10, 25, 40, 5}, everyone);
    StreamReader random(7, {.purpose = Purpose::data});
    for (std::uint64_t round = 0; round < 30; ++round) {
      std::vector<bool> present(4, true);
      if (!everyone)
        for (std::size_t k = 0; k < 4; ++k) present[k] = random.uniform() < 0.5;
      const AbsorbReport report = federation.round(
          [&](std::uint32_t k, const LocalTerms<double>&) {
            Sent<double> sent{numbers(3, -5.0, 5.0, 10 * round + k)};
            sent.curvature = numbers(3, 0.0, 20.0, 10 * round + k + 5);
            sent.curvature[k % 3] = 0.0;
            return sent;
          },
          present);
      BOOST_TEST(report.clamped == 0.0);
      for (std::size_t i = 0; i < 3; ++i) {
        BOOST_TEST(federation.precision()[i] >= s0);
        for (std::uint32_t k = 0; k < 4; ++k) {
          BOOST_TEST(federation.site_precision(k)[i] >= 0.0);
          // A sum of four numbers of about 50, rounded.
          BOOST_TEST(federation.precision()[i] - federation.site_precision(k)[i] >= s0 - 1e-13);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(absent_clients_keep_their_sites) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(1.0, 2.0);
  const auto algorithm = make(2.0, 1.0);
  Federation<double> federation(*device, *algorithm, start, problem.examples, false);
  federation.round(solver(problem), {true, true, false, false});
  const Vector v = federation.site_mean(1);
  federation.round(solver(problem), {true, false, true, false});
  BOOST_TEST(federation.site_mean(1) == v, boost::test_tools::per_element());
  for (std::size_t i = 0; i < 3; ++i) {
    const double s = 2.0 + problem.H[0][i] + problem.H[1][i] + problem.H[2][i];
    BOOST_TEST(std::fabs(federation.precision()[i] - s) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(the_union_of_all_data_counts_once_per_client_where_the_flag_asks_for_it) {
  RunSettings on_cpu, on_accelerator;
  on_cpu.threads = 2;
  const auto memory = make_emulated_memory();
  on_accelerator.devices = {[memory](ProductPrecision) { return make_emulated_device(memory); }};
  on_accelerator.block = 3;
  std::vector<float> own = precision_after_a_round("", on_cpu);
  BOOST_TEST(own == precision_after_a_round(", ref_full_data_ggn=false", on_cpu), boost::test_tools::per_element());
  for (float& s : own) s = 2.0F + 10.0F * (s - 2.0F);
  BOOST_TEST(*std::min_element(own.begin(), own.end()) >
             1000.0F);  // noise precision 4, 100 examples, 10 times 10 clients
  for (const RunSettings& settings : {on_cpu, on_accelerator}) {
    BOOST_TEST(relative_difference(precision_after_a_round(", ref_full_data_ggn=true", settings), own) < 1e-5);
  }
  const auto algorithm = make_algorithm<double>("fedlap_cov", {{"ref_full_data_ggn", true}});
  BOOST_TEST(algorithm->traits().full_data_curvature);
  BOOST_TEST(!make(1.0, 1.0)->traits().full_data_curvature);
}
