#include "src/sweep_grid.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "ivory/error.hpp"
#include "ivory/rng.hpp"
#include "src/compare_groups.hpp"
#include "src/option_messages.hpp"
#include "src/scenario_reader.hpp"
#include "src/trimmed.hpp"

namespace ivory {
namespace {

constexpr std::size_t longest_value = 24, longest_label = 160;  // labels are parts of file names

/// The parts of "1,2,[3,4],\"a,b\"".
std::vector<std::string> split_values(const std::string& text) {
  std::vector<std::string> values = {""};
  int depth = 0;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote) quote = 0;
    } else if (c == '"' || c == '\'') {
      quote = c;
    } else if (c == '[' || c == '{') {
      ++depth;
    } else if (c == ']' || c == '}') {
      --depth;
    } else if (c == ',' && depth == 0) {
      values.emplace_back();
      continue;
    }
    values.back() += c;
  }
  for (std::string& value : values) value = std::string(trimmed(value));
  return values;
}

/// A value as a part of a file name: letters and digits, lists joined by '+'; the v-th value where that gets too long.
std::string value_label(const std::string& value, std::size_t index) {
  std::string label;
  for (const char c : value) {
    const auto byte = static_cast<unsigned char>(c);
    if (std::isalnum(byte) != 0 || std::string_view("._+-").find(c) != std::string_view::npos) {
      label += c;
    } else if (c == ',') {
      label += '+';
    } else if (std::string_view("[]{}\"' ").find(c) == std::string_view::npos) {
      label += '_';
    }
  }
  return label.empty() || label.size() > longest_value ? fmt::format("v{}", index + 1) : label;
}

/// The last word of a dotted key; the one before where the last says too little ("clients.optimizer.name").
std::string last_word(const std::string& key) {
  const std::size_t dot = key.rfind('.');
  const std::string word = key.substr(dot == std::string::npos ? 0 : dot + 1);
  return dot != std::string::npos && (word == "name" || word == "kind") ? last_word(key.substr(0, dot)) : word;
}

/// What each key is called in labels: its last word, the whole key where two share it.
std::map<std::string, std::string> short_names(const std::vector<GridAxis>& axes) {
  std::map<std::string, std::set<std::string>> keys_of_word;
  for (const GridAxis& axis : axes) keys_of_word[last_word(axis.key)].insert(axis.key);
  std::map<std::string, std::string> names;
  for (const auto& [word, keys] : keys_of_word) {
    for (const std::string& key : keys) names[key] = keys.size() == 1 ? word : key;
  }
  return names;
}

/// Whether a resolved scenario has the key, or the table of that name.
bool has_key(const std::vector<std::string>& settings, const std::string& key) {
  return std::any_of(settings.begin(), settings.end(), [&](const std::string& setting) {
    return setting.starts_with(key + " = ") || setting.starts_with(key + ".");
  });
}

/// Expands one arm after the other.
class Expansion {
 public:
  Expansion(const std::string& file, std::span<const std::string> set, std::span<const std::string> only,
            const std::vector<GridAxis>& axes)
      : file_(file), set_(set), only_(only), axes_(axes), names_(short_names(axes)) {}

  std::vector<SweepArm> run() {
    std::vector<SweepArm> arms;
    const std::vector<Scenario> base = scenarios("", {});
    std::size_t total = 0;
    for (const Scenario& arm : base) total += count(arm.arm, most_settings + 1);
    if (total > most_settings) {
      throw InputError(
          fmt::format("[sweep] a sweep has at most {} settings, got more; make the grids smaller, or sweep "
                      "in parts",
                      most_settings));
    }
    for (std::size_t a = 0; a < base.size(); ++a) arms.push_back(expand(base[a], a));
    return arms;
  }

 private:
  /// The axes of an arm, in the order given.
  std::vector<const GridAxis*> axes_of(const std::string& arm) const {
    std::vector<const GridAxis*> own;
    for (const GridAxis& axis : axes_) {
      const bool replaced =
          axis.arm.empty() && !arm.empty() && std::any_of(axes_.begin(), axes_.end(), [&](const GridAxis& other) {
            return other.arm == arm && other.key == axis.key;
          });
      if (axis.arm == arm || (axis.arm.empty() && !replaced)) own.push_back(&axis);
    }
    return own;
  }

  /// Points of the arm's product, as far as `most`.
  std::size_t count(const std::string& arm, std::size_t most) const {
    std::size_t points = 1;
    for (const GridAxis* axis : axes_of(arm)) points = std::min(most, points * axis->values.size());
    return points;
  }

  /// All arms where `arm` is at the point with these values. The other arms are somewhere in their own grids.
  std::vector<Scenario> scenarios(const std::string& arm, const std::vector<std::size_t>& point) const {
    std::map<const GridAxis*, std::size_t> at;
    const std::vector<const GridAxis*> own = axes_of(arm);
    for (std::size_t i = 0; i < point.size(); ++i) at[own[i]] = point[i];
    std::vector<std::string> grid;
    for (const GridAxis& axis : axes_) {
      const auto found = at.find(&axis);
      grid.push_back(fmt::format("{}{}{}={}", axis.arm, axis.arm.empty() ? "" : ":", axis.key,
                                 axis.values[found == at.end() ? 0 : found->second]));
    }
    return read_scenario(file_, set_, only_, grid);
  }

  SweepArm expand(const Scenario& base, std::size_t index) const {
    const std::vector<const GridAxis*> own = axes_of(base.arm);
    SweepArm arm{base.arm.empty() ? base.name : base.arm, {}};
    std::map<std::string, std::string> label_of;  // by resolved scenario
    std::set<std::string> labels;
    std::vector<std::size_t> point(own.size(), 0);
    for (std::size_t n = count(base.arm, most_settings); n > 0; --n) {
      SweepSetting setting{"", scenarios(base.arm, point)[index]};
      const std::string resolved = to_toml(setting.scenario);
      setting.label = label(own, point, settings_of(resolved));
      const auto [known, is_new] = label_of.emplace(resolved, setting.label);
      if (is_new) {
        add(arm, base, std::move(setting), labels);
      } else if (known->second != setting.label) {
        throw InputError(
            fmt::format("[sweep] two settings must differ, got {} and {} for {}, which are the same; remove one",
                        known->second, setting.label, arm.name));
      }  // else a key that varied passed by this arm
      for (std::size_t i = own.size(); i-- > 0;) {
        if (++point[i] < own[i]->values.size()) break;
        point[i] = 0;
      }
    }
    return arm;
  }

  std::string label(const std::vector<const GridAxis*>& own, const std::vector<std::size_t>& point,
                    const std::vector<std::string>& settings) const {
    std::vector<std::string> parts;
    for (std::size_t i = 0; i < own.size(); ++i) {
      if (!has_key(settings, own[i]->key)) continue;
      parts.push_back(fmt::format("{}={}", names_.at(own[i]->key), value_label(own[i]->values[point[i]], point[i])));
    }
    return parts.empty() ? "-" : fmt::format("{}", fmt::join(parts, ","));
  }

  static void add(SweepArm& arm, const Scenario& base, SweepSetting&& setting, std::set<std::string>& labels) {
    if (!labels.insert(setting.label).second) {
      throw InputError(
          fmt::format("[sweep] settings must have different names, got {} twice for {}; their values differ in "
                      "characters that file names do not take, so write them in another way",
                      setting.label, arm.name));
    }
    if (setting.label.size() > longest_label) {
      throw InputError(
          fmt::format("[sweep] the name of a setting has at most {} characters, since it names a log, got {}; "
                      "sweep fewer keys at a time",
                      longest_label, setting.label));
    }
    if (setting.label != "-") {
      setting.scenario.arm = base.arm.empty() ? setting.label : base.arm + "," + setting.label;
    }
    arm.settings.push_back(std::move(setting));
  }

  const std::string& file_;
  std::span<const std::string> set_, only_;
  const std::vector<GridAxis>& axes_;
  std::map<std::string, std::string> names_;
};

}  // namespace

namespace {

struct FixedKey {
  std::string_view key;  // with a dot at its end: everything below it
  std::string_view why, instead;
};
constexpr std::string_view with_set = "set it for all of them with --set",
                           other_examples = "changes the examples that the settings are compared on",
                           other_clients = "changes the clients that the settings are compared on";
constexpr FixedKey fixed_keys[] = {
    {"name", "is the run's own", "leave it out"},
    {"arm", "is the run's own", "leave it out"},
    {"seed", "is the run's own", "--seed and --seeds choose the seeds"},
    {"rounds", "changes the budget of a setting", with_set},
    {"data.", other_examples, with_set},
    {"partition.", other_clients, with_set},
    {"clients.count", other_clients, with_set},
    {"clients.participation", other_clients, with_set},
    {"clients.pool", other_clients, with_set},
    {"clients.weights", other_clients, with_set},
    {"clients.without", other_clients, with_set},
    {"evaluation.", "changes how the settings are measured", with_set},
    {"log.", "changes what is written, not what is computed", with_set},
};
// Settings of a method all the same: of the posterior itself, of what networks are given, and a method's public pool.
constexpr std::string_view sweepable[] = {"evaluation.laplace_prior_precision", "data.divide_by", "data.normalise",
                                          "data.public"};

/// Settings that differ in it cannot be compared.
void refuse_fixed_key(const std::string& key, const std::string& text) {
  if (std::find(std::begin(sweepable), std::end(sweepable), key) != std::end(sweepable)) return;
  for (const FixedKey& fixed : fixed_keys) {
    const bool whole_table = fixed.key.ends_with('.');
    const bool inside = whole_table && (key + ".").starts_with(fixed.key), around = fixed.key.starts_with(key + ".");
    if (!inside && !around && key != fixed.key) continue;
    throw InputError(fmt::format("[sweep] a grid changes settings that can be compared, got --grid {}: {} {}; {}", text,
                                 key, fixed.why, fixed.instead));
  }
}

}  // namespace

GridAxis parse_grid(const std::string& text) {
  const std::size_t equals = text.find('=');
  const std::string left(trimmed(std::string_view(text).substr(0, equals)));
  const std::size_t colon = left.find(':');
  GridAxis axis;
  if (colon != std::string::npos) axis.arm = trimmed(std::string_view(left).substr(0, colon));
  axis.key = trimmed(std::string_view(left).substr(colon == std::string::npos ? 0 : colon + 1));
  if (equals == std::string::npos || axis.key.empty() || (colon != std::string::npos && axis.arm.empty())) {
    throw InputError(
        fmt::format("[sweep] --grid must be KEY=V1,V2,... or ARM:KEY=V1,V2,..., got {}; write for example --grid "
                    "clients.batch=16,64",
                    shown(text)));
  }
  refuse_fixed_key(axis.key, text);
  axis.values = split_values(text.substr(equals + 1));
  std::set<std::string> seen;
  for (const std::string& value : axis.values) {
    if (value.empty()) {
      throw InputError(
          fmt::format("[sweep] a grid needs values, divided by commas, got an empty one in --grid {}; write "
                      "\"\" for an empty text",
                      text));
    }
    if (!seen.insert(value).second) {
      throw InputError(fmt::format("[sweep] the values of a grid must differ, got {} twice in --grid {}", value, text));
    }
  }
  return axis;
}

std::vector<GridAxis> parse_grids(std::span<const std::string> texts) {
  std::vector<GridAxis> axes;
  for (const std::string& text : texts) {
    GridAxis axis = parse_grid(text);
    for (const GridAxis& other : axes) {
      if (other.key != axis.key || other.arm != axis.arm) continue;
      throw InputError(fmt::format("[sweep] a key has one grid, got {} twice; put all its values into one", axis.key));
    }
    axes.push_back(std::move(axis));
  }
  return axes;
}

std::vector<SweepArm> expand_grid(const std::string& file, std::span<const std::string> set,
                                  std::span<const std::string> only, const std::vector<GridAxis>& axes) {
  return Expansion(file, set, only, axes).run();
}

void draw_settings(std::vector<SweepArm>& arms, std::size_t budget, std::uint64_t seed) {
  for (SweepArm& arm : arms) {
    if (arm.settings.size() <= budget) continue;
    std::vector<std::size_t> chosen(arm.settings.size());
    std::iota(chosen.begin(), chosen.end(), std::size_t{0});
    StreamReader random(seed, {.purpose = Purpose::sweep});
    random.shuffle(chosen.begin(), chosen.size());
    chosen.resize(budget);
    std::sort(chosen.begin(), chosen.end());
    std::vector<SweepSetting> kept;
    for (const std::size_t i : chosen) kept.push_back(std::move(arm.settings[i]));
    arm.settings = std::move(kept);
  }
}

namespace {

/// "fedavg 3, vb-admm 2"
std::string budgets(const std::vector<SweepArm>& arms) {
  std::vector<std::string> parts;
  for (const SweepArm& arm : arms) parts.push_back(fmt::format("{} {}", arm.name, arm.settings.size()));
  return fmt::format("{}", fmt::join(parts, ", "));
}

bool equal_budgets(const std::vector<SweepArm>& arms) {
  return std::all_of(arms.begin(), arms.end(),
                     [&](const SweepArm& arm) { return arm.settings.size() == arms.front().settings.size(); });
}

}  // namespace

std::string budget_text(const std::vector<SweepArm>& arms) {
  return fmt::format("settings of each arm: {}\n{}", budgets(arms),
                     equal_budgets(arms) ? ""
                                         : "warning: the arms have different budgets, and the best of many settings "
                                           "looks better than the best of few\n");
}

void check_budgets(const std::vector<SweepArm>& arms) {
  if (equal_budgets(arms)) return;
  throw InputError(fmt::format(
      "[sweep] every arm must have as many settings as the others, since the best of many looks better "
      "than the best of few, got {}; give each as many with --grid ARM:KEY=..., draw N of each with --budget "
      "N (no more than the fewest), leave arms out with --only, or compare them so with --unequal",
      budgets(arms)));
}

}  // namespace ivory
