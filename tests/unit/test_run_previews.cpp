// Previews that a run records ([log] previews). tests/cli/test_cli_preview.py compares every rule with `ivory preview`.
#define BOOST_TEST_MODULE run_previews
#include "src/run_previews.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/quickstart.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

std::vector<RoundRecord> run_quickstart(const std::string& arm, std::vector<std::string> overrides,
                                        RunSettings settings = {}) {
  overrides.insert(overrides.end(), {"rounds=3", "log.posterior_every=2", "evaluation.samples=2"});
  if (settings.threads == 0) settings.threads = 2;
  return run_arm(IVORY_SOURCE_DIR "/scenarios/quickstart.toml", arm, overrides, settings);
}

const std::string all_rules =
    R"(log.previews=["average", "task_arithmetic", "uncertainty", "isotropic", "diagonal", "vb_admm", "pvi"])";

}  // namespace

BOOST_AUTO_TEST_CASE(rounds_whose_posterior_is_recorded_have_them) {
  const auto records = run_quickstart("vb-admm", {all_rules});
  BOOST_TEST(records[0].previews.empty());
  for (const std::size_t row : {1U, 2U}) {
    BOOST_TEST(records[row].previews.size() == 7U);
    BOOST_TEST(records[row].previews[5].test.nll == records[row].mean.metrics.nll);  // vb_admm
    BOOST_TEST(records[row].previews[5].clamped == records[row].clamped);
  }
  BOOST_TEST(hashes(records) == hashes(run_quickstart("vb-admm", {})), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(the_average_by_examples_is_fedavg) {
  for (const std::string weights : {"examples", "shares"}) {
    const auto records = run_quickstart(
        "fedavg", {R"(log.previews=["average"])", "clients.participation=0.4", "log.preview_weights=" + weights});
    for (const std::size_t row : {1U, 2U}) {
      const Metrics &preview = records[row].previews.at(0).test, &server = records[row].mean.metrics;
      BOOST_TEST(preview.nll == server.nll, boost::test_tools::tolerance(1e-6));
      BOOST_TEST(preview.accuracy == server.accuracy);
    }
  }
  const auto equal = run_quickstart("fedavg", {R"(log.previews=["average"])", "clients.participation=0.4"});
  BOOST_TEST(std::abs(equal[2].previews.at(0).test.nll - equal[2].mean.metrics.nll) > 1e-6);  // clients differ in size
}

BOOST_AUTO_TEST_CASE(on_an_accelerator_they_are_those_of_the_cpu) {
  RunSettings far;
  const auto memory = make_emulated_memory();
  far.devices = {[memory](ProductPrecision) { return make_emulated_device(memory); }};
  const std::vector<std::string> small = {all_rules, "clients.epochs=1"};
  const auto there = run_quickstart("vb-admm", small, far), here = run_quickstart("vb-admm", small);
  for (const std::size_t row : {1U, 2U}) {
    for (std::size_t rule = 0; rule < 7; ++rule) {
      const double own = there[row].previews.at(rule).test.nll;
      BOOST_TEST(own == here[row].previews.at(rule).test.nll, boost::test_tools::tolerance(2e-3));
    }
    BOOST_TEST(there[row].previews[5].test.nll == there[row].mean.metrics.nll, boost::test_tools::tolerance(1e-6));
  }
}

BOOST_AUTO_TEST_CASE(full_covariances_have_the_rules_of_means) {
  const std::vector<std::string> full = {"model.hidden=[]",
                                         "server.posterior=full",
                                         R"(clients.optimizer={name="von", lr=0.1})",
                                         "clients.count=3",
                                         R"(log.previews=["average", "isotropic"])",
                                         "log.preview_weights=shares"};
  const auto records = run_quickstart("vb-admm", full);
  BOOST_TEST(std::isfinite(records[2].previews.at(0).test.nll));
  BOOST_TEST(records[2].previews[0].test.nll == records[2].previews[1].test.nll, boost::test_tools::tolerance(1e-4));
}

BOOST_AUTO_TEST_CASE(without_participants_there_is_nothing_to_merge) {
  const auto records = run_quickstart(
      "fedavg", {R"(log.previews=["average"])", R"(clients.optimizer={name="sgd", lr=1e38})", "clients.epochs=20"});
  BOOST_TEST(records[1].participants == 0);
  BOOST_TEST(records[1].previews.empty());
}

BOOST_AUTO_TEST_CASE(their_memory_is_counted) {
  const auto bytes = [](const std::string& rules) {
    const auto scenario =
        read_scenario(IVORY_SOURCE_DIR "/scenarios/quickstart.toml", std::vector<std::string>{"log.previews=" + rules},
                      std::vector<std::string>{"vb-admm"});
    return preview_bytes(scenario.front(), 10, 1000);
  };
  BOOST_TEST(bytes("[]") == 0U);
  BOOST_TEST(bytes(R"(["average"])") == 10U * 1000 * 4);
  BOOST_TEST(bytes(R"(["diagonal", "average"])") == 2U * 10 * 1000 * 4);
  BOOST_TEST(bytes(R"(["pvi"])") == 4U * 10 * 1000 * 4);
}
