// Merged models against closed forms, and against the server steps of the production algorithms.
#define BOOST_TEST_MODULE merging
#include <cmath>
#include "tests/support/boost_test.hpp"

#include "server/merging.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;
using Vector = std::vector<double>;
using View = GaussianView<double>;

namespace {

constexpr std::size_t size = 40;

Vector draw(std::uint64_t seed, double low, double high, std::size_t count = size) {
  StreamReader random(seed, {.purpose = Purpose::data});
  Vector values(count);
  for (double& value : values) value = low + (high - low) * random.uniform();
  return values;
}

struct Gaussian {
  Vector mean, precision;
  View view() const { return {mean, precision}; }
};

Gaussian draw_gaussian(std::uint64_t seed, double least = 0.5, double most = 4.0) {
  return {draw(seed, -2, 2), draw(seed + 1000, least, most)};
}

std::vector<View> views(const std::vector<Gaussian>& gaussians) {
  std::vector<View> all;
  for (const Gaussian& gaussian : gaussians) all.push_back(gaussian.view());
  return all;
}

// The base, and tasks that know more than it.
struct Problem {
  Gaussian base = draw_gaussian(1, 0.5, 1.0);
  std::vector<Gaussian> gaussians = {draw_gaussian(2, 1.0, 4.0), draw_gaussian(3, 1.0, 4.0),
                                     draw_gaussian(4, 1.0, 4.0)};
  std::vector<View> tasks = views(gaussians);
};

const Vector sums_to_one = {0.2, 0.5, 0.3};
const Vector any_weights = {0.7, 1.6, 0.4};

Merged<double> diagonal(const Problem& p, const Vector& weights) {
  return merge_posteriors<double>(p.base.view(), p.tasks, weights, 0.0);
}

std::vector<std::vector<View>> one_each(const std::vector<View>& tasks) {
  std::vector<std::vector<View>> all;
  for (const View& task : tasks) all.push_back({task});
  return all;
}

}  // namespace

BOOST_AUTO_TEST_CASE(equal_models_stay_for_weights_that_sum_to_one) {
  Problem p;
  for (std::size_t t = 1; t < 3; ++t) p.gaussians[t].mean = p.gaussians[0].mean;
  p.tasks = views(p.gaussians);
  const Vector& mean = p.gaussians[0].mean;
  const View base = p.base.view();
  BOOST_TEST(largest_difference(merge_average<double>(p.tasks, sums_to_one).mean, mean) < 1e-14);
  BOOST_TEST(largest_difference(merge_task_vectors<double>(base, p.tasks, sums_to_one, 1.0).mean, mean) < 1e-14);
  BOOST_TEST(largest_difference(diagonal(p, sums_to_one).mean, mean) < 1e-14);
  BOOST_TEST(largest_difference(merge_by_uncertainty<double>({base.mean, {}}, p.tasks, sums_to_one, 0.3, 0.0).mean,
                                mean) < 1e-14);
  BOOST_TEST(largest_difference(merge_mixtures<double>(base, one_each(p.tasks), sums_to_one, {}).mean, mean) < 1e-14);
}

BOOST_AUTO_TEST_CASE(a_vertex_gives_that_clients_model) {
  const Problem p;
  for (std::size_t t = 0; t < 3; ++t) {
    Vector vertex(3, 0.0);
    vertex[t] = 1;
    const View base = p.base.view();
    const Vector& mean = p.gaussians[t].mean;
    BOOST_TEST(largest_difference(merge_average<double>(p.tasks, vertex).mean, mean) == 0.0);
    BOOST_TEST(largest_difference(merge_task_vectors<double>(base, p.tasks, vertex, 1.0).mean, mean) < 1e-14);
    BOOST_TEST(largest_difference(diagonal(p, vertex).mean, mean) < 1e-14);
    BOOST_TEST(largest_difference(diagonal(p, vertex).precision, p.gaussians[t].precision) < 1e-14);
    const auto matched = merge_by_uncertainty<double>(base, p.tasks, vertex, 0.1, 0.0);
    BOOST_TEST(largest_difference(matched.mean, mean) < 1e-14);
    BOOST_TEST(largest_difference(merge_mixtures<double>(base, one_each(p.tasks), vertex, {}).mean, mean) < 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(task_arithmetic_is_the_product_of_posteriors_with_the_bases_precision) {
  Problem p;
  for (Gaussian& gaussian : p.gaussians) gaussian.precision = p.base.precision;
  p.tasks = views(p.gaussians);
  for (const Vector& weights : {sums_to_one, any_weights}) {
    const auto product = diagonal(p, weights);
    BOOST_TEST(largest_difference(product.mean, merge_task_vectors<double>(p.base.view(), p.tasks, weights, 1.0).mean) <
               1e-14);
    BOOST_TEST(largest_difference(product.precision, p.base.precision) < 1e-14);
  }
  // By hand: m_0 = 1, models 3 and 0, weights 1 and 2, scale 0.5.
  const Vector m0{1.0}, a{3.0}, b{0.0}, weights{1.0, 2.0};
  const std::vector<View> tasks{{a, {}}, {b, {}}};
  BOOST_TEST(merge_task_vectors<double>({m0, {}}, tasks, weights, 0.5).mean[0] == 1.0);
  BOOST_TEST(merge_task_vectors<double>({m0, {}}, tasks, weights, 2.0).mean[0] == 1.0 + 2.0 * (2.0 - 2.0));
  BOOST_TEST(merge_average<double>(tasks, weights).mean[0] == 1.0);
}

BOOST_AUTO_TEST_CASE(the_diagonal_product_is_uncertainty_based_gradient_matching) {
  const Problem p;
  constexpr double delta = 0.2;
  // s_0 = H_0 + delta and s_t = H_0 + H_t + delta; the rule takes H_0 and H_t + delta.
  Vector h0 = p.base.precision;
  for (double& h : h0) h -= delta;
  std::vector<Gaussian> tasks = p.gaussians;
  for (Gaussian& task : tasks) {
    for (std::size_t i = 0; i < size; ++i) task.precision[i] -= h0[i];
  }
  const auto matched = merge_by_uncertainty<double>({p.base.mean, h0}, views(tasks), any_weights, delta, 0.0);
  const auto product = diagonal(p, any_weights);
  BOOST_TEST(largest_difference(matched.mean, product.mean) < 1e-13);
  BOOST_TEST(largest_difference(matched.precision, product.precision) < 1e-13);

  // Without H_0 and with delta -> 0: task vectors weighted by w_t s_t, which is the precision-weighted average.
  const auto weighted = merge_by_uncertainty<double>({p.base.mean, {}}, p.tasks, any_weights, 0.0, 0.0);
  Vector expected(size);
  for (std::size_t i = 0; i < size; ++i) {
    double sum = 0, below = 0;
    for (std::size_t t = 0; t < 3; ++t) {
      below += any_weights[t] * p.gaussians[t].precision[i];
      sum += any_weights[t] * p.gaussians[t].precision[i] * p.gaussians[t].mean[i];
    }
    expected[i] = sum / below;
  }
  BOOST_TEST(largest_difference(weighted.mean, expected) < 1e-13);
}

// L_t = 1/2 H_t (theta - c_t)^2 with prior N(m_0, 1/s_0): clients have s_t = s_0 + H_t, m_t = (s_0 m_0 + H_t c_t)/s_t.
BOOST_AUTO_TEST_CASE(products_on_quadratics_are_the_minimisers_of_the_reweighted_loss) {
  Problem p;
  std::vector<Gaussian> losses = {draw_gaussian(11), draw_gaussian(12), draw_gaussian(13)};  // (c_t, H_t)
  for (std::size_t t = 0; t < 3; ++t) {
    for (std::size_t i = 0; i < size; ++i) {
      const double s0 = p.base.precision[i], h = losses[t].precision[i];
      p.gaussians[t].precision[i] = s0 + h;
      p.gaussians[t].mean[i] = (s0 * p.base.mean[i] + h * losses[t].mean[i]) / (s0 + h);
    }
  }
  p.tasks = views(p.gaussians);
  for (const Vector& weights : {sums_to_one, any_weights, Vector{2.0, 0.0, 0.0}}) {
    const auto merged = diagonal(p, weights);
    for (std::size_t i = 0; i < size; ++i) {
      double gradient = p.base.precision[i] * (merged.mean[i] - p.base.mean[i]), hessian = p.base.precision[i];
      for (std::size_t t = 0; t < 3; ++t) {
        gradient += weights[t] * losses[t].precision[i] * (merged.mean[i] - losses[t].mean[i]);
        hessian += weights[t] * losses[t].precision[i];
      }
      BOOST_TEST(std::fabs(gradient) < 1e-12 * hessian);
      BOOST_TEST(std::fabs(merged.precision[i] - hessian) < 1e-12 * hessian);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_client_of_weight_two_counts_as_two) {
  const Problem p;
  const std::vector<View> twice = {p.tasks[0], p.tasks[0], p.tasks[1]}, once = {p.tasks[0], p.tasks[1]};
  const Vector ones(3, 1.0), weights = {2.0, 1.0};
  const auto same = [](const Merged<double>& a, const Merged<double>& b) {
    BOOST_TEST(largest_difference(a.mean, b.mean) < 1e-13);
    BOOST_TEST(largest_difference(a.precision, b.precision) < 1e-13);
  };
  same(merge_average<double>(twice, ones), merge_average<double>(once, weights));
  same(merge_posteriors<double>(p.base.view(), twice, ones, 0.0),
       merge_posteriors<double>(p.base.view(), once, weights, 0.0));
  const auto with_site = [&](std::size_t t) {
    return ClientWithSite<double>{p.tasks[t], p.gaussians[2].mean, p.gaussians[t].precision};
  };
  const std::vector<ClientWithSite<double>> two = {with_site(0), with_site(0), with_site(1)},
                                            one = {with_site(0), with_site(1)};
  for (const double alpha : {0.0, 0.3, 1.0}) {
    const ServerStep step{.rho = 0.7, .damping = 0.5, .alpha = alpha, .prior_precision = 2, .rate_taken = 0.2};
    same(merge_by_server_step<double>(p.base.view(), two, ones, step),
         merge_by_server_step<double>(p.base.view(), one, weights, step));
  }
}

namespace {

// Two rounds of VB-ADMM with these options in which the clients send what `gaussians` say, the second round others.
struct Rounds {
  Rounds(Device& device, const OptionValues& options)
      : algorithm(make_algorithm<double>("vb_admm", options)),
        federation(device, *algorithm, Vector(size, 0.1), {10, 20, 30}) {
    const auto answer = [&](std::uint64_t seed) {
      return [this, seed](std::uint32_t k, const LocalTerms<double>&) {
        const Gaussian g = draw_gaussian(seed + k, 2.0, 5.0);
        last.push_back(g);
        return Sent<double>{g.mean, g.precision};
      };
    };
    federation.round(answer(50));
    before = {federation.mean(), federation.precision()};
    last.clear();
    federation.round(answer(60));
    for (std::uint32_t k = 0; k < 3; ++k) sites.push_back({federation.site_mean(k), federation.site_precision(k)});
  }
  std::vector<ClientWithSite<double>> clients() const {
    std::vector<ClientWithSite<double>> all;
    for (std::size_t k = 0; k < 3; ++k) all.push_back({last[k].view(), sites[k].mean, sites[k].precision});
    return all;
  }
  std::unique_ptr<Algorithm<double>> algorithm;
  Federation<double> federation;
  Gaussian before;  // the server that the clients of the last round had
  std::vector<Gaussian> last, sites;
};

}  // namespace

BOOST_AUTO_TEST_CASE(the_servers_step_is_that_of_the_production_algorithm) {
  const auto device = make_cpu_device();
  const Vector ones(3, 1.0);
  for (const double alpha : {0.0, 0.4, 1.0}) {
    const Rounds run(*device, {{"rho", 0.6}, {"damping", 0.5}, {"alpha", alpha}, {"prior_precision", 3.0}});
    const NaturalStep settings = run.algorithm->natural_step();
    BOOST_TEST(settings.known);
    const ServerStep step{.rho = settings.rho,
                          .damping = settings.damping,
                          .alpha = settings.alpha,
                          .prior_precision = run.algorithm->prior_precision(),
                          .rate_taken = settings.rho * settings.damping};
    const auto merged = merge_by_server_step<double>({}, run.clients(), ones, step);
    BOOST_TEST(merged.mean == run.federation.mean(), boost::test_tools::per_element());
    BOOST_TEST(merged.precision == run.federation.precision(), boost::test_tools::per_element());
  }
}

// The log of rho 0.6 says what a server of rho 1.5 would have made of the same clients in the round.
BOOST_AUTO_TEST_CASE(the_dual_step_is_taken_again_with_another_rho) {
  const auto device = make_cpu_device();
  const Vector ones(3, 1.0);
  const Rounds run(*device, {{"rho", 0.6}, {"damping", 0.5}, {"prior_precision", 3.0}});
  const auto merged =
      merge_by_server_step<double>(run.before.view(), run.clients(), ones,
                                   {.rho = 1.5, .damping = 0.8, .alpha = 0, .prior_precision = 3.0, .rate_taken = 0.3});
  // By hand: the sites of round 1 are those of round 2 less its own step.
  Vector eta(size, 0.0), precision(size, 3.0 / 5.5), mean(size);
  for (std::size_t k = 0; k < 3; ++k) {
    for (std::size_t i = 0; i < size; ++i) {
      const double s = run.last[k].precision[i], m = run.last[k].mean[i];
      const double s_g = run.before.precision[i], eta_g = s_g * run.before.mean[i];
      const double v = run.sites[k].mean[i] - 0.3 * (s * m - eta_g) + 1.2 * (s * m - eta_g);
      const double V = run.sites[k].precision[i] - 0.3 * (s - s_g) + 1.2 * (s - s_g);
      eta[i] += 4.5 / 5.5 / 3.0 * s * m + v / 5.5;  // alpha = 1/(1 + 3 * 1.5)
      precision[i] += 4.5 / 5.5 / 3.0 * s + V / 5.5;
    }
  }
  for (std::size_t i = 0; i < size; ++i) mean[i] = eta[i] / precision[i];
  BOOST_TEST(relative_difference(merged.precision, precision) < 1e-13);
  BOOST_TEST(relative_difference(merged.mean, mean) < 1e-13);
}

BOOST_AUTO_TEST_CASE(prior_times_sites_after_one_round_of_pvi_is_the_diagonal_product) {
  const auto device = make_cpu_device();
  const auto pvi = make_algorithm<double>("pvi", {{"prior_precision", 0.9}});
  Federation<double> federation(*device, *pvi, Vector(size, 0.1), {10, 20, 30});
  Problem p;
  p.base = {Vector(size, 0.0), Vector(size, 0.9)};
  federation.round([&](std::uint32_t k, const LocalTerms<double>&) {
    return Sent<double>{p.gaussians[k].mean, p.gaussians[k].precision};
  });
  std::vector<Gaussian> sites;
  for (std::uint32_t k = 0; k < 3; ++k) sites.push_back({federation.site_mean(k), federation.site_precision(k)});
  std::vector<ClientWithSite<double>> clients;
  for (std::size_t k = 0; k < 3; ++k) clients.push_back({p.tasks[k], sites[k].mean, sites[k].precision});
  for (const Vector& weights : {Vector(3, 1.0), any_weights}) {
    const auto server = merge_by_server_step<double>(
        {}, clients, weights, {.rho = 1, .damping = 1, .alpha = 1, .prior_precision = 0.9, .rate_taken = 1});
    const auto product = diagonal(p, weights);
    BOOST_TEST(relative_difference(server.mean, product.mean) < 1e-12);
    BOOST_TEST(relative_difference(server.precision, product.precision) < 1e-12);
  }
}

BOOST_AUTO_TEST_CASE(precisions_below_the_floor_are_raised_and_counted) {
  const Vector zero{0.0, 0.0}, two{2.0, 2.0}, mean{1.0, 1.0}, precision{0.5, 3.0}, weights{2.0};
  const std::vector<View> tasks{{mean, precision}};
  const auto merged = merge_posteriors<double>({zero, two}, tasks, weights, 0.25);  // 2 + 2 (0.5 - 2) = -1
  BOOST_TEST(merged.clamped == 1.0);
  BOOST_TEST(merged.precision == (Vector{0.25, 4.0}), boost::test_tools::per_element());
  BOOST_TEST(merged.mean == (Vector{2 * 0.5 / 0.25, 2 * 3.0 / 4.0}), boost::test_tools::per_element());
  const Vector v{1.0, 1.0}, V{-9.0, 1.0};
  const std::vector<ClientWithSite<double>> clients{{tasks[0], v, V}};
  const auto server = merge_by_server_step<double>({}, clients, weights, {.alpha = 1, .prior_precision = 2});
  BOOST_TEST(server.clamped == 1.0);
  BOOST_TEST(server.precision[0] == 0.002);
  BOOST_TEST(server.mean[0] == 2.0 / 0.002);
}

namespace {

struct Mixtures {
  explicit Mixtures(std::uint64_t seed, std::size_t components = 3) {
    for (std::size_t t = 0; t < 3; ++t) {
      auto& own = gaussians.emplace_back();
      for (std::size_t j = 0; j < components; ++j) own.push_back(draw_gaussian(seed + 10 * t + j, 1.0, 4.0));
    }
    for (const auto& own : gaussians) tasks.push_back(views(own));
  }
  Gaussian base = draw_gaussian(5, 0.3, 0.9);
  std::vector<std::vector<Gaussian>> gaussians;
  std::vector<std::vector<View>> tasks;
};

// log p_0^c0 prod_t q_t^w_t at theta but for a constant, each mixture over the whole vector.
double log_product(const Mixtures& m, const Vector& weights, const Vector& theta) {
  double rest = 1, value = 0;
  for (const double w : weights) rest -= w;
  for (std::size_t i = 0; i < size; ++i)
    value -= 0.5 * rest * m.base.precision[i] * std::pow(theta[i] - m.base.mean[i], 2);
  for (std::size_t t = 0; t < m.tasks.size(); ++t) {
    double density = 0;
    for (const Gaussian& g : m.gaussians[t]) {
      double log = 0;
      for (std::size_t i = 0; i < size; ++i) {
        log += 0.5 * std::log(g.precision[i]) - 0.5 * g.precision[i] * std::pow(theta[i] - g.mean[i], 2);
      }
      density += std::exp(log) / static_cast<double>(m.gaussians[t].size());
    }
    value += weights[t] * std::log(density);
  }
  return value;
}

}  // namespace

BOOST_AUTO_TEST_CASE(one_component_per_task_is_the_diagonal_form) {
  const Problem p;
  for (const Vector& weights : {sums_to_one, any_weights}) {
    for (const auto kind : {Responsibilities::whole, Responsibilities::parts, Responsibilities::tempered}) {
      const auto merged =
          merge_mixtures<double>(p.base.view(), one_each(p.tasks), weights, {.kind = kind, .parts = {0, 7}});
      const auto product = diagonal(p, weights);
      BOOST_TEST(relative_difference(merged.mean, product.mean) < 1e-13);
      BOOST_TEST(relative_difference(merged.precision, product.precision) < 1e-13);
    }
  }
  // Equal components are one.
  const std::vector<std::vector<View>> doubled = {{p.tasks[0], p.tasks[0]}, {p.tasks[1], p.tasks[1]}};
  const Vector weights{0.9, 0.6};
  BOOST_TEST(
      relative_difference(
          merge_mixtures<double>(p.base.view(), doubled, weights, {}).mean,
          merge_posteriors<double>(p.base.view(), std::vector<View>{p.tasks[0], p.tasks[1]}, weights, 0.0).mean) <
      1e-13);
}

BOOST_AUTO_TEST_CASE(the_objective_of_em_never_decreases) {
  int moved = 0;
  for (std::uint64_t seed = 100; seed < 120; ++seed) {
    const Mixtures m(seed);
    for (const Vector& weights : {sums_to_one, any_weights, Vector{0.1, 0.2, 0.3}}) {
      for (const auto kind : {Responsibilities::whole, Responsibilities::parts, Responsibilities::tempered}) {
        Vector trace;
        const auto merged = merge_mixtures<double>(
            m.base.view(), m.tasks, weights, {.kind = kind, .parts = {0, 1, 3, 10, 20}, .tolerance = 1e-14}, &trace);
        for (std::size_t step = 1; step < trace.size(); ++step) {
          BOOST_TEST(trace[step] >= trace[step - 1] - 1e-12 * std::fabs(trace[step]));
          moved += trace[step] > trace[step - 1] + 1e-6 ? 1 : 0;
        }
        BOOST_TEST(merged.objective == trace.back());
        BOOST_TEST(merged.clamped == 0.0);
      }
    }
  }
  BOOST_TEST(moved > 100);  // it was not at its end from the start
}

BOOST_AUTO_TEST_CASE(em_ends_at_a_stationary_point_of_the_product) {
  for (std::uint64_t seed = 200; seed < 205; ++seed) {
    const Mixtures m(seed);
    for (const Vector& weights : {sums_to_one, any_weights}) {
      const auto merged = merge_mixtures<double>(m.base.view(), m.tasks, weights, {.most_steps = 2000, .tolerance = 0});
      BOOST_TEST(std::fabs(log_product(m, weights, merged.mean) - merged.objective) <
                 1e-9 * std::fabs(merged.objective));
      for (std::size_t i = 0; i < size; ++i) {
        Vector up = merged.mean, down = merged.mean;
        up[i] += 1e-4;
        down[i] -= 1e-4;
        const double gradient = (log_product(m, weights, up) - log_product(m, weights, down)) / 2e-4;
        BOOST_TEST(std::fabs(gradient) < 1e-4);
      }
      // The best of its starts: no product of j-th components is higher.
      for (std::size_t j = 0; j < 3; ++j) {
        const std::vector<View> all_j = {m.tasks[0][j], m.tasks[1][j], m.tasks[2][j]};
        const auto start = merge_posteriors<double>(m.base.view(), all_j, weights, 0.0);
        BOOST_TEST(log_product(m, weights, start.mean) <= merged.objective + 1e-9);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_vertex_of_mixtures_is_the_highest_component_where_they_are_far_apart) {
  Mixtures m(300);
  for (std::size_t j = 0; j < 3; ++j) {
    for (double& mean : m.gaussians[1][j].mean) mean += 40.0 * static_cast<double>(j);
  }
  for (double& precision : m.gaussians[1][2].precision) precision *= 4;  // the highest peak
  m.tasks[1] = views(m.gaussians[1]);
  const auto merged = merge_mixtures<double>(m.base.view(), m.tasks, Vector{0.0, 1.0, 0.0}, {});
  BOOST_TEST(largest_difference(merged.mean, m.gaussians[1][2].mean) < 1e-12);
  BOOST_TEST(largest_difference(merged.precision, m.gaussians[1][2].precision) < 1e-12);
  // One part is the whole.
  const auto parts =
      merge_mixtures<double>(m.base.view(), m.tasks, any_weights, {.kind = Responsibilities::parts, .parts = {0}});
  BOOST_TEST(largest_difference(parts.mean, merge_mixtures<double>(m.base.view(), m.tasks, any_weights, {}).mean) ==
             0.0);
}
