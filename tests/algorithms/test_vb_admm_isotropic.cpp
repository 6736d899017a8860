// VB-ADMM with isotropic covariances is federated ADMM (methods.md 2.4): against the ADMM recursion written out, and its fixed point.
#define BOOST_TEST_MODULE vb_admm_isotropic
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

std::unique_ptr<Algorithm<double>> make(const QuadraticClients& problem, double rho, double damping, double alpha = 0) {
  return make_algorithm<double>("vb_admm", {{"posterior", std::string("isotropic")},
                                            {"rho", rho},
                                            {"temperature", problem.temperature},
                                            {"prior_precision", problem.prior_precision},
                                            {"damping", damping},
                                            {"alpha", alpha}});
}

// argmin lbar_k + site_weight <v, theta> + anchor_weight/2 |theta - m|^2, read off the terms alone.
Sent<double> solve(const QuadraticClients& problem, std::uint32_t k, const LocalTerms<double>& terms) {
  BOOST_TEST(terms.anchor_precision == nullptr);
  BOOST_TEST(terms.site_precision == nullptr);
  Vector theta(problem.size());
  for (std::size_t i = 0; i < theta.size(); ++i) {
    const double h = problem.H[k][i] / problem.examples[k];
    const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
    theta[i] = (h * problem.c[k][i] - terms.site_weight * v + terms.anchor_weight * terms.anchor_mean[i]) /
               (h + terms.anchor_weight);
  }
  return {theta, {}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(rounds_are_those_of_federated_admm) {
  const auto device = make_cpu_device();
  for (const double alpha_given : {0.0, 1.0}) {
    const QuadraticClients problem = four_clients(0.5, 2.0);
    const double rho = 0.7, damping = 0.6, s0 = problem.prior_precision, tau = problem.temperature;
    const auto algorithm = make(problem, rho, damping, alpha_given);
    BOOST_TEST(!algorithm->traits().needs_posterior);
    BOOST_TEST(algorithm->traits().vectors_up == 1);
    Federation<double> federation(*device, *algorithm, {0.5, -0.5, 0.1}, problem.examples);
    // ADMM itself: penalty rho s0, server step a = 1/(s0 + K penalty).
    const double penalty = rho * s0, K = 4, a = alpha_given > 0 ? alpha_given / s0 : 1.0 / (s0 + K * penalty);
    Vector m(3, 0.0);
    std::vector<Vector> v(4, Vector(3, 0.0));
    for (int round = 0; round < 6; ++round) {
      federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); });
      Vector mean(3, 0.0), duals(3, 0.0);
      for (std::size_t k = 0; k < 4; ++k)
        for (std::size_t i = 0; i < 3; ++i) {
          const double h = problem.H[k][i] / tau;
          const double theta = (h * problem.c[k][i] - v[k][i] + penalty * m[i]) / (h + penalty);
          v[k][i] += damping * penalty * (theta - m[i]);
          mean[i] += theta / K;
          duals[i] += v[k][i];
        }
      for (std::size_t i = 0; i < 3; ++i) m[i] = (1 - s0 * a) * mean[i] + a * duals[i];
      BOOST_TEST(largest_difference(federation.mean(), m) < 1e-12);
      for (std::uint32_t k = 0; k < 4; ++k) BOOST_TEST(largest_difference(federation.site_mean(k), v[k]) < 1e-12);
    }
  }
}

// Fixed point: s0 m + (1/tau) sum_k grad L_k(m) = 0, and after an exact solve with d = 1 v_k = -grad L_k(m_k) / tau.
BOOST_AUTO_TEST_CASE(the_fixed_point_is_the_regularised_minimum) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5, 2.0);
  const auto algorithm = make(problem, 0.5, 1.0);
  Federation<double> federation(*device, *algorithm, {0.5, -0.5, 0.1}, problem.examples);
  for (int round = 0; round < 300; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); });
    for (std::uint32_t k = 0; k < 4; ++k)
      for (std::size_t i = 0; i < 3; ++i) {
        const double gradient = problem.H[k][i] * (federation.sent[k].mean[i] - problem.c[k][i]) / problem.temperature;
        BOOST_TEST(std::fabs(federation.site_mean(k)[i] + gradient) < 1e-10);
      }
  }
  for (std::size_t i = 0; i < 3; ++i) {
    double gradient = problem.prior_precision * federation.mean()[i];
    for (std::size_t k = 0; k < 4; ++k)
      gradient += problem.H[k][i] * (federation.mean()[i] - problem.c[k][i]) / problem.temperature;
    BOOST_TEST(std::fabs(gradient) < 1e-10);
  }
}

// One client with everything and alpha = 1: the server is prior times site after every round, and rounds end in the minimum of
// prior and loss.
BOOST_AUTO_TEST_CASE(one_client_ends_in_the_minimum_of_its_loss_and_the_prior) {
  const auto device = make_cpu_device();
  QuadraticClients problem = four_clients(1.0, 2.0);
  problem.examples.resize(1), problem.H.resize(1), problem.c.resize(1);
  const auto algorithm = make(problem, 0.5, 1.0, 1.0);
  Federation<double> federation(*device, *algorithm, {0.5, -0.5, 0.1}, problem.examples);
  for (int round = 0; round < 200; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); });
    // alpha = 1: the server is prior times site, m = v / s0.
    for (std::size_t i = 0; i < 3; ++i)
      BOOST_TEST(std::fabs(federation.mean()[i] - federation.site_mean(0)[i] / problem.prior_precision) < 1e-12);
  }
  for (std::size_t i = 0; i < 3; ++i) {
    const double gradient = problem.prior_precision * federation.mean()[i] +
                            problem.H[0][i] * (federation.mean()[i] - problem.c[0][i]) / problem.temperature;
    BOOST_TEST(std::fabs(gradient) < 1e-9);
  }
}

// 2.4: diagonal VB-ADMM whose covariances are frozen, s_k = s_g = s0, is this ADMM; V stays 0.
BOOST_AUTO_TEST_CASE(with_frozen_covariances_diagonal_vb_admm_takes_the_same_rounds) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5, 2.0);
  for (const double alpha : {0.0, 0.4, 1.0}) {
    const double rho = 0.7, damping = 0.6;
    const auto isotropic = make(problem, rho, damping, alpha);
    const auto diagonal = make_algorithm<double>(
        "vb_admm",
        {{"rho", rho}, {"temperature", 0.5}, {"prior_precision", 2.0}, {"damping", damping}, {"alpha", alpha}});
    const Vector start{0.5, -0.5, 0.1};
    Federation<double> a(*device, *isotropic, start, problem.examples), b(*device, *diagonal, start, problem.examples);
    for (int round = 0; round < 8; ++round) {
      a.round([&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); });
      b.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
        Sent<double> sent{Vector(3), b.precision()};  // the delta method at the server's precision
        for (std::size_t i = 0; i < 3; ++i) {
          const double h = problem.H[k][i] / problem.examples[k],
                       pull = terms.anchor_weight * terms.anchor_precision[i];
          const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
          const double m = terms.anchor_mean != nullptr ? terms.anchor_mean[i] : 0.0;
          sent.mean[i] = (h * problem.c[k][i] - terms.site_weight * v + pull * m) / (h + pull);
        }
        return sent;
      });
      BOOST_TEST(largest_difference(a.mean(), b.mean()) < 1e-12);
      for (std::uint32_t k = 0; k < 4; ++k) {
        BOOST_TEST(largest_difference(a.site_mean(k), b.site_mean(k)) < 1e-12);
        BOOST_TEST(b.site_precision(k) == Vector(3, 0.0), boost::test_tools::per_element());
      }
      for (const double s : b.precision()) BOOST_TEST(std::fabs(s - 2.0) < 1e-15 * 8);
    }
  }
}

// 2.4: one client with all data and a prior too wide to matter: m_k' = argmin L / tau + r/2 |theta - m_k|^2, r = rho s0.
BOOST_AUTO_TEST_CASE(one_client_without_a_prior_is_the_proximal_point_method) {
  const auto device = make_cpu_device();
  QuadraticClients problem = four_clients(0.5, 1e-12);
  problem.examples.resize(1), problem.H.resize(1), problem.c.resize(1);
  const double r = 0.8;
  const auto algorithm = make(problem, r / problem.prior_precision, 1.0);
  Federation<double> federation(*device, *algorithm, {0.5, -0.5, 0.1}, problem.examples);
  Vector theta(3, 0.0);  // the first anchor is the prior's mean
  for (int round = 0; round < 12; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); });
    for (std::size_t i = 0; i < 3; ++i) {
      const double h = problem.H[0][i] / problem.temperature;
      theta[i] = (h * problem.c[0][i] + r * theta[i]) / (h + r);
      // What the prior adds is of the order 1e-12.
      BOOST_TEST(std::fabs(federation.sent[0].mean[i] - theta[i]) < 1e-10, "round " << round);
    }
  }
}

BOOST_AUTO_TEST_CASE(absent_clients_count_with_their_last_weights) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(1.0, 2.0);
  const double rho = 0.5, alpha = 1.0 / (1.0 + 4 * rho);
  const auto algorithm = make(problem, rho, 1.0);
  Federation<double> federation(*device, *algorithm, {0.0, 0.0, 0.0}, problem.examples, false);
  const auto train = [&](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); };
  federation.round(train, {true, true, false, false});
  const Vector first = federation.sent[1].mean, server = federation.mean();
  federation.round(train, {true, false, false, false});
  for (std::size_t i = 0; i < 3; ++i) {
    const double mean = (federation.sent[0].mean[i] + first[i] + 2 * server[i]) / 4;
    const double duals = federation.site_mean(0)[i] + federation.site_mean(1)[i];
    BOOST_TEST(std::fabs(federation.mean()[i] - ((1 - alpha) * mean + alpha / 2.0 * duals)) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(bregman_steps_need_precisions) {
  BOOST_CHECK_THROW(make_algorithm<double>("vb_admm", {{"posterior", std::string("isotropic")}, {"bregman", true}}),
                    InputError);
}
