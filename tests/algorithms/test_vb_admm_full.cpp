// VB-ADMM with full covariances on quadratics: the identities T1 to T5 of methods.md 2.1 in matrix form, through VON's exact step.
#define BOOST_TEST_MODULE vb_admm_full
#include "tests/support/boost_test.hpp"

#include "ivory/full_gaussian.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/full_quadratic.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t n = 6;

struct Setting {
  double rho = 0.25, damping = 1, alpha = 0;
  std::string algorithm = "vb_admm";
  bool start_identity = false;
};

class Rounds {
 public:
  Rounds(const FullQuadraticClients& problem_, const Setting& setting)
      : problem(problem_), device(make_cpu_device()), von(make_optimizer<double>("von", {})),
        algorithm(make_algorithm<double>(setting.algorithm, options_of(problem_, setting))),
        federation(*device, *algorithm, numbers(n, -1.0, 1.0, 4), problem_.examples) {}

  AbsorbReport round() {
    return federation.round(
        [this](std::uint32_t k, const LocalTerms<double>& terms) { return problem.solve(*device, *von, k, terms); });
  }
  void set_server(double mean, double precision) {
    for (std::size_t i = 0; i < n; ++i) federation.state.mean.data()[i] = mean;
    const Dense s = Dense::diagonal(n, precision);
    std::copy(s.a.begin(), s.a.end(), federation.state.precision.data());
  }
  Dense precision() const {
    const double* const s = federation.state.precision.data();
    return {n, Vector(s, s + n * n)};
  }
  Vector natural_mean() const { return precision().times(federation.mean()); }
  Dense precision_error() const { return precision().add(problem.posterior_precision(), -1.0); }
  Vector mean_error() const {
    Vector error = natural_mean();
    const Vector exact = problem.posterior_natural_mean();
    for (std::size_t i = 0; i < n; ++i) error[i] -= exact[i];
    return error;
  }
  Dense site_precision(std::uint32_t k) const {
    const double* const V = algorithm->site_precision(federation.state, k);
    return {n, Vector(V, V + n * n)};
  }

  const FullQuadraticClients& problem;
  std::unique_ptr<Device> device;
  std::unique_ptr<Optimizer<double>> von;
  std::unique_ptr<Algorithm<double>> algorithm;
  Federation<double> federation;

 private:
  static OptionValues options_of(const FullQuadraticClients& problem, const Setting& setting) {
    OptionValues options{{"posterior", std::string("full")},
                         {"temperature", problem.temperature},
                         {"prior_precision", problem.prior_precision}};
    if (setting.algorithm == "vb_admm") {
      options["rho"] = setting.rho, options["damping"] = setting.damping, options["alpha"] = setting.alpha;
      options["ref_start_identity"] = setting.start_identity;
    } else if (setting.algorithm != "pvi") {
      options["damping"] = setting.damping;
    }
    return options;
  }
};

// Entries of some ten to hundred, a dozen operations on each, condition numbers below 1e3.
constexpr double rounding = 1e-9;

}  // namespace

BOOST_AUTO_TEST_CASE(what_it_sends_and_keeps) {
  const FullQuadraticClients problem = four_full_clients(n);
  const AlgorithmTraits traits = Rounds(problem, {}).algorithm->traits();
  BOOST_TEST(traits.full_covariance);
  BOOST_TEST(traits.needs_posterior);
  BOOST_TEST(traits.gives_posterior);
  // P + P (P + 1) / 2 both ways.
  BOOST_TEST(traits.values_up(100) == 100.0 + 5050.0);
  BOOST_TEST(traits.values_down(100) == 100.0 + 5050.0);
}

// T1: V_k := (1-d) V_k + d H_k / tau and v_k := (1-d) v_k + d H_k c_k / tau, whatever rho.
BOOST_AUTO_TEST_CASE(sites_go_to_the_curvature_at_the_rate_of_the_damping) {
  const FullQuadraticClients problem = four_full_clients(n, 0.5);
  for (const double rho : {0.1, 1.0, 4.0})
    for (const double d : {0.3, 1.0}) {
      Rounds run(problem, {.rho = rho, .damping = d});
      for (int r = 1; r <= 4; ++r) {
        run.round();
        for (std::uint32_t k = 0; k < 4; ++k) {
          Dense expected = Dense::diagonal(n, 0.0);
          expected.add(problem.H[k], (1.0 - std::pow(1.0 - d, r)) / problem.temperature);
          BOOST_TEST_CONTEXT("rho " << rho << " damping " << d << " round " << r) {
            BOOST_TEST(largest_difference(run.site_precision(k).a, expected.a) < rounding);
            BOOST_TEST(largest_difference(run.federation.site_mean(k), expected.times(problem.c[k])) < rounding);
          }
        }
      }
    }
}

// T2: d = 1, start at the prior, rho = 1/K: exact after one round.
BOOST_AUTO_TEST_CASE(one_round_is_exact_from_the_prior) {
  const FullQuadraticClients problem = four_full_clients(n);
  Rounds run(problem, {.rho = 0.25});
  run.round();
  BOOST_TEST(largest_magnitude(run.precision_error().a) < rounding);
  BOOST_TEST(largest_magnitude(run.mean_error()) < rounding);
}

// T3: the error shrinks by K rho / (1 + K rho) per round, from (1 - K rho)/(1 + K rho) sum_k site_k after the first.
BOOST_AUTO_TEST_CASE(errors_shrink_at_the_known_rate) {
  const FullQuadraticClients problem = four_full_clients(n);
  for (const double rho : {0.05, 1.0}) {
    const double pull = 4 * rho;
    Rounds run(problem, {.rho = rho});
    for (int r = 1; r <= 5; ++r) {
      run.round();
      const double left = (1 - pull) / (1 + pull) * std::pow(pull / (1 + pull), r - 1);
      Dense precision = Dense::diagonal(n, 0.0);
      for (const Dense& h : problem.H) precision.add(h, left);
      Vector mean = problem.posterior_natural_mean();
      for (double& e : mean) e *= left;
      BOOST_TEST(largest_difference(run.precision_error().a, precision.a) < rounding);
      BOOST_TEST(largest_difference(run.mean_error(), mean) < rounding);
    }
  }
}

// T4: from S = s_init I the first round ends at alpha (K rho s_init + s0 + 2 sum H / tau). The reference starts at 1 (D2).
BOOST_AUTO_TEST_CASE(another_start_delays_it) {
  const FullQuadraticClients problem = four_full_clients(n);
  for (const double rho : {0.25, 1.0}) {
    const double pull = 4 * rho, alpha = 1 / (1 + pull);
    Rounds run(problem, {.rho = rho, .start_identity = true});
    BOOST_TEST(run.precision().a == Dense::diagonal(n, 1.0).a, boost::test_tools::per_element());
    Dense expected = Dense::diagonal(n, alpha * (pull + problem.prior_precision));
    for (const Dense& h : problem.H) expected.add(h, 2 * alpha);
    Vector natural_mean = problem.posterior_natural_mean();  // the start's is 0
    for (double& e : natural_mean) e *= 2 * alpha;
    const Dense exact = problem.posterior_precision();
    const Vector exact_mean = problem.posterior_natural_mean();
    for (int r = 1; r <= 3; ++r) {
      run.round();
      BOOST_TEST(largest_difference(run.precision().a, expected.a) < rounding);
      BOOST_TEST(largest_difference(run.natural_mean(), natural_mean) < rounding);
      BOOST_TEST(largest_magnitude(run.precision_error().a) > 0.01);
      for (double& e : expected.a) e *= pull * alpha;
      expected.add(exact, 1 - pull * alpha);
      for (std::size_t i = 0; i < n; ++i)
        natural_mean[i] = pull * alpha * natural_mean[i] + (1 - pull * alpha) * exact_mean[i];
    }
  }
}

// T5 and PVI: one fixed point, prior times sites, for each of them.
BOOST_AUTO_TEST_CASE(fixed_points_are_the_posterior) {
  const FullQuadraticClients problem = four_full_clients(n, 0.7);
  const std::vector<std::pair<Setting, int>> runs = {{{.rho = 0.5, .damping = 0.6}, 150},
                                                     {{.algorithm = "pvi"}, 1},
                                                     {{.damping = 0.3, .algorithm = "damped_pvi"}, 120}};
  for (const auto& [setting, rounds] : runs) {
    Rounds run(problem, setting);
    for (int r = 0; r < rounds; ++r) run.round();
    BOOST_TEST(largest_magnitude(run.precision_error().a) < 1e-8, setting.algorithm);
    BOOST_TEST(largest_magnitude(run.mean_error()) < 1e-8, setting.algorithm);
    Dense product = Dense::diagonal(n, problem.prior_precision);
    for (std::uint32_t k = 0; k < 4; ++k) product.add(run.site_precision(k), 1.0);
    BOOST_TEST(largest_difference(run.precision().a, product.a) < 1e-8, setting.algorithm);
  }
}

// 3.2 with matrices: the dual step is taken in mu1 = m and mu2 = S^-1 + m m'.
BOOST_AUTO_TEST_CASE(bregman_dual_steps_are_taken_in_expectation_parameters) {
  const FullQuadraticClients problem = four_full_clients(n);
  const auto device = make_cpu_device();
  const double rho = 0.6, d = 0.3;
  const auto inverse = [](const Dense& s) {
    Dense inverted{n, Vector(n * n)};
    for (std::size_t j = 0; j < n; ++j) {
      Vector unit(n, 0.0);
      unit[j] = 1;
      const Vector column = s.solve(unit);
      for (std::size_t i = 0; i < n; ++i) inverted(i, j) = column[i];
    }
    return inverted;
  };
  for (const bool reference_sign : {false, true}) {
    const auto algorithm = make_algorithm<double>("vb_admm", {{"posterior", std::string("full")},
                                                              {"rho", rho},
                                                              {"damping", d},
                                                              {"prior_precision", 2.0},
                                                              {"bregman", true},
                                                              {"bregman_ref_sign", reference_sign}});
    Federation<double> federation(*device, *algorithm, Vector(n, 0.0), problem.examples);
    Dense start = problem.H[1];  // any server
    start.add(Dense::diagonal(n, 1.0), 1.0);
    const Vector m = numbers(n, -1.0, 1.0, 21);
    std::copy(m.begin(), m.end(), federation.state.mean.data());
    std::copy(start.a.begin(), start.a.end(), federation.state.precision.data());
    federation.round([&](std::uint32_t k, const LocalTerms<double>&) {
      Dense s = problem.H[k];
      s.add(Dense::diagonal(n, 1.0 + k), 1.0);
      return Sent<double>{numbers(n, -1.0, 1.0, 30 + k), s.a};
    });
    for (std::uint32_t k = 0; k < 4; ++k) {
      const Vector& m_k = federation.sent[k].mean;
      const Dense moment = inverse({n, federation.sent[k].precision}), before = inverse(start);
      const double* const V = algorithm->site_precision(federation.state, k);
      for (std::size_t i = 0; i < n; ++i) {
        BOOST_TEST(std::fabs(federation.site_mean(k)[i] - d * rho * (m_k[i] - m[i])) < 1e-13);
        for (std::size_t j = 0; j < n; ++j) {
          const double change = moment(i, j) + m_k[i] * m_k[j] - before(i, j) - m[i] * m[j];
          BOOST_TEST(std::fabs(V[i * n + j] - (reference_sign ? 1.0 : -2.0) * d * rho * change) < 1e-12);
        }
      }
    }
  }
}

// 3.2: with small curvatures Bregman ADMM comes to the same fixed point, in matrix form too.
BOOST_AUTO_TEST_CASE(bregman_reaches_the_posterior) {
  FullQuadraticClients problem = four_full_clients(n, 1.0, 0.5);
  double largest = 0;
  for (const Dense& h : problem.H) largest = std::max(largest, largest_magnitude(h.a));
  for (Dense& h : problem.H)
    for (double& x : h.a) x *= 0.5 / largest;
  Rounds run(problem, {.damping = 0.1, .algorithm = "bregman_admm"});
  for (int r = 0; r < 4000; ++r) run.round();
  BOOST_TEST(largest_magnitude(run.precision_error().a) < 1e-8);
  BOOST_TEST(largest_magnitude(run.mean_error()) < 1e-8);
  for (std::uint32_t k = 0; k < 4; ++k) {
    BOOST_TEST(largest_difference(run.site_precision(k).a, problem.H[k].a) < 1e-7);
    BOOST_TEST(largest_difference(run.federation.site_mean(k), problem.H[k].times(problem.c[k])) < 1e-7);
    BOOST_TEST(largest_difference(run.federation.sent[k].precision, run.precision().a) < 1e-7);
    BOOST_TEST(largest_difference(run.federation.head(run.federation.sent[k].mean.data()), run.federation.mean()) <
               1e-7);
  }
}

BOOST_AUTO_TEST_CASE(diagonal_curvatures_give_what_diagonal_covariances_give) {
  const FullQuadraticClients problem = four_full_clients(n, 0.5, 2.0, true);
  QuadraticClients same{problem.examples, {}, problem.c, 0.5, 2.0};
  for (const Dense& h : problem.H) {
    Vector diagonal(n);
    for (std::size_t i = 0; i < n; ++i) diagonal[i] = h(i, i);
    same.H.push_back(diagonal);
  }
  const Setting setting{.rho = 0.6, .damping = 0.8};
  Rounds full(problem, setting);
  const auto algorithm = make_algorithm<double>(
      "vb_admm", {{"rho", setting.rho}, {"damping", setting.damping}, {"temperature", 0.5}, {"prior_precision", 2.0}});
  Federation<double> diagonal(*full.device, *algorithm, numbers(n, -1.0, 1.0, 4), problem.examples);
  for (int r = 0; r < 5; ++r) {
    full.round();
    diagonal.round(same.solver());
    BOOST_TEST(largest_difference(full.federation.mean(), diagonal.mean()) < rounding);
    const auto matrix = [](const Vector& on_diagonal) {
      Dense d = Dense::diagonal(n, 0.0);
      for (std::size_t i = 0; i < n; ++i) d(i, i) = on_diagonal[i];
      return d.a;
    };
    BOOST_TEST(largest_difference(full.precision().a, matrix(diagonal.precision())) < rounding);
    for (std::uint32_t k = 0; k < 4; ++k) {
      BOOST_TEST(largest_difference(full.site_precision(k).a, matrix(diagonal.site_precision(k))) < rounding);
      BOOST_TEST(largest_difference(full.federation.site_mean(k), diagonal.site_mean(k)) < rounding);
    }
  }
}

BOOST_AUTO_TEST_CASE(absent_clients_count_with_what_they_sent_last) {
  const FullQuadraticClients problem = four_full_clients(n);
  const auto device = make_cpu_device();
  const auto von = make_optimizer<double>("von", {});
  const auto algorithm =
      make_algorithm<double>("vb_admm", {{"posterior", std::string("full")}, {"rho", 0.5}, {"prior_precision", 2.0}});
  Federation<double> federation(*device, *algorithm, Vector(n, 0.0), problem.examples, false);
  const auto train = [&](std::uint32_t k, const LocalTerms<double>& terms) {
    return problem.solve(*device, *von, k, terms);
  };
  const double alpha = 1.0 / (1.0 + 4 * 0.5);
  std::vector<Dense> last(4, Dense::diagonal(n, 2.0)), sites(4, Dense::diagonal(n, 0.0));
  std::vector<Vector> last_eta(4, Vector(n, 0.0)), site_means(4, Vector(n, 0.0));  // natural means
  std::vector<bool> seen(4, false);
  for (const std::vector<bool>& present : {std::vector<bool>{true, false, true, false}, {false, true, true, false}}) {
    const double* const before = federation.state.precision.data();
    const Dense server{n, Vector(before, before + n * n)};
    const Vector server_eta = server.times(federation.mean());
    federation.round(train, present);
    Dense expected = Dense::diagonal(n, alpha * 2.0);
    Vector eta(n, 0.0);
    for (std::uint32_t k = 0; k < 4; ++k) {
      if (present[k]) {
        last[k].a = federation.sent[k].precision;
        Dense step = last[k];
        sites[k].add(step.add(server, -1.0), 0.5);
        last_eta[k] = last[k].times(Vector(federation.sent[k].mean.begin(), federation.sent[k].mean.begin() + n));
        for (std::size_t i = 0; i < n; ++i) site_means[k][i] += 0.5 * (last_eta[k][i] - server_eta[i]);
        seen[k] = true;
      }
      for (std::size_t i = 0; i < n; ++i) {
        eta[i] += (1 - alpha) / 4 * (seen[k] ? last_eta[k] : server_eta)[i] + alpha * site_means[k][i];
      }
      expected.add(seen[k] ? last[k] : server, (1 - alpha) / 4).add(sites[k], alpha);
    }
    const double* const after = federation.state.precision.data();
    BOOST_TEST(largest_difference(Vector(after, after + n * n), expected.a) < rounding);
    BOOST_TEST(largest_difference(expected.times(federation.mean()), eta) < 1e-9);
  }
}

BOOST_AUTO_TEST_CASE(eigenvalues_below_the_floor_are_raised_though_the_matrix_is_positive) {
  const auto device = make_cpu_device();
  for (const double smallest : {1e-12, 5e-4, 2e-3}) {
    Dense precision = Dense::diagonal(2, 1.0);  // eigenvalues 2 - smallest and smallest, in a rotated basis
    precision(0, 1) = precision(1, 0) = 1.0 - smallest;
    Vector factor(4);
    const bool raised = raise_to_positive(*device, 2, precision.a.data(), factor.data(), 1e-3);
    BOOST_TEST(raised == (smallest < 1e-3));
    const double now = precision(0, 0) - std::fabs(precision(0, 1));
    BOOST_TEST(now >= 1e-3);
    if (!raised) BOOST_TEST(precision(0, 0) == 1.0);
    BOOST_TEST(factor[0] * factor[0] == precision(0, 0), boost::test_tools::tolerance(1e-14));
  }
}

BOOST_AUTO_TEST_CASE(a_sum_that_is_no_precision_is_raised_and_counted) {
  const FullQuadraticClients problem = four_full_clients(n);
  Rounds run(problem, {.rho = 0.25});
  const AbsorbReport report = run.federation.round([&](std::uint32_t, const LocalTerms<double>&) {
    return Sent<double>{Vector(n, 0.0), Dense::diagonal(n, -50.0).a};
  });
  BOOST_TEST(report.clamped == static_cast<double>(n));
  Vector factor(run.federation.state.precision.data(), run.federation.state.precision.data() + n * n);
  BOOST_TEST(run.device->cholesky(factor.data(), n));
  for (const double m : run.federation.mean()) BOOST_TEST(std::isfinite(m));
}
