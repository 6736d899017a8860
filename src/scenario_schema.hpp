// What a scenario may say: the tables, and where one key chooses which others there are.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "ivory/options.hpp"
#include "src/scenario_reader.hpp"

namespace ivory {

/// A key of [clients] that only some shapes of a learning-rate schedule read.
struct ScheduleKey {
  std::string schedule;  // the key that chooses the shape
  std::string key;
  std::vector<std::string> shapes;
};
const std::vector<ScheduleKey>& schedule_keys();

struct GivenScenario;

/// A table in which one key chooses between alternatives with their own keys: [server] algorithm = "vb_admm".
struct ChoiceTable {
  std::string table;
  std::string key;                 // "kind", "name" or "algorithm"
  std::vector<OptionSpec> common;  // keys of every alternative
  std::vector<Kind> kinds;
  bool key_is_option = false;     // the key stays in the resolved Options (it has no member of its own in Scenario)
  std::string default_name = {};  // what is chosen where the key is absent; empty: the key is required
  bool optional = false;          // a scenario may leave the table out

  const Kind* find(std::string_view kind) const;
  /// What `given` chooses, by default where it has no key; null where that has no such name.
  const Kind* chosen_in(const GivenScenario& given) const;
  std::vector<std::string> names() const;
  /// Whether the table may hold `option` when `kind` is chosen: the choosing key, a common one or one of the kind's.
  bool takes(const Kind& kind, std::string_view option) const;
  /// Every key that `kind` allows, the choosing one first.
  std::vector<OptionSpec> specs(const Kind& kind) const;
  OptionSpec key_spec() const;
};

/// [data], [partition], [model], [clients.optimizer], [server] and [evaluation.ood], from the registries.
std::vector<ChoiceTable> choice_tables();

/// Full names of all tables, "clients.optimizer" among them, without the top level.
std::vector<std::string> table_names();

/// The fixed table of that name ("" for the top level), or null.
const ScenarioTable* find_table(std::string_view name);

}  // namespace ivory
