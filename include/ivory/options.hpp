// Typed options: every key of a scenario is declared once as an OptionSpec (type, default, range, unit, help), and that one
// declaration validates scenarios, fills in defaults, prints `ivory list` and writes the resolved scenario.
#pragma once
#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace ivory {

/// Position of a value in a scenario file; line 0 means "not from a file" (a default, or --set).
struct SourcePlace {
  std::string file;
  unsigned line = 0;
  unsigned column = 0;
};

/// "file:line:column", or the plain file text (such as "--set clients.batch") when there is no line.
std::string to_string(const SourcePlace& place);

struct OptionTable;

/// A real accepts an integer in the file, and a list of texts an empty list; nothing else converts.
using OptionValue = std::variant<bool, std::int64_t, double, std::string, std::vector<double>, std::vector<OptionTable>,
                                 std::vector<std::string>>;

/// A value as the user wrote it, with its place. Equal values are equal wherever they stand.
struct GivenOption {
  OptionValue value;
  SourcePlace place;
  bool for_all_arms = false;  // passes by an arm that has no such key, as long as another one has it
};
using GivenTable = std::map<std::string, GivenOption, std::less<>>;
bool operator==(const GivenOption& a, const GivenOption& b);

/// One table of a list: { layer = "dense", outputs = 10 }.
struct OptionTable {
  GivenTable keys;
  SourcePlace place = {};
};
bool operator==(const OptionTable& a, const OptionTable& b);

/// One key: its type is that of `default_value`. `required` keys have a default only for its type.
struct OptionSpec {
  std::string name;
  OptionValue default_value;
  std::string help = {};
  std::string unit = {};  // "examples", "rounds", "1" ...
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool low_open = false;                  // low itself is not allowed
  bool high_open = false;                 // high itself is not allowed
  std::vector<std::string> choices = {};  // of a text, or of each text of a list
  bool required = false;
};

/// One of several alternatives that a `kind` key chooses between, with its own options.
struct Kind {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
};

/// Resolved options of one table: every declared key has a value. Getters assert the declared type.
class Options {
 public:
  bool boolean(std::string_view name) const;
  std::int64_t integer(std::string_view name) const;
  double real(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const std::vector<double>& reals(std::string_view name) const;
  const std::vector<OptionTable>& tables(std::string_view name) const;
  const std::vector<std::string>& texts(std::string_view name) const;

  bool has(std::string_view name) const { return rows_.find(name) != rows_.end(); }
  bool given(std::string_view name) const;  // set by the user, not a default
  SourcePlace place(std::string_view name) const;

  struct Row {
    OptionValue value;
    SourcePlace place;
    bool given = false;
  };
  const std::map<std::string, Row, std::less<>>& rows() const { return rows_; }
  void set(const std::string& name, Row row) { rows_[name] = std::move(row); }

 private:
  const Row& row(std::string_view name) const;
  std::map<std::string, Row, std::less<>> rows_;
};

/// Checks `given` against `specs` and fills in defaults. `table` names the table in messages ("clients.optimizer").
/// Throws InputError for an unknown key (naming the nearest known one), a wrong type, a value out of range, not among the
/// choices, or a missing required key.
Options resolve_options(const std::vector<OptionSpec>& specs, const GivenTable& given, const std::string& table,
                        const SourcePlace& table_place);

/// The known name nearest to `name` by edit distance, or "" when none is near.
std::string nearest_name(std::string_view name, const std::vector<std::string>& known);

/// A value as TOML text: 1 -> "1", 0.1 -> "0.1", "a" -> "\"a\"". Doubles round-trip.
std::string to_toml(const OptionValue& value);
/// As an inline table: { layer = "dense", bias = true, outputs = 10 }; "layer", which chooses the other keys, comes first.
std::string to_toml(const OptionTable& table);

}  // namespace ivory
