// The list of runs of a command on accelerators: the seeds of an arm share blocks, and what cannot share comes after them.
#define BOOST_TEST_MODULE jobs_on_accelerators
#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "src/cli_common.hpp"
#include "src/log_reader.hpp"
#include "src/memory_plan.hpp"
#include "src/run_parts.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;

struct OneLane {
  explicit OneLane(std::size_t bytes = std::size_t{1} << 30) : memory(make_emulated_memory(bytes)) {}
  DeviceChoice choice() {
    return {.lanes = {[this](ProductPrecision) {
              ++made;
              return make_emulated_device(memory);
            }},
            .why_cpu = ""};
  }
  std::shared_ptr<EmulatedMemory> memory;
  std::atomic<int> made = 0;
};

std::vector<Scenario> arms(const Texts& more = {}) {
  Texts overrides = {"rounds=2", "clients.epochs=1", "evaluation.samples=2"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return read_scenario(IVORY_SOURCE_DIR "/scenarios/quickstart.toml", overrides, Texts{});
}

struct Ran {
  JobsReport report;
  std::vector<std::vector<std::uint64_t>> hashes;  // by run
  int lanes = 0;                                   // made on the device
};

/// `parallel`: the most seeds that share a block; 0: the default.
Ran run(const std::vector<Scenario>& scenarios, int parallel, std::size_t bytes = std::size_t{1} << 30,
        const std::string& bad = "") {
  OneLane device(bytes);
  const TemporaryFolder folder;
  RunFlags flags;
  flags.out = folder / "logs";
  flags.quiet = true;
  flags.threads = 2;
  flags.parallel = parallel;
  std::vector<Job> jobs = make_jobs(scenarios, flags, 3);
  for (Job& job : jobs) {
    if (!bad.empty() && job.log_file.ends_with(bad)) job.log_file = folder / "nowhere/a.h5";
  }
  Ran ran{run_jobs_on(device.choice(), jobs, flags, EarlierLog::used), {}, device.made};
  for (const LogSummary& one : ran.report.runs) {
    if (!one.failure.empty()) continue;
    ran.hashes.push_back(LogReader(one.file).state_hashes());
  }
  return ran;
}

}  // namespace

BOOST_AUTO_TEST_CASE(seeds_share_blocks_and_keep_their_bits_and_places) {
  const auto together = run(arms(), 0), alone = run(arms(), 1), two = run(arms(), 2);
  BOOST_REQUIRE_EQUAL(together.report.runs.size(), 6U);
  BOOST_TEST(together.report.exit_code == 0);
  for (std::size_t i = 0; i < 6; ++i) {
    const LogSummary& one = together.report.runs[i];  // all arms of the first seed, then of the next
    BOOST_TEST(one.arm == (i % 2 == 0 ? "fedavg" : "vb-admm"));
    BOOST_TEST(one.seed == 1 + i / 2);
  }
  // Every run has the server's lane; then there is one for the group, or one for each run. One more measures the memory.
  BOOST_TEST(alone.lanes == 6 + 6);
  BOOST_TEST(together.lanes == 6 + 2 + 2);
  BOOST_TEST(two.lanes == 6 + (2 + 2) + 2);  // of three seeds two share, and one is alone
  BOOST_TEST((together.hashes == alone.hashes));
  BOOST_TEST((two.hashes == alone.hashes));
}

BOOST_AUTO_TEST_CASE(what_cannot_share_comes_after) {
  const Texts pool = {"server.algorithm=fedlap_func", "data.public=150", "clients.optimizer.name=adam"};
  const auto scenarios = std::vector<Scenario>{arms(pool).front()};
  const auto ran = run(scenarios, 0);
  BOOST_REQUIRE_EQUAL(ran.report.runs.size(), 3U);
  BOOST_TEST(ran.report.exit_code == 0);
  BOOST_TEST((ran.hashes == run(scenarios, 1).hashes));
}

BOOST_AUTO_TEST_CASE(too_little_memory_for_all_is_enough_for_one) {
  const auto scenarios = std::vector<Scenario>{arms().back()};
  const RunParts<float> parts(scenarios.front());
  const auto plenty = run(scenarios, 0), tight = run(scenarios, 0, parts.memory().on_accelerator(1, 2) * 2);
  BOOST_REQUIRE_EQUAL(tight.report.runs.size(), 3U);
  BOOST_TEST(tight.report.exit_code == 0);
  BOOST_TEST((tight.hashes == plenty.hashes));
  BOOST_TEST(plenty.lanes == 1 + 3 + 1);
  BOOST_TEST(tight.lanes >= 1 + 3 + 2 * 3);  // tried together, then one by one
}

BOOST_AUTO_TEST_CASE(one_that_fails_is_reported_and_the_others_run) {
  const auto good = run(arms(), 0), ran = run(arms(), 0, std::size_t{1} << 30, "vb-admm-seed2.h5");
  BOOST_REQUIRE_EQUAL(ran.report.runs.size(), 6U);
  BOOST_TEST(ran.report.failed == 1U);
  BOOST_TEST(ran.report.exit_code != 0);
  BOOST_TEST(!ran.report.runs[3].failure.empty());
  BOOST_REQUIRE_EQUAL(ran.hashes.size(), 5U);
  for (std::size_t i = 0; i < 5; ++i) BOOST_TEST((ran.hashes[i] == good.hashes[i < 3 ? i : i + 1]));
}
