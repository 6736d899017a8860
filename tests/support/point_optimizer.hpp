// What the tests of all point optimizers share: a visit on the bumpy loss, the comparison with equations written once more in
// plain double, and the statements that hold for every one of them.
#pragma once
#include <string>
#include <vector>

#include "tests/support/boost_test.hpp"

#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"

namespace ivory::test {

inline constexpr std::size_t point_size = 70;  // one whole tile and a part of one
inline constexpr double point_lambda = 25.0;

inline double point_rate(std::size_t step) { return 0.05 / (1.0 + 0.1 * static_cast<double>(step)); }

template <class Real>
void prepare(DrivenVisit<Real>& visit, const LocalTerms<Real>& terms) {
  for (auto& client : visit.block.clients) client.terms = terms;
  visit.rate = point_rate;
  visit.gradient = [](std::size_t, const Real* theta, Real* g) { bumpy_gradient(theta, g, point_size); };
}

/// Moves a reference - `Vector theta` and `step(gradient of the whole objective, rate)` - by the equations.
template <class Reference>
void follow(Reference& reference, std::size_t steps, const LocalTerms<double>& terms, double coupled_decay) {
  for (std::size_t step = 0; step < steps; ++step)
    reference.step(full_gradient(reference.theta, terms, coupled_decay), point_rate(step));
}

/// The optimizer against `fresh`, for every combination of terms.
template <class Reference>
void check_equations(const std::string& name, const OptionValues& options, const Reference& fresh, double tolerance,
                     double coupled_decay = 0.0) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const auto optimizer = make_optimizer<double>(name, options);
  BOOST_TEST(!optimizer->gives_posterior());
  BOOST_TEST(optimizer->samples() == 1);
  int kind = 0;
  for (const LocalTerms<double>& terms : kinds_of_terms(problem, point_lambda)) {
    DrivenVisit<double> visit(*device, *optimizer, point_size);
    prepare(visit, terms);
    visit.after_step = [&](std::size_t) {  // gradients are wanted at the mean
      const double* const point = visit.block.row(visit.block.point, 0);
      BOOST_TEST(Vector(point, point + point_size) == visit.mean(), boost::test_tools::per_element());
    };
    visit.run(25);
    Reference expected = fresh;
    expected.theta = wide(problem.start, point_size);
    follow(expected, 25, terms, coupled_decay);
    const double difference = relative_difference(visit.mean(), expected.theta);
    BOOST_TEST(difference < tolerance, "terms " << kind << ": " << difference);
    ++kind;
  }
}

/// On N_k times the objective, with terms of the mean loss's scale (methods.md 4.7).
template <class Reference>
void check_sum_loss(const std::string& name, const OptionValues& options, const Reference& fresh, double tolerance,
                    double coupled_decay = 0.0) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const LocalTerms<double> terms = problem.terms(true, true, point_lambda);
  constexpr double examples = 250.0;
  const auto optimizer = make_optimizer<double>(name, options);
  BOOST_TEST(optimizer->takes_sum_loss());
  DrivenVisit<double> visit(*device, *optimizer, point_size);
  prepare(visit, terms);
  visit.block.clients[0].loss_scale = examples;
  visit.run(25);
  Reference expected = fresh;
  expected.theta = wide(problem.start, point_size);
  for (std::size_t step = 0; step < 25; ++step) {
    Vector g = full_gradient(expected.theta, terms, 0.0);
    for (std::size_t i = 0; i < g.size(); ++i) g[i] = examples * g[i] + coupled_decay * expected.theta[i];
    expected.step(g, point_rate(step));
  }
  const double difference = relative_difference(visit.mean(), expected.theta);
  BOOST_TEST(difference < tolerance, difference);
}

/// The state, of `vectors` arrays, survives between visits where that is wanted, and only there.
template <class Reference>
void check_kept_state(const std::string& name, const OptionValues& options, const Reference& fresh, std::size_t vectors,
                      double tolerance) {
  const auto device = make_cpu_device();
  const Problem<double> problem(point_size);
  const LocalTerms<double> terms = problem.terms(true, true, point_lambda);
  const auto optimizer = make_optimizer<double>(name, options);
  BOOST_TEST(optimizer->kept_vectors(true) == vectors);
  BOOST_TEST(optimizer->kept_vectors(false) == 0U);
  for (const bool resumed : {false, true}) {
    DrivenVisit<double> visit(*device, *optimizer, point_size);
    prepare(visit, terms);
    visit.run(6);
    visit.run(6, resumed);  // from terms.start again
    Reference expected = fresh;
    expected.theta = wide(problem.start, point_size);
    follow(expected, 6, terms, 0.0);
    if (!resumed) expected = fresh;
    expected.theta = wide(problem.start, point_size);
    follow(expected, 6, terms, 0.0);
    const double difference = relative_difference(visit.mean(), expected.theta);
    BOOST_TEST(difference < tolerance, "resumed " << resumed << ": " << difference);
    BOOST_TEST(visit.block.clients[0].optimizer_step == (resumed ? 12U : 6U));
  }
}

/// A client gets the bits it gets alone, whoever shares its block.
inline void check_blocks(const std::string& name, const OptionValues& options) {
  const auto device = make_cpu_device();
  const Problem<float> one(point_size, 0), two(point_size, 1), three(point_size, 2);
  std::vector<LocalTerms<float>> terms{one.terms(false, false, point_lambda), two.terms(true, true, point_lambda),
                                       three.terms(true, false, point_lambda), two.terms(true, false, point_lambda)};
  terms[3].anchor_precision = nullptr;
  const auto optimizer = make_optimizer<float>(name, options);
  DrivenVisit<float> together(*device, *optimizer, point_size, terms.size());
  prepare(together, terms[0]);
  for (std::size_t b = 0; b < terms.size(); ++b) together.block.clients[b].terms = terms[b];
  together.run(10);
  for (std::size_t b = 0; b < terms.size(); ++b) {
    DrivenVisit<float> alone(*device, *optimizer, point_size);
    prepare(alone, terms[b]);
    alone.run(10);
    BOOST_TEST(alone.mean() == together.mean(b), boost::test_tools::per_element());
  }
}

/// A client whose visit is over stays as it is while the others of its block go on.
inline void check_finished_client(const std::string& name, const OptionValues& options) {
  const auto device = make_cpu_device();
  const Problem<float> problem(point_size);
  const auto optimizer = make_optimizer<float>(name, options);
  DrivenVisit<float> visit(*device, *optimizer, point_size, 2);
  prepare(visit, problem.terms(true, true, point_lambda));
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

/// A diverged client can be noticed: the mean is not finite where the gradient was not, and nowhere else.
inline void check_not_finite(const std::string& name, const OptionValues& options) {
  const auto device = make_cpu_device();
  const Problem<float> problem(point_size);
  const auto optimizer = make_optimizer<float>(name, options);
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    DrivenVisit<float> visit(*device, *optimizer, point_size);
    prepare(visit, problem.terms(false, false, point_lambda));
    visit.gradient = [&](std::size_t, const float*, float* g) { g[3] = bad; };
    visit.run(2);
    BOOST_TEST(!std::isfinite(visit.mean()[3]));
    BOOST_TEST(std::isfinite(visit.mean()[2]));
  }
}

/// Float stays within `tolerance` of double over 25 steps with all terms.
inline void check_float_follows_double(const std::string& name, const OptionValues& options, double tolerance) {
  const auto trained = [&]<class Real>(Real) {
    const auto device = make_cpu_device();
    const Problem<Real> problem(point_size);
    const auto optimizer = make_optimizer<Real>(name, options);
    DrivenVisit<Real> visit(*device, *optimizer, point_size);
    prepare(visit, problem.terms(true, true, point_lambda));
    visit.run(25);
    return visit.mean();
  };
  const double difference = relative_difference(trained(0.0F), trained(0.0));
  BOOST_TEST(difference < tolerance, "float differs by " << difference);
}

}  // namespace ivory::test
