// FedProx (docs/methods 4.2): FedAvg whose clients are held by mu/2 |w - w_g|^2.
#define BOOST_TEST_MODULE fedprox
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/point_clients.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(without_a_pull_it_is_fedavg_to_the_bit) {
  const auto device = make_cpu_device();
  const auto prox = make_algorithm<double>("fedprox", {{"mu", 0.0}}), avg = make_algorithm<double>("fedavg", {});
  const PointClients clients = four_point_clients();
  const Vector start{0.4, -0.7, 1.2};
  Federation<double> a(*device, *prox, start, clients.examples, false),
      b(*device, *avg, start, clients.examples, false);
  StreamReader random(1, {.purpose = Purpose::cohort});
  for (int round = 0; round < 8; ++round) {
    const auto present = some_of(4, random, round == 3);
    a.round(
        [&](std::uint32_t k, const LocalTerms<double>& terms) {
          BOOST_TEST(terms.anchor_weight == 0.0);  // which switches the anchor off
          return clients.sgd(3, 0.5)(k, terms);
        },
        present);
    b.round(clients.sgd(3, 0.5), present);
    BOOST_TEST(a.mean() == b.mean(), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(exact_clients_solve_the_proximal_problem_and_are_averaged) {
  // w_k = (H + mu)^-1 (H c_k + mu w_g) with the Hessian H of the mean loss.
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  for (const double mu : {0.03, 1.0, 50.0}) {
    const auto algorithm = make_algorithm<double>("fedprox", {{"mu", mu}});
    Vector w_g{0.4, -0.7, 1.2};
    Federation<double> federation(*device, *algorithm, w_g, clients.examples);
    for (int round = 0; round < 5; ++round) {
      federation.round(clients.minimiser());
      Vector next(3, 0.0);
      for (std::size_t i = 0; i < 3; ++i) {
        for (std::size_t k = 0; k < 4; ++k) {
          const double n = clients.examples[k], h = clients.H[k][i] / n;
          const double w = (h * clients.c[k][i] + mu * w_g[i]) / (h + mu);
          BOOST_TEST(std::fabs(federation.sent[k].mean[i] - w) < 1e-13);
          next[i] += n * w / 80.0;
        }
      }
      w_g = next;
      BOOST_TEST(largest_difference(federation.mean(), w_g) < 1e-13);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_strong_pull_leaves_clients_at_the_server) {
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const auto algorithm = make_algorithm<double>("fedprox", {{"mu", 1e9}});
  Federation<double> federation(*device, *algorithm, {0.4, -0.7, 1.2}, clients.examples);
  federation.round(clients.minimiser());
  // Gradients below 10, over mu.
  BOOST_TEST(largest_difference(federation.mean(), Vector{0.4, -0.7, 1.2}) < 1e-8);
  for (const Sent<double>& sent : federation.sent)
    BOOST_TEST(largest_difference(federation.head(sent.mean.data()), Vector{0.4, -0.7, 1.2}) < 1e-8);
}

BOOST_AUTO_TEST_CASE(compatibility_flags_change_the_terms) {
  const auto device = make_cpu_device();
  BOOST_TEST(!make_algorithm<double>("fedprox", {})->traits().needs_point);
  const auto algorithm =
      make_algorithm<double>("fedprox", {{"mu", 0.3}, {"unsquared_prox", true}, {"ref_round1_no_prox", true}});
  BOOST_TEST(algorithm->traits().needs_point);
  Federation<double> federation(*device, *algorithm, {0.4, -0.7, 1.2}, {10, 20});
  for (int round = 0; round < 2; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      BOOST_TEST(terms.anchor_weight == (round == 0 ? 0.0 : 0.3));
      BOOST_TEST(terms.unsquared_anchor == (round > 0));
      if (round > 0) BOOST_TEST(federation.head(terms.anchor_mean) == federation.mean());
      return anywhere(3, k);
    });
  }
}

BOOST_AUTO_TEST_CASE(clients_keep_nothing_and_a_negative_pull_is_refused) {
  const auto algorithm = make_algorithm<float>("fedprox", {});
  BOOST_TEST((algorithm->traits() == AlgorithmTraits{.vectors_down = 1, .vectors_up = 1, .weighs_losses = true}));
  BOOST_TEST((algorithm->traits() == find_algorithm("fedprox")->traits));
  BOOST_CHECK_THROW(make_algorithm<double>("fedprox", {{"mu", -0.1}}), InputError);
}
