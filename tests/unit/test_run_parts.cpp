// What a scenario becomes before anything runs: the pool of inputs that clients share.
#define BOOST_TEST_MODULE run_parts
#include "src/run_parts.hpp"

#include <algorithm>
#include <set>

#include "ivory/error.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/boost_test.hpp"

namespace {

using namespace ivory;

Scenario scenario_with(const std::vector<std::string>& overrides) {
  return parse_scenario(R"(
name = "t"
rounds = 1
[data]
kind = "blobs"
classes = 4
features = 6
train = 200
test = 20
[partition]
kind = "iid"
[model]
kind = "linear"
[clients]
count = 5
optimizer = { name = "sgd", lr = 0.1 }
[server]
algorithm = "fedlap_func"
)",
                        "t.toml", overrides)
      .front();
}

std::vector<float> row(const Dataset& data, std::size_t i) {
  const std::size_t width = data.x.size() / data.size();
  return {data.x.begin() + static_cast<std::ptrdiff_t>(i * width),
          data.x.begin() + static_cast<std::ptrdiff_t>((i + 1) * width)};
}

}  // namespace

BOOST_AUTO_TEST_CASE(shared_inputs_are_the_clients_own_in_turn) {
  const RunParts<float> parts(scenario_with({"server.share_inputs=8"}));
  const Dataset& pool = parts.data.public_pool;
  BOOST_REQUIRE(pool.size() == 40);
  BOOST_TEST(parts.visit_plan.public_pool == &pool);
  std::set<std::vector<float>> seen;
  std::vector<std::vector<int>> of_class(5, std::vector<int>(4, 0));
  for (std::size_t i = 0; i < pool.size(); ++i) {
    const auto& own = parts.partition.train[i % 5];
    BOOST_TEST(
        std::any_of(own.begin(), own.end(), [&](std::uint32_t r) { return row(parts.data.train, r) == row(pool, i); }),
        "example " << i << " is one of client " << i % 5);
    seen.insert(row(pool, i));
    ++of_class[i % 5][static_cast<std::size_t>(pool.labels[i])];
  }
  BOOST_TEST(seen.size() == pool.size());
  for (const auto& counts : of_class)
    for (const int count : counts) BOOST_TEST(count == 2);
  // They stay where they were.
  for (const auto& own : parts.partition.train) BOOST_TEST(own.size() == 40U);
}

BOOST_AUTO_TEST_CASE(shared_inputs_follow_the_data_seed) {
  const auto pool_of = [](const std::vector<std::string>& overrides) {
    return RunParts<float>(scenario_with(overrides)).data.public_pool.x;
  };
  const auto one = pool_of({"server.share_inputs=3", "data.seed=7", "partition.seed=7"});
  BOOST_TEST(one == pool_of({"server.share_inputs=3", "data.seed=7", "partition.seed=7", "seed=9"}));
  BOOST_TEST(one != pool_of({"server.share_inputs=3", "data.seed=8", "partition.seed=7"}));
}

BOOST_AUTO_TEST_CASE(what_cannot_be_shared_is_refused) {
  const auto says = [](const std::string& what) {
    return [what](const InputError& error) { return std::string(error.what()).find(what) != std::string::npos; };
  };
  BOOST_CHECK_EXCEPTION(RunParts<float>(scenario_with({"server.share_inputs=41"})), InputError,
                        says("share_inputs must be at most the examples of every client, got 41, and client 0 has 40"));
  BOOST_CHECK_EXCEPTION((void)scenario_with({"server.share_inputs=2", "data.public=4"}), InputError,
                        says("takes the place of data.public"));
  BOOST_CHECK_EXCEPTION((void)scenario_with({}), InputError, says("server.share_inputs lets clients share their own"));
}
