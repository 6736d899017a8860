// What a visit does beside the optimizer's own formula: clipping, the unsquared anchor, the start gradient and the sum of rates,
// each against plain loops over the network's gradient.
#define BOOST_TEST_MODULE step_gradient
#include <cmath>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/ivon_reference.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr double lr = 0.3;

double norm(const Vector& x) {
  double total = 0;
  for (const double v : x) total += v * v;
  return std::sqrt(total);
}

Vector clipped(Vector g, double most) {
  const double length = norm(g);
  if (length > most) {
    for (double& v : g) v *= most / length;
  }
  return g;
}

// A small network with 37 examples, more parameters than there are slots for partial sums.
struct Setting {
  Setting() : device(make_cpu_device()), data(labelled_noise(60, 40, 5)), problem(network.layout().size()) {
    rows.resize(37);
    std::iota(rows.begin(), rows.end(), 8U);
  }
  std::size_t size() const { return network.layout().size(); }

  Vector gradient(const Vector& theta, std::span<const std::uint32_t> of) const {
    std::vector<double> x;
    std::vector<std::int32_t> labels;
    for (const std::uint32_t row : of) {
      x.insert(x.end(), data.row(row), data.row(row) + data.features);
      labels.push_back(data.labels[row]);
    }
    auto workspace = network.make_workspace(*device, 1, of.size());
    Vector point = padded<double>(theta), g(point.size());
    network.gradient(*device, {.rows = of.size(), .parameter_stride = point.size()}, point.data(), x.data(),
                     labels.data(), workspace, g.data(), nullptr);
    return wide(g, size());
  }

  Vector terms_gradient(const Vector& theta, const LocalTerms<double>& terms) const {
    Vector g = full_gradient(theta, terms, 0.0), loss(theta.size());
    bumpy_gradient(theta.data(), loss.data(), theta.size());  // what full_gradient counts as the loss
    for (std::size_t i = 0; i < g.size(); ++i) g[i] -= loss[i];
    return g;
  }

  VisitPlan full_batch(std::int64_t steps) const { return {.seed = 3, .steps = steps, .batch = rows.size()}; }

  struct Trained {
    Vector mean, start_gradient;
    VisitResult result;
  };
  Trained train(const Optimizer<double>& optimizer, const VisitPlan& plan, const LocalTerms<double>& terms,
                const LearningRate& rate = LearningRate(lr), const Trainer<double>::Noise& noise = {}) const {
    Trainer<double> trainer(*device, network, optimizer, data, plan, rate);
    Visit<double> visit{.task = {}, .examples = rows};
    visit.task.terms = terms;
    Trained trained;
    trained.result = trainer.train({&visit, 1}, noise).front();
    trained.mean = Vector(trainer.mean(0), trainer.mean(0) + size());
    if (const double* const g = trainer.start_gradient(0)) trained.start_gradient = Vector(g, g + size());
    return trained;
  }

  std::unique_ptr<Device> device;
  Dataset data;
  Network<double> network = make_mlp<double>(40, std::vector<std::size_t>{9}, 5, "tanh", true);
  Problem<double> problem;
  std::vector<std::uint32_t> rows;
};

}  // namespace

BOOST_AUTO_TEST_CASE(point_optimizers_clip_the_gradient_of_the_whole_objective_but_not_weight_decay) {
  const Setting s;
  const double weight_decay = 0.2, momentum = 0.7;
  const auto optimizer =
      make_optimizer<double>("sgd", {{"lr", lr}, {"momentum", momentum}, {"weight_decay", weight_decay}});
  int bitten = 0;
  for (const LocalTerms<double>& terms : kinds_of_terms(s.problem, 25.0)) {
    for (const double most : {0.05, 4.0, 1e6}) {
      VisitPlan plan = s.full_batch(12);
      plan.clip_norm = most;
      Vector theta = wide(s.problem.start, s.size()), buffer(s.size(), 0.0);
      for (int step = 0; step < 12; ++step) {
        Vector g = s.gradient(theta, s.rows);
        const Vector more = s.terms_gradient(theta, terms);
        for (std::size_t i = 0; i < g.size(); ++i) g[i] += more[i];
        bitten += norm(g) > most ? 1 : 0;
        g = clipped(g, most);
        for (std::size_t i = 0; i < g.size(); ++i) {
          buffer[i] = momentum * buffer[i] + g[i] + weight_decay * theta[i];
          theta[i] -= lr * buffer[i];
        }
      }
      // The terms' part of the gradient is a difference here: a few roundings of numbers below 10 per step.
      BOOST_TEST(relative_difference(s.train(*optimizer, plan, terms).mean, theta) < 1e-12, "clip_norm " << most);
    }
  }
  BOOST_TEST(bitten > 100);
  BOOST_TEST(bitten < 300);
}

BOOST_AUTO_TEST_CASE(on_the_sum_loss_the_norm_is_that_of_the_sum) {
  const Setting s;
  const auto adam = make_optimizer<double>("adam", {{"lr", lr}, {"epsilon", 0.5}});
  const auto sgd = make_optimizer<double>("sgd", {{"lr", lr}});
  LocalTerms<double> terms = s.problem.terms(true, false, 25.0);
  VisitPlan plan = s.full_batch(6);
  plan.clip_norm = 0.9;
  for (const bool sum : {false, true}) {
    terms.sum_loss = sum;
    const double scale = sum ? static_cast<double>(s.rows.size()) : 1.0;
    Vector theta = wide(s.problem.start, s.size()), plain = theta, a(s.size(), 0.0), v(s.size(), 0.0);
    for (int t = 1; t <= 6; ++t) {
      const auto objective = [&](const Vector& at, double factor) {
        Vector g = s.gradient(at, s.rows);
        const Vector more = s.terms_gradient(at, terms);
        for (std::size_t i = 0; i < g.size(); ++i) g[i] = factor * (g[i] + more[i]);
        return clipped(g, plan.clip_norm);
      };
      const Vector g = objective(theta, scale), h = objective(plain, 1.0);
      for (std::size_t i = 0; i < g.size(); ++i) {
        a[i] = 0.9 * a[i] + 0.1 * g[i];
        v[i] = 0.999 * v[i] + 0.001 * g[i] * g[i];
        theta[i] -= lr * a[i] / (1 - std::pow(0.9, t)) / (std::sqrt(v[i] / (1 - std::pow(0.999, t))) + 0.5);
        plain[i] -= lr * h[i];  // SGD divides the sum loss by N_k
      }
    }
    BOOST_TEST(relative_difference(s.train(*adam, plan, terms).mean, theta) < 1e-12, "sum loss " << sum);
    BOOST_TEST(relative_difference(s.train(*sgd, plan, terms).mean, plain) < 1e-12, "sum loss " << sum);
  }
}

BOOST_AUTO_TEST_CASE(with_a_posterior_the_gradient_of_the_minibatch_loss_is_clipped) {
  const Setting s;
  const double lambda = 30.0, most = 0.05;
  const auto optimizer = make_optimizer<double>("ivon", base(lambda));
  const LocalTerms<double> terms = s.problem.terms(true, true, lambda);
  VisitPlan plan = s.full_batch(5);
  plan.clip_norm = most;
  const std::size_t stride = s.network.layout().stride();
  std::vector<Vector> z;
  for (std::uint64_t step = 0; step < 6; ++step) z.push_back(normal_numbers(stride, step));
  const auto trained = s.train(*optimizer, plan, terms, LearningRate(lr),
                               [&](std::uint64_t, std::uint32_t, std::uint64_t step, int) -> NoiseSource<double> {
                                 return {.stream = {}, .stored = z[step].data()};
                               });
  IvonReference reference;
  reference.lambda = lambda;
  reference.beta2 = 0.98;
  reference.hess_init = 0.7;
  reference.rescale_lr = true;
  for (std::size_t i = 0; i < s.size(); ++i) {
    reference.decay.push_back(s.problem.anchor_precision[i] / lambda);
    reference.prior_mean.push_back(s.problem.anchor_mean[i]);
    reference.site_gradient.push_back(terms.site_weight * s.problem.site_mean[i]);
    reference.site_curvature.push_back(terms.site_weight * s.problem.site_precision[i]);
  }
  reference.start(wide(s.problem.start, s.size()), 0.7);
  int bitten = 0;
  for (std::size_t step = 0; step < 5; ++step) {
    reference.step(lr, {wide(z[step], s.size())}, [&](const Vector& theta) {
      const Vector g = s.gradient(theta, s.rows);
      bitten += norm(g) > most ? 1 : 0;
      return clipped(g, most);
    });
  }
  BOOST_TEST(bitten == 5);
  BOOST_TEST(relative_difference(trained.mean, reference.mean) < 1e-11);
}

BOOST_AUTO_TEST_CASE(a_norm_that_is_not_a_number_hides_nothing) {
  Setting s;
  s.data.x[10 * s.data.features] = std::numeric_limits<float>::quiet_NaN();
  VisitPlan plan = s.full_batch(2);
  plan.clip_norm = 0.1;
  const auto trained = s.train(*make_optimizer<double>("sgd", {}), plan, s.problem.terms(false, false, 1.0));
  BOOST_TEST(std::any_of(trained.mean.begin(), trained.mean.end(), [](double m) { return std::isnan(m); }));
}

BOOST_AUTO_TEST_CASE(the_unsquared_anchor_pulls_with_a_constant_force_and_not_at_all_at_its_centre) {
  // D6: 1/2 c |theta - m| has the gradient 1/2 c (theta - m)/|theta - m|.
  const Setting s;
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", lr}, {"weight_decay", 0.1}});
  for (const int centre : {0, 1, 2}) {  // the start, another point, 0
    for (const double most : {0.0, 0.6}) {
      LocalTerms<double> terms = s.problem.terms(false, true, 25.0);
      terms.anchor_weight = 1.7;
      terms.unsquared_anchor = true;
      if (centre < 2) terms.anchor_mean = centre == 0 ? s.problem.start.data() : s.problem.anchor_mean.data();
      VisitPlan plan = s.full_batch(9);
      plan.clip_norm = most;
      LocalTerms<double> site = terms;
      site.anchor_weight = 0;
      Vector theta = wide(s.problem.start, s.size());
      for (int step = 0; step < 9; ++step) {
        Vector g = s.gradient(theta, s.rows), away = theta;
        const Vector more = s.terms_gradient(theta, site);
        if (terms.anchor_mean != nullptr) {
          for (std::size_t i = 0; i < away.size(); ++i) away[i] -= terms.anchor_mean[i];
        }
        const double distance = norm(away);
        BOOST_TEST((distance == 0) == (centre == 0 && step == 0));
        for (std::size_t i = 0; i < g.size(); ++i) {
          g[i] += more[i] + (distance > 0 ? 0.5 * 1.7 * away[i] / distance : 0.0);
        }
        if (most > 0) g = clipped(g, most);
        for (std::size_t i = 0; i < g.size(); ++i) theta[i] -= lr * (g[i] + 0.1 * theta[i]);
      }
      BOOST_TEST(relative_difference(s.train(*optimizer, plan, terms).mean, theta) < 1e-12,
                 "centre " << centre << ", clip_norm " << most);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_start_gradient_is_the_full_batch_gradient_where_training_starts) {
  const Setting s;
  const auto ivon = make_optimizer<double>("ivon", {}), sgd = make_optimizer<double>("sgd", {});
  const Vector expected = s.gradient(wide(s.problem.start, s.size()), s.rows);
  for (const std::size_t batch : {1U, 7U, 10U, 37U, 64U}) {
    const VisitPlan plan{.seed = 3, .epochs = 1, .batch = batch};
    VisitPlan asked = plan;
    asked.start_gradients = true;
    for (const auto* optimizer : {&*sgd, &*ivon}) {
      const auto with = s.train(*optimizer, asked, s.problem.terms(false, false, 1.0));
      BOOST_TEST(relative_difference(with.start_gradient, expected) < 1e-13, "batch " << batch);
      const auto without = s.train(*optimizer, plan, s.problem.terms(false, false, 1.0));
      BOOST_TEST(without.start_gradient.empty());
      BOOST_TEST(bool(with.mean == without.mean));  // the pass leaves no trace in the training
      BOOST_TEST(with.result.train_loss == without.result.train_loss);
      BOOST_TEST(with.result.final_loss == without.result.final_loss);
    }
  }
}

BOOST_AUTO_TEST_CASE(the_rates_of_a_visit_are_added_up) {
  const Setting s;
  const auto sgd = make_optimizer<double>("sgd", {});
  const LearningRate linear(0.02, 100, schedule_options("cosine", "linear"));
  const auto trained = s.train(*sgd, {.seed = 3, .epochs = 2, .batch = 10}, s.problem.terms(false, false, 1.0), linear);
  BOOST_TEST(trained.result.steps == 8.0);
  BOOST_TEST(trained.result.rate_sum == 0.02 * (8 - 28.0 / 8), boost::test_tools::tolerance(1e-14));
  const auto constant = s.train(*sgd, {.seed = 3, .steps = 5, .batch = 10}, s.problem.terms(false, false, 1.0));
  BOOST_TEST(constant.result.rate_sum == 5 * lr, boost::test_tools::tolerance(1e-14));
}
