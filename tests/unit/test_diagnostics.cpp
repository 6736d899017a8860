// The diagnostics of a round against their formulas, taken from stored clients in plain double loops.
#define BOOST_TEST_MODULE diagnostics
#include <cmath>
#include <optional>

#include "tests/support/boost_test.hpp"

#include "src/diagnostics.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"
#include "tests/support/quickstart.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

/// Rounds of a federation with the diagnostics of the program, and the server before the last one.
struct Diagnosed {
  Diagnosed(Device& device, const Algorithm<double>& algorithm_, const QuadraticClients& clients, bool everyone = true)
      : algorithm(algorithm_), federation(device, algorithm_, {0.3, -0.4, 0.1}, clients.examples, everyone),
        diagnostics(federation.state, algorithm_.traits()) {
    federation.observer = [this](const auto& state, const auto& update) {
      diagnostics.measure(state, update);
      diagnostics.add(state, update);
    };
  }
  Diagnostics round(const Federation<double>::Train& train, const std::vector<bool>& present_ = {}) {
    present = present_.empty() ? std::vector<bool>(federation.state.clients, true) : present_;
    mean = federation.mean();
    if (!federation.state.precision.empty()) precision = federation.precision();
    diagnostics.open(federation.state);
    federation.round(train, present_);
    return diagnostics.close(federation.state, algorithm);
  }

  const Algorithm<double>& algorithm;
  Federation<double> federation;
  RoundDiagnostics<double> diagnostics;
  Vector mean, precision;  // before the last round
  std::vector<bool> present;
};

/// Clients that send anything.
Federation<double>::Train anything(std::uint64_t salt) {
  return [salt](std::uint32_t k, const LocalTerms<double>& terms) {
    Sent<double> sent{numbers(3, -2, 2, 100 * salt + k), {}};
    if (terms.effective_samples > 0) sent.precision = numbers(3, 0.5, 9, 100 * salt + k + 50);
    return sent;
  };
}

double length(const Vector& a, const Vector& b) {
  double sum = 0;
  for (std::size_t i = 0; i < a.size(); ++i) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return std::sqrt(sum);
}

double close_to(double a, double b) { return std::abs(a - b) / (1e-300 + std::abs(b)); }

/// numpy.quantile(values, (0.05, 0.5, 0.95)), by sorting.
Vector sorted_quantiles(Vector values) {
  std::sort(values.begin(), values.end());
  Vector out;
  for (const double level : {0.05, 0.5, 0.95}) {
    const double rank = level * static_cast<double>(values.size() - 1);
    const auto low = static_cast<std::size_t>(rank);
    const std::size_t high = std::min(low + 1, values.size() - 1);
    out.push_back(values[low] + (rank - static_cast<double>(low)) * (values[high] - values[low]));
  }
  return out;
}

/// All numbers of the round that has just been, once more.
void check(const Diagnosed& run, const Diagnostics& got) {
  const auto& federation = run.federation;
  const Vector now = federation.mean();
  double squares = 0, n = 0;
  Vector divergences;
  for (std::size_t k = 0; k < federation.sent.size(); ++k) {
    if (!run.present[k]) continue;
    const Vector m = federation.head(federation.sent[k].mean.data());
    squares += std::pow(length(m, now), 2);
    n += 1;
    if (federation.sent[k].precision.empty()) continue;
    const Vector s = federation.head(federation.sent[k].precision.data());
    double kl = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      const double ratio = s[i] / run.precision[i], away = m[i] - run.mean[i];
      kl += 0.5 * (ratio - 1 - std::log(ratio) + s[i] * away * away);
    }
    divergences.push_back(kl);
  }
  BOOST_TEST(close_to(got.primal_residual, std::sqrt(squares / n)) < 1e-12);
  BOOST_TEST(close_to(got.dual_residual, length(now, run.mean)) < 1e-12);
  if (divergences.empty()) {
    for (const double value : got.kl.values) BOOST_TEST(std::isnan(value));
    BOOST_TEST(got.kl_parameters == 0.0);
    return;
  }
  BOOST_TEST(got.kl_parameters == 3.0);
  const Vector expected = sorted_quantiles(divergences);
  for (std::size_t q = 0; q < 3; ++q) BOOST_TEST(close_to(got.kl.values[q], expected[q]) < 1e-12);
}

/// |server - (prior + sum of sites)| / |server|, of precision and natural mean.
std::pair<double, double> site_gaps(const Federation<double>& federation, double prior) {
  const Vector m = federation.mean(), s = federation.precision();
  Vector precision(3, prior), natural(3, 0.0), eta(3);
  for (std::uint32_t k = 0; k < federation.sent.size(); ++k) {
    const Vector v = federation.site_mean(k), V = federation.site_precision(k);
    for (std::size_t i = 0; i < 3; ++i) precision[i] += V[i], natural[i] += v[i];
  }
  for (std::size_t i = 0; i < 3; ++i) eta[i] = s[i] * m[i];
  const Vector zero(3, 0.0);
  return {length(s, precision) / length(s, zero), length(eta, natural) / length(eta, zero)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(quantiles_are_on_a_straight_line_between_sorted_values) {
  // numpy.quantile([5, 1, 9, 3], [.05, .5, .95]) and of one value; ties and infinities are no trouble.
  const auto values = [](const Vector& v) { return quantiles_of(v).values; };
  const auto four = values({5, 1, 9, 3});
  BOOST_TEST(close_to(four[0], 1.3) < 1e-14);
  BOOST_TEST(four[1] == 4.0);
  BOOST_TEST(close_to(four[2], 8.4) < 1e-14);
  BOOST_TEST(values({7})[0] == 7.0);
  BOOST_TEST(values({7})[2] == 7.0);
  const double infinity = std::numeric_limits<double>::infinity();
  BOOST_TEST(values({1, infinity, infinity})[1] == infinity);
  BOOST_TEST(values({1, infinity, infinity})[2] == infinity);
  BOOST_TEST(std::isnan(values({})[1]));
  BOOST_TEST(std::isnan(values({1, std::nan(""), 2})[0]));
  for (const std::size_t n : {2U, 5U, 20U, 21U, 4096U}) {
    const Vector some = numbers(n, -3, 8, n);
    const Vector expected = sorted_quantiles(some);
    for (std::size_t q = 0; q < 3; ++q) BOOST_TEST(std::abs(values(some)[q] - expected[q]) < 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(vb_admm_follows_the_formulas_with_everyone_and_with_some) {
  const auto cpu = make_cpu_device();
  const QuadraticClients clients = four_clients();
  const auto algorithm = make_algorithm<double>("vb_admm", {{"rho", 0.3}, {"damping", 0.4}, {"prior_precision", 2.0}});
  for (const bool everyone : {true, false}) {
    Diagnosed run(*cpu, *algorithm, clients, everyone);
    for (std::uint64_t round = 1; round <= 4; ++round) {
      std::vector<bool> present(4, true);
      if (!everyone) present[round % 4] = present[(round + 1) % 4] = false;
      const Diagnostics got = run.round(anything(round), present);
      check(run, got);
      const auto [precision, natural] = site_gaps(run.federation, 2.0);
      BOOST_TEST(close_to(got.site_residual_precision, precision) < 1e-12);
      BOOST_TEST(close_to(got.site_residual_mean, natural) < 1e-12);
      BOOST_TEST(precision > 1e-3);  // so that the comparison means something
    }
  }
}

BOOST_AUTO_TEST_CASE(pvi_is_prior_times_sites_after_every_round_whatever_clients_send) {
  const auto cpu = make_cpu_device();
  const auto algorithm = make_algorithm<double>("pvi", {{"prior_precision", 2.0}});
  Diagnosed run(*cpu, *algorithm, four_clients());
  for (std::uint64_t round = 1; round <= 5; ++round) {
    // Precisions above the server's, so that no floor is met.
    const Diagnostics got = run.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      Sent<double> sent = anything(round)(k, terms);
      for (std::size_t i = 0; i < 3; ++i) sent.precision[i] += terms.anchor_precision[i];
      return sent;
    });
    check(run, got);
    BOOST_TEST(got.site_residual_precision < 1e-14);
    BOOST_TEST(got.site_residual_mean < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(near_a_fixed_point_of_vb_admm_everything_goes_to_zero) {
  const auto cpu = make_cpu_device();
  const QuadraticClients clients = four_clients();
  const auto algorithm = make_algorithm<double>("vb_admm", {{"rho", 0.1}, {"prior_precision", 2.0}});
  Diagnosed run(*cpu, *algorithm, clients);
  Diagnostics first = run.round(clients.solver()), last;
  BOOST_TEST(first.primal_residual > 0.1);
  BOOST_TEST(first.dual_residual > 0.1);
  BOOST_TEST(first.site_residual_precision > 0.1);
  BOOST_TEST(first.site_residual_mean > 0.1);
  BOOST_TEST(first.kl.values[0] > 0.01);
  for (int round = 0; round < 60; ++round) last = run.round(clients.solver());  // 0.4/1.4 per round
  // Roundings of 1e-16 of numbers of about 1.
  BOOST_TEST(last.primal_residual < 1e-13);
  BOOST_TEST(last.dual_residual < 1e-13);
  BOOST_TEST(last.site_residual_precision < 1e-13);
  BOOST_TEST(last.site_residual_mean < 1e-13);
  for (const double kl : last.kl.values) BOOST_TEST(std::abs(kl) < 1e-13);
}

BOOST_AUTO_TEST_CASE(methods_have_what_they_can_have) {
  const auto cpu = make_cpu_device();
  const QuadraticClients clients = four_clients();
  for (const std::string name : {"fedavg", "fedadmm", "feddyn", "scaffold", "fedlap"}) {
    const auto algorithm = make_algorithm<double>(name, {});
    Diagnosed run(*cpu, *algorithm, clients);
    for (std::uint64_t round = 1; round <= 3; ++round) {
      const Diagnostics got = run.round(anything(round), {true, false, true, true});
      check(run, got);
      BOOST_TEST(std::isnan(got.site_residual_precision));
      BOOST_TEST(std::isnan(got.site_residual_mean));
    }
  }
  const auto local = make_algorithm<double>("local", {});
  Diagnosed alone(*cpu, *local, clients);
  const Diagnostics nothing = alone.round(anything(1));
  BOOST_TEST(std::isnan(nothing.primal_residual));
  BOOST_TEST(std::isnan(nothing.dual_residual));
  // FedLap-Cov has sites, and clients without a precision.
  const auto cov = make_algorithm<double>("fedlap_cov", {{"prior_precision", 2.0}});
  Diagnosed sites(*cpu, *cov, clients);
  const Diagnostics got = sites.round([&](std::uint32_t k, const LocalTerms<double>&) {
    return Sent<double>{.mean = numbers(3, -2, 2, k), .curvature = clients.H[k]};
  });
  check(sites, got);
  BOOST_TEST(got.site_residual_precision < 1e-14);
  BOOST_TEST(got.site_residual_mean < 1e-14);
}

BOOST_AUTO_TEST_CASE(a_round_without_anybody_has_no_primal_residual) {
  const auto cpu = make_cpu_device();
  const auto algorithm = make_algorithm<double>("vb_admm", {{"rho", 0.3}});
  Diagnosed run(*cpu, *algorithm, four_clients(), false);
  run.round(anything(1));
  const Diagnostics got = run.round(anything(2), {false, false, false, false});
  BOOST_TEST(std::isnan(got.primal_residual));
  BOOST_TEST(std::isnan(got.kl.values[1]));
  BOOST_TEST(got.kl_parameters == 0.0);
  BOOST_TEST(got.dual_residual >= 0.0);
  // And before the first update of all: the server is the prior.
  Diagnosed fresh(*cpu, *algorithm, four_clients(), false);
  const Diagnostics prior = fresh.round(anything(1), {false, false, false, false});
  BOOST_TEST(prior.dual_residual == 0.0);
  BOOST_TEST(prior.site_residual_mean == 0.0);
}

BOOST_AUTO_TEST_CASE(sums_to_come_have_the_bits_of_sums_and_their_order) {
  struct Times {
    const double* values;
    double factor;
    double operator()(std::size_t i) const { return factor * values[i]; }
  };
  const auto accelerator = make_emulated_device(make_emulated_memory());
  const auto cpu = make_cpu_device();
  for (Device* const device : {accelerator.get(), cpu.get()}) {
    const Buffer<double> values(*device, normal_numbers(10000, 3));
    SumsToCome sums(*device, 3);
    Vector expected;
    for (int i = 0; i < 8; ++i) {
      const Times f{values.data(), 1.0 + i};
      const std::size_t count = 10000U >> static_cast<unsigned>(i);
      sums.add(count, f);
      expected.push_back(sum(*device, count, f));
    }
    BOOST_TEST(sums.take() == expected, boost::test_tools::per_element());
    BOOST_TEST(sums.take().empty());
    sums.add(1, Times{values.data(), 2.0});
    BOOST_TEST(sums.take().size() == 1U);
  }
}

BOOST_AUTO_TEST_CASE(a_run_has_the_same_bits_with_and_without_them_and_for_all_threads) {
  const auto run = [](const std::vector<std::string>& more, int threads) {
    std::vector<std::string> overrides = {"rounds=3", "clients.participation=0.7", "evaluation.every=3"};
    overrides.insert(overrides.end(), more.begin(), more.end());
    RunSettings settings;
    settings.threads = threads;
    return run_arm(std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml", "vb-admm", overrides, settings);
  };
  const auto one = run({}, 1), many = run({}, 3), without = run({"log.diagnostics=false"}, 2);
  BOOST_TEST(hashes(one) == hashes(without), boost::test_tools::per_element());
  for (std::size_t r = 0; r < 3; ++r) {
    const Diagnostics &a = one[r].diagnostics, &b = many[r].diagnostics, &c = without[r].diagnostics;
    BOOST_TEST(a.primal_residual == b.primal_residual);
    BOOST_TEST(a.dual_residual == b.dual_residual);
    BOOST_TEST(a.site_residual_precision == b.site_residual_precision);
    BOOST_TEST(a.site_residual_mean == b.site_residual_mean);
    BOOST_TEST(a.kl.values == b.kl.values, boost::test_tools::per_element());
    BOOST_TEST(a.optimizer.effective_step.values == b.optimizer.effective_step.values,
               boost::test_tools::per_element());
    BOOST_TEST(a.optimizer.hessian_at_start == b.optimizer.hessian_at_start);
    BOOST_TEST(a.optimizer.clip_rate == 0.0);
    BOOST_TEST((a.optimizer.hessian_at_start > 0 && a.optimizer.hessian_at_start < 1));
    for (const double value : {c.primal_residual, c.dual_residual, c.site_residual_mean, c.optimizer.clip_rate}) {
      BOOST_TEST(std::isnan(value));
    }
  }
}
