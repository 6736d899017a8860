// Every rule of health_warnings.cpp shows its failure and nothing else, and a healthy run shows nothing.
#define BOOST_TEST_MODULE health_warnings
#include <algorithm>
#include <functional>
#include <map>
#include <set>

#include "tests/support/boost_test.hpp"

#include "src/health_warnings.hpp"
#include "tests/support/quickstart.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const std::string quickstart = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";

/// A round as it should be.
RoundRecord healthy(int round) {
  RoundRecord record;
  record.round = round;
  record.precision_gap_closed = 0.02;
  record.participants = 1;
  record.clients = {{ClientStatus::trained, 0.5, 50}, {ClientStatus::absent, no_value, 0}};
  record.diagnostics = {1.0 / round, 0.5, 0.3, 0.3, {{0.5, 1.0, 2.0}}, 100.0, {0.6, {{0.1, 0.2, 0.3}}, 0.0}};
  return record;
}

using Change = std::function<void(RoundRecord&)>;

/// Names of the rules that show in three rounds of which `change` makes the last one (or the first) ill.
std::set<std::string> shown(const Change& change, int ill = 3) {
  HealthWatch watch;
  for (int round = 1; round <= 3; ++round) {
    RoundRecord record = healthy(round);
    if (round == ill) change(record);
    const auto lines = watch.look(record);
    if (round < ill) BOOST_TEST(lines.empty());
  }
  std::set<std::string> names;
  for (const HealthRule& rule : health_rules()) {
    if (watch.summary().find(rule.name) != std::string::npos) names.insert(rule.name);
  }
  BOOST_TEST(watch.all().size() == names.size());
  return names;
}

/// The warnings of a run of the quickstart's VB-ADMM.
std::string warnings_of(const std::vector<std::string>& overrides) {
  HealthWatch watch;
  for (const RoundRecord& record : run_arm(quickstart, "vb-admm", overrides, {})) watch.look(record);
  return watch.summary();
}

}  // namespace

BOOST_AUTO_TEST_CASE(each_rule_shows_its_own_failure) {
  struct Case {
    std::string rule;
    int round;
    Change ill, nearly;
  };
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<Case> cases = {
      {"clamped precision", 3, [](RoundRecord& r) { r.clamped = 1; }, [](RoundRecord& r) { r.clamped = 0; }},
      {"Hessian at its start", 1, [](RoundRecord& r) { r.diagnostics.optimizer.hessian_at_start = 0.995; },
       [](RoundRecord& r) { r.diagnostics.optimizer.hessian_at_start = 0.985; }},
      {"precision gap open", 3, [](RoundRecord& r) { r.precision_gap_closed = 5e-4; },
       [](RoundRecord& r) { r.precision_gap_closed = 2e-3; }},
      {"steps clipped", 3, [](RoundRecord& r) { r.diagnostics.optimizer.clip_rate = 0.51; },
       [](RoundRecord& r) { r.diagnostics.optimizer.clip_rate = 0.49; }},
      {"primal residual grows", 3, [](RoundRecord& r) { r.diagnostics.primal_residual = 5.1; },  // the best was 1/2
       [](RoundRecord& r) { r.diagnostics.primal_residual = 4.9; }},
      {"KL too large", 3, [](RoundRecord& r) { r.diagnostics.kl.values[2] = 10001; },
       [](RoundRecord& r) { r.diagnostics.kl.values[2] = 9999; }},
      {"KL too large", 1, [=](RoundRecord& r) { r.diagnostics.kl.values[2] = infinity; },
       [](RoundRecord& r) { r.diagnostics.kl.values[2] = 1e9; }},  // round 1 starts far away
      {"KL too large", 3, [](RoundRecord& r) { r.diagnostics.kl = {}; },
       [](RoundRecord& r) { r.diagnostics.kl = {}, r.diagnostics.kl_parameters = 0; }},
  };
  std::set<std::string> tried;
  for (const Case& one : cases) {
    BOOST_TEST_CONTEXT(one.rule) {
      BOOST_TEST((shown(one.ill, one.round) == std::set<std::string>{one.rule}));
      BOOST_TEST(shown(one.nearly, one.round).empty());
      tried.insert(one.rule);
    }
  }
  for (const HealthRule& rule : health_rules()) BOOST_TEST(tried.count(rule.name) == 1U, rule.name << " is not tried");
}

BOOST_AUTO_TEST_CASE(a_hessian_may_stay_where_it_is_later_or_in_a_short_visit) {
  const auto stuck = [](RoundRecord& r) {
    r.diagnostics.optimizer.hessian_at_start = 1;
    if (r.clients[0].steps < 10) r.precision_gap_closed = 1e-5;
  };
  BOOST_TEST(shown(stuck, 2).empty());
  BOOST_TEST(shown(
                 [&](RoundRecord& r) {
                   r.clients[0].steps = 5;
                   stuck(r);
                 },
                 1)
                 .empty());
}

BOOST_AUTO_TEST_CASE(what_is_missing_is_no_failure) {
  BOOST_TEST(shown([](RoundRecord& r) {
               r.diagnostics = {};
               r.precision_gap_closed = no_value;
               r.clients.clear();
             }).empty());
}

BOOST_AUTO_TEST_CASE(a_failure_is_told_once_with_its_value_and_counted) {
  HealthWatch watch;
  std::size_t lines = 0;
  for (int round = 1; round <= 4; ++round) {
    RoundRecord record = healthy(round);
    if (round > 1) record.diagnostics.optimizer.clip_rate = 0.6 + 0.1 * round;
    const auto here = watch.look(record);
    lines += here.size();
    if (round == 2) {
      BOOST_TEST_REQUIRE(here.size() == 1U);
      BOOST_TEST(
          here[0] ==
          "round 2: 80 % of the entries of IVON's step are clipped; raise clip_radius or hess_init, or lower the "
          "learning rate");
    }
  }
  BOOST_TEST(lines == 1U);
  BOOST_TEST(watch.summary() == "steps clipped (round 2, 3 of 4)");
  BOOST_TEST_REQUIRE(watch.all().size() == 1U);
  BOOST_TEST(watch.all()[0].ends_with("(shows in 3 of 4 rounds)"));
}

BOOST_AUTO_TEST_CASE(the_quickstart_is_healthy) {
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    HealthWatch watch;
    for (const RoundRecord& record : run_arm(quickstart, arm, {"evaluation.every=30"}, {})) watch.look(record);
    BOOST_TEST(watch.summary() == "");
  }
}

BOOST_AUTO_TEST_CASE(real_failures_show) {
  const auto has = [](const std::string& text, const std::string& name) {
    return text.find(name) != std::string::npos;
  };
  const std::string slow = warnings_of({"rounds=1", "clients.optimizer.beta2=0.99999"});
  BOOST_TEST(has(slow, "Hessian at its start"), slow);
  BOOST_TEST(has(slow, "precision gap open"), slow);
  const std::string clipped = warnings_of({"rounds=2", "clients.optimizer.clip_radius=1e-3"});
  BOOST_TEST(clipped == "steps clipped (round 1, 2 of 2)", clipped);
  const std::string undamped = warnings_of({"rounds=9", "evaluation.every=9", "server.algorithm=pvi"});
  BOOST_TEST(has(undamped, "primal residual grows"), undamped);
  BOOST_TEST(has(undamped, "KL too large"), undamped);
}
