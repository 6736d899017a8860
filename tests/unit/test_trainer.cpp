// Local training in blocks: a visit's result depends on that visit alone, whatever shares its block.
#define BOOST_TEST_MODULE trainer
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
using test::Outcome;

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

BOOST_AUTO_TEST_CASE(schedules) {
  const LearningRate cosine(0.02, 100, ivory::test::schedule_options("cosine", "constant"));
  for (const std::uint64_t r : {0U, 1U, 50U, 99U}) {
    const double expected =
        0.5 * 0.02 * (1 + std::cos(std::numbers::pi * static_cast<double>(r) / 100));  // methods.md 2.3
    BOOST_TEST(cosine.at(r, 7, 10) == expected, boost::test_tools::tolerance(1e-15));
  }
  BOOST_TEST(cosine.at(99, 0, 10) > 0);
  const LearningRate steps(0.02, 100, ivory::test::schedule_options("step", "linear"));
  BOOST_TEST(steps.at(2, 0, 10) == 0.02, boost::test_tools::tolerance(1e-15));
  BOOST_TEST(steps.at(3, 0, 10) == 0.01, boost::test_tools::tolerance(1e-15));
  BOOST_TEST(steps.at(6, 5, 10) == 0.0025, boost::test_tools::tolerance(1e-15));
}
