// What clients are evaluated on: holdouts, what they train on, and the labels of both.
#define BOOST_TEST_MODULE client_examples
#include <fmt/format.h>

#include <algorithm>

#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Three classes in turn; the input is the number of the row.
Dataset examples() {
  Dataset data;
  data.features = 1;
  data.classes = 3;
  for (std::int32_t i = 0; i < 103; ++i) {
    data.x.push_back(static_cast<float>(i));
    data.labels.push_back(i % 3);
  }
  return data;
}

}  // namespace

BOOST_AUTO_TEST_CASE(holdouts_that_round_to_nothing_are_told) {
  const Dataset data = examples();
  Scenario scenario = partition_scenario("iid", 10, {{"holdout", 0.01}});
  const auto evaluated_on = [&](const char* clients, const Partition& partition) {
    scenario.evaluation.set("clients", {std::string(clients), {}, true});
    return ClientExamples(scenario, partition, data).rows();
  };
  const Partition none = make_partition(scenario, data);
  BOOST_TEST((evaluated_on("auto", none) == none.train));
  const std::string all = holdout_warning(scenario, none);
  BOOST_TEST(
      contains(all,
               "10 of 10 clients have no held-out examples, since holdout = 0.01 of what they have rounds to none"),
      all);
  BOOST_TEST(contains(all, "evaluated on what they train on"), all);
  BOOST_TEST((evaluated_on("holdout", none) == none.holdout));
  BOOST_TEST(contains(holdout_warning(scenario, none), "they have no metrics of their own, or raise it"));

  scenario.partition.set("holdout", {0.05, {}, true});  // 0.5 of ten examples rounds to none, of eleven to one
  Partition some = make_partition(scenario, data);
  const auto without = static_cast<std::size_t>(
      std::count_if(some.holdout.begin(), some.holdout.end(), [](const auto& rows) { return rows.empty(); }));
  if (without == 0) some.holdout[3].clear();
  BOOST_TEST((evaluated_on("auto", some) == some.holdout));
  BOOST_TEST(
      contains(holdout_warning(scenario, some), fmt::format("{} of 10 clients", std::max<std::size_t>(without, 1))));
  BOOST_TEST(holdout_warning(scenario, make_partition(partition_scenario("iid", 10, {{"holdout", 0.25}}), data)) == "");
  BOOST_TEST(holdout_warning(scenario, make_partition(partition_scenario("iid", 10), data)) == "");
}

BOOST_AUTO_TEST_CASE(held_out_examples_have_their_true_labels) {
  Dataset data = examples();
  data.clean_labels = data.labels;
  for (std::int32_t& label : data.labels) label = (label + 1) % 3;
  Scenario scenario = partition_scenario("iid", 10, {{"holdout", 0.25}});
  scenario.evaluation.set("clients", {std::string("auto"), {}, true});
  const Partition partition = make_partition(scenario, data);
  const ClientExamples held_out(scenario, partition, data);
  BOOST_REQUIRE(held_out.rows().size() == 10U);
  for (std::size_t k = 0; k < 10; ++k) {
    BOOST_REQUIRE(held_out.rows()[k].size() == partition.holdout[k].size());
    for (std::size_t i = 0; i < partition.holdout[k].size(); ++i) {
      const std::uint32_t row = partition.holdout[k][i];
      BOOST_TEST(held_out.data().row(held_out.rows()[k][i])[0] == static_cast<float>(row));
      BOOST_TEST(held_out.data().labels[held_out.rows()[k][i]] == data.clean_labels[row]);
    }
  }
  scenario.evaluation.set("clients", {std::string("train"), {}, true});
  const ClientExamples trained(scenario, partition, data);
  BOOST_TEST((&trained.data() == &data && trained.rows() == partition.train));
}
