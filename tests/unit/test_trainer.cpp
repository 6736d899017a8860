// Local training in blocks: a visit's result depends on that visit alone, whatever shares its block.
#define BOOST_TEST_MODULE trainer
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "ivory/registry.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"

namespace {

using namespace ivory;
using test::ClientTerms;
using test::labelled_noise;
using test::OptionValues;
using test::Outcome;
using test::schedule_options;

std::unique_ptr<Optimizer<float>> make(const std::string& name, const GivenTable& given) {
  const OptimizerPlugin* plugin = find_optimizer(name);
  return plugin->make_float(resolve_options(plugin->options, given, "clients.optimizer", {}));
}

std::vector<Outcome> train_in_blocks(const Optimizer<float>& optimizer, const VisitPlan& plan, std::size_t block,
                                     ClientTerms terms = ClientTerms::none) {
  const auto device = make_cpu_device();
  return test::train_in_blocks(*device, optimizer, plan, block, terms);
}

}  // namespace

BOOST_AUTO_TEST_CASE(block_size_does_not_change_a_bit) {
  GivenTable ivon;
  ivon["samples"] = {std::int64_t{2}, {}};
  for (const auto& optimizer : {make("ivon", {}), make("ivon", ivon), make("adam", {}), make("sgd", {})}) {
    for (const VisitPlan& plan :
         {VisitPlan{.seed = 5, .epochs = 3, .batch = 8}, VisitPlan{.seed = 5, .steps = 9, .batch = 16},
          VisitPlan{.seed = 5, .epochs = 3, .batch = 8, .clip_norm = 0.5, .start_gradients = true}}) {
      for (const auto terms : {ClientTerms::none, ClientTerms::sites, ClientTerms::mixed}) {
        const auto alone = train_in_blocks(*optimizer, plan, 1, terms);
        for (const std::size_t block : {2U, 3U, 7U}) {
          const auto together = train_in_blocks(*optimizer, plan, block, terms);
          BOOST_REQUIRE_EQUAL(alone.size(), together.size());
          for (std::size_t k = 0; k < alone.size(); ++k) {
            BOOST_TEST((alone[k] == together[k]), "client " << k << " differs in blocks of " << block);
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(epochs_count_the_last_partial_batch) {
  const auto outcomes = train_in_blocks(*make("sgd", {}), {.seed = 5, .epochs = 3, .batch = 8}, 1);
  const std::vector<double> steps = {15, 3, 6, 3, 15, 9, 3};  // 3 * ceil(n / 8)
  for (std::size_t k = 0; k < steps.size(); ++k) BOOST_TEST(outcomes[k].steps == steps[k]);
}

BOOST_AUTO_TEST_CASE(a_visit_uses_every_example_once_per_epoch) {
  // One epoch of batch 1 with a tiny rate is, to first order, one full-batch step: it needs every example exactly once.
  const Dataset data = labelled_noise(20, 3, 2);
  const Network<float> network = make_mlp<float>(3, {}, 2, "relu", true);
  const auto device = make_cpu_device();
  const auto init = network.initialise(1);
  const Buffer<float> start(*device, init);
  std::vector<std::uint32_t> rows(20);
  std::iota(rows.begin(), rows.end(), 0U);
  const auto optimizer = make("sgd", {});
  const auto moved = [&](std::size_t batch, double rate) {
    Trainer<float> trainer(*device, network, *optimizer, data, {.seed = 2, .epochs = 1, .batch = batch},
                           LearningRate(rate));
    Visit<float> visit{.task = {}, .examples = rows};
    visit.task.terms.start = start.data();
    trainer.train({&visit, 1});
    std::vector<double> change;
    for (std::size_t i = 0; i < network.layout().size(); ++i) {
      change.push_back(static_cast<double>(trainer.mean(0)[i]) - static_cast<double>(init[i]));
    }
    return change;
  };
  const auto single = moved(1, 1e-4), full = moved(20, 20e-4);
  // Second order in the rate: 20 steps of 1e-4 differ from one of 2e-3 by about 1e-3 of the step; float adds 1e-7/1e-4.
  for (std::size_t i = 0; i < single.size(); ++i)
    BOOST_TEST(std::abs(single[i] - full[i]) < 5e-3 * std::abs(full[i]) + 3e-6);
}

BOOST_AUTO_TEST_CASE(squared_gradients_are_scaled_by_the_rows_of_their_minibatch) {
  // Twenty equal examples in minibatches of 16 and 4, a rate and noise of 1e-8: each minibatch has the gradient g of one example,
  // and by methods.md 1.1 step 5 the estimates are 16 g^2 and then 4 g^2.
  Dataset data = labelled_noise(1, 3, 2);
  for (int copy = 1; copy < 20; ++copy) {
    data.x.insert(data.x.end(), data.x.begin(), data.x.begin() + 3);
    data.labels.push_back(data.labels[0]);
  }
  const Network<double> network = make_mlp<double>(3, {}, 2, "relu", true);
  const std::size_t size = network.layout().size(), stride = network.layout().stride();
  const auto device = make_cpu_device();
  const auto initial = network.initialise(1);
  const Buffer<double> start(*device, std::vector<double>(initial.begin(), initial.end()));
  std::vector<double> g(stride, 0.0), losses(1, 0.0);
  auto workspace = network.make_workspace(*device, 1, 1);
  const std::vector<double> x(data.x.begin(), data.x.begin() + 3);
  network.gradient(*device, {1, 1, nullptr, stride}, start.data(), x.data(), data.labels.data(), workspace, g.data(),
                   losses.data());
  const double ess = 1e16, decay = 0.3, beta2 = 0.9;
  const auto optimizer = test::make_optimizer<double>("ivon", {{"estimator", std::string("gradsq")},
                                                               {"lr", 1e-12},
                                                               {"beta2", beta2},
                                                               {"hess_init", 0.5},
                                                               {"weight_decay", decay},
                                                               {"ess", ess},
                                                               {"rescale_lr", false}});
  Trainer<double> trainer(*device, network, *optimizer, data, {.seed = 2, .epochs = 1, .batch = 16},
                          LearningRate(1e-12));
  std::vector<std::uint32_t> rows(20);
  std::iota(rows.begin(), rows.end(), 0U);
  Visit<double> visit{.task = {}, .examples = rows};
  visit.task.terms.start = start.data();
  trainer.train({&visit, 1});
  std::vector<double> precision(stride);
  trainer.precisions(precision.data());
  for (std::size_t i = 0; i < size; ++i) {
    double h = 0.5;
    for (const double rows_of_batch : {16.0, 4.0}) {
      const double estimate = rows_of_batch * g[i] * g[i], change = h - estimate, s = h + decay;
      h = beta2 * h + (1 - beta2) * estimate + 0.5 * (1 - beta2) * (1 - beta2) * change * change / s;
    }
    BOOST_TEST(std::abs(precision[i] / ess - (h + decay)) < 1e-7);
    BOOST_TEST(std::abs(g[i]) > 5e-3);  // so that 16 g^2 counts
  }
}

BOOST_AUTO_TEST_CASE(same_draws_make_noise_and_order_those_of_every_client_and_round) {
  // IVON draws noise and minibatch order; clients with the same examples differ by these alone (methods.md D5).
  const Dataset data = labelled_noise(50, 5, 3);
  const Network<float> network = make_mlp<float>(5, std::vector<std::size_t>{4}, 3, "tanh", true);
  const auto device = make_cpu_device();
  const Buffer<float> start(*device, network.initialise(9));
  std::vector<std::uint32_t> rows(50);
  std::iota(rows.begin(), rows.end(), 0U);
  const auto optimizer = make("ivon", {});
  const auto trained = [&](bool same_draws, std::uint32_t client, std::uint64_t round) {
    Trainer<float> trainer(*device, network, *optimizer, data,
                           {.seed = 2, .epochs = 2, .batch = 16, .same_draws = same_draws}, LearningRate(0.05));
    Visit<float> visit{.task = {.client = client, .round = round, .terms = {}}, .examples = rows};
    visit.task.terms.start = start.data();
    trainer.train({&visit, 1});
    return std::vector<float>(trainer.mean(0), trainer.mean(0) + network.layout().size());
  };
  BOOST_TEST(bool(trained(true, 3, 7) == trained(true, 5, 8)));
  BOOST_TEST(bool(trained(true, 3, 7) == trained(false, 0, 0)));
  BOOST_TEST(bool(trained(false, 3, 7) != trained(false, 5, 7)));
  BOOST_TEST(bool(trained(false, 3, 7) != trained(false, 3, 8)));
}

BOOST_AUTO_TEST_CASE(dropout_is_keyed_by_visit_step_and_sample) {
  const Network<float> network = test::residual_network<float>(7, 4, 0.5),
                       never = test::residual_network<float>(7, 4, 0.0);
  BOOST_TEST(network.draws());
  BOOST_TEST(!never.draws());
  GivenTable two_samples;
  two_samples["samples"] = {std::int64_t{2}, {}};
  const auto cpu = make_cpu_device();
  for (const auto& optimizer : {make("sgd", {}), make("ivon", two_samples)}) {
    const auto outcomes = [&](const VisitPlan& plan, std::size_t block, const Network<float>& net) {
      return test::train_in_blocks(*cpu, *optimizer, plan, block, test::ClientTerms::none, &net);
    };
    const VisitPlan plan{.seed = 5, .epochs = 3, .batch = 8, .start_gradients = true};
    const auto alone = outcomes(plan, 1, network), never_alone = outcomes(plan, 1, never);
    for (const std::size_t block : {2U, 7U}) {
      const auto together = outcomes(plan, block, network);
      for (std::size_t k = 0; k < alone.size(); ++k)
        BOOST_TEST((alone[k] == together[k]), "client " << k << " differs in blocks of " << block);
    }
    for (std::size_t k = 0; k < alone.size(); ++k) {
      BOOST_TEST((alone[k].mean != never_alone[k].mean));                      // training drops
      BOOST_TEST((alone[k].start_gradient == never_alone[k].start_gradient));  // gradients at the start do not
    }
  }
}

BOOST_AUTO_TEST_CASE(same_draws_make_dropout_that_of_every_client_and_round) {
  // SGD on one minibatch of all examples: visits differ by what dropout draws alone.
  const Network<float> network = test::residual_network<float>(7, 4, 0.5);
  const Dataset data = labelled_noise(20, 7, 4);
  const auto device = make_cpu_device();
  const Buffer<float> start(*device, network.initialise(9));
  std::vector<std::uint32_t> rows(20);
  std::iota(rows.begin(), rows.end(), 0U);
  const auto optimizer = make("sgd", {});
  const auto trained = [&](std::uint64_t seed, std::uint32_t client, std::uint64_t round, bool same_draws) {
    Trainer<float> trainer(*device, network, *optimizer, data,
                           {.seed = seed, .steps = 2, .batch = 20, .same_draws = same_draws}, LearningRate(0.5));
    Visit<float> visit{.task = {.client = client, .round = round, .terms = {}}, .examples = rows};
    visit.task.terms.start = start.data();
    const auto result = trainer.train({&visit, 1});
    return std::pair(std::vector<float>(trainer.mean(0), trainer.mean(0) + network.layout().size()),
                     result[0].final_loss);
  };
  const auto of = [&](std::uint32_t client, std::uint64_t round, bool same) {
    return trained(2, client, round, same).first;
  };
  // Rows come in another order with another key, which moves the last bits alone.
  const auto far = [](const std::vector<float>& a, const std::vector<float>& b) {
    return test::largest_difference(a, b) > 1e-3;
  };
  BOOST_TEST(bool(of(3, 7, true) == of(5, 8, true)));
  BOOST_TEST(bool(of(3, 7, true) == of(0, 0, false)));
  BOOST_TEST(far(of(3, 7, false), of(5, 7, false)));
  BOOST_TEST(far(of(3, 7, false), of(3, 8, false)));
  BOOST_TEST(far(trained(2, 3, 7, false).first, trained(4, 3, 7, false).first));
  // The loss of what is sent is that of the network which predicts: nothing is dropped.
  const auto [mean, final_loss] = trained(2, 3, 7, false);
  auto workspace = network.make_workspace(*device, 1, 20);
  std::vector<double> row_losses(20);
  network.loss(*device, {.clients = 1, .rows = 20}, mean.data(), data.x.data(), data.labels.data(), workspace,
               row_losses.data());
  BOOST_TEST(std::abs(losses_of_rows(row_losses, 20)[0] - final_loss) < 1e-6 * final_loss);
}

BOOST_AUTO_TEST_CASE(schedules_over_rounds) {
  const auto rate = [](const std::string& shape, const OptionValues& others) {
    return LearningRate(0.02, 100, schedule_options(shape, "constant", others));
  };
  const auto near = boost::test_tools::tolerance(1e-13);  // differences of rates near the end
  for (const double final : {0.0, 0.1, 1.0}) {
    const LearningRate cosine = rate("cosine", {{"schedule_final", final}});
    const LearningRate linear = rate("linear", {{"schedule_final", final}});
    for (const std::uint64_t r : {0U, 1U, 50U, 99U, 100U}) {
      const double share = static_cast<double>(r) / 100,
                   low = 0.02 * final;  // docs/methods, 1.4; torch's eta_min is low
      const double expected = low + (0.02 - low) * 0.5 * (1 + std::cos(std::numbers::pi * share));
      BOOST_TEST(cosine.at(r, 7, 10) == expected, near);
      BOOST_TEST(linear.at(r, 7, 10) == 0.02 - (0.02 - low) * share, near);
    }
    BOOST_TEST(cosine.at(99, 0, 10) > 0);
    BOOST_TEST(linear.at(99, 0, 10) > 0);
  }
  const LearningRate steps = rate("step", {{"schedule_step_rounds", std::int64_t{3}}, {"schedule_step_factor", 0.5}});
  const double falls[] = {1, 1, 1, 0.5, 0.5, 0.5, 0.25};
  for (std::uint64_t r = 0; r < 7; ++r) BOOST_TEST(steps.at(r, r, 10) == 0.02 * falls[r], near);
  const LearningRate warm = rate("linear", {{"warmup_rounds", std::int64_t{4}}});
  for (std::uint64_t r = 0; r < 8; ++r) {
    const double n = static_cast<double>(r);
    BOOST_TEST(warm.at(r, r, 10) == 0.02 * (1 - n / 100) * std::min(1.0, (n + 1) / 4), near);
  }
}

BOOST_AUTO_TEST_CASE(schedules_inside_a_visit_follow_its_own_length_and_multiply_those_over_rounds) {
  const auto rate = [](const std::string& shape, const OptionValues& others,
                       const std::string& over_rounds = "constant") {
    return LearningRate(0.02, 100, schedule_options(over_rounds, shape, others));
  };
  const auto near = boost::test_tools::tolerance(1e-13);  // differences of rates near the end
  for (const double final : {0.0, 0.3}) {
    const LearningRate cosine = rate("cosine", {{"inner_final", final}}),
                       linear = rate("linear", {{"inner_final", final}});
    for (const std::uint64_t steps : {1U, 8U, 30U}) {
      for (std::uint64_t t = 0; t < steps; ++t) {
        const double share = static_cast<double>(t) / static_cast<double>(steps), low = 0.02 * final;
        BOOST_TEST(cosine.at(5, t, steps) == low + (0.02 - low) * 0.5 * (1 + std::cos(std::numbers::pi * share)), near);
        BOOST_TEST(linear.at(5, t, steps) == 0.02 - (0.02 - low) * share, near);
      }
    }
  }
  // Steps do not know the length of the visit; defaults of the factor are those over rounds.
  const LearningRate falling = rate("step", {{"inner_step_every", std::int64_t{4}}});
  for (const std::uint64_t steps : {9U, 1000U}) {
    const double falls[] = {1, 1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.01};
    for (std::uint64_t t = 0; t < 9; ++t) BOOST_TEST(falling.at(t, t, steps) == 0.02 * falls[t], near);
  }
  const LearningRate halved = rate("step", {{"inner_step_every", std::int64_t{1}}, {"inner_step_factor", 0.5}});
  BOOST_TEST(halved.at(0, 3, 10) == 0.02 / 8, near);
  // All four factors at once.
  const LearningRate all = rate("step",
                                {{"inner_step_every", std::int64_t{2}},
                                 {"inner_step_factor", 0.5},
                                 {"inner_warmup_steps", std::int64_t{8}},
                                 {"warmup_rounds", std::int64_t{10}},
                                 {"schedule_final", 0.2}},
                                "linear");
  BOOST_TEST(all.at(4, 3, 10) == 0.02 * (0.2 + 0.8 * 0.96) * 0.5 * 0.5 * 0.5, near);
}

BOOST_AUTO_TEST_CASE(rates_without_a_final_share_keep_their_bits) {
  // The product as it was before there was one; runs of older scenarios repeat bit by bit.
  for (const std::string over_rounds : {"constant", "cosine", "linear"})
    for (const std::string inside : {"constant", "cosine", "linear"}) {
      const OptionValues warm{{"warmup_rounds", std::int64_t{7}}, {"inner_warmup_steps", std::int64_t{3}}};
      const LearningRate rate(0.1, 30, schedule_options(over_rounds, inside, warm));
      const auto shaped = [](const std::string& shape, double t, double n) {
        if (shape == "cosine") return 0.5 * (1.0 + std::cos(std::numbers::pi * t / n));
        return shape == "linear" ? 1.0 - t / n : 1.0;
      };
      for (std::uint64_t r = 0; r < 30; ++r)
        for (std::uint64_t s = 0; s < 11; ++s) {
          const auto round = static_cast<double>(r), step = static_cast<double>(s);
          const double expected = 0.1 * shaped(over_rounds, round, 30) * std::min(1.0, (round + 1) / 7) *
                                  shaped(inside, step, 11) * std::min(1.0, (step + 1) / 3);
          BOOST_TEST(rate.at(r, s, 11) == expected);
        }
    }
}
