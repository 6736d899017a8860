#include "src/scenario_given.hpp"

#include <fmt/format.h>
#include <toml++/toml.h>

#include <algorithm>
#include <optional>
#include <set>
#include <sstream>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"
#include "src/scenario_schema.hpp"
#include "src/trimmed.hpp"

namespace ivory {
namespace {

constexpr const char* name_letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";

const char* type_name(const toml::node& node) {
  switch (node.type()) {
    case toml::node_type::table:
      return "a table";
    case toml::node_type::array:
      return "a list of other things";
    case toml::node_type::date:
      return "a date";
    case toml::node_type::time:
      return "a time";
    case toml::node_type::date_time:
      return "a date and time";
    default:
      return "something else";
  }
}

/// Sorts a TOML tree into tables. `fixed` is the place of every value where the text is not a file.
class Sorter {
 public:
  Sorter(std::string file, std::optional<SourcePlace> fixed, Problems& problems)
      : file_(std::move(file)), fixed_(std::move(fixed)), problems_(problems), names_(table_names()) {}

  SourcePlace place(const toml::source_region& region) const {
    return fixed_ ? *fixed_ : SourcePlace{file_, region.begin.line, region.begin.column};
  }

  /// `name` is the table's full name. Keys in `skipped` are the caller's.
  void sort(const toml::table& table, const std::string& name, GivenScenario& out,
            const std::vector<std::string>& skipped = {}) {
    auto& target = out.tables[name];
    target.place = name.empty() ? fixed_.value_or(SourcePlace{file_, 0, 0}) : place(table.source());
    for (auto&& [key, node] : table) {
      const std::string key_name(key.str());
      if (std::find(skipped.begin(), skipped.end(), key_name) != skipped.end()) continue;
      const std::string full = qualified(name, key_name);
      const SourcePlace here = place(key.source());
      const bool known_table = std::find(names_.begin(), names_.end(), full) != names_.end();
      if (const toml::table* inner = node.as_table()) {
        if (known_table) {
          sort(*inner, full, out);
        } else {
          problems_.push_back(
              fmt::format("[scenario] unknown table {}{}{}", full, where(here), suggestion(full, names_)));
        }
      } else if (known_table) {
        problems_.push_back(
            fmt::format("[scenario] {} must be a table{}; write [{}] with its keys below", full, where(here), full));
      } else {
        read_value(node, full, here, key_name, target.keys);
      }
    }
  }

 private:
  void read_value(const toml::node& node, const std::string& full, const SourcePlace& here, const std::string& key,
                  GivenTable& keys) {
    const toml::array* list = node.as_array();
    if (list != nullptr && !list->empty() && list->is_homogeneous(toml::node_type::table)) {
      keys.insert_or_assign(key, GivenOption{read_tables(*list, full), here});
    } else if (auto value = convert(node)) {
      keys.insert_or_assign(key, GivenOption{std::move(*value), here});
    } else {
      problems_.push_back(fmt::format(
          "[scenario] {} must be true, false, a number, a text, or a list of numbers within 2^53 or of texts, got {}{}",
          full, type_name(node), where(here)));
    }
  }

  std::vector<OptionTable> read_tables(const toml::array& list, const std::string& full) {
    std::vector<OptionTable> tables;
    for (const toml::node& entry : list) {
      OptionTable& table = tables.emplace_back();
      table.place = place(entry.source());
      const std::string name = fmt::format("{}[{}]", full, tables.size() - 1);
      for (auto&& [key, node] : *entry.as_table()) {
        read_value(node, qualified(name, key.str()), place(key.source()), std::string(key.str()), table.keys);
      }
    }
    return tables;
  }

  static std::optional<OptionValue> convert(const toml::node& node) {
    if (const auto* flag = node.as_boolean()) return flag->get();
    if (const auto* whole = node.as_integer()) return std::int64_t{whole->get()};
    if (const auto* real = node.as_floating_point()) return real->get();
    if (const auto* text = node.as_string()) return text->get();
    const toml::array* list = node.as_array();
    if (list == nullptr) return std::nullopt;
    if (!list->empty() && list->is_homogeneous<std::string>()) {
      std::vector<std::string> texts;
      for (const toml::node& entry : *list) texts.push_back(entry.as_string()->get());
      return texts;
    }
    std::vector<double> values;
    for (const toml::node& entry : *list) {
      const auto* whole = entry.as_integer();
      const auto* real = entry.as_floating_point();
      if (whole == nullptr && real == nullptr) return std::nullopt;
      constexpr std::int64_t most = std::int64_t{1} << 53;  // beyond it a double is not exact
      if (whole != nullptr && (whole->get() > most || whole->get() < -most)) return std::nullopt;
      values.push_back(whole != nullptr ? static_cast<double>(whole->get()) : real->get());
    }
    return values;
  }

  std::string file_;
  std::optional<SourcePlace> fixed_;
  Problems& problems_;
  std::vector<std::string> names_;
};

GivenArm read_arm(const toml::table& entry, Sorter& sorter, std::set<std::string>& seen, Problems& problems) {
  GivenArm arm;
  arm.place = sorter.place(entry.source());
  sorter.sort(entry, "", arm.changes, {"name"});
  const toml::node* name = entry.get("name");
  if (name == nullptr || !name->is_string()) {
    problems.push_back(fmt::format("[scenario] compare.name is required and must be a text{}; each arm has its own",
                                   where(name == nullptr ? arm.place : sorter.place(name->source()))));
    return arm;
  }
  arm.name = name->as_string()->get();
  arm.place = sorter.place(name->source());
  if (!is_arm_name(arm.name)) {
    problems.push_back(
        fmt::format("[scenario] compare.name must be made of letters, digits, _ and -, got {}{}; it names "
                    "the arm's log file",
                    shown(arm.name), where(arm.place)));
  } else if (!seen.insert(arm.name).second) {
    problems.push_back(fmt::format("[scenario] arms must have different names, got {} again{}; rename one",
                                   shown(arm.name), where(arm.place)));
  }
  if (const auto& top = arm.changes.tables[""].keys; top.contains("arm")) {
    problems.push_back(fmt::format("[scenario] an arm cannot set arm = {}{}; its name is the key \"name\"",
                                   shown(top.at("arm").value), where(top.at("arm").place)));
  }
  return arm;
}

void read_arms(const toml::node& node, Sorter& sorter, GivenDocument& document, Problems& problems) {
  const toml::array* entries = node.as_array();
  if (entries == nullptr || entries->empty() || !entries->is_homogeneous(toml::node_type::table)) {
    problems.push_back(fmt::format("[scenario] compare must be a list of arms{}; write [[compare]] above each of them",
                                   where(sorter.place(node.source()))));
    return;
  }
  std::set<std::string> seen;
  for (const toml::node& entry : *entries) {
    document.arms.push_back(read_arm(*entry.as_table(), sorter, seen, problems));
  }
  if (const auto& top = document.base.tables[""].keys; top.contains("arm")) {
    problems.push_back(fmt::format("[scenario] arm and [[compare]] exclude each other, got arm = {}{}; remove one",
                                   shown(top.at("arm").value), where(top.at("arm").place)));
  }
}

toml::table parse_file(const std::string& text, const std::string& file) {
  try {
    return toml::parse(std::string_view(text), std::string_view(file));
  } catch (const toml::parse_error& error) {
    const auto& begin = error.source().begin;
    throw InputError(fmt::format("[scenario] the file must be TOML, got: {}{}", error.description(),
                                 where({file, begin.line, begin.column})));
  }
}

bool is_dotted_key(const std::string& text) {
  const std::string letters = std::string(name_letters) + ".";
  return !text.empty() && text.find_first_not_of(letters) == std::string::npos && text.front() != '.' &&
         text.back() != '.' && text.find("..") == std::string::npos;
}

std::optional<toml::table> parsed(const std::string& text) {
  try {
    return toml::parse(std::string_view(text));
  } catch (const toml::parse_error&) {
    return std::nullopt;
  }
}

/// Whether `text` is one TOML value and nothing else (a line break could smuggle in further keys).
bool is_toml_value(const std::string& text) {
  const auto table = parsed("value = " + text);
  return table && table->size() == 1;
}

bool positive(const GivenScenario& scenario, const std::string& key) {
  const auto table = scenario.tables.find("clients");
  if (table == scenario.tables.end()) return false;
  const auto found = table->second.keys.find(key);
  if (found == table->second.keys.end()) return false;
  const auto* value = std::get_if<std::int64_t>(&found->second.value);
  return value != nullptr && *value > 0;
}

/// Keys of [clients] that take each other's place: the newer one wins.
void drop_replaced_clients_keys(GivenScenario& onto, const GivenScenario& changes) {
  const auto table = onto.tables.find("clients");
  if (table == onto.tables.end()) return;
  GivenTable& keys = table->second.keys;
  const bool steps = positive(changes, "steps"), epochs = positive(changes, "epochs");
  if (steps && !epochs) keys.erase("epochs");
  if (epochs && !steps) keys.erase("steps");
  for (const ScheduleKey& row : schedule_keys()) {
    const std::string* shape = changes.text("clients", row.schedule);
    if (shape != nullptr && std::ranges::find(row.shapes, *shape) == row.shapes.end()) keys.erase(row.key);
  }
}

void drop_former_choice(GivenScenario& onto, const GivenScenario& changes, const ChoiceTable& choice) {
  const auto table = onto.tables.find(choice.table);
  if (table == onto.tables.end() || changes.text(choice.table, choice.key) == nullptr) return;
  const Kind *former = choice.chosen_in(onto), *chosen = choice.chosen_in(changes);
  if (former == nullptr || chosen == nullptr || former == chosen) return;  // unknown ones are reported when resolved
  std::erase_if(table->second.keys,
                [&](const auto& row) { return choice.takes(*former, row.first) && !choice.takes(*chosen, row.first); });
}

}  // namespace

const std::string* GivenScenario::text(std::string_view table, std::string_view key) const {
  const auto found = tables.find(table);
  if (found == tables.end()) return nullptr;
  const auto row = found->second.keys.find(key);
  return row == found->second.keys.end() ? nullptr : std::get_if<std::string>(&row->second.value);
}

std::optional<Options> resolve_options(const std::vector<OptionSpec>& specs, const GivenTable& given,
                                       const std::string& table, const SourcePlace& table_place, Problems& problems) {
  try {
    return resolve_options(specs, given, table, table_place);
  } catch (const InputError& error) {
    std::istringstream lines(error.what());
    for (std::string line; std::getline(lines, line);) problems.push_back(line);
    return std::nullopt;
  }
}

bool is_arm_name(std::string_view name) {
  return !name.empty() && name.find_first_not_of(name_letters) == std::string_view::npos;
}

GivenDocument read_document(const std::string& text, const std::string& file, Problems& problems) {
  const toml::table root = parse_file(text, file);
  Sorter sorter(file, std::nullopt, problems);
  GivenDocument document;
  sorter.sort(root, "", document.base, {"compare"});
  if (const toml::node* compare = root.get("compare")) read_arms(*compare, sorter, document, problems);
  return document;
}

bool is_run_label(std::string_view name) {
  return !name.empty() && name.find_first_not_of(std::string(name_letters) + ".,=+") == std::string_view::npos;
}

GivenOverride read_override(const std::string& assignment, const std::string& option, Problems& problems) {
  const auto equals = assignment.find('=');
  const auto colon = assignment.substr(0, equals).find(':');
  const std::string arm(colon == std::string::npos ? "" : trimmed(assignment.substr(0, colon)));
  const auto start = colon == std::string::npos ? 0 : colon + 1;
  const std::string key(equals == std::string::npos ? "" : trimmed(assignment.substr(start, equals - start)));
  if (!is_dotted_key(key) || (colon != std::string::npos && !is_arm_name(arm))) {
    throw InputError(
        fmt::format("[scenario] {} must be key=value with a dotted key, got {}; write for example "
                    "{} clients.batch=32, or ARM:clients.batch=32 for one arm",
                    option, shown(assignment), option));
  }
  const std::string value(trimmed(assignment.substr(equals + 1)));
  const SourcePlace place{fmt::format("{} {}{}{}", option, arm, arm.empty() ? "" : ":", key), 0, 0};
  const auto table = parsed(key + " = " + (is_toml_value(value) ? value : to_toml(OptionValue(value))));
  if (!table)
    throw InputError(fmt::format("[scenario] texts must be UTF-8{}; mind the terminal's encoding", where(place)));
  GivenOverride out{arm, place, {}};
  Sorter(place.file, place, problems).sort(*table, "", out.changes);
  if (out.changes.tables[""].keys.contains("arm")) {
    problems.push_back(fmt::format("[scenario] the name of an arm cannot be changed, got {}; use --only to choose arms",
                                   shown(assignment)));
  }
  for (auto& [name, changed] : out.changes.tables) {
    for (auto& [changed_key, given] : changed.keys) given.for_all_arms = arm.empty();
  }
  return out;
}

std::vector<GivenScenario> changes_for(const std::string& arm, const std::vector<GivenOverride>& overrides) {
  std::vector<GivenScenario> all, own;
  for (const GivenOverride& override : overrides) {
    if (override.arm.empty()) all.push_back(override.changes);
    if (!override.arm.empty() && override.arm == arm) own.push_back(override.changes);
  }
  for (GivenScenario& changes : all) {
    for (const GivenScenario& by : own) {
      for (const auto& [name, table] : by.tables) {
        const auto found = changes.tables.find(name);
        if (found == changes.tables.end()) continue;
        std::erase_if(found->second.keys,
                      [&, &keys = table.keys](const auto& row) { return keys.contains(row.first); });
      }
    }
  }
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

void overlay(GivenScenario& onto, const GivenScenario& changes, const std::vector<ChoiceTable>& choices) {
  for (const ChoiceTable& choice : choices) drop_former_choice(onto, changes, choice);
  drop_replaced_clients_keys(onto, changes);
  for (const auto& [name, table] : changes.tables) {
    const auto [target, fresh] = onto.tables.try_emplace(name, GivenScenario::Table{table.place, {}});
    for (const auto& [key, option] : table.keys) target->second.keys.insert_or_assign(key, option);
  }
}

}  // namespace ivory
