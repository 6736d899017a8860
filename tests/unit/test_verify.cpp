// The oracles of `ivory verify`: all of them pass, and a row that is off does not.
#define BOOST_TEST_MODULE verify
#include <limits>
#include <set>
#include "tests/support/boost_test.hpp"

#include "src/verify.hpp"
#include "src/verify_problems.hpp"

using namespace ivory;

BOOST_AUTO_TEST_CASE(every_oracle_passes) {
  std::vector<Oracle> oracles;
  add_server_oracles(oracles);
  add_client_oracles(oracles);
  std::set<std::string> said;
  for (const Oracle& oracle : oracles) {
    BOOST_TEST(oracle.passes(), oracle.what << ": expected " << oracle.expected << ", got " << oracle.got
                                            << ", tolerance " << oracle.tolerance);
    BOOST_TEST(said.insert(oracle.what).second, oracle.what << " stands there twice");
    BOOST_TEST(oracle.tolerance <= std::max(1e-8, 0.12 * std::abs(oracle.expected)), oracle.what << " may be anything");
  }
  BOOST_TEST(oracles.size() >= 20U);
}

BOOST_AUTO_TEST_CASE(what_is_not_a_number_is_no_small_error) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(std::isnan(verify::worse(nan, 0.0)));
  BOOST_TEST(std::isnan(verify::worse(0.0, nan)));
  BOOST_TEST(verify::worse(2.0, 1.0) == 2.0);
  BOOST_TEST(verify::worse(1.0, 2.0) == 2.0);
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<double> damaged(3, 0.0);
    damaged[i] = nan;
    BOOST_TEST(!(verify::largest_difference(damaged, {0.0, 0.0, 0.0}) <= std::numeric_limits<double>::max()));
    BOOST_TEST(!(verify::Quadratics().largest_gradient(damaged) <= std::numeric_limits<double>::max()));
  }
}

BOOST_AUTO_TEST_CASE(rows_that_are_off_fail) {
  Oracle oracle{.what = "", .source = "", .expected = 1, .got = 1.1, .tolerance = 0.05};
  BOOST_TEST(!oracle.passes());
  oracle.got = 1.04;
  BOOST_TEST(oracle.passes());
  oracle.got = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(!oracle.passes());
  BOOST_TEST(oracle_table({oracle}).find("NO") != std::string::npos);
  BOOST_TEST(oracle_table({oracle}).find("0 of 1 pass") != std::string::npos);
}
