// Rank correlations against values by hand and the properties that define them, and the grid of preview weights.
#define BOOST_TEST_MODULE rank_correlation
#include <cmath>
#include <set>
#include <vector>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "src/preview_rules.hpp"
#include "src/rank_correlation.hpp"

using namespace ivory;
using Vector = std::vector<double>;

BOOST_AUTO_TEST_CASE(equal_and_opposite_orders) {
  const Vector x{0.1, 0.7, 0.3, 12.0}, up{1.0, 3.0, 2.0, 4.0}, down{-1.0, -3.0, -2.0, -40.0};
  BOOST_TEST(spearman(x, up) == 1.0);
  BOOST_TEST(kendall(x, up) == 1.0);
  BOOST_TEST(spearman(x, down) == -1.0);
  BOOST_TEST(kendall(x, down) == -1.0);
}

BOOST_AUTO_TEST_CASE(values_by_hand) {
  // Ranks 1 2 3 4 5 against 2 1 4 3 5: sum d^2 = 4, rho = 1 - 6*4/(5*24); two of ten pairs are discordant.
  const Vector x{1, 2, 3, 4, 5}, y{2, 1, 4, 3, 5};
  BOOST_TEST(std::fabs(spearman(x, y) - 0.8) < 1e-15);
  BOOST_TEST(std::fabs(kendall(x, y) - 0.6) < 1e-15);
  // Ties: ranks 1.5 1.5 3 against 1 2 3; of three pairs one is tied in x, the others are concordant.
  const Vector tied{7, 7, 9}, z{1, 2, 3};
  BOOST_TEST(std::fabs(spearman(tied, z) - std::sqrt(0.75)) < 1e-15);
  BOOST_TEST(std::fabs(kendall(tied, z) - 2.0 / std::sqrt(6.0)) < 1e-15);
  BOOST_TEST(spearman(tied, z) == spearman(z, tied));
}

BOOST_AUTO_TEST_CASE(where_there_is_no_order_there_is_no_correlation) {
  const Vector constant{2, 2, 2}, z{1, 2, 3}, nan{1, std::nan(""), 3}, one{1};
  for (const Vector& x : {constant, nan}) {
    BOOST_TEST(std::isnan(spearman(x, z)));
    BOOST_TEST(std::isnan(kendall(z, x)));
  }
  BOOST_TEST(std::isnan(spearman(one, one)));
  BOOST_TEST(std::isnan(kendall(one, one)));
}

BOOST_AUTO_TEST_CASE(the_grid_has_every_weight_once) {
  const auto grid = simplex_grid(3, 4, 3.0);
  BOOST_TEST(grid.size() == 15U);  // C(6, 2)
  BOOST_TEST((std::set<Vector>(grid.begin(), grid.end()).size()) == 15U);
  for (const Vector& weights : grid) {
    double sum = 0;
    for (const double weight : weights) {
      BOOST_TEST(weight >= 0.0);
      BOOST_TEST(std::fabs(std::round(weight / 0.75) - weight / 0.75) < 1e-14);
      sum += weight;
    }
    BOOST_TEST(std::fabs(sum - 3.0) < 1e-14);
  }
  BOOST_TEST(grid.front() == (Vector{3, 0, 0}), boost::test_tools::per_element());
  BOOST_TEST(simplex_grid(1, 7, 1.0).size() == 1U);
  BOOST_CHECK_THROW(simplex_grid(30, 10, 1.0), InputError);
}
