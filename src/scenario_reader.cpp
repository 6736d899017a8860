#include "src/scenario_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <optional>

#include "ivory/error.hpp"
#include "src/model_layers.hpp"
#include "src/option_messages.hpp"
#include "src/scenario_checks.hpp"
#include "src/scenario_given.hpp"
#include "src/scenario_schema.hpp"

namespace ivory {
namespace {

/// One arm on its way from what was given to a Scenario.
struct Arm {
  std::string name;
  GivenScenario given;
  Problems problems;
};

class Resolver {
 public:
  Resolver(std::string file, const std::vector<ChoiceTable>& choices, const std::vector<Arm>& arms)
      : file_(std::move(file)), choices_(choices), arms_(arms) {}

  /// Resolves every table; the result is whole only where `problems` stays empty.
  Scenario resolve(const Arm& arm, Problems& problems) const {
    Scenario scenario;
    scenario.file = file_;
    SourcePlace algorithm_place;
    if (const auto top = fixed("", arm.given, problems)) {
      scenario.name = top->text("name");
      scenario.arm = arm.name.empty() ? top->text("arm") : arm.name;
      scenario.seed = static_cast<std::uint64_t>(top->integer("seed"));
      scenario.rounds = static_cast<int>(top->integer("rounds"));
      check_names(*top, problems);
    }
    for (const ChoiceTable& choice : choices_) {
      if (choice.optional && !wanted(choice, arm.given)) continue;
      auto options = chosen(choice, arm.given, problems);
      if (!options) continue;
      if (choice.table == "data") scenario.data = std::move(*options);
      if (choice.table == "partition") scenario.partition = std::move(*options);
      if (choice.table == "model") scenario.model = with_checked_layers(std::move(*options), problems);
      if (choice.table == "evaluation.ood") scenario.ood = std::move(*options);
      if (choice.table == "clients.optimizer") {
        scenario.optimizer_name = *arm.given.text(choice.table, choice.key);
        scenario.optimizer = std::move(*options);
      }
      if (choice.table == "server") {
        scenario.algorithm_name = *arm.given.text(choice.table, choice.key);
        scenario.algorithm = std::move(*options);
        algorithm_place = arm.given.tables.find(choice.table)->second.keys.find(choice.key)->second.place;
      }
    }
    if (auto clients = fixed("clients", arm.given, problems))
      scenario.clients = steps_before_epochs(std::move(*clients));
    if (auto evaluation = fixed("evaluation", arm.given, problems)) scenario.evaluation = std::move(*evaluation);
    if (auto log = fixed("log", arm.given, problems)) scenario.log = std::move(*log);
    if (problems.empty()) check_contradictions(scenario, algorithm_place, problems);
    return scenario;
  }

 private:
  GivenScenario::Table table(const GivenScenario& given, const std::string& name) const {
    const auto found = given.tables.find(name);
    return found == given.tables.end() ? GivenScenario::Table{{file_, 0, 0}, {}} : found->second;
  }

  /// Whether this arm has the optional table. One that --set alone filled, and not its choosing key, is meant for another.
  bool wanted(const ChoiceTable& choice, const GivenScenario& given) const {
    const auto found = given.tables.find(choice.table);
    if (found == given.tables.end()) return false;
    const GivenTable& keys = found->second.keys;
    const bool from_set = !keys.empty() && std::all_of(keys.begin(), keys.end(),
                                                       [](const auto& row) { return row.second.place.line == 0; });
    const auto chooses = [&](const Arm& arm) { return arm.given.text(choice.table, choice.key) != nullptr; };
    return !from_set || keys.contains(choice.key) || std::none_of(arms_.begin(), arms_.end(), chooses);
  }

  std::optional<Options> fixed(const std::string& name, const GivenScenario& given, Problems& problems) const {
    const auto& specs = find_table(name)->options;
    auto [place, keys] = table(given, name);
    report_misplaced(name, specs, keys, problems);
    return resolve_options(specs, keys, name, place, problems);
  }

  std::optional<Options> chosen(const ChoiceTable& choice, const GivenScenario& given, Problems& problems) const {
    auto [place, keys] = table(given, choice.table);
    GivenTable choosing;
    if (const auto key = keys.find(choice.key); key != keys.end()) choosing.insert(*key);
    const auto choice_made = resolve_options({choice.key_spec()}, choosing, choice.table, place, problems);
    if (!choice_made) return std::nullopt;
    const Kind& kind = *choice.find(choice_made->text(choice.key));
    settle_foreign(choice, kind, keys, problems);
    std::vector<OptionSpec> specs = choice.specs(kind);
    report_misplaced(choice.table, specs, keys, problems);
    if (!choice.key_is_option) {
      specs.erase(specs.begin());
      keys.erase(choice.key);
    }
    return resolve_options(specs, keys, choice.table, place, problems);
  }

  /// Takes out keys that belong to another alternative: an error, but for a --set that another arm can use.
  void settle_foreign(const ChoiceTable& choice, const Kind& kind, GivenTable& keys, Problems& problems) const {
    std::erase_if(keys, [&](const auto& row) {
      const auto& [key, option] = row;
      if (choice.takes(kind, key)) return false;
      std::vector<std::string> owners;
      for (const Kind& other : choice.kinds) {
        if (choice.takes(other, key)) owners.push_back(other.name);
      }
      if (owners.empty()) return false;
      if (option.for_all_arms && some_arm_takes(choice, key)) return true;
      problems.push_back(fmt::format("[scenario] {} belongs to {} = {}, got {} = \"{}\"{}",
                                     qualified(choice.table, key), choice.key, quoted_list(owners), choice.key,
                                     kind.name, where(option.place)));
      return true;
    });
  }

  bool some_arm_takes(const ChoiceTable& choice, std::string_view key) const {
    return std::any_of(arms_.begin(), arms_.end(), [&](const Arm& arm) {
      const Kind* kind = choice.chosen_in(arm.given);
      return kind != nullptr && choice.takes(*kind, key);
    });
  }

  /// Takes out, with a message, keys that this table does not have and nothing in it resembles, but another table has.
  void report_misplaced(const std::string& name, const std::vector<OptionSpec>& specs, GivenTable& keys,
                        Problems& problems) const {
    std::vector<std::string> known;
    for (const OptionSpec& spec : specs) known.push_back(spec.name);
    std::erase_if(keys, [&](const auto& row) {
      const auto& [key, option] = row;
      if (std::find(known.begin(), known.end(), key) != known.end() || !nearest_name(key, known).empty()) return false;
      const std::string home = home_of(key);
      if (home.empty()) return false;
      problems.push_back(fmt::format("[scenario] unknown key {} = {}{}; did you mean \"{}\"?", qualified(name, key),
                                     shown(option.value), where(option.place), home));
      return true;
    });
  }

  std::string home_of(std::string_view key) const {
    for (const ScenarioTable& candidate : scenario_tables()) {
      for (const OptionSpec& spec : candidate.options) {
        if (spec.name == key) return qualified(candidate.name, key);
      }
    }
    for (const ChoiceTable& choice : choices_) {
      for (const Kind& kind : choice.kinds) {
        if (choice.takes(kind, key)) return qualified(choice.table, key);
      }
    }
    return {};
  }

  static void check_names(const Options& top, Problems& problems) {
    const std::string& name = top.text("name");
    const bool control = std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
    if (name.empty() || name.front() == '.' || name.find('/') != std::string::npos || control) {
      problems.push_back(
          fmt::format("[scenario] name must be usable as a folder: not empty, no leading dot, slash or "
                      "control character, got {}{}",
                      shown(name), where(top.place("name"))));
    }
    if (top.given("arm") && !is_run_label(top.text("arm"))) {
      problems.push_back(fmt::format("[scenario] arm must be made of letters, digits and _-.,=+, got {}{}",
                                     shown(top.text("arm")), where(top.place("arm"))));
    }
  }

  /// [model] layers with every option of every layer.
  static Options with_checked_layers(Options model, Problems& problems) {
    if (!model.has("layers")) return model;
    const auto layers = resolve_layers(model.tables("layers"), "model.layers", problems);
    model.set("layers", {spelt_out(layers), model.place("layers"), true});
    return model;
  }

  /// `steps` alone switches the default of `epochs` off.
  static Options steps_before_epochs(Options clients) {
    if (clients.integer("steps") > 0 && !clients.given("epochs")) {
      clients.set("epochs", {std::int64_t{0}, clients.place("epochs"), false});
    }
    return clients;
  }

  std::string file_;
  const std::vector<ChoiceTable>& choices_;
  const std::vector<Arm>& arms_;
};

/// Each problem once, with the arms it concerns unless it concerns them all.
Problems merged(const std::vector<Arm>& arms) {
  std::vector<std::pair<std::string, std::vector<std::string>>> seen;
  for (const Arm& arm : arms) {
    for (const std::string& problem : arm.problems) {
      auto found = std::find_if(seen.begin(), seen.end(), [&](const auto& row) { return row.first == problem; });
      if (found == seen.end()) found = seen.insert(seen.end(), {problem, {}});
      found->second.push_back(arm.name);
    }
  }
  Problems out;
  for (const auto& [problem, names] : seen) {
    const bool everywhere = names.size() == arms.size();
    out.push_back(everywhere ? problem : fmt::format("{} [arm {}]", problem, fmt::join(names, ", ")));
  }
  return out;
}

void throw_if_any(const Problems& problems) {
  if (!problems.empty()) throw InputError(fmt::format("{}", fmt::join(problems, "\n")));
}

/// Problems of overrides for an arm that the scenario does not have.
void check_arms_of_overrides(const std::vector<GivenOverride>& overrides, const std::vector<GivenArm>& arms,
                             Problems& problems) {
  std::vector<std::string> names;
  for (const GivenArm& arm : arms) {
    if (!arm.name.empty()) names.push_back(arm.name);
  }
  for (const GivenOverride& override : overrides) {
    if (override.arm.empty() || std::find(names.begin(), names.end(), override.arm) != names.end()) continue;
    problems.push_back(
        fmt::format("[scenario] no arm of that name, got {}{}{}", shown(override.arm), where(override.place),
                    names.empty() ? "; the scenario has no [[compare]] arms" : suggestion(override.arm, names)));
  }
}

/// Arms wanted by `only`, in the file's order.
std::vector<GivenArm> selected(std::vector<GivenArm> arms, std::span<const std::string> only, const std::string& file) {
  if (only.empty()) return arms;
  std::vector<std::string> names;
  for (const GivenArm& arm : arms) {
    if (!arm.name.empty()) names.push_back(arm.name);
  }
  Problems problems;
  for (const std::string& name : only) {
    if (std::find(names.begin(), names.end(), name) != names.end()) continue;
    const std::string advice = names.empty() ? "; the scenario has no [[compare]] arms" : suggestion(name, names);
    problems.push_back(fmt::format("[scenario] no arm of that name, got {}, in {}{}", shown(name), file, advice));
  }
  throw_if_any(problems);
  std::erase_if(arms, [&](const GivenArm& arm) { return std::find(only.begin(), only.end(), arm.name) == only.end(); });
  return arms;
}

std::string read_text(const std::string& path) {
  constexpr std::size_t most = std::size_t{16} << 20;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw InputError(
        fmt::format("[scenario] the scenario file must exist, got {}; there are some in scenarios/", shown(path)));
  }
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::vector<char> chunk(std::size_t{1} << 16);
  bool opened = file.is_open();
  while (file && text.size() <= most) {
    file.read(chunk.data(), std::ssize(chunk));
    text.append(chunk.data(), static_cast<std::size_t>(file.gcount()));
    opened = opened && !file.bad();
  }
  if (!opened || std::filesystem::is_directory(path, ignored)) {
    throw InputError(fmt::format("[scenario] the scenario must be a file that can be read, got {}", shown(path)));
  }
  if (text.size() > most) {
    throw InputError(fmt::format("[scenario] a scenario file has at most 16 MiB, got more in {}", shown(path)));
  }
  return text;
}

}  // namespace

std::vector<Scenario> parse_scenario(const std::string& text, const std::string& name,
                                     std::span<const std::string> overrides, std::span<const std::string> only,
                                     std::span<const std::string> grid) {
  Problems problems;
  GivenDocument document = read_document(text, name, problems);
  std::vector<GivenOverride> changes;
  for (const std::string& assignment : overrides) changes.push_back(read_override(assignment, "--set", problems));
  for (const std::string& assignment : grid) changes.push_back(read_override(assignment, "--grid", problems));

  if (document.arms.empty()) {
    const std::string* arm = document.base.text("", "arm");
    document.arms.push_back({arm != nullptr ? *arm : std::string(), {}, {}});
  }
  check_arms_of_overrides(changes, document.arms, problems);
  throw_if_any(problems);
  const std::vector<ChoiceTable> choices = choice_tables();
  std::vector<Arm> arms;
  for (GivenArm& arm : selected(std::move(document.arms), only, name)) {
    GivenScenario given = document.base;
    overlay(given, arm.changes, choices);
    for (const GivenScenario& change : changes_for(arm.name, changes)) overlay(given, change, choices);
    arms.push_back({std::move(arm.name), std::move(given), {}});
  }

  const Resolver resolver(name, choices, arms);
  std::vector<Scenario> scenarios;
  for (Arm& arm : arms) {
    Problems found;
    scenarios.push_back(resolver.resolve(arm, found));
    arm.problems = std::move(found);
  }
  throw_if_any(merged(arms));
  return scenarios;
}

std::vector<Scenario> read_scenario(const std::string& path, std::span<const std::string> overrides,
                                    std::span<const std::string> only, std::span<const std::string> grid) {
  std::vector<Scenario> scenarios = parse_scenario(read_text(path), path, overrides, only, grid);
  std::error_code error;
  const std::filesystem::path full = std::filesystem::absolute(path, error);
  for (Scenario& scenario : scenarios) {
    if (!error) scenario.folder = full.lexically_normal().parent_path().string();
  }
  return scenarios;
}

}  // namespace ivory
