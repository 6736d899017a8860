// What a scenario file says, before defaults and checks of meaning: values with their places, sorted by table.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "src/scenario_schema.hpp"

namespace ivory {

/// Messages of everything wrong with a scenario, so that one reading reports them all.
using Problems = std::vector<std::string>;

/// resolve_options whose messages go to `problems`; empty where there are some.
std::optional<Options> resolve_options(const std::vector<OptionSpec>& specs, const GivenTable& given,
                                       const std::string& table, const SourcePlace& table_place, Problems& problems);

/// A scenario file, one arm of it, or one --set.
struct GivenScenario {
  struct Table {
    SourcePlace place;
    GivenTable keys;
  };
  std::map<std::string, Table, std::less<>> tables;  // by full name; "" is the top level

  /// The text that `key` has in `table`, or null where it is absent or no text.
  const std::string* text(std::string_view table, std::string_view key) const;
};

struct GivenArm {
  std::string name;
  SourcePlace place;
  GivenScenario changes;
};

struct GivenDocument {
  GivenScenario base;
  std::vector<GivenArm> arms;
};

/// Letters, digits, _ and -: the name of an arm is also that of its log file.
bool is_arm_name(std::string_view name);

/// Reads TOML text. Throws InputError where it is not TOML; tables and values that no scenario has go to `problems`.
GivenDocument read_document(const std::string& text, const std::string& file, Problems& problems);

/// The name of an arm, or of a setting of it in a sweep: also . , = and +.
bool is_run_label(std::string_view name);

/// One key=value of the command line, for every arm or for one.
struct GivenOverride {
  std::string arm;  // empty: every arm
  SourcePlace place;
  GivenScenario changes;
};

/// Reads "a.b=value" or "ARM:a.b=value"; a value that is not TOML counts as a text, so that quotes may be left out. `option`
/// is what messages call it. Throws InputError where there is no key.
GivenOverride read_override(const std::string& assignment, const std::string& option, Problems& problems);

/// What the command line changes in `arm`: all that is for every arm, then what is for this one. A key that is given for this
/// one is not taken from the others.
std::vector<GivenScenario> changes_for(const std::string& arm, const std::vector<GivenOverride>& overrides);

/// Puts `changes` over `onto`. Where they change a choice (optimizer, algorithm, kind), keys of `onto` that only the
/// former choice has are dropped; so is `epochs` when the changes give `steps`, and the other way round.
void overlay(GivenScenario& onto, const GivenScenario& changes, const std::vector<ChoiceTable>& choices);

}  // namespace ivory
