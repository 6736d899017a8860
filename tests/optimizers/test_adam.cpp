// Adam as PyTorch defines it (bias corrections, epsilon outside the root, coupled weight decay), on the whole objective of a client.
#define BOOST_TEST_MODULE adam
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

struct State {
  Vector theta, first, second;
  int t = 0;
};

// Moves the state by the equations.
void reference(State& state, std::size_t steps, double beta1, double beta2, double epsilon, double weight_decay,
               const LocalTerms<double>& terms) {
  for (std::size_t step = 0; step < steps; ++step) {
    const Vector g = full_gradient(state.theta, terms, weight_decay);
    ++state.t;
    for (std::size_t i = 0; i < g.size(); ++i) {
      state.first[i] = beta1 * state.first[i] + (1.0 - beta1) * g[i];
      state.second[i] = beta2 * state.second[i] + (1.0 - beta2) * g[i] * g[i];
      const double mean = state.first[i] / (1.0 - std::pow(beta1, state.t));
      const double square = state.second[i] / (1.0 - std::pow(beta2, state.t));
      state.theta[i] -= rate(step) * mean / (std::sqrt(square) + epsilon);
    }
  }
}

State fresh(const Problem<double>& problem) {
  return {wide(problem.start, size), Vector(size, 0.0), Vector(size, 0.0)};
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
  for (const double weight_decay : {0.0, 0.3})
    for (const double epsilon : {1e-8, 0.1}) {
      const double beta1 = epsilon > 0.01 ? 0.8 : 0.9, beta2 = epsilon > 0.01 ? 0.97 : 0.999;
      OptionValues options{{"lr", 9.0}, {"weight_decay", weight_decay}};
      if (epsilon > 0.01) {  // otherwise the defaults, which are PyTorch's
        options["beta1"] = beta1;
        options["beta2"] = beta2;
        options["epsilon"] = epsilon;
      }
      const auto optimizer = make_optimizer<double>("adam", options);
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
        State expected = fresh(problem);
        reference(expected, 25, beta1, beta2, epsilon, weight_decay, terms);
        // A few roundings per step; where a gradient changes sign, mean/sqrt(square) magnifies them by some tens.
        BOOST_TEST(relative_difference(visit.mean(), expected.theta) < 1e-12,
                   "weight decay " << weight_decay << " epsilon " << epsilon << " terms " << kind);
        ++kind;
      }
    }
}

BOOST_AUTO_TEST_CASE(a_method_on_the_sum_loss_meets_epsilon_and_weight_decay_on_that_scale) {
  // Adam on N_k times the objective, with terms of the mean loss's scale: methods.md 4.7.
  const auto device = make_cpu_device();
  const Problem<double> problem(size);
  const double examples = 250.0, weight_decay = 0.4, epsilon = 0.2;
  const auto optimizer =
      make_optimizer<double>("adam", {{"lr", 0.1}, {"weight_decay", weight_decay}, {"epsilon", epsilon}});
  BOOST_TEST(optimizer->takes_sum_loss());
  BOOST_TEST(!make_optimizer<double>("sgd", {})->takes_sum_loss());
  DrivenVisit<double> visit(*device, *optimizer, size);
  prepare(visit, problem.terms(true, true, lambda));
  visit.block.clients[0].loss_scale = examples;
  visit.run(25);
  State state = fresh(problem);
  for (std::size_t step = 0; step < 25; ++step) {
    const Vector mean_gradient = full_gradient(state.theta, problem.terms(true, true, lambda), 0.0);
    ++state.t;
    for (std::size_t i = 0; i < size; ++i) {
      const double g = examples * mean_gradient[i] + weight_decay * state.theta[i];
      state.first[i] = 0.9 * state.first[i] + 0.1 * g;
      state.second[i] = 0.999 * state.second[i] + 0.001 * g * g;
      state.theta[i] -= rate(step) * state.first[i] / (1.0 - std::pow(0.9, state.t)) /
                        (std::sqrt(state.second[i] / (1.0 - std::pow(0.999, state.t))) + epsilon);
    }
  }
  BOOST_TEST(relative_difference(visit.mean(), state.theta) < 1e-12);
}

BOOST_AUTO_TEST_CASE(moments_and_step_count_are_kept_between_visits_on_request) {
  const auto device = make_cpu_device();
  const Problem<double> problem(size);
  const LocalTerms<double> terms = problem.terms(true, true, lambda);
  const auto optimizer = make_optimizer<double>("adam", {{"lr", 0.1}});
  BOOST_TEST(optimizer->kept_vectors(true) == 2U);
  BOOST_TEST(optimizer->kept_vectors(false) == 0U);
  for (const bool resumed : {false, true}) {
    DrivenVisit<double> visit(*device, *optimizer, size);
    prepare(visit, terms);
    visit.run(6);
    visit.run(6, resumed);  // from terms.start again
    State expected = fresh(problem);
    reference(expected, 6, 0.9, 0.999, 1e-8, 0.0, terms);
    expected.theta = wide(problem.start, size);
    if (!resumed) expected = fresh(problem);
    reference(expected, 6, 0.9, 0.999, 1e-8, 0.0, terms);
    BOOST_TEST(relative_difference(visit.mean(), expected.theta) < 1e-12, "resumed " << resumed);
    BOOST_TEST(visit.block.clients[0].optimizer_step == (resumed ? 12U : 6U));
  }
}

BOOST_AUTO_TEST_CASE(the_first_step_has_the_size_of_the_rate) {
  // |mean| / sqrt(square) = 1 after both bias corrections, whatever the gradient's size.
  const auto device = make_cpu_device();
  const Problem<double> problem(size);
  const auto optimizer = make_optimizer<double>("adam", {{"lr", 0.1}, {"epsilon", 1e-300}});
  DrivenVisit<double> visit(*device, *optimizer, size);
  prepare(visit, problem.terms(false, false, lambda));
  visit.gradient = [](std::size_t, const double*, double* g) {
    for (std::size_t i = 0; i < size; ++i)
      g[i] = (i % 2 == 0 ? 1.0 : -1.0) * std::pow(10.0, static_cast<double>(i % 7) - 3.0);
  };
  visit.run(1);
  for (std::size_t i = 0; i < size; ++i) {
    const double expected = problem.start[i] - (i % 2 == 0 ? 1.0 : -1.0) * rate(0);
    BOOST_TEST(std::fabs(visit.mean()[i] - expected) < 1e-15);
  }
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) {
  const auto device = make_cpu_device();
  const Problem<float> one(size, 0), two(size, 1), three(size, 2);
  std::vector<LocalTerms<float>> terms{one.terms(false, false, lambda), two.terms(true, true, lambda),
                                       three.terms(true, false, lambda), two.terms(true, false, lambda)};
  terms[3].anchor_precision = nullptr;
  const auto optimizer = make_optimizer<float>("adam", {{"lr", 0.1}, {"weight_decay", 0.01}});
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
  const auto optimizer = make_optimizer<float>("adam", {{"lr", 0.1}});
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
  const auto optimizer = make_optimizer<float>("adam", {{"lr", 0.1}});
  DrivenVisit<float> visit(*device, *optimizer, size);
  prepare(visit, problem.terms(false, false, lambda));
  visit.gradient = [](std::size_t, const float*, float* g) { g[3] = std::numeric_limits<float>::quiet_NaN(); };
  visit.run(2);
  BOOST_TEST(std::isnan(visit.mean()[3]));
}

BOOST_AUTO_TEST_CASE(options_out_of_range_are_refused) {
  for (const OptionValues& wrong : {OptionValues{{"lr", -0.1}},
                                    {{"lr", 0.1}, {"beta1", -0.1}},
                                    {{"lr", 0.1}, {"beta1", 1.0}},
                                    {{"lr", 0.1}, {"beta2", 1.0}},
                                    {{"lr", 0.1}, {"epsilon", 0.0}},
                                    {{"lr", 0.1}, {"weight_decay", -1.0}},
                                    {{"lr", 0.1}, {"momentum", 0.9}}})
    BOOST_CHECK_THROW(make_optimizer<float>("adam", wrong), InputError);
}
