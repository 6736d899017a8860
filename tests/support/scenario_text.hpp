// Scenario texts to vary and the checks that tests of scenarios share. Include Boost.Test first.
#pragma once
#include <algorithm>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"
#include "src/scenario_reader.hpp"
#include "src/scenario_schema.hpp"
#include "tests/support/text.hpp"

namespace ivory::test {

using Texts = std::vector<std::string>;

// Line numbers below count on this text.
inline const std::string base =
    "name = \"t\"\n"             // 1
    "rounds = 3\n"               // 2
    "[data]\n"                   // 3
    "kind = \"idx\"\n"           // 4
    "directory = \"digits\"\n"   // 5
    "[partition]\n"              // 6
    "kind = \"iid\"\n"           // 7
    "[model]\n"                  // 8
    "hidden = [5]\n"             // 9
    "[clients]\n"                // 10
    "count = 4\n"                // 11
    "[clients.optimizer]\n"      // 12
    "name = \"ivon\"\n"          // 13
    "lr = 0.5\n"                 // 14
    "hess_init = 0.25\n"         // 15
    "[server]\n"                 // 16
    "algorithm = \"vb_admm\"\n"  // 17
    "rho = 2\n";                 // 18

/// `text` with `from`, which must occur once, replaced.
inline std::string replaced(const std::string& from, const std::string& to, std::string text = base) {
  const auto at = text.find(from);
  BOOST_REQUIRE(at != std::string::npos);
  BOOST_REQUIRE(text.find(from, at + 1) == std::string::npos);
  return text.replace(at, from.size(), to);
}

inline std::vector<Scenario> parse(const std::string& text, const Texts& overrides = {}, const Texts& only = {}) {
  return parse_scenario(text, "dir/a.toml", overrides, only);
}

inline Scenario parse_one(const std::string& text, const Texts& overrides = {}) {
  auto scenarios = parse(text, overrides);
  BOOST_REQUIRE_EQUAL(scenarios.size(), 1U);
  return scenarios.front();
}

/// The message of the InputError; the test fails where there is none.
inline std::string refusal(const std::string& text, const Texts& overrides = {}, const Texts& only = {}) {
  try {
    parse(text, overrides, only);
  } catch (const InputError& error) {
    return error.what();
  }
  BOOST_ERROR("no InputError for\n" + text);
  return {};
}

/// `"a", "b" or "c"`: the alternatives of a table that have the option, as messages list them.
inline std::string those_with(const std::string& option, const std::string& table) {
  std::vector<std::string> names;
  for (const ChoiceTable& choice : choice_tables()) {
    if (choice.table != table) continue;
    for (const Kind& kind : choice.kinds) {
      if (choice.takes(kind, option)) names.push_back(kind.name);
    }
  }
  BOOST_REQUIRE(!names.empty());
  return quoted_list(names);
}

inline bool starts(const std::string& text, const std::string& part) {
  if (text.rfind(part, 0) == 0) return true;
  BOOST_TEST_MESSAGE("\"" + part + "\" does not start: " + text);
  return false;
}

inline std::size_t lines(const std::string& text) {
  return 1 + static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

inline void check_equal(const Options& a, const Options& b, const std::string& table) {
  BOOST_TEST_CONTEXT("table " << table) {
    BOOST_TEST(a.rows().size() == b.rows().size());
    for (const auto& [key, row] : a.rows()) {
      BOOST_TEST_CONTEXT("key " << key) {
        BOOST_REQUIRE(b.has(key));
        BOOST_TEST((row.value == b.rows().at(key).value));
      }
    }
  }
}

inline void check_equal(const Scenario& a, const Scenario& b) {
  BOOST_TEST(a.name == b.name);
  BOOST_TEST(a.arm == b.arm);
  BOOST_TEST(a.seed == b.seed);
  BOOST_TEST(a.rounds == b.rounds);
  BOOST_TEST(a.optimizer_name == b.optimizer_name);
  BOOST_TEST(a.algorithm_name == b.algorithm_name);
  check_equal(a.data, b.data, "data");
  check_equal(a.partition, b.partition, "partition");
  check_equal(a.model, b.model, "model");
  check_equal(a.clients, b.clients, "clients");
  check_equal(a.optimizer, b.optimizer, "clients.optimizer");
  check_equal(a.algorithm, b.algorithm, "server");
  check_equal(a.evaluation, b.evaluation, "evaluation");
  check_equal(a.log, b.log, "log");
  check_equal(a.ood, b.ood, "evaluation.ood");
}

inline void check_round_trip(const Scenario& scenario) {
  const std::string text = to_toml(scenario);
  BOOST_TEST_CONTEXT(text) {
    const Scenario again = parse_one(text);
    check_equal(scenario, again);
    BOOST_TEST(to_toml(again) == text);
  }
}

inline const std::string two_arms = base +
                                    "[[compare]]\n"                                              // 19
                                    "name = \"fedavg\"\n"                                        // 20
                                    "server.algorithm = \"fedavg\"\n"                            // 21
                                    "clients.optimizer = { name = \"adam\", epsilon = 1e-7 }\n"  // 22
                                    "[[compare]]\n"                                              // 23
                                    "name = \"vb-admm\"\n"                                       // 24
                                    "server.damping = 0.5\n";                                    // 25

}  // namespace ivory::test
