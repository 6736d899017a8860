// Runs that share an accelerator: seeds as rows of the same blocks. Each has the bits that it has alone, whatever becomes of the
// others.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "ivory/error.hpp"
#include "src/log_reader.hpp"
#include "src/run_group.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/quickstart.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Texts = std::vector<std::string>;

constexpr std::size_t plenty = std::size_t{1} << 31;

struct Ended {
  std::vector<RoundRecord> records;
  std::string device, failure;  // of the log's header; of what ended the run
  bool apart = false;
};

std::vector<Scenario> seeds_of(const std::string& arm, const Texts& overrides, int seeds) {
  std::vector<Scenario> scenarios;
  const Texts only = {arm};
  for (int seed = 1; seed <= seeds; ++seed) {
    Texts own = overrides;
    own.push_back("seed=" + std::to_string(seed));
    scenarios.push_back(read_scenario(source_dir() + "/scenarios/quickstart.toml", own, only).front());
  }
  return scenarios;
}

Ended run_one(const Scenario& scenario, RunSettings settings) {
  Ended ended;
  const TemporaryFolder folder;
  if (settings.log_file.empty()) settings.log_file = folder / "run.h5";
  const auto observe = settings.on_round;
  settings.threads = 1;
  settings.on_round = [&](const RoundRecord& record) {
    ended.records.push_back(record);
    if (observe) observe(record);
  };
  try {
    run_experiment(scenario, settings);
    ended.device = LogReader(settings.log_file).header().device;
  } catch (const RunsApart& error) {
    ended.apart = true;
    ended.failure = error.what();
  } catch (const std::exception& error) {
    ended.failure = error.what();
  }
  return ended;
}

using Adjust = std::function<void(std::size_t run, RunSettings& settings)>;

/// All of them side by side; `comes(run)` false: it never begins.
std::vector<Ended> run_together(const std::vector<Scenario>& scenarios, const std::vector<DeviceMaker>& devices,
                                std::size_t block = 0, const Adjust& adjust = {},
                                const std::function<bool(std::size_t)>& comes = {}) {
  std::vector<Ended> ended(scenarios.size());
  RunGroup group(scenarios.size(), plenty);
  std::vector<std::jthread> threads;
  std::vector<std::unique_ptr<RunGroup::Invitation>> invitations;
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    invitations.push_back(std::make_unique<RunGroup::Invitation>(group));
  }
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    threads.emplace_back([&, i, invitation = std::move(invitations[i])] {
      if (comes && !comes(i)) return;
      RunSettings settings;
      settings.devices = devices;
      settings.block = block;
      settings.group = invitation.get();
      if (adjust) adjust(i, settings);
      ended[i] = run_one(scenarios[i], settings);
    });
  }
  threads.clear();
  return ended;
}

std::vector<Ended> run_alone(const std::vector<Scenario>& scenarios, const std::vector<DeviceMaker>& devices) {
  std::vector<Ended> ended;
  for (const Scenario& scenario : scenarios) {
    RunSettings settings;
    settings.devices = devices;
    ended.push_back(run_one(scenario, settings));
  }
  return ended;
}

void check_same(const Ended& together, const Ended& alone) {
  BOOST_TEST(together.failure.empty(), together.failure);
  BOOST_TEST(alone.failure.empty(), alone.failure);
  BOOST_TEST(hashes(together.records) == hashes(alone.records), boost::test_tools::per_element());
  BOOST_REQUIRE(!together.records.empty() && !alone.records.empty());
  const RoundRecord &a = together.records.back(), &b = alone.records.back();
  BOOST_TEST(a.train_loss == b.train_loss);
  BOOST_TEST(a.mean.metrics.nll == b.mean.metrics.nll);
  const double here = a.diagnostics.optimizer.clip_rate, there = b.diagnostics.optimizer.clip_rate;
  BOOST_TEST((here == there || (std::isnan(here) && std::isnan(there))), here << " and " << there);
  BOOST_TEST(a.refused == 0);
}

const Texts short_run = {"rounds=3", "clients.epochs=1", "evaluation.samples=2"};

Texts with(const Texts& more) {
  Texts all = short_run;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(run_groups)

BOOST_AUTO_TEST_CASE(seeds_in_one_block_have_the_bits_of_seeds_alone) {
  struct Case {
    std::string arm;
    Texts overrides;
  };
  const std::vector<Case> cases = {
      {"vb-admm", short_run},
      {"fedavg", with({"clients.participation=0.5", "clients.keep_opt_state=true", "data.validation=0.2"})},
      {"fedavg", with({"server.algorithm=scaffold", "clients.optimizer.name=sgd", "clients.optimizer.lr=0.1"})},
      {"fedavg", with({"server.algorithm=feddyn", "clients.clip_norm=0.5", "data.label_noise=0.3"})},
      {"fedavg", with({"server.algorithm=fedlap_cov", "server.curvature=sampled"})},
      {"vb-admm",
       with({"model.kind=sequential", "model.layers=" + small_cnn, "rounds=2", "clients.epochs=0", "clients.steps=3"})},
  };
  for (const auto& [arm, overrides] : cases) {
    BOOST_TEST_CONTEXT("arm " << arm << ", " << overrides.back()) {
      const auto scenarios = seeds_of(arm, overrides, 3);
      const auto alone = run_alone(scenarios, lane_makers(1));
      const auto same = [&](const std::vector<Ended>& together) {
        for (std::size_t i = 0; i < alone.size(); ++i) {
          BOOST_TEST_CONTEXT("seed " << i + 1) { check_same(together[i], alone[i]); }
        }
      };
      same(run_together(scenarios, lane_makers(1)));
      same(run_together(scenarios, lane_makers(2), 7));
      same(run_together(scenarios, lane_makers(3, 2), 12));
    }
  }
}

BOOST_AUTO_TEST_CASE(their_clients_are_rows_of_the_same_block) {
  const auto scenarios = seeds_of("vb-admm", short_run, 3);
  RunGroup group(3, plenty);
  const auto makers = lane_makers(2);
  std::vector<std::unique_ptr<RunGroup::Invitation>> invitations;
  std::vector<Places<float>> places;
  for (const Scenario& scenario : scenarios) {
    invitations.push_back(std::make_unique<RunGroup::Invitation>(group));
    places.push_back(invitations.back()->join(std::make_shared<const RunParts<float>>(scenario), 4, makers,
                                              ProductPrecision::float32));
  }
  for (const Places<float>& own : places) {
    BOOST_TEST(own.block == 4U);
    BOOST_TEST(own.own.empty());
    BOOST_REQUIRE_EQUAL(own.seats.size(), 2U);
    for (std::size_t l = 0; l < 2; ++l) {
      BOOST_TEST(&own.seats[l]->lane() == &places[0].seats[l]->lane());
      BOOST_TEST(own.seats[l]->lane().rows() == 12U);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_run_of_a_group_takes_its_share_of_a_block) {
  const auto scenarios = seeds_of("vb-admm", short_run, 3);
  for (const Ended& run : run_together(scenarios, lane_makers(1))) {
    BOOST_TEST(run.device.ends_with("blocks of 10"), run.device);
  }
  for (const Ended& run : run_together(scenarios, lane_makers(1), 7)) {
    BOOST_TEST(run.device.ends_with("blocks of 2"), run.device);
  }
}

BOOST_AUTO_TEST_CASE(runs_that_do_not_come_or_end_early_are_not_waited_for) {
  const auto scenarios = seeds_of("vb-admm", short_run, 4);
  const auto alone = run_alone(scenarios, lane_makers(1));
  for (const std::size_t lanes : {1U, 2U}) {
    const auto together = run_together(
        scenarios, lane_makers(lanes), 5,
        [](std::size_t run, RunSettings& settings) {
          if (run == 1) settings.log_file = "/nowhere/at/all/run.h5";
          if (run == 2) settings.should_stop = [done = 0]() mutable { return done++ == 1; };
        },
        [](std::size_t run) { return run != 0; });
    BOOST_TEST(together[0].records.empty());
    BOOST_TEST(together[1].failure.find("/nowhere/at/all/run.h5") != std::string::npos, together[1].failure);
    BOOST_TEST(together[1].records.empty());
    BOOST_REQUIRE_EQUAL(together[2].records.size(), 1U);
    BOOST_TEST(together[2].records[0].state_hash == alone[2].records[0].state_hash);
    check_same(together[3], alone[3]);
  }
}

BOOST_AUTO_TEST_CASE(a_run_that_fails_between_its_rounds_leaves_the_others_alone) {
  const auto scenarios = seeds_of("vb-admm", short_run, 3);
  const auto alone = run_alone(scenarios, lane_makers(1));
  for (const std::size_t lanes : {1U, 3U}) {
    const auto together = run_together(scenarios, lane_makers(lanes), 4, [](std::size_t run, RunSettings& settings) {
      if (run != 1) return;
      settings.on_round = [](const RoundRecord& record) {
        if (record.round == 2) throw RunError("[test] enough");
      };
    });
    BOOST_TEST(together[1].failure == "[test] enough");
    check_same(together[0], alone[0]);
    check_same(together[2], alone[2]);
  }
}

BOOST_AUTO_TEST_CASE(runs_that_differ_in_more_than_their_seeds_stay_apart) {
  // The nominal batch is at most the largest client's examples, which the seed's partition decides: another shape of products.
  const auto unequal = run_together(seeds_of("fedavg", with({"clients.batch=1000"}), 3), lane_makers(1));
  BOOST_TEST(std::count_if(unequal.begin(), unequal.end(), [](const Ended& run) { return run.apart; }) == 2);
  for (const Ended& run : unequal) {
    if (run.apart) {
      BOOST_TEST(run.failure.find("the size of a batch") != std::string::npos, run.failure);
    } else {
      BOOST_TEST(run.records.size() == 3U);
    }
  }
  const Texts full = with({"server.posterior=full", "clients.optimizer.name=von", "model.hidden=[]"});
  for (const Ended& run : run_together(seeds_of("vb-admm", full, 2), lane_makers(1))) {
    BOOST_TEST(run.apart);
    BOOST_TEST(run.failure.find("full covariances") != std::string::npos, run.failure);
  }
  const Texts pool = with({"server.algorithm=fedlap_func", "data.public=150"});
  for (const Ended& run : run_together(seeds_of("fedavg", pool, 2), lane_makers(1))) {
    BOOST_TEST(run.apart);
    BOOST_TEST(run.failure.find("public pool") != std::string::npos, run.failure);
  }
}

// A device that fails while a later run takes its seat must not leave the first one waiting.
BOOST_AUTO_TEST_CASE(a_failure_while_joining_is_no_reason_to_wait) {
  if (device_family() != "emulated") return;
  const auto memory = make_emulated_memory();
  const std::vector<DeviceMaker> devices = {[&](ProductPrecision) { return make_emulated_device(memory); }};
  const auto scenarios = seeds_of("vb-admm", short_run, 2);
  RunGroup group(2, plenty);
  RunGroup::Invitation first(group);
  const auto join = [&](RunGroup::Invitation& invitation, const Scenario& scenario) {
    return invitation.join(std::make_shared<const RunParts<float>>(scenario), 10, devices, ProductPrecision::float32);
  };
  Places<float> places = join(first, scenarios[0]);
  {
    RunGroup::Invitation second(group);
    fail_after_waits(*memory, 0);
    BOOST_CHECK_THROW((void)join(second, scenarios[1]), RunError);
  }
  // Alone on the lane: the block is trained at once, and shows what became of the device.
  BOOST_CHECK_THROW(places.seats[0]->train([](Seat<float>&) { return std::vector<Visit<float>>(); },
                                           [](Device&, const TrainedVisits<float>&) {}),
                    RunError);
}

BOOST_AUTO_TEST_CASE(an_invitation_is_for_one_run) {
  const auto scenarios = seeds_of("vb-admm", short_run, 1);
  RunGroup group(1, plenty);
  RunGroup::Invitation invitation(group);
  RunSettings settings;
  settings.devices = lane_makers(1);
  settings.group = &invitation;
  BOOST_TEST(run_one(scenarios[0], settings).failure == "");
  const Ended again = run_one(scenarios[0], settings);
  BOOST_TEST(again.apart);
  BOOST_TEST(again.failure.find("begins once more") != std::string::npos, again.failure);
}

BOOST_AUTO_TEST_CASE(a_failure_of_the_device_ends_every_run_and_says_where) {
  if (device_family() != "emulated") return;  // a GPU is not to be broken on purpose
  for (const int waits : {0, 3, 10, 25}) {
    const auto memory = make_emulated_memory();
    const std::vector<DeviceMaker> devices = {[&](ProductPrecision) { return make_emulated_device(memory); }};
    const auto ended = run_together(seeds_of("vb-admm", with({"rounds=6"}), 3), devices, 6,
                                    [&](std::size_t run, RunSettings& settings) {
                                      if (run != 0) return;
                                      settings.on_round = [&, waits](const RoundRecord& record) {
                                        if (record.round == 2) fail_after_waits(*memory, waits);
                                      };
                                    });
    for (const Ended& run : ended) {
      BOOST_TEST(run.failure.find("an illegal access") != std::string::npos, run.failure);
      BOOST_TEST(run.failure.find("in round ") != std::string::npos, run.failure);
      BOOST_TEST(run.records.size() >= 1U);
      BOOST_TEST(run.records.size() < 6U);
    }
  }
}

BOOST_AUTO_TEST_CASE(memory_is_shared_among_the_runs) {
  if (device_family() != "emulated") return;
  // What is enough for one run with all its clients is too little for three: smaller blocks, or none.
  const auto scenarios = seeds_of("vb-admm", short_run, 3);
  const RunParts<float> parts(scenarios.front());
  const MemoryPlan plan = parts.memory();
  const auto blocks_with = [&](std::size_t bytes) -> std::vector<Ended> {
    const auto memory = make_emulated_memory(bytes);
    const std::vector<DeviceMaker> devices = {[&](ProductPrecision) { return make_emulated_device(memory); }};
    std::vector<Ended> ended(scenarios.size());
    RunGroup group(scenarios.size(), bytes);
    std::vector<std::jthread> threads;
    for (std::size_t i = 0; i < scenarios.size(); ++i) {
      threads.emplace_back([&, i] {
        RunGroup::Invitation invitation(group);
        RunSettings settings;
        settings.devices = devices;
        settings.group = &invitation;
        ended[i] = run_one(scenarios[i], settings);
      });
    }
    threads.clear();
    BOOST_TEST(most_allocated_bytes(*memory) <= bytes);
    return ended;
  };
  const std::size_t each = plan.per_client + plan.tables;
  const std::size_t room_for_two = 3 * (plan.fixed(1) + 2 * each + each / 2) / 9 * 10;
  for (const Ended& run : blocks_with(room_for_two)) {
    BOOST_TEST(run.failure.empty(), run.failure);
    BOOST_TEST(run.device.ends_with("blocks of 2"), run.device);
  }
  for (const Ended& run : blocks_with(plan.on_accelerator(1, 1) * 2)) {
    BOOST_TEST(run.failure.find("[memory]") != std::string::npos, run.failure);
    BOOST_TEST(!run.apart);
  }
}

BOOST_AUTO_TEST_CASE(groups_are_seeds_of_one_scenario) {
  const auto a = seeds_of("vb-admm", short_run, 3), b = seeds_of("fedavg", short_run, 2);
  const std::vector<const Scenario*> jobs = {&a[0], &b[0], &a[1], &b[1], &a[2]};
  using Groups = std::vector<std::vector<std::size_t>>;
  BOOST_TEST((groups_of_seeds(jobs, 16) == Groups{{0, 2, 4}, {1, 3}}));
  BOOST_TEST((groups_of_seeds(jobs, 2) == Groups{{0, 2}, {1, 3}, {4}}));
  BOOST_TEST((groups_of_seeds(jobs, 1) == Groups{{0}, {1}, {2}, {3}, {4}}));
  BOOST_TEST(groups_of_seeds({}, 2).empty());
}

BOOST_AUTO_TEST_SUITE_END()
