// Blocks are fitted to a device's memory, and what cannot fit is refused before the first round.
#define BOOST_TEST_MODULE memory_plan
#include <string>
#include <utility>
#include <vector>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/experiment.hpp"
#include "src/log_reader.hpp"
#include "src/memory_plan.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/temporary_folder.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

struct Ended {
  std::vector<std::uint64_t> hashes;  // one per round
  std::string device, refusal;
};

Ended run_in(std::size_t mebibytes, std::size_t lanes, const std::string& hidden = "[300,300]", bool pool = false) {
  std::vector<std::string> overrides = {"rounds=2", "clients.count=24", "clients.epochs=1", "model.hidden=" + hidden,
                                        "evaluation.samples=1"};
  if (pool) overrides.insert(overrides.end(), {"server.algorithm=fedlap_func", "data.public=500"});
  const std::vector<std::string> only = {pool ? "fedavg" : "vb-admm"};
  const auto scenario =
      read_scenario(std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml", overrides, only).front();
  const auto memory = make_emulated_memory(mebibytes << 20);
  const TemporaryFolder folder;
  Ended ended;
  RunSettings settings;
  settings.threads = 2;
  for (std::size_t i = 0; i < lanes; ++i) {
    settings.devices.emplace_back([memory](ProductPrecision) { return make_emulated_device(memory); });
  }
  settings.log_file = folder / "run.h5";
  settings.on_round = [&](const RoundRecord& record) { ended.hashes.push_back(record.state_hash); };
  try {
    run_experiment(scenario, settings);
    ended.device = LogReader(settings.log_file).header().device;
  } catch (const MemoryError& error) {
    ended.refusal = error.what();
  }
  return ended;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_largest_block_fits_and_one_client_more_does_not) {
  const MemoryPlan plan{.per_client = 1000, .server = 5000, .clients_state = 20000, .data = 3000};
  for (const std::size_t lanes : {1U, 2U, 3U}) {
    std::size_t before = 0;
    for (std::size_t free = 0; free < 260000; free += 37) {
      std::size_t block = 0;
      try {
        block = largest_block(plan, free, lanes, 50);
      } catch (const MemoryError&) {
      }
      const auto needed = [&](std::size_t clients) { return 25000 + lanes * (3000 + clients * 1000); };
      BOOST_REQUIRE((block >= before && block <= 50));
      BOOST_REQUIRE((block == 0 || needed(block) <= free / 10 * 9));
      BOOST_REQUIRE((block == 50 || needed(block + 1) > free / 10 * 9));
      before = block;
    }
    BOOST_TEST(before == 50U);
  }
  BOOST_CHECK_EXCEPTION(largest_block(plan, 30000, 2, 50), MemoryError, [](const MemoryError& error) {
    return std::string(error.what()).find("5000 + 20000 + 6000 + 2000 bytes, got 30000 free") != std::string::npos;
  });
}

BOOST_AUTO_TEST_CASE(every_algorithm_keeps_what_its_traits_say) {
  const auto device = make_cpu_device();
  for (const AlgorithmPlugin& plugin : algorithm_plugins())
    for (const bool everyone : {true, false}) {
      const auto algorithm = make_algorithm<double>(plugin.name, {});
      const AlgorithmTraits traits = algorithm->traits();
      BOOST_TEST((traits == plugin.traits), plugin.name);
      const std::vector<double> start(70, 0.5);
      Federation<double> federation(*device, *algorithm, start, {3, 5}, everyone);
      for (int round = 0; round < 2; ++round) {
        federation.round([&](std::uint32_t, const LocalTerms<double>&) {
          Sent<double> sent{start};
          if (traits.needs_posterior) sent.precision = std::vector<double>(70, 2.0);
          if (traits.needs_curvature != Curvature::none) sent.curvature = std::vector<double>(70, 2.0);
          return sent;
        });
      }
      const auto& state = federation.state;
      const std::size_t stride = state.stride;
      const std::size_t arrays = (state.mean.size() + state.precision.size()) / stride + state.memory.size();
      BOOST_TEST(arrays == static_cast<std::size_t>(traits.vectors_server), plugin.name);
      BOOST_TEST(state.sums.size() == static_cast<std::size_t>(traits.sums_server), plugin.name);
      BOOST_TEST(state.precision.empty() == !traits.gives_posterior, plugin.name);
      const int kept = everyone ? traits.vectors_per_client : traits.vectors_per_client_partial;
      for (const auto& site : state.site)
        BOOST_TEST(site.size() == static_cast<std::size_t>(kept) * stride, plugin.name);
    }
}

BOOST_AUTO_TEST_CASE(a_run_fits_its_blocks_to_the_memory_or_is_refused_before_its_first_round) {
  const Ended ample = run_in(1024, 1);
  BOOST_TEST(ample.device == "emulated; blocks of 24");
  BOOST_REQUIRE_EQUAL(ample.hashes.size(), 2U);
  std::size_t before = 0;
  for (const auto& [mebibytes, lanes] : {std::pair{48U, 1U}, {80U, 2U}, {80U, 1U}}) {
    const Ended ended = run_in(mebibytes, lanes);
    BOOST_TEST(ended.refusal == "");
    BOOST_TEST(ended.hashes == ample.hashes, boost::test_tools::per_element());
    const std::size_t at = ended.device.find("blocks of ");
    BOOST_REQUIRE(at != std::string::npos);
    const std::size_t block = std::stoul(ended.device.substr(at + 10));
    BOOST_TEST((block > before && block < 24), mebibytes << " MiB: " << ended.device);
    before = block;
  }
  for (const std::size_t mebibytes : {1U, 4U, 28U}) {
    const Ended ended = run_in(mebibytes, 1);
    BOOST_TEST(ended.refusal != "");
    BOOST_TEST(ended.hashes.empty());
  }
  // A small model, where tables, evaluation and a public pool are most of what is needed: a refusal comes early or not at all.
  for (const bool pool : {false, true}) {
    const Ended small = run_in(1024, 1, "[50]", pool);
    BOOST_TEST(small.hashes.size() == 2U);
    for (std::size_t mebibytes = 1; mebibytes <= 12; ++mebibytes) {
      const Ended ended = run_in(mebibytes, 1, "[50]", pool);
      BOOST_TEST((ended.refusal.empty() ? ended.hashes == small.hashes : ended.hashes.empty()), mebibytes << " MiB");
    }
  }
}

BOOST_AUTO_TEST_CASE(the_cpu_refuses_what_its_memory_cannot_hold) {
  const MemoryPlan plan{.per_client = 1000, .server = 5000, .clients_state = 20000, .data = 3000, .waiting = 500};
  BOOST_CHECK_NO_THROW(check_cpu_memory(plan, 2, 28000));  // the data are there already
  BOOST_CHECK_EXCEPTION(check_cpu_memory(plan, 2, 27999), MemoryError, [](const MemoryError& error) {
    return std::string(error.what()).find("together 28000, got 27999 available") != std::string::npos;
  });
  BOOST_TEST(available_memory() > 1000000U);
}

BOOST_AUTO_TEST_CASE(precision_matrices_that_cannot_fit_are_refused_by_name_before_the_first_round) {
  // 20,000 hidden units: P = 1.5 million, a matrix of 18 TB.
  const std::vector<std::string> overrides = {"server.posterior=full", "clients.optimizer={name=\"von\"}",
                                              "model.hidden=[20000]"};
  const std::vector<std::string> only = {"vb-admm"};
  const auto scenario =
      read_scenario(std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml", overrides, only).front();
  const TemporaryFolder folder;
  for (const bool accelerator : {false, true}) {
    int rounds = 0;
    RunSettings settings;
    settings.threads = 1;
    settings.log_file = folder / "run.h5";
    settings.on_round = [&](const RoundRecord&) { ++rounds; };
    if (accelerator)
      settings.devices.emplace_back(
          [](ProductPrecision) { return make_emulated_device(make_emulated_memory(std::size_t{1} << 30)); });
    BOOST_CHECK_EXCEPTION(run_experiment(scenario, settings), MemoryError, [](const MemoryError& error) {
      const std::string text = error.what();
      BOOST_TEST_MESSAGE(text);
      return text.find("each precision matrix takes 18") != std::string::npos &&
             text.find("server.posterior = \"diagonal\"") != std::string::npos;
    });
    BOOST_TEST(rounds == 0);
  }
}
