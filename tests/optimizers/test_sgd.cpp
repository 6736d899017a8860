// SGD with PyTorch's momentum (buf = mu buf + g) and coupled weight decay, on the whole objective of a client.
#define BOOST_TEST_MODULE sgd
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t size = 70;
constexpr double lambda = 25.0;

double rate(std::size_t step) { return 0.05 / (1.0 + 0.1 * static_cast<double>(step)); }

// Moves theta and buffer by the equations.
void reference(Vector& theta, Vector& buffer, std::size_t steps, double momentum, double weight_decay,
               const LocalTerms<double>& terms) {
  for (std::size_t step = 0; step < steps; ++step) {
    const Vector g = full_gradient(theta, terms, weight_decay);
    for (std::size_t i = 0; i < theta.size(); ++i) {
      buffer[i] = momentum * buffer[i] + g[i];
      theta[i] -= rate(step) * buffer[i];
    }
  }
}

template <class Real>
void prepare(DrivenVisit<Real>& visit, const LocalTerms<Real>& terms) {
  for (auto& client : visit.block.clients) client.terms = terms;
  visit.rate = rate;
  visit.gradient = [](std::size_t, const Real* theta, Real* g) { bumpy_gradient(theta, g, size); };
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_combination_of_options_and_terms_follows_the_equations) {
  const auto device = make_cpu_device();
  const Problem<double> problem(size);
  for (const double momentum : {0.0, 0.9})
    for (const double weight_decay : {0.0, 0.3}) {
      const auto optimizer =
          make_optimizer<double>("sgd", {{"lr", 9.0}, {"momentum", momentum}, {"weight_decay", weight_decay}});
      BOOST_TEST(!optimizer->gives_posterior());
      BOOST_TEST(optimizer->samples() == 1);
      int kind = 0;
      for (const LocalTerms<double>& terms : kinds_of_terms(problem, lambda)) {
        DrivenVisit<double> visit(*device, *optimizer, size);
        prepare(visit, terms);
        visit.after_step = [&](std::size_t) {  // gradients are wanted at the mean
          const double* const point = visit.block.row(visit.block.point, 0);
          BOOST_TEST(Vector(point, point + size) == visit.mean(), boost::test_tools::per_element());
        };
        visit.run(25);
        Vector theta = wide(problem.start, size), buffer(size, 0.0);
        reference(theta, buffer, 25, momentum, weight_decay, terms);
        // 25 steps of a few roundings each.
        BOOST_TEST(relative_difference(visit.mean(), theta) < 1e-13,
                   "momentum " << momentum << " weight decay " << weight_decay << " terms " << kind);
        ++kind;
      }
    }
}

BOOST_AUTO_TEST_CASE(momentum_is_kept_between_visits_on_request) {
  const auto device = make_cpu_device();
  const Problem<double> problem(size);
  const LocalTerms<double> terms = problem.terms(true, true, lambda);
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}, {"momentum", 0.9}});
  BOOST_TEST(optimizer->kept_vectors(true) == 1U);
  BOOST_TEST(optimizer->kept_vectors(false) == 0U);
  BOOST_TEST(make_optimizer<double>("sgd", {{"lr", 0.1}})->kept_vectors(true) ==
             0U);  // without momentum there is no state
  for (const bool resumed : {false, true}) {
    DrivenVisit<double> visit(*device, *optimizer, size);
    prepare(visit, terms);
    visit.run(6);
    visit.run(6, resumed);  // from terms.start again
    Vector theta = wide(problem.start, size), buffer(size, 0.0);
    reference(theta, buffer, 6, 0.9, 0.0, terms);
    theta = wide(problem.start, size);
    if (!resumed) buffer.assign(size, 0.0);
    reference(theta, buffer, 6, 0.9, 0.0, terms);
    BOOST_TEST(relative_difference(visit.mean(), theta) < 1e-13, "resumed " << resumed);
  }
}

BOOST_AUTO_TEST_CASE(it_converges_to_the_stationary_point_of_the_whole_objective) {
  // lbar = 1/2 a (theta - c)^2: theta* = (a c - w v + w_s S m) / (a - w V + w_s S).
  const auto device = make_cpu_device();
  const Problem<double> problem(3);
  const LocalTerms<double> terms = problem.terms(true, true, lambda);
  const Vector a{1.5, 0.7, 2.0}, c{0.3, -1.0, 0.5};
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.1}});
  DrivenVisit<double> visit(*device, *optimizer, 3);
  visit.block.clients[0].terms = terms;
  visit.rate = [](std::size_t) { return 0.3; };
  visit.gradient = quadratic(a, c);
  visit.run(600);
  for (std::size_t i = 0; i < 3; ++i) {
    const double w = terms.site_weight, ws = terms.anchor_weight;
    const double expected =
        (a[i] * c[i] - w * problem.site_mean[i] + ws * problem.anchor_precision[i] * problem.anchor_mean[i]) /
        (a[i] - w * problem.site_precision[i] + ws * problem.anchor_precision[i]);
    BOOST_TEST(std::fabs(visit.mean()[i] - expected) < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) {
  const auto device = make_cpu_device();
  const Problem<float> one(size, 0), two(size, 1), three(size, 2);
  std::vector<LocalTerms<float>> terms{one.terms(false, false, lambda), two.terms(true, true, lambda),
                                       three.terms(true, false, lambda), two.terms(true, false, lambda)};
  terms[3].anchor_precision = nullptr;
  const auto optimizer = make_optimizer<float>("sgd", {{"lr", 0.1}, {"momentum", 0.8}, {"weight_decay", 0.01}});
  DrivenVisit<float> together(*device, *optimizer, size, terms.size());
  prepare(together, terms[0]);
  for (std::size_t b = 0; b < terms.size(); ++b) together.block.clients[b].terms = terms[b];
  together.run(10);
  for (std::size_t b = 0; b < terms.size(); ++b) {
    DrivenVisit<float> alone(*device, *optimizer, size);
    prepare(alone, terms[b]);
    alone.run(10);
    BOOST_TEST(alone.mean() == together.mean(b), boost::test_tools::per_element());
  }
}

BOOST_AUTO_TEST_CASE(a_client_that_has_finished_stays_as_it_is) {
  const auto device = make_cpu_device();
  const Problem<float> problem(size);
  const auto optimizer = make_optimizer<float>("sgd", {{"lr", 0.1}, {"momentum", 0.8}});
  DrivenVisit<float> visit(*device, *optimizer, size, 2);
  prepare(visit, problem.terms(true, true, lambda));
  std::vector<float> finished;
  visit.after_step = [&](std::size_t step) {
    if (step != 3) return;
    visit.block.clients[0].active = false;
    finished = visit.mean(0);
  };
  visit.run(8);
  BOOST_TEST(visit.mean(0) == finished, boost::test_tools::per_element());
  BOOST_TEST(visit.block.clients[0].optimizer_step == 4U);
  BOOST_TEST(visit.block.clients[1].optimizer_step == 8U);
  BOOST_TEST(largest_difference(visit.mean(1), finished) > 1e-3);
}

BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) {
  const auto device = make_cpu_device();
  const Problem<float> problem(size);
  const auto optimizer = make_optimizer<float>("sgd", {{"lr", 0.1}});
  DrivenVisit<float> visit(*device, *optimizer, size);
  prepare(visit, problem.terms(false, false, lambda));
  visit.gradient = [](std::size_t, const float*, float* g) { g[3] = std::numeric_limits<float>::quiet_NaN(); };
  visit.run(2);
  BOOST_TEST(std::isnan(visit.mean()[3]));
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", -0.1}},
                                    {{"lr", 0.1}, {"momentum", -0.1}},
                                    {{"lr", 0.1}, {"momentum", 1.0}},
                                    {{"lr", 0.1}, {"weight_decay", -1.0}},
                                    {{"lr", 0.1}, {"nesterof", 1.0}}})
    BOOST_CHECK_THROW(make_optimizer<float>("sgd", wrong), InputError);
}
