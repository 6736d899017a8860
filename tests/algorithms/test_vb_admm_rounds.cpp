// VB-ADMM against a second, plain model of the server (with the duals' opposite sign), with partial participation, refused
// updates and precision floors; and with IVON as its client.
#define BOOST_TEST_MODULE vb_admm_rounds
#include "tests/support/boost_test.hpp"

#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Section 2 in the deep-learning code's sign: dual = -site, update with (server - client), server with minus the sum.
struct PlainServer {
  double rho, damping, alpha, prior_precision;
  bool remembers;  // absent clients count with their last update; otherwise with the server's current q
  std::size_t clients, size;
  Vector m, s;
  std::vector<Vector> dual_mean, dual_precision, last_natural_mean, last_precision;

  PlainServer(double rho_, double damping_, double alpha_, double s0, bool remembers_, std::size_t clients_,
              std::size_t size_)
      : rho(rho_), damping(damping_), alpha(alpha_ > 0 ? alpha_ : 1.0 / (1.0 + static_cast<double>(clients_) * rho_)),
        prior_precision(s0), remembers(remembers_), clients(clients_), size(size_), m(size_, 0.0), s(size_, s0),
        dual_mean(clients_, Vector(size_, 0.0)), dual_precision(clients_, Vector(size_, 0.0)),
        last_natural_mean(clients_), last_precision(clients_) {}

  void round(const std::vector<Sent<double>>& sent) {
    Vector new_s(size), new_eta(size);
    for (std::size_t i = 0; i < size; ++i) {
      double mean_s = 0, mean_eta = 0, duals = 0, dual_precisions = 0;
      for (std::size_t k = 0; k < clients; ++k) {
        double s_k = s[i], eta_k = s[i] * m[i];
        if (!sent[k].mean.empty()) {
          s_k = sent[k].precision[i];
          eta_k = s_k * sent[k].mean[i];
          dual_mean[k][i] += damping * rho * (s[i] * m[i] - eta_k);
          dual_precision[k][i] += damping * rho * (s[i] - s_k);
        } else if (remembers && !last_precision[k].empty()) {
          s_k = last_precision[k][i];
          eta_k = last_natural_mean[k][i];
        }
        mean_s += s_k / static_cast<double>(clients);
        mean_eta += eta_k / static_cast<double>(clients);
        duals += dual_mean[k][i];
        dual_precisions += dual_precision[k][i];
      }
      new_s[i] = (1.0 - alpha) * mean_s + alpha * (prior_precision - dual_precisions);
      new_eta[i] = (1.0 - alpha) * mean_eta - alpha * duals;
    }
    for (std::size_t k = 0; k < clients; ++k) {
      if (sent[k].mean.empty()) continue;
      last_precision[k].assign(sent[k].precision.begin(),
                               sent[k].precision.begin() + static_cast<std::ptrdiff_t>(size));
      last_natural_mean[k].resize(size);
      for (std::size_t i = 0; i < size; ++i) last_natural_mean[k][i] = sent[k].precision[i] * sent[k].mean[i];
    }
    s = new_s;
    for (std::size_t i = 0; i < size; ++i) m[i] = new_eta[i] / new_s[i];
  }
};

// A client's posterior somewhere around the server's.
Sent<double> drift(StreamReader& random, const Vector& precision) {
  Sent<double> q{Vector(precision.size()), Vector(precision.size())};
  for (std::size_t i = 0; i < precision.size(); ++i) {
    q.mean[i] = 2.0 * random.normal();
    q.precision[i] = precision[i] * (0.8 + 0.6 * random.uniform());
  }
  return q;
}

constexpr std::size_t size = 70, clients = 5;
const Vector examples{10, 25, 40, 5, 17};

void compare_with_plain_server(double rho, double damping, double alpha, bool everyone, double presence) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>(
      "vb_admm", {{"rho", rho}, {"damping", damping}, {"alpha", alpha}, {"prior_precision", 3.0}});
  Federation<double> federation(*device, *algorithm, Vector(size, 0.1), examples, everyone);
  PlainServer plain(rho, damping, alpha, 3.0, !everyone, clients, size);
  StreamReader random(9, {Purpose::data, 1});
  for (int round = 0; round < 12; ++round) {
    std::vector<bool> present(clients);
    for (std::size_t k = 0; k < clients; ++k) present[k] = random.uniform() < presence;
    const Vector before = federation.precision();
    const AbsorbReport report =
        federation.round([&](std::uint32_t, const LocalTerms<double>&) { return drift(random, before); }, present);
    BOOST_TEST_REQUIRE(report.clamped == 0.0, "this comparison must stay clear of the floor");
    plain.round(federation.sent);
    // eta is a sum of 10 numbers that partly cancel: some hundred roundings of the largest.
    BOOST_TEST_CONTEXT("rho " << rho << " d " << damping << " alpha " << alpha << " round " << round) {
      BOOST_TEST(relative_difference(federation.precision(), plain.s) < 1e-12);
      BOOST_TEST(relative_difference(federation.mean(), plain.m) < 1e-12);
      for (std::uint32_t k = 0; k < clients; ++k) {
        Vector v = plain.dual_mean[k], V = plain.dual_precision[k];
        for (double& x : v) x = -x;
        for (double& x : V) x = -x;
        BOOST_TEST(relative_difference(federation.site_mean(k), v) < 1e-12);
        BOOST_TEST(relative_difference(federation.site_precision(k), V) < 1e-12);
      }
    }
  }
  // No client keeps more than the algorithm declares.
  const AlgorithmTraits traits = algorithm->traits();
  const int declared = everyone ? traits.vectors_per_client : traits.vectors_per_client_partial;
  for (const auto& site : federation.state.site)
    BOOST_TEST(site.size() <= static_cast<std::size_t>(declared) * federation.state.stride);
}

}  // namespace

BOOST_AUTO_TEST_CASE(full_participation_follows_the_equations_in_the_other_sign_convention) {
  compare_with_plain_server(0.2, 1.0, 0.0, true, 1.1);
  compare_with_plain_server(0.05, 0.3, 0.4, true, 1.1);
  compare_with_plain_server(0.1, 0.5, 1.0, true, 1.1);
}

BOOST_AUTO_TEST_CASE(absent_clients_count_with_their_last_update_and_new_ones_with_the_server) {
  compare_with_plain_server(0.2, 1.0, 0.0, false, 0.4);
  compare_with_plain_server(0.05, 0.3, 0.4, false, 0.4);
  compare_with_plain_server(0.1, 0.5, 1.0, false, 0.6);
}

BOOST_AUTO_TEST_CASE(a_refused_update_under_full_participation_leaves_site_and_counts_as_the_server) {
  // No last update is remembered there, so the refused client takes no side.
  compare_with_plain_server(0.2, 1.0, 0.0, true, 0.8);
}

BOOST_AUTO_TEST_CASE(the_fixed_point_of_partial_participation_is_the_exact_posterior) {
  // T5 with one or two of four clients in each round, all pairs in turn.
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5);
  for (const double damping : {1.0, 0.5}) {
    const auto algorithm = make_algorithm<double>(
        "vb_admm", {{"rho", 0.4}, {"temperature", 0.5}, {"prior_precision", 2.0}, {"damping", damping}});
    Federation<double> federation(*device, *algorithm, Vector(3, 0.5), problem.examples, false);
    for (int round = 0; round < 3000; ++round) {
      std::vector<bool> present(4, false);
      present[static_cast<std::size_t>(round) % 4] = true;
      present[static_cast<std::size_t>(round / 4 + round + 1) % 4] = true;
      federation.round(problem.solver(), present);
    }
    Vector s(3, 2.0), eta(3, 0.0);
    for (std::uint32_t k = 0; k < 4; ++k)
      for (std::size_t i = 0; i < 3; ++i) s[i] += federation.site_precision(k)[i], eta[i] += federation.site_mean(k)[i];
    for (std::size_t i = 0; i < 3; ++i) {
      BOOST_TEST(std::fabs(federation.precision()[i] - s[i]) < 1e-9);
      BOOST_TEST(std::fabs(federation.precision()[i] * federation.mean()[i] - eta[i]) < 1e-9);
      BOOST_TEST(std::fabs(s[i] - problem.posterior_precision(i)) < 1e-9);
      BOOST_TEST(std::fabs(eta[i] - problem.posterior_natural_mean(i)) < 1e-9);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_precision_below_its_floor_is_raised_and_counted) {
  // PVI: s' = s0 + sum V; the clients take so much away that coordinates 3 and 5 of 70 would be negative.
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("vb_admm", {{"rho", 1.0}, {"alpha", 1.0}, {"prior_precision", 4.0}});
  Federation<double> federation(*device, *algorithm, Vector(size, 0.0), examples);
  const auto send = [](std::uint32_t, const LocalTerms<double>&) {
    Sent<double> q{Vector(size, 0.5), Vector(size, 4.5)};
    q.precision[3] = q.precision[5] = 0.01;
    return q;
  };
  const AbsorbReport report = federation.round(send);
  BOOST_TEST(report.clamped == 2.0);
  const Vector s = federation.precision(), m = federation.mean();
  BOOST_TEST(s[3] == 4e-3);  // 1e-3 s0
  BOOST_TEST(s[5] == 4e-3);
  BOOST_TEST(std::fabs(s[0] - (4.0 + 5 * 0.5)) < 1e-12);
  for (const double x : m) BOOST_TEST(std::isfinite(x));
}

BOOST_AUTO_TEST_CASE(float_follows_double) {
  const auto run = [](auto zero) {
    using Real = decltype(zero);
    const auto device = make_cpu_device();
    const auto algorithm = make_algorithm<Real>("vb_admm", {{"rho", 0.2}, {"damping", 0.7}, {"prior_precision", 3.0}});
    Federation<Real> federation(*device, *algorithm, std::vector<Real>(size, Real(0.1)), examples, false);
    StreamReader random(9, {Purpose::data, 1});
    for (int round = 0; round < 8; ++round)
      federation.round(
          [&](std::uint32_t k, const LocalTerms<Real>&) {
            Sent<Real> q{std::vector<Real>(size), std::vector<Real>(size)};
            for (std::size_t i = 0; i < size; ++i) {
              q.mean[i] = static_cast<Real>(static_cast<float>(random.normal()));
              q.precision[i] = static_cast<Real>(static_cast<float>(3.0 + 0.2 * k + random.uniform()));
            }
            return q;
          },
          {true, round % 2 == 0, true, round % 3 == 0, true});
    const auto m = federation.mean(), s = federation.precision();
    Vector both(m.begin(), m.end());
    both.insert(both.end(), s.begin(), s.end());
    return both;
  };
  // Server sums are double: what remains is the rounding of stored sites and means, 6e-8 of the largest each.
  BOOST_TEST(relative_difference(run(0.0F), run(0.0)) < 2e-6);
}

namespace {

// Trains with IVON until converged.
Federation<double>::Train ivon_clients(Device& device, const Optimizer<double>& optimizer,
                                       const QuadraticClients& problem, std::size_t steps, double rate,
                                       bool antithetic_noise) {
  return
      [&device, &optimizer, &problem, steps, rate, antithetic_noise](std::uint32_t k, const LocalTerms<double>& terms) {
        DrivenVisit<double> visit(device, optimizer, problem.size());
        visit.block.clients[0].terms = terms;
        visit.block.clients[0].examples = problem.examples[k];
        visit.seed = 40 + k;
        visit.rate = [rate, steps](std::size_t step) {  // the last third averages the mean's noise away
          return 3 * step < 2 * steps ? rate : 0.1 * rate;
        };
        visit.gradient = [&problem, k](std::size_t, const double* theta, double* g) {
          for (std::size_t i = 0; i < problem.size(); ++i)
            g[i] = problem.H[k][i] / problem.examples[k] * (theta[i] - problem.c[k][i]);
        };
        if (antithetic_noise)
          visit.noise = [&problem](std::size_t b, std::size_t step, int sample, double* z) {
            antithetic(b, step, sample, z, problem.size());
          };
        visit.run(steps);
        return Sent<double>{visit.mean(), visit.precision()};
      };
}

}  // namespace

BOOST_AUTO_TEST_CASE(with_ivon_clients_run_to_convergence_the_server_is_exact_after_one_round) {
  // T2. Noise z = +-1 leaves IVON no randomness on quadratics, so the limit is exact up to 0.99^4000.
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5);
  const auto algorithm =
      make_algorithm<double>("vb_admm", {{"rho", 0.25}, {"temperature", 0.5}, {"prior_precision", 2.0}});
  const auto optimizer = make_optimizer<double>(
      "ivon", {{"lr", 0.05}, {"beta2", 0.99}, {"hess_init", 0.1}, {"samples", 2}, {"rescale_lr", false}});
  Federation<double> federation(*device, *algorithm, Vector{0.3, 0.0, -0.2}, problem.examples);
  for (int round = 0; round < 3; ++round) {
    federation.round(ivon_clients(*device, *optimizer, problem, 4000, 0.05, true));
    for (std::size_t i = 0; i < 3; ++i) {
      const double s = problem.posterior_precision(i), eta = problem.posterior_natural_mean(i);
      BOOST_TEST(std::fabs(federation.precision()[i] - s) < 1e-9 * s);
      BOOST_TEST(std::fabs(federation.precision()[i] * federation.mean()[i] - eta) < 1e-9 * s);
    }
  }
}

namespace {

// IVON without randomness, as above; what is left is 0.99^4000 and rounding.
struct ConvergedIvon {
  ConvergedIvon(const QuadraticClients& problem_, const OptionValues& settings)
      : problem(problem_), device(make_cpu_device()), algorithm(make_algorithm<double>("vb_admm", settings)),
        optimizer(make_optimizer<double>(
            "ivon", {{"lr", 0.05}, {"beta2", 0.99}, {"hess_init", 0.1}, {"samples", 2}, {"rescale_lr", false}})),
        federation(*device, *algorithm, Vector{0.3, 0.0, -0.2}, problem_.examples) {}
  void round() { federation.round(ivon_clients(*device, *optimizer, problem, 4000, 0.05, true)); }
  /// s_g and eta_g less the exact posterior's, in coordinate i.
  std::pair<double, double> error(std::size_t i) const {
    const double s = federation.precision()[i];
    return {s - problem.posterior_precision(i), s * federation.mean()[i] - problem.posterior_natural_mean(i)};
  }

  const QuadraticClients& problem;
  std::unique_ptr<Device> device;
  std::unique_ptr<Algorithm<double>> algorithm;
  std::unique_ptr<Optimizer<double>> optimizer;
  Federation<double> federation;
};

constexpr double converged = 1e-8;  // of numbers up to some fifty

}  // namespace

BOOST_AUTO_TEST_CASE(with_ivon_clients_sites_go_to_the_curvature_whatever_rho) {
  // T1.
  const double d = 0.3;
  const QuadraticClients problem = four_clients(0.5);
  for (const double rho : {0.25, 1.0}) {
    ConvergedIvon run(problem, {{"rho", rho}, {"damping", d}, {"temperature", 0.5}, {"prior_precision", 2.0}});
    for (int round = 1; round <= 3; ++round) {
      run.round();
      const double share = 1.0 - std::pow(1.0 - d, round);
      for (std::uint32_t k = 0; k < 4; ++k)
        for (std::size_t i = 0; i < 3; ++i) {
          const double V = share * problem.H[k][i] / 0.5;
          BOOST_TEST(std::fabs(run.federation.site_precision(k)[i] - V) < converged, "rho " << rho);
          BOOST_TEST(std::fabs(run.federation.site_mean(k)[i] - V * problem.c[k][i]) < converged, "rho " << rho);
        }
    }
  }
}

BOOST_AUTO_TEST_CASE(with_ivon_clients_errors_shrink_at_the_known_rate) {
  // T3, rho = 1 and K = 4: from -3/5 of the sites by 4/5 per round.
  const QuadraticClients problem = four_clients();
  ConvergedIvon run(problem, {{"rho", 1.0}, {"prior_precision", 2.0}});
  for (int round = 0; round < 4; ++round) {
    run.round();
    const double left = -0.6 * std::pow(0.8, round);
    for (std::size_t i = 0; i < 3; ++i) {
      const auto [s, eta] = run.error(i);
      BOOST_TEST(std::fabs(s - left * (problem.posterior_precision(i) - 2.0)) < converged);
      BOOST_TEST(std::fabs(eta - left * problem.posterior_natural_mean(i)) < converged);
    }
  }
}

BOOST_AUTO_TEST_CASE(with_ivon_clients_another_start_than_the_prior_delays_the_server) {
  // T4, s_init = 1 under a prior of 2, worked by hand: on the way to 13.5.
  const QuadraticClients problem = four_clients();
  for (const auto& [rho, course] : {std::pair{0.25, Vector{13.0, 13.25, 13.375}}, {1.0, Vector{5.8, 7.34, 8.572}}}) {
    ConvergedIvon run(problem, {{"rho", rho}, {"prior_precision", 2.0}, {"ref_start_identity", true}});
    BOOST_TEST(run.federation.precision()[0] == 1.0);
    for (const double expected : course) {
      run.round();
      BOOST_TEST(std::fabs(run.federation.precision()[0] - expected) < converged);
    }
  }
}

BOOST_AUTO_TEST_CASE(with_ivon_clients_all_agree_at_the_fixed_point) {
  // T5: sites close in by 0.4 per round, the server by K rho / (1 + K rho) = 1/2.
  const QuadraticClients problem = four_clients(0.5);
  ConvergedIvon run(problem, {{"rho", 0.25}, {"damping", 0.6}, {"temperature", 0.5}, {"prior_precision", 2.0}});
  for (int round = 0; round < 45; ++round) run.round();
  for (std::size_t i = 0; i < 3; ++i) {
    double s = 2.0, eta = 0.0;
    for (std::uint32_t k = 0; k < 4; ++k) {
      s += run.federation.site_precision(k)[i], eta += run.federation.site_mean(k)[i];
      BOOST_TEST(std::fabs(run.federation.sent[k].precision[i] - run.federation.precision()[i]) < converged);
      BOOST_TEST(std::fabs(run.federation.sent[k].mean[i] - run.federation.mean()[i]) < converged);
    }
    BOOST_TEST(std::fabs(run.federation.precision()[i] - s) < converged);
    BOOST_TEST(std::fabs(run.federation.precision()[i] * run.federation.mean()[i] - eta) < converged);
    const auto [error_s, error_eta] = run.error(i);
    BOOST_TEST(std::fabs(error_s) < converged);
    BOOST_TEST(std::fabs(error_eta) < converged);
  }
}

BOOST_AUTO_TEST_CASE(with_one_ivon_client_it_is_ivon_from_the_prior) {
  // T6: K = rho = alpha = d = 1 is plain IVON with lambda = N / tau and lambda delta = s0.
  QuadraticClients problem = four_clients(0.5);
  problem.examples.resize(1), problem.H.resize(1), problem.c.resize(1);
  ConvergedIvon run(problem, {{"rho", 1.0}, {"alpha", 1.0}, {"temperature", 0.5}, {"prior_precision", 2.0}});
  run.round();
  const double lambda = problem.examples[0] / 0.5;
  const auto plain = make_optimizer<double>("ivon", {{"lr", 0.05},
                                                     {"beta2", 0.99},
                                                     {"hess_init", 0.1},
                                                     {"samples", 2},
                                                     {"rescale_lr", false},
                                                     {"ess", lambda},
                                                     {"weight_decay", 2.0 / lambda}});
  const Vector start = padded<double>(Vector{0.3, 0.0, -0.2});
  LocalTerms<double> terms;
  terms.start = start.data();
  const Sent<double> fit = ivon_clients(*run.device, *plain, problem, 4000, 0.05, true)(0, terms);
  BOOST_TEST(relative_difference(run.federation.mean(), fit.mean) < 1e-12);
  BOOST_TEST(relative_difference(run.federation.precision(), fit.precision) < 1e-12);
}

BOOST_AUTO_TEST_CASE(with_random_noise_the_server_is_exact_on_average) {
  // T2 with one Philox sample per step, averaged over 1024 equal coordinates. Tolerance 1e-3 of the precision, beside four
  // standard errors: 0.5 (1 - beta2) Var(hhat)/(h + delta) biases h upwards by some 4e-4 of it.
  const auto device = make_cpu_device();
  constexpr std::size_t copies = 1024;
  QuadraticClients problem{{10, 25, 40, 5}, {}, {}, 1.0, 2.0};
  for (const auto& [h, c] : {std::pair{1.0, 1.0}, {3.0, -2.0}, {0.5, 0.5}, {7.0, 3.0}}) {
    problem.H.emplace_back(copies, h);
    problem.c.emplace_back(copies, c);
  }
  const auto algorithm = make_algorithm<double>("vb_admm", {{"rho", 0.25}, {"prior_precision", 2.0}});
  const auto optimizer =
      make_optimizer<double>("ivon", {{"lr", 0.05}, {"beta2", 0.9998}, {"hess_init", 0.1}, {"rescale_lr", false}});
  Federation<double> federation(*device, *algorithm, Vector(copies, 0.0), problem.examples);
  federation.round(ivon_clients(*device, *optimizer, problem, 50000, 0.02, false));
  const double s = problem.posterior_precision(0), eta = problem.posterior_natural_mean(0);
  const Vector precision = federation.precision(), mean = federation.mean();
  BOOST_TEST_MESSAGE("relative errors " << mean_of(precision) / s - 1.0 << " and " << mean_of(mean) - eta / s);
  BOOST_TEST(std::fabs(mean_of(precision) - s) < 1e-3 * s + 4.0 * error_of_mean(precision));
  BOOST_TEST(std::fabs(mean_of(mean) - eta / s) < 1e-3 + 4.0 * error_of_mean(mean));
  BOOST_TEST(error_of_mean(precision) < 1e-3 * s);
  BOOST_TEST(error_of_mean(mean) < 1e-3);
}

BOOST_AUTO_TEST_CASE(after_the_broadcast_a_client_samples_from_the_server) {
  // Section 2.3: h = 0, and the first noise has precision s_g.
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5);
  const auto algorithm =
      make_algorithm<double>("vb_admm", {{"rho", 0.4}, {"temperature", 0.5}, {"prior_precision", 2.0}});
  const auto optimizer = make_optimizer<double>("ivon", {{"lr", 0.05}, {"hess_init", 0.1}});
  Federation<double> federation(*device, *algorithm, Vector(3, 0.5), problem.examples);
  federation.round(problem.solver());
  federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
    DrivenVisit<double> visit(*device, *optimizer, 3);
    visit.block.clients[0].terms = terms;
    visit.block.clients[0].examples = problem.examples[k];
    visit.noise = [](std::size_t, std::size_t, int, double* z) { std::fill(z, z + 3, 1.0); };
    visit.gradient = [](std::size_t, const double*, double*) {};
    visit.run(0);
    const Vector m = federation.mean(), s = federation.precision(), q = visit.precision();
    for (std::size_t i = 0; i < 3; ++i) {
      BOOST_TEST(visit.slot(hessian_slot)[i] == 0.0);
      BOOST_TEST(std::fabs(q[i] - s[i]) <= 4e-16 * s[i]);  // lambda * (s / lambda)
      BOOST_TEST(std::fabs(visit.block.row(visit.block.point, 0)[i] - m[i] - 1.0 / std::sqrt(s[i])) < 1e-15);
    }
    return problem.solve(k, terms);
  });
}
