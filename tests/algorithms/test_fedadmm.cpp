// FedADMM (docs/methods 4.3): dual variables, warm starts, and a server that adds up the clients' steps.
#define BOOST_TEST_MODULE fedadmm
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/point_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {
const Vector start{0.4, -0.7, 1.2};
}

BOOST_AUTO_TEST_CASE(with_everyone_the_server_is_the_mean_of_the_augmented_weights_whatever_clients_do) {
  // alpha = 1: w_g = mean_k (w_k + y_k/rho) after every round.
  const auto device = make_cpu_device();
  const double rho = 0.7;
  const auto algorithm = make_algorithm<double>("fedadmm", {{"rho", rho}});
  Federation<double> federation(*device, *algorithm, start, {10, 25, 40, 5});
  for (std::uint64_t round = 0; round < 20; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>&) { return anywhere(3, 10 * round + k); });
    for (std::size_t i = 0; i < 3; ++i) {
      double mean = 0;
      for (std::uint32_t k = 0; k < 4; ++k) mean += (federation.sent[k].mean[i] + federation.site_mean(k)[i] / rho) / 4;
      BOOST_TEST(std::fabs(federation.mean()[i] - mean) < 1e-12);
    }
  }
}

BOOST_AUTO_TEST_CASE(exact_clients_hold_their_negative_gradient_and_the_fixed_point_is_the_optimum) {
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const auto algorithm = make_algorithm<double>("fedadmm", {{"rho", 0.1}});
  Federation<double> federation(*device, *algorithm, start, clients.examples);
  for (int round = 0; round < 400; ++round) {
    federation.round(clients.minimiser());
    if (round > 3 && round < 396) continue;
    for (std::uint32_t k = 0; k < 4; ++k)
      for (std::size_t i = 0; i < 3; ++i)
        BOOST_TEST(std::fabs(federation.site_mean(k)[i] + clients.mean_gradient(k, i, federation.sent[k].mean[i])) <
                   1e-13);
  }
  // sum_k grad lbar_k = 0: clients count the same, whatever their examples.
  BOOST_TEST(largest_difference(federation.mean(), clients.optimum(Vector(4, 1.0))) < 1e-9);
}

BOOST_AUTO_TEST_CASE(absent_clients_keep_their_dual_and_their_last_weights) {
  const auto device = make_cpu_device();
  const double rho = 0.7, alpha = 0.6;
  for (const bool zero_anchor : {false, true}) {
    const auto algorithm =
        make_algorithm<double>("fedadmm", {{"rho", rho}, {"alpha", alpha}, {"ref_round1_zero_anchor", zero_anchor}});
    Federation<double> federation(*device, *algorithm, start, {10, 25, 40, 5}, false);
    StreamReader random(2, {.purpose = Purpose::cohort});
    Vector w_g = start;
    std::vector<Vector> y(4, Vector(3, 0.0)), last(4, zero_anchor ? Vector(3, 0.0) : start);
    for (std::uint64_t round = 0; round < 15; ++round) {
      const auto present = some_of(4, random, round == 5);
      const Vector received = zero_anchor && round == 0 ? Vector(3, 0.0) : w_g;
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            BOOST_TEST(federation.head(terms.start) == federation.mean());
            BOOST_TEST((terms.anchor_mean == nullptr) == (zero_anchor && round == 0));
            BOOST_TEST(terms.anchor_weight == rho);
            if (terms.site_mean != nullptr)
              BOOST_TEST(largest_difference(federation.head(terms.site_mean), y[k]) < 1e-13);
            BOOST_TEST(terms.site_weight == 1.0);
            return anywhere(3, 10 * round + k);
          },
          present);
      Vector total(3, 0.0);
      for (std::uint32_t k = 0; k < 4; ++k) {
        if (!present[k]) continue;
        for (std::size_t i = 0; i < 3; ++i) {
          const double w = federation.sent[k].mean[i], before = last[k][i] + y[k][i] / rho;
          y[k][i] += rho * (w - received[i]);
          total[i] += w + y[k][i] / rho - before;
          last[k][i] = w;
        }
      }
      for (std::size_t i = 0; i < 3; ++i) {
        if (count(present) > 0) w_g[i] += alpha / static_cast<double>(count(present)) * total[i];
      }
      BOOST_TEST(largest_difference(federation.mean(), w_g) < 1e-12);
      for (std::uint32_t k = 0; k < 4; ++k) BOOST_TEST(largest_difference(federation.site_mean(k), y[k]) < 1e-12);
    }
  }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedadmm", {});
  BOOST_TEST((algorithm->traits() == find_algorithm("fedadmm")->traits));
  BOOST_TEST(algorithm->traits().vectors_down == 1);
  BOOST_TEST(algorithm->traits().vectors_up == 1);
  BOOST_TEST(algorithm->traits().vectors_per_client == 2);
  BOOST_TEST(algorithm->traits().vectors_per_client_partial == 2);
  BOOST_TEST(make_algorithm<float>("fedadmm", {{"unsquared_prox", true}})->traits().needs_point);
  BOOST_CHECK_THROW(make_algorithm<double>("fedadmm", {{"rho", 0.0}}), InputError);
  BOOST_CHECK_THROW(make_algorithm<double>("fedadmm", {{"alpha", 0.0}}), InputError);
}
