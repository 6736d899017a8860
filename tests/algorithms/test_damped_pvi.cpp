// damped_pvi is a setting of vb_admm: the same rounds, bit for bit.
#define BOOST_TEST_MODULE damped_pvi
#include "tests/support/boost_test.hpp"

#include "tests/support/client_problem.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quadratic_clients.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(the_preset_is_the_setting) {
  const auto device = make_cpu_device();
  const QuadraticClients problem = four_clients(0.5, 2.0);
  const OptionValues common{{"temperature", 0.5}, {"prior_precision", 2.0}};
  OptionValues spelt = common;
  spelt["rho"] = 1.0, spelt["alpha"] = 1.0, spelt["damping"] = 0.2;
  const auto preset = make_algorithm<double>("damped_pvi", common), setting = make_algorithm<double>("vb_admm", spelt);
  const Vector start{0.5, -0.5, 0.1};
  Federation<double> a(*device, *preset, start, problem.examples), b(*device, *setting, start, problem.examples);
  for (int round = 0; round < 4; ++round) {
    a.round(problem.solver());
    b.round(problem.solver());
    BOOST_TEST(a.mean() == b.mean(), boost::test_tools::per_element());
    BOOST_TEST(a.precision() == b.precision(), boost::test_tools::per_element());
  }
}
