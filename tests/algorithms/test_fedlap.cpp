// FedLap (docs/methods 4.7): isotropic sites whose natural means the server adds up.
#define BOOST_TEST_MODULE fedlap
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

BOOST_AUTO_TEST_CASE(exact_clients_move_their_sites_towards_the_negative_gradient_of_their_sum_loss) {
  // v_k := (1-d) v_k - d N_k grad lbar_k(w_k); fixed point: the minimum of sum_k N_k lbar_k + s0/2 |w|^2.
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  for (const double s0 : {2.0, 9.0}) {
    for (const double d : {0.0, 0.1, 0.4}) {
      const double damping = d == 0 ? 0.25 : d;  // 0 stands for 1/K
      const auto algorithm = make_algorithm<double>("fedlap", {{"prior_precision", s0}, {"damping", d}});
      Federation<double> federation(*device, *algorithm, start, clients.examples);
      std::vector<Vector> v(4, Vector(3, 0.0));
      for (int round = 0; round < 1500; ++round) {
        federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
          if (round > 20) return clients.minimiser()(k, terms);
          BOOST_TEST(terms.sum_loss);
          // Training starts at the network's initial weights while the anchor is the prior's mean.
          BOOST_TEST(federation.head(terms.start) == (round == 0 ? start : federation.mean()));
          BOOST_TEST(federation.head(terms.anchor_mean) == federation.mean());
          if (round == 0) BOOST_TEST(federation.mean() == Vector(3, 0.0));
          return clients.minimiser()(k, terms);
        });
        for (std::size_t i = 0; i < 3; ++i) {
          double sum = 0;
          for (std::uint32_t k = 0; k < 4; ++k) {
            const double g = clients.examples[k] * clients.mean_gradient(k, i, federation.sent[k].mean[i]);
            v[k][i] = (1 - damping) * v[k][i] - damping * g;
            if (round < 50) BOOST_TEST(std::fabs(federation.site_mean(k)[i] - v[k][i]) < 1e-12);
            sum += federation.site_mean(k)[i];
          }
          if (round < 50) BOOST_TEST(std::fabs(federation.mean()[i] - sum / s0) < 1e-13);
        }
      }
      BOOST_TEST(largest_difference(federation.mean(), clients.optimum(clients.examples, s0)) < 1e-8,
                 "s0 " << s0 << ", d " << d);
    }
  }
}

BOOST_AUTO_TEST_CASE(it_is_vb_admm_with_isotropic_sites_and_point_clients) {
  // Section 2 with rho = alpha = tau = 1 and clients whose precision stays the server's: V_k = 0, s_g = s0.
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const double s0 = 3, d = 0.3;
  const auto lap = make_algorithm<double>("fedlap", {{"prior_precision", s0}, {"damping", d}});
  const auto vb = make_algorithm<double>(
      "vb_admm", {{"prior_precision", s0}, {"damping", d}, {"rho", 1.0}, {"alpha", 1.0}, {"temperature", 1.0}});
  for (const bool everyone : {true, false}) {
    Federation<double> a(*device, *lap, start, clients.examples, everyone),
        b(*device, *vb, start, clients.examples, everyone);
    StreamReader random(4, {.purpose = Purpose::cohort});
    for (int round = 0; round < 12; ++round) {
      const auto present = everyone ? std::vector<bool>(4, true) : some_of(4, random, round == 5);
      a.round(clients.minimiser(), present);
      b.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            Sent<double> sent = clients.minimiser()(k, terms);
            sent.precision = b.precision();
            return sent;
          },
          present);
      BOOST_TEST(largest_difference(a.mean(), b.mean()) < 1e-12);
      for (std::uint32_t k = 0; k < 4; ++k) BOOST_TEST(largest_difference(a.site_mean(k), b.site_mean(k)) < 1e-12);
    }
  }
}

BOOST_AUTO_TEST_CASE(damping_by_size_and_absent_clients_follow_the_equations) {
  const auto device = make_cpu_device();
  const Vector examples{10, 25, 40, 5};
  const double s0 = 3, c = 0.8;
  for (const bool shared : {false, true}) {
    const auto algorithm = make_algorithm<double>(
        "fedlap", {{"prior_precision", s0}, {"damping", c}, {"damping_by_size", true}, {"ref_shared_scalars", shared}});
    Federation<double> federation(*device, *algorithm, start, examples, false);
    StreamReader random(2, {.purpose = Purpose::cohort});
    Vector w_g(3, 0.0);
    std::vector<Vector> v(4, Vector(3, 0.0));
    for (std::uint64_t round = 0; round < 12; ++round) {
      const auto present = some_of(4, random, round == 5);
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            BOOST_TEST(terms.anchor_weight == s0 / examples[k]);
            BOOST_TEST(terms.site_weight == 1 / examples[k]);
            return anywhere(3, 10 * round + k);
          },
          present);
      for (std::size_t i = 0; i < 3; ++i) {
        double sum = 0;
        for (std::size_t k = 0; k < 4; ++k) {
          const double step = c * (shared ? 5.0 : examples[k]) / 80.0;
          if (present[k]) v[k][i] += step * (federation.sent[k].mean[i] - w_g[i]);
          sum += v[k][i];
        }
        w_g[i] = sum;
      }
      BOOST_TEST(largest_difference(federation.mean(), w_g) < 1e-13);
    }
  }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("fedlap", {});
  BOOST_TEST((algorithm->traits() == find_algorithm("fedlap")->traits));
  BOOST_TEST(algorithm->traits().vectors_down == 1);
  BOOST_TEST(algorithm->traits().vectors_up == 1);
  BOOST_TEST(algorithm->traits().vectors_per_client == 1);
  BOOST_TEST(make_algorithm<float>("fedlap", {{"unsquared_prox", true}})->traits().needs_point);
  BOOST_CHECK_THROW(make_algorithm<double>("fedlap", {{"prior_precision", 0.0}}), InputError);
  for (const OptionValues& wrong :
       {OptionValues{{"ref_shared_scalars", true}}, OptionValues{{"damping_by_size", true}}}) {
    BOOST_CHECK_EXCEPTION(make_algorithm<double>("fedlap", wrong), InputError,
                          [](const InputError& error) { return std::string(error.what()).find("[fedlap]") == 0; });
  }
}
