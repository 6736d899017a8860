// FedAvg (docs/methods 4.1): w_g = sum over participants of N_k w_k / N, and nothing else.
#define BOOST_TEST_MODULE fedavg
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t size = 70;

// Full-batch SGD on mean losses lbar_k = bumpy loss shifted by the client: different optima, mixed curvature.
Vector gradient_of(std::uint32_t k, const Vector& theta) {
  Vector g(size);
  bumpy_gradient(theta.data(), g.data(), size);
  for (std::size_t i = 0; i < size; ++i) g[i] += 0.3 * k * std::cos(static_cast<double>(i + k));
  return g;
}

Federation<double>::Train sgd_clients(Device& device, const Optimizer<double>& optimizer, std::size_t steps) {
  return [&device, &optimizer, steps](std::uint32_t k, const LocalTerms<double>& terms) {
    DrivenVisit<double> visit(device, optimizer, size);
    visit.block.clients[0].terms = terms;
    visit.rate = [](std::size_t) { return 0.1; };
    visit.gradient = [k](std::size_t, const double* theta, double* g) {
      const Vector full = gradient_of(k, Vector(theta, theta + size));
      std::copy(full.begin(), full.end(), g);
    };
    visit.run(steps);
    return Sent<double>{visit.mean(), {}};
  };
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_server_is_the_average_weighted_by_examples_over_participants) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const Vector examples{10, 25, 40, 5};
  for (const bool everyone : {true, false}) {
    const Vector start = numbers(size, -1, 1, 1);
    Federation<double> federation(*device, *algorithm, start, examples, everyone);
    StreamReader random(3, {Purpose::data});
    Vector current = start;
    for (int round = 0; round < 6; ++round) {
      std::vector<bool> present(4, true);
      if (!everyone)
        for (std::size_t k = 0; k < 4; ++k)
          present[k] = round != 3 && random.uniform() < 0.6;  // nobody comes to round 4
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            // Training starts at the server and adds nothing to the data loss.
            BOOST_TEST(federation.head(terms.start) == current, boost::test_tools::per_element());
            BOOST_TEST(terms.anchor_weight == 0.0);
            BOOST_TEST((terms.site_mean == nullptr && terms.site_precision == nullptr && terms.common_mean == nullptr));
            BOOST_TEST(!terms.posterior_is_anchor);
            return Sent<double>{numbers(size, -3, 2, 100U + 10U * static_cast<unsigned>(round) + k), {}};
          },
          present);
      Vector expected(size, 0.0);
      double weights = 0.0;
      for (std::size_t k = 0; k < 4; ++k) {
        if (federation.sent[k].mean.empty()) continue;
        weights += examples[k];
        for (std::size_t i = 0; i < size; ++i) expected[i] += examples[k] * federation.sent[k].mean[i];
      }
      for (std::size_t i = 0; i < size; ++i) expected[i] = weights > 0 ? expected[i] / weights : current[i];
      BOOST_TEST(relative_difference(federation.mean(), expected) < 1e-15 * 4);  // a few roundings
      current = federation.mean();
    }
  }
}

BOOST_AUTO_TEST_CASE(it_keeps_nothing_per_client_and_sends_one_vector_each_way) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const AlgorithmTraits traits = algorithm->traits();
  BOOST_TEST(!traits.needs_posterior);
  BOOST_TEST(!traits.gives_posterior);
  BOOST_TEST(!traits.personal);
  BOOST_TEST(traits.vectors_down == 1);
  BOOST_TEST(traits.vectors_up == 1);
  BOOST_TEST(traits.vectors_per_client == 0);
  BOOST_TEST(traits.vectors_per_client_partial == 0);
  for (const bool everyone : {true, false}) {
    Federation<double> federation(*device, *algorithm, Vector(size, 0.0), {1, 2, 3}, everyone);
    federation.round([](std::uint32_t, const LocalTerms<double>&) { return Sent<double>{Vector(size, 1.0), {}}; });
    for (const auto& site : federation.state.site) BOOST_TEST(site.size() == 0U);
    BOOST_TEST(federation.state.precision.empty());
    BOOST_TEST(algorithm->site_mean(federation.state, 0) == nullptr);
  }
}

BOOST_AUTO_TEST_CASE(one_client_is_local_training) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  const Vector start = numbers(size, -1, 1, 2);
  Federation<double> federation(*device, *algorithm, start, {37});
  Vector theta = start;
  for (int round = 0; round < 4; ++round) {
    federation.round(sgd_clients(*device, *optimizer, 5));
    for (int step = 0; step < 5; ++step) {
      const Vector g = gradient_of(0, theta);
      for (std::size_t i = 0; i < size; ++i) theta[i] -= 0.1 * g[i];
    }
    BOOST_TEST(relative_difference(federation.mean(), theta) < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(one_full_batch_step_each_is_one_centralised_step) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  const Vector start = numbers(size, -1, 1, 3), examples{10, 25, 40, 5};
  Federation<double> federation(*device, *algorithm, start, examples);
  Vector theta = start;
  for (int round = 0; round < 10; ++round) {
    federation.round(sgd_clients(*device, *optimizer, 1));
    Vector g(size, 0.0);  // of the mean loss over all 80 examples
    for (std::uint32_t k = 0; k < 4; ++k) {
      const Vector g_k = gradient_of(k, theta);
      for (std::size_t i = 0; i < size; ++i) g[i] += examples[k] / 80.0 * g_k[i];
    }
    for (std::size_t i = 0; i < size; ++i) theta[i] -= 0.1 * g[i];
    BOOST_TEST(relative_difference(federation.mean(), theta) < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(identical_clients_are_one_client) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  const Vector start = numbers(size, -1, 1, 5);
  Federation<double> five(*device, *algorithm, start, {10, 25, 40, 5, 7}), one(*device, *algorithm, start, {87});
  const auto train = sgd_clients(*device, *optimizer, 5);
  for (int round = 0; round < 4; ++round) {
    five.round([&](std::uint32_t, const LocalTerms<double>& terms) { return train(0, terms); });
    one.round(train);
    BOOST_TEST(relative_difference(five.mean(), one.mean()) < 1e-14);
    BOOST_TEST(largest_difference(one.mean(), start) > 1e-3);
  }
}

BOOST_AUTO_TEST_CASE(many_clients_do_not_lose_digits) {
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<float>("fedavg", {});
  // 10,000 floats of 0.1 summed in float would be off in the fourth digit; sums are double.
  Federation<float> federation(*device, *algorithm, std::vector<float>(3, 0.0F), Vector(10000, 6.0));
  federation.round([](std::uint32_t, const LocalTerms<float>&) { return Sent<float>{{0.1F, -0.7F, 123.456F}, {}}; });
  BOOST_TEST(federation.mean() == (std::vector<float>{0.1F, -0.7F, 123.456F}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(it_takes_no_options) {
  BOOST_CHECK_THROW(make_algorithm<double>("fedavg", {{"rho", 1.0}}), InputError);
}
