// FedDyn (docs/methods 4.4): dual variables at the clients, and the server's history h that holds their mean.
#define BOOST_TEST_MODULE feddyn
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/point_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const Vector start{0.4, -0.7, 1.2};
const Vector examples{10, 25, 40, 5};

Vector history(const Federation<double>& federation) { return federation.head(federation.state.memory[0].data()); }

}  // namespace

BOOST_AUTO_TEST_CASE(with_everyone_the_history_is_the_negative_mean_of_the_duals_whatever_clients_do) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("feddyn", {{"alpha", 0.7}});
  Federation<double> federation(*device, *algorithm, start, examples);
  for (std::uint64_t round = 0; round < 20; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>&) { return anywhere(3, 10 * round + k); });
    for (std::size_t i = 0; i < 3; ++i) {
      double mean = 0;
      for (std::uint32_t k = 0; k < 4; ++k) mean += federation.site_mean(k)[i] / 4;
      BOOST_TEST(std::fabs(history(federation)[i] + mean) < 1e-12);
    }
  }
}

BOOST_AUTO_TEST_CASE(exact_clients_hold_their_negative_gradient_and_the_fixed_point_is_the_optimum) {
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  for (const std::string scaling : {"none", "ref_invN", "ref_N"}) {
    const auto algorithm = make_algorithm<double>("feddyn", {{"alpha", 0.1}, {"scaling", scaling}});
    Federation<double> federation(*device, *algorithm, start, clients.examples);
    for (int round = 0; round < 2000; ++round) {
      federation.round(clients.minimiser());
      if (round > 3 && round < 1996) continue;
      for (std::uint32_t k = 0; k < 4; ++k)
        for (std::size_t i = 0; i < 3; ++i)
          BOOST_TEST(std::fabs(federation.site_mean(k)[i] + clients.mean_gradient(k, i, federation.sent[k].mean[i])) <
                     1e-12);
    }
    // h = 0 there. h is the negative mean of the duals, so sum_k grad lbar_k = 0; with a_k = a N/(K N_k) each dual counts a/a_k
    // times in it, so sum_k N_k grad lbar_k = 0.
    const Vector weights = scaling == "ref_invN" ? clients.examples : Vector(4, 1.0);
    BOOST_TEST(largest_difference(federation.mean(), clients.optimum(weights)) < 1e-9, scaling);
  }
}

BOOST_AUTO_TEST_CASE(with_everyone_it_keeps_the_server_of_fedadmm) {
  const auto device = make_cpu_device();
  const auto dyn = make_algorithm<double>("feddyn", {{"alpha", 0.3}}),
             admm = make_algorithm<double>("fedadmm", {{"rho", 0.3}});
  Federation<double> a(*device, *dyn, start, examples), b(*device, *admm, start, examples);
  for (std::uint64_t round = 0; round < 20; ++round) {
    const auto train = [&](std::uint32_t k, const LocalTerms<double>&) { return anywhere(3, 10 * round + k); };
    a.round(train);
    b.round(train);
    BOOST_TEST(largest_difference(a.mean(), b.mean()) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(a_large_weight_freezes_the_server) {
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const auto algorithm = make_algorithm<double>("feddyn", {{"alpha", 1e9}});
  Federation<double> federation(*device, *algorithm, start, clients.examples);
  for (int round = 0; round < 3; ++round) federation.round(clients.minimiser());
  BOOST_TEST(largest_difference(federation.mean(), start) < 1e-7);
}

BOOST_AUTO_TEST_CASE(every_setting_follows_the_equations_with_absent_clients) {
  const auto device = make_cpu_device();
  const double a = 0.7, all = 80;
  for (const std::string scaling : {"none", "ref_invN", "ref_N"})
    for (const bool shared : {false, true})
      for (const bool zero_anchor : {false, true})
        for (const bool no_history : {false, true}) {
          if (shared && scaling != "ref_N") continue;
          const auto algorithm = make_algorithm<double>("feddyn", {{"alpha", a},
                                                                   {"scaling", scaling},
                                                                   {"ref_shared_scalars", shared},
                                                                   {"ref_round1_zero_anchor", zero_anchor},
                                                                   {"ref_round1_no_history", no_history}});
          Federation<double> federation(*device, *algorithm, start, examples, false);
          StreamReader random(2, {.purpose = Purpose::cohort});
          Vector w_g = start, h(3, 0.0);
          std::vector<Vector> y(4, Vector(3, 0.0));
          for (std::uint64_t round = 0; round < 12; ++round) {
            const auto present = round == 0 ? std::vector<bool>(4, true) : some_of(4, random, round == 5);
            const auto a_of = [&](std::size_t k) {
              const double n = shared ? examples[3] : examples[k];
              return scaling == "none" ? a : (scaling == "ref_N" ? a * n / all : a * all / (4 * n));
            };
            const bool at_zero = zero_anchor && round == 0;
            federation.round(
                [&](std::uint32_t k, const LocalTerms<double>& terms) {
                  BOOST_TEST(federation.head(terms.start) == federation.mean());
                  BOOST_TEST((terms.anchor_mean == nullptr) == at_zero);
                  BOOST_TEST(std::fabs(terms.anchor_weight - a_of(k)) < 1e-15);
                  BOOST_TEST(terms.site_weight == 1.0);
                  return anywhere(3, 10 * round + k);
                },
                present);
            const auto here = static_cast<double>(count(present));
            for (std::size_t i = 0; i < 3; ++i) {
              double mean = 0;
              const double received = at_zero ? 0.0 : w_g[i];
              for (std::uint32_t k = 0; k < 4; ++k) {
                if (!present[k]) continue;
                const double w = federation.sent[k].mean[i];
                mean += w / here;
                y[k][i] += a_of(k) * (w - received);
                if (!(no_history && round == 0)) h[i] -= (scaling == "ref_N" ? a_of(k) : a) * (w - received) / 4;
              }
              if (here > 0) w_g[i] = mean - h[i] / a;
            }
            BOOST_TEST(largest_difference(federation.mean(), w_g) < 1e-12);
            BOOST_TEST(largest_difference(history(federation), h) < 1e-12);
            for (std::uint32_t k = 0; k < 4; ++k) BOOST_TEST(largest_difference(federation.site_mean(k), y[k]) < 1e-12);
          }
        }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("feddyn", {});
  BOOST_TEST((algorithm->traits() == find_algorithm("feddyn")->traits));
  BOOST_TEST(algorithm->traits().vectors_down == 1);
  BOOST_TEST(algorithm->traits().vectors_up == 1);
  BOOST_TEST(algorithm->traits().vectors_per_client == 1);
  BOOST_TEST(algorithm->traits().vectors_server == 2);
  BOOST_TEST(make_algorithm<float>("feddyn", {{"unsquared_prox", true}})->traits().needs_point);
  BOOST_CHECK_THROW(make_algorithm<double>("feddyn", {{"alpha", 0.0}}), InputError);
  BOOST_CHECK_EXCEPTION(
      make_algorithm<double>("feddyn", {{"ref_shared_scalars", true}}), InputError, [](const InputError& error) {
        return std::string(error.what()).find("needs scaling = \"ref_N\", got \"none\"") != std::string::npos;
      });
}
