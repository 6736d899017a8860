// Clients that never talk: each goes on from its own weights.
#define BOOST_TEST_MODULE local
#include "tests/support/boost_test.hpp"

#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t size = 70, clients = 3;

}  // namespace

BOOST_AUTO_TEST_CASE(every_client_goes_on_from_its_own_weights) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("local", {});
  for (const bool everyone : {true, false}) {
    const Vector start = numbers(size, -1, 1, 4);
    Federation<double> federation(*device, *algorithm, start, {10, 25, 40}, everyone);
    BOOST_TEST(federation.mean() == start, boost::test_tools::per_element());
    std::vector<Vector> own(clients, start);
    for (unsigned round = 0; round < 7; ++round) {
      std::vector<bool> present(clients, true);
      if (!everyone) present = {round % 2 == 0, round % 3 == 1, round == 5};
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            BOOST_TEST(federation.head(terms.start) == own[k], boost::test_tools::per_element());
            BOOST_TEST(terms.anchor_weight == 0.0);
            BOOST_TEST((terms.site_mean == nullptr && terms.site_precision == nullptr && terms.common_mean == nullptr));
            BOOST_TEST(!terms.posterior_is_anchor);
            own[k] = numbers(size, -3, 2, 100 + 10 * round + k);
            return Sent<double>{own[k], {}};
          },
          present);
      for (std::uint32_t k = 0; k < clients; ++k) {
        const double* const mean = algorithm->personal_mean(federation.state, k);
        if (mean != nullptr) {
          BOOST_TEST(federation.head(mean) == own[k], boost::test_tools::per_element());
        } else {
          BOOST_TEST(own[k] == start, boost::test_tools::per_element());  // only before its first visit
        }
      }
      // What stands for the server's model is the plain average of all clients' own ones.
      Vector average(size, 0.0);
      for (const Vector& weights : own)
        for (std::size_t i = 0; i < size; ++i) average[i] += weights[i] / clients;
      BOOST_TEST(relative_difference(federation.mean(), average) < 1e-14);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_refused_update_leaves_the_client_where_it_was) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("local", {});
  Federation<double> federation(*device, *algorithm, Vector(size, 0.5), {10, 25, 40});
  const auto send = [](std::uint32_t k, const LocalTerms<double>&) { return Sent<double>{Vector(size, 1.0 + k), {}}; };
  federation.round(send);
  federation.round(
      [](std::uint32_t, const LocalTerms<double>&) {
        return Sent<double>{Vector(size, 9.0), {}};
      },
      {true, false, true});
  BOOST_TEST(federation.head(algorithm->personal_mean(federation.state, 0))[0] == 9.0);
  BOOST_TEST(federation.head(algorithm->personal_mean(federation.state, 1))[0] == 2.0);
}

BOOST_AUTO_TEST_CASE(nothing_travels_and_one_vector_is_kept_per_client) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("local", {});
  const AlgorithmTraits traits = algorithm->traits();
  BOOST_TEST(traits.personal);
  BOOST_TEST(!traits.gives_posterior);
  BOOST_TEST(!traits.needs_posterior);
  BOOST_TEST(traits.vectors_down == 0);
  BOOST_TEST(traits.vectors_up == 0);
  BOOST_TEST(traits.vectors_per_client == 1);
  Federation<double> federation(*device, *algorithm, Vector(size, 0.5), {10, 25, 40});
  federation.round([](std::uint32_t, const LocalTerms<double>&) { return Sent<double>{Vector(size, 1.0), {}}; });
  for (const auto& site : federation.state.site) BOOST_TEST(site.size() == federation.state.stride);
}

BOOST_AUTO_TEST_CASE(it_equals_training_alone) {
  // Three rounds of four SGD steps are twelve steps, for each client on its own loss.
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("local", {});
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  const Vector start = numbers(size, -1, 1, 5);
  Federation<double> federation(*device, *algorithm, start, {10, 25, 40});
  const auto shifted = [](std::uint32_t k, const double* theta, double* g) {
    bumpy_gradient(theta, g, size);
    for (std::size_t i = 0; i < size; ++i) g[i] += 0.2 * k;
  };
  for (int round = 0; round < 3; ++round)
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      DrivenVisit<double> visit(*device, *optimizer, size);
      visit.block.clients[0].terms = terms;
      visit.rate = [](std::size_t) { return 0.1; };
      visit.gradient = [&](std::size_t, const double* theta, double* g) { shifted(k, theta, g); };
      visit.run(4);
      return Sent<double>{visit.mean(), {}};
    });
  for (std::uint32_t k = 0; k < clients; ++k) {
    Vector theta = start, g(size);
    for (int step = 0; step < 12; ++step) {
      shifted(k, theta.data(), g.data());
      for (std::size_t i = 0; i < size; ++i) theta[i] -= 0.1 * g[i];
    }
    BOOST_TEST(relative_difference(federation.head(algorithm->personal_mean(federation.state, k)), theta) < 1e-13);
  }
}
