// IVON as a client of a server: prior, site terms, visits one after the other and side by side (docs/methods, 1.2).
#define BOOST_TEST_MODULE ivon_site
#include "tests/support/boost_test.hpp"

#include "tests/support/client_problem.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/ivon_reference.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(with_an_empty_site_and_a_scalar_anchor_it_is_plain_ivon) {
  // Section 1.2, reduction to 1.1: v = V = 0, m_g = 0, s_g = lambda delta, rescale_lr off.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 12;
  const double lambda = 80.0, delta = 0.04;
  const Problem<double> problem(size);
  const auto zeros = padded<double>(Vector(size, 0.0));
  auto scalar = padded<double>(Vector(size, lambda * delta));
  Vector plain;
  for (const int kind : {0, 1, 2}) {
    OptionValues options = base(lambda);
    options["weight_decay"] = kind == 0 ? delta : 0.9;  // with an anchor the option must not count
    options["rescale_lr"] = false;
    const auto optimizer = make_optimizer<double>("ivon", options);
    DrivenVisit<double> visit(*device, *optimizer, size);
    auto& terms = visit.block.clients[0].terms;
    terms = problem.terms(kind > 0, kind == 2, lambda);
    if (kind > 0) terms.anchor_mean = zeros.data(), terms.anchor_precision = scalar.data();
    if (kind == 2) terms.site_mean = zeros.data(), terms.site_precision = zeros.data();
    visit.rate = [](std::size_t) { return 0.1; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    visit.run(25);
    if (kind == 0)
      plain = visit.mean();
    else
      BOOST_TEST(relative_difference(visit.mean(), plain) < 1e-12);  // lambda delta / lambda rounds
  }
}

BOOST_AUTO_TEST_CASE(prior_and_site_move_the_stationary_point_as_the_equations_say) {
  // Section 1.2: s_k = s_g + (1/rho)(E Hess L_k / tau - V), s_k m_k = s_g m_g + (1/rho)((E Hess L_k m_k - E grad L_k)/tau - v);
  // for L_k = N/2 a (theta - c)^2 that is s_g + (N a / tau - V)/rho and s_g m_g + (N a c / tau - v)/rho.
  const auto device = make_cpu_device();
  const double examples = 25.0, tau = 0.5, rho = 0.8, lambda = examples / (tau * rho);
  const Vector a{2.0, 0.5, 1.1}, c{1.0, -2.0, 0.3}, m_g{0.2, -0.4, 0.0}, s_g{5.0, 3.0, 8.0};
  for (const double sign : {-1.0, 0.0, 1.0}) {
    const Vector v{4.0 * sign, -3.0 * sign, 2.0 * sign}, V{6.0 * sign, 3.0 * sign, 9.0 * sign};
    const auto start = padded<double>(Vector(3, 0.0)), mean = padded<double>(m_g), precision = padded<double>(s_g),
               site_mean = padded<double>(v), site_precision = padded<double>(V);
    const auto optimizer = make_optimizer<double>(
        "ivon", {{"lr", 0.05}, {"beta2", 0.99}, {"hess_init", 1.0}, {"rescale_lr", false}, {"samples", 2}});
    DrivenVisit<double> visit(*device, *optimizer, 3);
    auto& terms = visit.block.clients[0].terms;
    terms.start = start.data();
    terms.anchor_mean = mean.data();
    terms.anchor_precision = precision.data();
    terms.site_mean = site_mean.data();
    terms.site_precision = site_precision.data();
    terms.anchor_weight = 1.0 / lambda;
    terms.site_weight = tau / examples;
    terms.effective_samples = lambda;
    visit.rate = [](std::size_t) { return 0.05; };
    visit.gradient = quadratic(a, c);
    visit.noise = [](std::size_t b, std::size_t step, int sample, double* z) { antithetic(b, step, sample, z, 3); };
    visit.run(5000);
    const Vector s = visit.precision(), m = visit.mean();
    for (std::size_t i = 0; i < 3; ++i) {
      const double expected_s = s_g[i] + (examples * a[i] / tau - V[i]) / rho;
      const double expected_eta = s_g[i] * m_g[i] + (examples * a[i] * c[i] / tau - v[i]) / rho;
      BOOST_TEST(std::fabs(s[i] - expected_s) < 1e-9 * expected_s);  // converged geometrically to rounding
      BOOST_TEST(std::fabs(s[i] * m[i] - expected_eta) < 1e-9 * (1.0 + std::fabs(expected_eta)));
      const double without = s_g[i] + examples * a[i] / tau / rho;  // sign test: V > 0 lowers s_k, V < 0 raises it
      if (sign > 0) BOOST_TEST(s[i] < without - 1.0);
      if (sign < 0) BOOST_TEST(s[i] > without + 1.0);
    }
  }
}

BOOST_AUTO_TEST_CASE(negating_the_site_and_its_weight_changes_nothing) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 30;
  Problem<double> problem(size);
  Vector ours;
  for (const double sign : {1.0, -1.0}) {
    const auto optimizer = make_optimizer<double>("ivon", base(60.0));
    DrivenVisit<double> visit(*device, *optimizer, size);
    if (sign < 0)
      for (std::size_t i = 0; i < size; ++i) problem.site_mean[i] *= -1.0, problem.site_precision[i] *= -1.0;
    visit.block.clients[0].terms = problem.terms(true, true, 60.0);
    visit.block.clients[0].terms.site_weight *= sign;
    visit.rate = [](std::size_t) { return 0.1; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    visit.run(20);
    if (sign > 0)
      ours = visit.mean();
    else
      BOOST_TEST(visit.mean() == ours, boost::test_tools::per_element());  // negation is exact
  }
}

BOOST_AUTO_TEST_CASE(starting_from_the_server_the_hessian_is_zero_and_the_noise_has_the_server_precision) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 40;
  const Problem<double> problem(size);
  const double lambda = 37.0;
  const auto optimizer = make_optimizer<double>("ivon", base(lambda));
  DrivenVisit<double> visit(*device, *optimizer, size);
  auto& terms = visit.block.clients[0].terms;
  terms = problem.terms(true, true, lambda);
  terms.start = problem.anchor_mean.data();
  terms.posterior_is_anchor = true;
  visit.noise = [](std::size_t, std::size_t, int, double* z) { std::fill(z, z + size, 1.0); };
  visit.gradient = [](std::size_t, const double*, double*) {};
  visit.after_begin = [&] {
    const double* const point = visit.block.row(visit.block.point, 0);
    const Vector s = visit.precision(), h = visit.slot(hessian_slot), g = visit.slot(momentum_slot);
    for (std::size_t i = 0; i < size; ++i) {
      BOOST_TEST(h[i] == 0.0);
      BOOST_TEST(g[i] == 0.0);
      // lambda * (s_g / lambda) rounds twice; the difference of point and mean loses digits of the mean's size.
      BOOST_TEST(std::fabs(s[i] - problem.anchor_precision[i]) <= 4e-16 * problem.anchor_precision[i]);
      BOOST_TEST(std::fabs(point[i] - problem.anchor_mean[i] - 1.0 / std::sqrt(problem.anchor_precision[i])) < 1e-15);
    }
  };
  visit.run(0);
  // In the first round the Hessian starts at hess_init, with the anchor present.
  terms.posterior_is_anchor = false;
  terms.start = problem.start.data();
  visit.after_begin = [&] {
    for (const double h : visit.slot(hessian_slot)) BOOST_TEST(h == 0.7);
    BOOST_TEST(visit.mean() == wide(problem.start, size), boost::test_tools::per_element());
  };
  visit.run(0);
}

BOOST_AUTO_TEST_CASE(a_block_of_clients_equals_each_client_alone_bit_for_bit) {
  // float with Philox noise as in production, and clients with different terms side by side.
  const auto device = make_cpu_device();
  constexpr std::size_t size = 130, clients = 4, steps = 12;
  std::vector<Problem<float>> problems;
  for (std::size_t k = 0; k < clients; ++k) problems.emplace_back(size, k);
  OptionValues options = base(50.0);
  options["samples"] = 2;
  const auto optimizer = make_optimizer<float>("ivon", options);
  const auto prepare = [&](TrainingBlock<float>::Client& client, std::size_t k) {
    client.terms = problems[k].terms(k > 0, k > 1, 40.0 + static_cast<double>(k));
    client.examples = 10.0 + static_cast<double>(k);
    client.batch = 5.0;
  };
  // Noise depends on the client, not on its place in the block.
  const auto noise_of = [&](std::size_t k, std::size_t step, int sample, float* z) {
    std::vector<float> n(round_up_to_tile(size));
    fill_normals(make_stream(3, {Purpose::training_noise, 0, k, step, static_cast<std::uint64_t>(sample)}), 0,
                 n.size() / tile_size, n.data());
    std::copy(n.begin(), n.begin() + size, z);
  };
  const auto gradient = [](std::size_t, const float* theta, float* g) { bumpy_gradient(theta, g, size); };
  DrivenVisit<float> together(*device, *optimizer, size, clients);
  for (std::size_t k = 0; k < clients; ++k) prepare(together.block.clients[k], k);
  together.noise = noise_of;
  together.gradient = gradient;
  together.rate = [](std::size_t) { return 0.05; };
  together.run(steps);
  for (std::size_t k = 0; k < clients; ++k) {
    DrivenVisit<float> alone(*device, *optimizer, size);
    prepare(alone.block.clients[0], k);
    alone.noise = [&](std::size_t, std::size_t step, int sample, float* z) { noise_of(k, step, sample, z); };
    alone.gradient = gradient;
    alone.rate = together.rate;
    alone.run(steps);
    BOOST_TEST(alone.mean() == together.mean(k), boost::test_tools::per_element());
    BOOST_TEST(alone.precision() == together.precision(k), boost::test_tools::per_element());
    BOOST_TEST(alone.slot(hessian_slot) == together.slot(hessian_slot, k), boost::test_tools::per_element());
    // A stream gives what the same numbers stored beforehand give.
    DrivenVisit<float> streamed(*device, *optimizer, size);
    prepare(streamed.block.clients[0], k);
    if (k == 0) {
      streamed.seed = 3;
      streamed.gradient = gradient;
      streamed.rate = together.rate;
      streamed.run(steps);
      BOOST_TEST(relative_difference(streamed.mean(), alone.mean()) < 1e-6);  // another loop, other roundings at most
    }
  }
}

BOOST_AUTO_TEST_CASE(momentum_and_step_count_survive_between_visits_only_on_request) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 8;
  const Problem<double> problem(size);
  const auto train = [&](DrivenVisit<double>& visit, bool resumed) {
    visit.block.clients[0].terms = problem.terms(true, true, 60.0);
    visit.block.clients[0].terms.posterior_is_anchor = resumed;
    visit.rate = [](std::size_t) { return 0.05; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    visit.noise = [](std::size_t, std::size_t step, int, double* z) {
      const Vector n = normal_numbers(size, step);
      std::copy(n.begin(), n.end(), z);
    };
    visit.run(5, resumed);
  };
  OptionValues options = base(60.0);
  BOOST_TEST(make_optimizer<double>("ivon", options)->kept_vectors(false) == 0U);
  options["keep_momentum"] = true;
  const auto optimizer = make_optimizer<double>("ivon", options);
  BOOST_TEST(optimizer->kept_vectors(false) == 1U);  // g; h is set by the server each round
  DrivenVisit<double> visit(*device, *optimizer, size);
  train(visit, false);
  const Vector kept = visit.slot(momentum_slot);
  BOOST_TEST(largest_magnitude(kept) > 0.0);
  visit.after_begin = [&] {
    BOOST_TEST(visit.slot(momentum_slot) == kept, boost::test_tools::per_element());
    for (const double h : visit.slot(hessian_slot)) BOOST_TEST(h == 0.0);
    BOOST_TEST(visit.block.clients[0].optimizer_step == 5U);
  };
  train(visit, true);
  const Vector resumed = visit.mean();
  // The same by the equations: g and t go on, mean and h start afresh.
  IvonReference reference;
  reference.lambda = 60.0;
  reference.beta2 = 0.98;
  reference.hess_init = 0.7;
  reference.rescale_lr = true;
  reference.prior_mean = wide(problem.anchor_mean, size);
  for (std::size_t i = 0; i < size; ++i) {
    reference.decay.push_back(problem.anchor_precision[i] / 60.0);
    reference.site_gradient.push_back(0.07 * problem.site_mean[i]);
    reference.site_curvature.push_back(0.07 * problem.site_precision[i]);
  }
  reference.start(wide(problem.start, size), 0.0);
  reference.momentum = kept;
  reference.t = 5;
  for (std::size_t step = 0; step < 5; ++step)
    reference.step(0.05, {normal_numbers(size, step)}, [](const Vector& theta) {
      Vector g(size);
      bumpy_gradient(theta.data(), g.data(), size);
      return g;
    });
  BOOST_TEST(relative_difference(resumed, reference.mean) < 1e-12);
}

BOOST_AUTO_TEST_CASE(effective_samples_come_from_the_terms_then_the_option_then_the_client) {
  const auto device = make_cpu_device();
  const auto precision_after_begin = [&](double option, double terms_lambda, double examples) {
    OptionValues options{{"lr", 0.1}, {"hess_init", 2.0}, {"weight_decay", 0.5}, {"ess", option}};
    const auto optimizer = make_optimizer<double>("ivon", options);
    DrivenVisit<double> visit(*device, *optimizer, 1);
    const auto start = padded<double>(Vector{0.0});
    visit.block.clients[0].terms.start = start.data();
    visit.block.clients[0].terms.effective_samples = terms_lambda;
    visit.block.clients[0].examples = examples;
    visit.gradient = [](std::size_t, const double*, double*) {};
    visit.run(0);
    return visit.precision()[0];
  };
  BOOST_TEST(precision_after_begin(100.0, 0.0, 30.0) == 250.0);
  BOOST_TEST(precision_after_begin(0.0, 0.0, 30.0) == 75.0);
  BOOST_TEST(precision_after_begin(0.0, 8.0, 30.0) == 20.0);
}

BOOST_AUTO_TEST_CASE(a_gradient_that_is_not_finite_shows_in_the_mean) {
  // A diverged client is recognised by its update: clipping must not turn NaN into a number.
  const auto device = make_cpu_device();
  const Problem<float> problem(10);
  for (const double clip : {0.0, 0.1}) {
    OptionValues options = base(60.0);
    options["clip_radius"] = clip;
    const auto optimizer = make_optimizer<float>("ivon", options);
    DrivenVisit<float> visit(*device, *optimizer, 10);
    visit.block.clients[0].terms = problem.terms(true, true, 60.0);
    visit.rate = [](std::size_t) { return 0.05; };
    visit.gradient = [](std::size_t, const float* theta, float* g) {
      bumpy_gradient(theta, g, 10);
      g[3] = std::numeric_limits<float>::quiet_NaN();
    };
    visit.run(3);
    BOOST_TEST(std::isnan(visit.mean()[3]));
    BOOST_TEST(!std::isnan(visit.mean()[5]));  // the loss couples neighbours: 3 steps reach 3, 2, 1
  }
}

BOOST_AUTO_TEST_CASE(share_of_the_precision_gap_closed) {
  const auto optimizer = make_optimizer<float>("ivon", {{"lr", 0.1}, {"beta2", 0.99999}});
  BOOST_TEST(std::fabs(optimizer->precision_gap_closed(2000.0) - (1.0 - std::pow(0.99999, 2000.0))) < 1e-9);
}

namespace {

/// A visit with everything on, watched from outside: what the health must say of it.
struct WatchedVisit {
  static constexpr std::size_t size = 40;
  double lambda = 60, rate = 0.2, at_start = 0, clipped = 0;
  Vector steps;  // lr' / (h + d)
  OptimizerHealth health;

  explicit WatchedVisit(OptionValues options, bool anchor, bool site, bool from_server) {
    const auto device = make_cpu_device();
    const Problem<double> problem(size);
    const auto optimizer = make_optimizer<double>("ivon", options);
    DrivenVisit<double> visit(*device, *optimizer, size, 2);
    for (auto& client : visit.block.clients) client.terms = problem.terms(anchor, site, lambda);
    visit.block.clients[1].terms.posterior_is_anchor = from_server;
    visit.rate = [this](std::size_t) { return rate; };
    visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, size); };
    Vector start, before, now;
    visit.after_begin = [&] { start = visit.precision(1), now = visit.mean(1); };
    visit.after_step = [&](std::size_t) { before = now, now = visit.mean(1); };
    visit.run(12);
    health = optimizer->health(visit.block, 2)[1];
    const Vector end = visit.precision(1);
    for (std::size_t i = 0; i < size; ++i) {
      at_start += std::fabs(end[i] - start[i]) <= 0.01 * start[i] ? 1.0 / size : 0.0;
      const double d = anchor ? problem.anchor_precision[i] / lambda : std::get<double>(options["weight_decay"]);
      const double h0 = std::get<double>(options["hess_init"]);
      const bool rescaled = options.count("rescale_lr") == 0 || std::get<bool>(options["rescale_lr"]);
      const double step = rate * (rescaled ? h0 + d : 1.0);
      steps.push_back(step * lambda / end[i]);
      const double clip = options.count("clip_radius") > 0 ? std::get<double>(options["clip_radius"]) : 1e300;
      clipped += std::fabs(now[i] - before[i]) >= step * clip * (1 - 1e-9) ? 1.0 / size : 0.0;
    }
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(health_says_what_a_visit_did_seen_from_outside) {
  for (const bool rescale : {true, false}) {
    for (const int kind : {0, 1, 2, 3}) {
      OptionValues options = base(60.0);
      options["rescale_lr"] = rescale;
      options["beta2"] = 0.999;
      options["clip_radius"] = 0.15;
      const WatchedVisit visit(options, kind > 0, kind > 1, kind > 2);
      BOOST_TEST_CONTEXT("terms " << kind << ", rescale_lr " << rescale) {
        BOOST_TEST(std::fabs(visit.health.hessian_at_start - visit.at_start) < 1e-12);
        BOOST_TEST(std::fabs(visit.health.clip_rate - visit.clipped) < 1e-12);
        BOOST_TEST((visit.clipped > 0.02 && visit.clipped < 0.98), visit.clipped);  // so that both kinds are there
        const auto expected = quantiles_of(visit.steps).values;  // 40 parameters: all of them are looked at
        for (std::size_t q = 0; q < 3; ++q) {
          BOOST_TEST(std::fabs(visit.health.effective_step.values[q] - expected[q]) < 1e-12 * expected[q]);
        }
      }
    }
  }
  // A Hessian that hardly moves, one that moves at once, and no clipping.
  OptionValues options = base(60.0);
  options["beta2"] = 0.999999;
  const WatchedVisit still(options, true, true, false);
  BOOST_TEST(still.health.hessian_at_start == 1.0);
  BOOST_TEST(still.health.clip_rate == 0.0);
  options["beta2"] = 0.9;
  BOOST_TEST(WatchedVisit(options, true, true, false).health.hessian_at_start < 0.2);
}

BOOST_AUTO_TEST_CASE(health_of_a_large_model_looks_at_some_of_its_parameters) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 20000;
  const Problem<float> problem(size);
  const auto optimizer = make_optimizer<float>("ivon", base(60.0));
  DrivenVisit<float> visit(*device, *optimizer, size);
  visit.block.clients[0].terms = problem.terms(true, true, 60.0);
  visit.gradient = [](std::size_t, const float* theta, float* g) { bumpy_gradient(theta, g, size); };
  visit.run(3);
  std::vector<float> all = visit.precision();
  for (std::size_t i = 0; i < size; ++i) {
    all[i] = (0.7F + problem.anchor_precision[i] / 60.0F) * 60.0F / all[i];
  }
  const auto expected = quantiles_of(all).values, got = optimizer->health(visit.block, 1)[0].effective_step.values;
  // 4,096 of 20,000, whose gradients repeat every 5: quantiles of a sample, standard error below 0.01 in rank.
  for (std::size_t q = 0; q < 3; ++q)
    BOOST_TEST(std::fabs(got[q] - expected[q]) < 0.05 * expected[q], got[q] << " and " << expected[q]);
}

BOOST_AUTO_TEST_CASE(what_a_kept_hessian_was_at_the_start_is_not_known) {
  const auto device = make_cpu_device();
  const Problem<double> problem(5);
  const auto optimizer = make_optimizer<double>("ivon", base(60.0));
  DrivenVisit<double> visit(*device, *optimizer, 5);
  visit.block.clients[0].terms = problem.terms(false, false, 60.0);
  visit.gradient = [](std::size_t, const double* theta, double* g) { bumpy_gradient(theta, g, 5); };
  visit.run(3);
  BOOST_TEST(std::isfinite(optimizer->health(visit.block, 1)[0].hessian_at_start));
  visit.run(3, true);
  BOOST_TEST(std::isnan(optimizer->health(visit.block, 1)[0].hessian_at_start));
  BOOST_TEST(std::isfinite(optimizer->health(visit.block, 1)[0].effective_step.values[1]));
}
