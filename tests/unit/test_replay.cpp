// A replayed visit has the bits of the logged one, on every kind of lane; the command line's part is in tests/cli/test_replay.py.
#define BOOST_TEST_MODULE replay
#include <set>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "src/replay.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/devices.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

using namespace ivory;
using Texts = std::vector<std::string>;

const std::string text = R"(
name = "replayed"
seed = 7
rounds = 4
[data]
kind = "blobs"
classes = 3
features = 4
train = 120
test = 30
[partition]
kind = "dirichlet"
[model]
hidden = [5]
[clients]
count = 5
epochs = 2
batch = 8
participation = 0.6
optimizer = { name = "ivon", lr = 0.05, hess_init = 0.1 }
[server]
algorithm = "vb_admm"
temperature = 0.1
[log]
posterior_every = 1
sites = "every"
)";

RunSettings settings_of(const std::vector<DeviceMaker>& devices, const std::string& log) {
  RunSettings settings;
  settings.threads = 2;
  settings.devices = devices;
  settings.block = devices.empty() ? 0 : 2;
  settings.log_file = log;
  return settings;
}

struct Case {
  Texts overrides;
  bool from_log;  // the log has what the visit begins from
  bool posterior;
};

// Replays every visit of a run on such lanes.
void check_all(const std::vector<DeviceMaker>& devices, const Case& one) {
  const test::TemporaryFolder folder;
  const std::string log = folder / "log.h5";
  const Scenario scenario = parse_scenario(text, "replayed.toml", one.overrides).front();
  const RunSettings settings = settings_of(devices, log);
  run_experiment(scenario, settings);
  const std::vector<double> participation = LogReader(log).client_history("participation");
  std::size_t visits = 0;
  for (std::size_t at = 0; at < participation.size(); ++at) {
    if (participation[at] == 0) continue;
    ++visits;
    ReplayQuestion question;
    question.log = log;
    question.round = static_cast<int>(at / 5) + 1;
    question.client = static_cast<std::uint32_t>(at % 5);
    question.whole_round = !one.from_log;
    const ReplayReport report = replay(question, settings);
    BOOST_TEST_CONTEXT("client " << question.client << " in round " << question.round << ", " << report.source) {
      BOOST_TEST(report.differences.empty());
      const std::set<std::string> same(report.same.begin(), report.same.end());
      BOOST_TEST((same.count("mean") == 1));
      BOOST_TEST((same.count("precision") == (one.posterior ? 1U : 0U)));
      if (question.round > 1) BOOST_TEST((report.source.find("the log") == 0) == one.from_log);
      BOOST_TEST(static_cast<double>(report.reports.size()) == report.steps);
      BOOST_TEST(report.precision.empty() == !one.posterior);
    }
  }
  BOOST_TEST(visits == 12U);
}

const std::vector<Case> cases = {
    {.overrides = {}, .from_log = true, .posterior = true},
    {.overrides = {"clients.keep_opt_state=true"}, .from_log = false, .posterior = true},
    {.overrides = {"server.algorithm=fedavg", "clients.optimizer={name=\"adam\", lr=0.01}", "server={}"},
     .from_log = true,
     .posterior = false},
};

}  // namespace

BOOST_AUTO_TEST_CASE(on_the_cpu) {
  for (const Case& one : cases) check_all({}, one);
}

BOOST_AUTO_TEST_CASE(on_lanes_of_one_accelerator) {
  for (const Case& one : cases) check_all(test::lane_makers(2), one);
}

BOOST_AUTO_TEST_CASE(on_lanes_of_two_accelerators) {
  for (const Case& one : cases) check_all(test::lane_makers(2, 2), one);
}

BOOST_AUTO_TEST_CASE(another_kind_of_device_is_refused_unless_it_may_differ) {
  const test::TemporaryFolder folder;
  const std::string log = folder / "log.h5";
  run_experiment(parse_scenario(text, "replayed.toml").front(), settings_of({}, log));
  const std::vector<double> participation = LogReader(log).client_history("participation");
  ReplayQuestion question;
  question.log = log;
  question.round = 3;
  while (participation[2 * 5 + question.client] == 0) ++question.client;
  const RunSettings other = settings_of(test::lane_makers(1), log);
  BOOST_CHECK_EXCEPTION(replay(question, other), InputError, [](const InputError& error) {
    return std::string(error.what()).find("kind of device") != std::string::npos &&
           std::string(error.what()).find("--any-device") != std::string::npos;
  });
  question.any_device = true;
  const ReplayReport report = replay(question, other);
  BOOST_TEST(report.notes.size() == 1U);
  BOOST_TEST(report.same.size() + report.differences.size() == 4U);
}
