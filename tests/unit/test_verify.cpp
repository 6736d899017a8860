// The oracles of `ivory verify`: all of them pass, and a row that is off does not.
#define BOOST_TEST_MODULE verify
#include <limits>
#include <set>
#include "tests/support/boost_test.hpp"

#include "src/verify.hpp"

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
