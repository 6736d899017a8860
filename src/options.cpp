#include "ivory/options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

using Texts = std::vector<std::string>;

// Integers also travel as doubles (logs, ranges), so only those that survive it are taken.
constexpr std::int64_t largest_integer = std::int64_t{1} << 53;

bool is_exact(std::int64_t value) { return value >= -largest_integer && value <= largest_integer; }

std::string bound(double value) { return fmt::format("{}", value); }

std::string toml_text(const std::string& value) {
  std::string out = "\"";
  for (const char c : value) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else if (code < 0x20 || code == 0x7f) {
      out += fmt::format("\\u{:04X}", code);
    } else {
      out += c;
    }
  }
  return out + '"';
}

/// " in (0, 1]", " >= 1", or nothing.
std::string range_text(const OptionSpec& spec) {
  const bool from = std::isfinite(spec.low), to = std::isfinite(spec.high);
  if (from && to) {
    return fmt::format(" in {}{}, {}{}", spec.low_open ? '(' : '[', bound(spec.low), bound(spec.high),
                       spec.high_open ? ')' : ']');
  }
  if (from) return fmt::format(" {} {}", spec.low_open ? ">" : ">=", bound(spec.low));
  if (to) return fmt::format(" {} {}", spec.high_open ? "<" : "<=", bound(spec.high));
  return {};
}

/// The rule of a key in words: "must be an integer in [1, 1048576] (examples)".
std::string rule_text(const OptionSpec& spec) {
  if (std::holds_alternative<Texts>(spec.default_value)) {
    return spec.choices.empty() ? "must be a list of texts"
                                : "must be a list of texts, each " + quoted_list(spec.choices);
  }
  if (!spec.choices.empty()) return "must be " + quoted_list(spec.choices);
  const std::string unit = spec.unit.empty() || spec.unit == "1" ? std::string() : " (" + spec.unit + ")";
  struct Phrase {
    const OptionSpec& spec;
    std::string operator()(bool) const { return "must be true or false"; }
    std::string operator()(std::int64_t) const { return "must be an integer" + range_text(spec); }
    std::string operator()(double) const { return "must be a finite number" + range_text(spec); }
    std::string operator()(const std::string&) const { return "must be a text"; }
    std::string operator()(const std::vector<double>&) const {
      const std::string range = range_text(spec);
      return "must be a list of finite numbers" + (range.empty() ? range : ", each" + range);
    }
    std::string operator()(const std::vector<OptionTable>&) const {
      return "must be a list of tables [ { ... }, ... ]";
    }
    std::string operator()(const Texts&) const { return {}; }  // above
  };
  return std::visit(Phrase{spec}, spec.default_value) + unit;
}

bool in_range(const OptionSpec& spec, double value) {
  if (spec.low_open ? value <= spec.low : value < spec.low) return false;
  return spec.high_open ? value < spec.high : value <= spec.high;
}

/// What breaks the rule, as the text after "got"; empty when the value is good. May convert `value` (integer to real).
std::string defect(const OptionSpec& spec, OptionValue& value) {
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    if (!is_exact(*whole)) return fmt::format("{}, beyond 2^53", *whole);
    if (std::holds_alternative<double>(spec.default_value)) value = static_cast<double>(*whole);
  }
  if (const auto* none = std::get_if<std::vector<double>>(&value); none != nullptr && none->empty()) {
    if (std::holds_alternative<Texts>(spec.default_value)) value = Texts{};
  }
  if (value.index() != spec.default_value.index()) return shown(value);
  if (const auto* whole = std::get_if<std::int64_t>(&value)) {
    if (!in_range(spec, static_cast<double>(*whole))) return shown(value);
  } else if (const auto* real = std::get_if<double>(&value)) {
    if (!std::isfinite(*real) || !in_range(spec, *real)) return shown(value);
  } else if (const auto* text = std::get_if<std::string>(&value)) {
    const auto& choices = spec.choices;
    if (!choices.empty() && std::find(choices.begin(), choices.end(), *text) == choices.end()) return shown(value);
  } else if (const auto* texts = std::get_if<Texts>(&value)) {
    const auto& choices = spec.choices;
    for (std::size_t i = 0; i < texts->size() && !choices.empty(); ++i) {
      if (std::find(choices.begin(), choices.end(), (*texts)[i]) != choices.end()) continue;
      return fmt::format("{} (entry {} of {})", toml_text((*texts)[i]), i + 1, shown(value));
    }
  } else if (const auto* reals = std::get_if<std::vector<double>>(&value)) {
    for (std::size_t i = 0; i < reals->size(); ++i) {
      const double entry = (*reals)[i];
      if (!std::isfinite(entry) || !in_range(spec, entry)) {
        return fmt::format("{} (entry {} of {})", shown(entry), i + 1, shown(value));
      }
    }
  }
  return {};
}

/// What to do about it: `; did you mean "adam"?`, `; write it in quotes`, `; write 5`.
std::string advice(const OptionSpec& spec, const OptionValue& value) {
  if (std::holds_alternative<std::vector<OptionTable>>(spec.default_value)) return {};
  if (std::holds_alternative<std::vector<double>>(spec.default_value) &&
      !std::holds_alternative<std::vector<double>>(value)) {
    return "; lists stand in [ ]";
  }
  if (std::holds_alternative<Texts>(spec.default_value)) {
    if (const auto* text = std::get_if<std::string>(&value)) return fmt::format("; write [{}]", toml_text(*text));
    if (const auto* texts = std::get_if<Texts>(&value)) {
      for (const std::string& text : *texts) {
        const bool known = std::find(spec.choices.begin(), spec.choices.end(), text) != spec.choices.end();
        if (const std::string near = nearest_name(text, spec.choices); !known && !near.empty()) {
          return fmt::format("; did you mean \"{}\"?", near);
        }
      }
    }
    return {};
  }
  if (const auto* text = std::get_if<std::string>(&value)) {
    if (spec.choices.empty()) return {};
    const std::string near = nearest_name(*text, spec.choices);
    return near.empty() ? std::string() : fmt::format("; did you mean \"{}\"?", near);
  }
  if (std::holds_alternative<std::string>(spec.default_value)) return "; texts stand in quotes";
  const auto* real = std::get_if<double>(&value);
  if (real != nullptr && std::holds_alternative<std::int64_t>(spec.default_value) && std::trunc(*real) == *real &&
      std::abs(*real) < 1e15) {
    return fmt::format("; write {:.0f}", *real);
  }
  return {};
}

/// Case does not count, and - and _ are one letter.
char folded(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Edit distance with swaps of neighbours (optimal string alignment). A missing end costs one edit however long: "hess"
/// is one edit from "hess_init".
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t columns = b.size() + 1;
  std::vector<std::size_t> cost((a.size() + 1) * columns);
  for (std::size_t i = 0; i <= a.size(); ++i) {
    for (std::size_t j = 0; j <= b.size(); ++j) {
      std::size_t& here = cost[i * columns + j];
      if (i == 0 || j == 0) {
        here = i + j;
        continue;
      }
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      here = std::min({cost[(i - 1) * columns + j] + 1, cost[i * columns + j - 1] + 1,
                       cost[(i - 1) * columns + j - 1] + (same ? 0 : 1)});
      if (i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1])) {
        here = std::min(here, cost[(i - 2) * columns + j - 2] + 1);
      }
    }
  }
  std::size_t best = cost.back();
  if (a.size() >= 3 && a.size() < b.size()) best = std::min(best, cost[a.size() * columns + a.size()] + 1);
  return best;
}

std::string toml_real(double value) {
  std::string text = fmt::format("{}", value);  // the shortest digits that read back to the same double
  if (text.find_first_of(".en") == std::string::npos) text += ".0";  // n: inf and nan
  return text;
}

/// Lists of whole numbers (widths of layers) read better without ".0"; the reader takes both for reals.
std::string toml_list(const std::vector<double>& values) {
  const bool whole = std::all_of(values.begin(), values.end(), [](double value) {
    return std::trunc(value) == value && std::abs(value) <= static_cast<double>(largest_integer) &&
           !(value == 0 && std::signbit(value));
  });
  std::string out = "[";
  for (const double value : values) {
    if (out.size() > 1) out += ", ";
    out += whole ? fmt::format("{}", static_cast<std::int64_t>(value)) : toml_real(value);
  }
  return out + "]";
}

template <class T>
const T& typed(const Options::Row& row, std::string_view name, const char* type) {
  const T* value = std::get_if<T>(&row.value);
  if (value == nullptr) throw std::logic_error(fmt::format("option {} is not {}", name, type));
  return *value;
}

}  // namespace

std::string to_string(const SourcePlace& place) {
  return place.line == 0 ? place.file : fmt::format("{}:{}:{}", place.file, place.line, place.column);
}

std::string where(const SourcePlace& place) {
  const std::string text = to_string(place);
  if (text.empty()) return {};
  return (place.line == 0 ? ", in " : ", at ") + text;
}

std::string qualified(const std::string& table, std::string_view key) {
  const bool bare = !key.empty() && std::all_of(key.begin(), key.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
  const std::string name = bare ? std::string(key) : toml_text(std::string(key));
  return table.empty() ? name : table + "." + name;
}

std::string shown(const OptionValue& value) {
  constexpr std::size_t most = 100;
  std::string text = to_toml(value);
  if (text.size() <= most) return text;
  std::size_t end = most;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0U) == 0x80U) --end;  // never inside a UTF-8 letter
  return text.substr(0, end) + "...";
}

std::string quoted_list(const std::vector<std::string>& names) {
  std::string out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (i > 0) out += i + 1 == names.size() ? " or " : ", ";
    out += toml_text(names[i]);
  }
  return out;
}

std::string suggestion(std::string_view name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  if (!near.empty()) return fmt::format("; did you mean \"{}\"?", near);
  return known.empty() ? std::string() : "; known are " + fmt::format("{}", fmt::join(known, ", "));
}

const Options::Row& Options::row(std::string_view name) const {
  const auto found = rows_.find(name);
  if (found == rows_.end()) throw std::logic_error(fmt::format("option {} is not declared", name));
  return found->second;
}

bool Options::boolean(std::string_view name) const { return typed<bool>(row(name), name, "true or false"); }
std::int64_t Options::integer(std::string_view name) const {
  return typed<std::int64_t>(row(name), name, "an integer");
}
double Options::real(std::string_view name) const { return typed<double>(row(name), name, "a real number"); }
const std::string& Options::text(std::string_view name) const { return typed<std::string>(row(name), name, "a text"); }
const std::vector<double>& Options::reals(std::string_view name) const {
  return typed<std::vector<double>>(row(name), name, "a list of numbers");
}
const std::vector<OptionTable>& Options::tables(std::string_view name) const {
  return typed<std::vector<OptionTable>>(row(name), name, "a list of tables");
}
const std::vector<std::string>& Options::texts(std::string_view name) const {
  return typed<Texts>(row(name), name, "a list of texts");
}
bool Options::given(std::string_view name) const { return row(name).given; }
SourcePlace Options::place(std::string_view name) const { return row(name).place; }

Options resolve_options(const std::vector<OptionSpec>& specs, const GivenTable& given, const std::string& table,
                        const SourcePlace& table_place) {
  Options options;
  std::vector<std::string> problems, known;
  for (const OptionSpec& spec : specs) known.push_back(spec.name);
  for (const auto& [key, option] : given) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    problems.push_back(fmt::format("[scenario] unknown key {} = {}{}{}", qualified(table, key), shown(option.value),
                                   where(option.place), suggestion(key, known)));
  }
  for (const OptionSpec& spec : specs) {
    const std::string name = qualified(table, spec.name);
    const auto found = given.find(spec.name);
    if (found == given.end()) {
      if (spec.required) {
        problems.push_back(
            fmt::format("[scenario] {} is required and {}, got nothing{}", name, rule_text(spec), where(table_place)));
      } else {
        options.set(spec.name, {spec.default_value, {"the default of " + name, 0, 0}, false});
      }
      continue;
    }
    OptionValue value = found->second.value;
    const SourcePlace& place = found->second.place;
    if (const std::string got = defect(spec, value); !got.empty()) {
      problems.push_back(
          fmt::format("[scenario] {} {}, got {}{}{}", name, rule_text(spec), got, where(place), advice(spec, value)));
    } else {
      options.set(spec.name, {std::move(value), place, true});
    }
  }
  if (!problems.empty()) throw InputError(fmt::format("{}", fmt::join(problems, "\n")));
  return options;
}

std::string nearest_name(std::string_view name, const std::vector<std::string>& known) {
  std::string best;
  std::size_t best_distance = 0;
  for (const std::string& candidate : known) {
    // A third of the letters may differ: more would suggest names that have nothing to do with it.
    const std::size_t allowed = std::max<std::size_t>(1, std::max(name.size(), candidate.size()) / 3);
    const std::size_t distance = edit_distance(name, candidate);
    if (name.empty() || distance > allowed || distance >= std::max(name.size(), candidate.size())) continue;
    if (best.empty() || distance < best_distance) best = candidate, best_distance = distance;
  }
  return best;
}

std::string to_toml(const OptionValue& value) {
  struct Writer {
    std::string operator()(bool flag) const { return flag ? "true" : "false"; }
    std::string operator()(std::int64_t whole) const { return fmt::format("{}", whole); }
    std::string operator()(double real) const { return toml_real(real); }
    std::string operator()(const std::string& text) const { return toml_text(text); }
    std::string operator()(const std::vector<double>& reals) const { return toml_list(reals); }
    std::string operator()(const std::vector<OptionTable>& tables) const {
      std::vector<std::string> texts;
      for (const OptionTable& table : tables) texts.push_back(to_toml(table));
      return fmt::format("[{}]", fmt::join(texts, ", "));
    }
    std::string operator()(const Texts& texts) const {
      Texts quoted;
      for (const std::string& text : texts) quoted.push_back(toml_text(text));
      return fmt::format("[{}]", fmt::join(quoted, ", "));
    }
  };
  return std::visit(Writer{}, value);
}

std::string to_toml(const OptionTable& table) {
  constexpr std::string_view first = "layer";
  std::vector<std::string> rows;
  const auto add = [&](const auto& row) {
    rows.push_back(fmt::format("{} = {}", qualified("", row.first), to_toml(row.second.value)));
  };
  const auto chosen = table.keys.find(first);
  if (chosen != table.keys.end()) add(*chosen);
  for (const auto& row : table.keys) {
    if (row.first != first) add(row);
  }
  return rows.empty() ? "{}" : fmt::format("{{ {} }}", fmt::join(rows, ", "));
}

bool operator==(const GivenOption& a, const GivenOption& b) { return a.value == b.value; }
bool operator==(const OptionTable& a, const OptionTable& b) { return a.keys == b.keys; }

}  // namespace ivory
