// Leaving a client out by taking its site away: closed forms on quadratics, and what the score and the correlation are.
#define BOOST_TEST_MODULE influence
#include "tests/support/boost_test.hpp"

#include "src/influence.hpp"
#include "src/rank_correlation.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr double floor_of_tests = 1e-9;

LeaveOut without(const Federation<double>& federation, std::uint32_t client) {
  const std::vector<double> mean = federation.mean(), precision = federation.precision(),
                            v = federation.site_mean(client), V = federation.site_precision(client);
  return leave_out<double>(mean, precision, v, V, floor_of_tests);
}

Federation<double> trained(Device& device, const Algorithm<double>& algorithm, const QuadraticClients& clients,
                           int rounds) {
  Federation<double> federation(device, algorithm, std::vector<double>(clients.size(), 0.0), clients.examples);
  for (int round = 0; round < rounds; ++round) federation.round(clients.solver());
  return federation;
}

QuadraticClients less(QuadraticClients clients, std::size_t k) {
  const auto at = static_cast<std::ptrdiff_t>(k);
  clients.examples.erase(clients.examples.begin() + at);
  clients.H.erase(clients.H.begin() + at);
  clients.c.erase(clients.c.begin() + at);
  return clients;
}

/// Every client's removal against the same algorithm trained without it.
void check_against_retraining(const char* name, const OptionValues& settings, int rounds, double tolerance) {
  const auto device = make_cpu_device();
  const QuadraticClients all = four_clients(0.5, 2);
  const auto algorithm = make_algorithm<double>(name, settings);
  const Federation<double> federation = trained(*device, *algorithm, all, rounds);
  for (std::uint32_t k = 0; k < all.clients(); ++k) {
    const LeaveOut predicted = without(federation, k);
    const QuadraticClients rest = less(all, k);
    const Federation<double> retrained = trained(*device, *algorithm, rest, rounds);
    BOOST_TEST(predicted.clamped == 0.0);
    for (std::size_t i = 0; i < all.size(); ++i) {
      BOOST_TEST(predicted.precision[i] == retrained.precision()[i], boost::test_tools::tolerance(tolerance));
      BOOST_TEST(predicted.mean[i] == retrained.mean()[i], boost::test_tools::tolerance(tolerance));
      // and both are the exact posterior of what is left
      BOOST_TEST(predicted.precision[i] == rest.posterior_precision(i), boost::test_tools::tolerance(tolerance));
      BOOST_TEST(predicted.precision[i] * predicted.mean[i] == rest.posterior_natural_mean(i),
                 boost::test_tools::tolerance(tolerance));
    }
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(pvi_on_quadratics_is_exact_after_one_round) {
  check_against_retraining("pvi", {{"temperature", 0.5}, {"prior_precision", 2.0}}, 1, 1e-12);
}

BOOST_AUTO_TEST_CASE(vb_admm_on_quadratics_is_exact_at_the_fixed_point) {
  check_against_retraining("vb_admm", {{"temperature", 0.5}, {"prior_precision", 2.0}, {"rho", 0.7}, {"damping", 0.4}},
                           200, 1e-11);
}

BOOST_AUTO_TEST_CASE(before_the_fixed_point_vb_admm_s_prediction_is_off_by_what_the_server_lacks) {
  const auto device = make_cpu_device();
  const QuadraticClients all = four_clients(1, 2);
  const auto algorithm = make_algorithm<double>("vb_admm", {{"prior_precision", 2.0}, {"rho", 1.0}});
  const Federation<double> federation = trained(*device, *algorithm, all, 1);
  const LeaveOut predicted = without(federation, 3);
  for (std::size_t i = 0; i < all.size(); ++i) {
    // methods.md 2.1: with exact sites the server lacks (K rho - 1)/(K rho + 1) of their sum after round 1.
    const double lacking = 3.0 / 5.0 * (all.posterior_precision(i) - 2.0);
    BOOST_TEST(predicted.precision[i] == std::max(floor_of_tests, less(all, 3).posterior_precision(i) - lacking),
               boost::test_tools::tolerance(1e-12));
  }
}

BOOST_AUTO_TEST_CASE(removals_add_in_natural_parameters_and_all_of_them_give_the_prior) {
  const auto device = make_cpu_device();
  const QuadraticClients all = four_clients(0.5, 2);
  const auto algorithm = make_algorithm<double>("pvi", {{"temperature", 0.5}, {"prior_precision", 2.0}});
  const Federation<double> federation = trained(*device, *algorithm, all, 3);
  std::vector<double> mean = federation.mean(), precision = federation.precision();
  for (std::uint32_t k = 0; k < all.clients(); ++k) {
    const std::vector<double> v = federation.site_mean(k), V = federation.site_precision(k);
    const LeaveOut rest = leave_out<double>(mean, precision, v, V, floor_of_tests);
    mean = rest.mean, precision = rest.precision;
  }
  for (std::size_t i = 0; i < all.size(); ++i) {
    BOOST_TEST(precision[i] == 2.0, boost::test_tools::tolerance(1e-12));
    BOOST_TEST(std::abs(mean[i]) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(shift_and_score_by_hand) {
  const std::vector<double> mean = {1, -2}, precision = {4, 5}, v = {1, 2}, V = {2, 1};
  const LeaveOut rest = leave_out<double>(mean, precision, v, V, floor_of_tests);
  BOOST_TEST(rest.precision == (std::vector<double>{2, 4}), boost::test_tools::per_element());
  BOOST_TEST(rest.mean == (std::vector<double>{1.5, -3}), boost::test_tools::per_element());
  BOOST_TEST(rest.shift == std::sqrt(0.25 + 1.0));
  BOOST_TEST(rest.score == 0.5 * (4 * 0.25 + 5 * 1.0));
  BOOST_TEST(rest.score == shift_score<double>(precision, mean, rest.mean));
}

BOOST_AUTO_TEST_CASE(an_empty_site_moves_nothing_and_one_that_is_too_large_meets_the_floor) {
  const std::vector<double> mean = {1, -2}, precision = {4, 5};
  const LeaveOut nothing = leave_out<double>(mean, precision, {}, {}, floor_of_tests);
  BOOST_TEST(nothing.mean == mean, boost::test_tools::per_element());
  BOOST_TEST(nothing.score == 0.0);
  const std::vector<double> v = {0, 0}, V = {7, 1};
  const LeaveOut floored = leave_out<double>(mean, precision, v, V, 0.5);
  BOOST_TEST(floored.precision == (std::vector<double>{0.5, 4}), boost::test_tools::per_element());
  BOOST_TEST(floored.mean[0] == 4.0 / 0.5);
  BOOST_TEST(floored.clamped == 1.0);
}

BOOST_AUTO_TEST_CASE(rank_correlation_is_spearman_s) {
  const std::vector<double> rising = {1, 2, 3, 4}, squares = {1, 4, 9, 16}, falling = {8, 4, 2, 1};
  BOOST_TEST(spearman(rising, squares) == 1.0);
  BOOST_TEST(spearman(rising, falling) == -1.0);
  // Without ties 1 - 6 sum d^2 / (n (n^2 - 1)); here d = 1, 1, 0, 0.
  BOOST_TEST(spearman(rising, std::vector<double>{2, 1, 3, 4}) == 1 - 6 * 2 / 60.0);
  // Ties share their mean rank: 1.5, 1.5, 3, 4 against 1, 2, 3, 4.
  BOOST_TEST(spearman(std::vector<double>{5, 5, 6, 7}, rising) == 4.5 / std::sqrt(4.5 * 5.0));
  BOOST_TEST(std::isnan(spearman(rising, std::vector<double>{3, 3, 3, 3})));
  BOOST_TEST(std::isnan(spearman(std::vector<double>{1}, std::vector<double>{1})));
  BOOST_TEST(std::isnan(spearman(rising, std::vector<double>{1, no_value, 2, 3})));
}
