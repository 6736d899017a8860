// ivory list: what a scenario may say, from the same declarations that validate it.
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cmath>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/cli.hpp"
#include "src/data_sets.hpp"
#include "src/model.hpp"
#include "src/models.hpp"
#include "src/option_messages.hpp"
#include "src/partition.hpp"
#include "src/progress.hpp"
#include "src/scenario_schema.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory list
  ivory list algorithms
  ivory list optimizers ivon
  ivory list scenario clients)";

constexpr std::size_t indent = 4;
constexpr std::size_t narrowest_help = 36;  // below that, help goes under the other columns

std::size_t page_width() {
  winsize size{};
  if (isatty(STDOUT_FILENO) != 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col >= 40)
    return size.ws_col;
  return 120;
}

/// `text` in lines of at most `width` columns; the second and later lines start after `margin` blanks.
std::string wrapped(const std::string& text, std::size_t width, std::size_t margin) {
  std::string out;
  std::size_t column = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    const std::size_t columns = text_columns(word);
    if (column > 0 && column + 1 + columns > width) {
      out += "\n" + std::string(margin, ' ');
      column = 0;
    }
    if (column > 0) out += ' ', ++column;
    out += word;
    column += columns;
    begin = end + 1;
  }
  return out;
}

std::string type_name(const OptionSpec& spec) {
  struct Name {
    std::string operator()(bool) const { return "bool"; }
    std::string operator()(std::int64_t) const { return "integer"; }
    std::string operator()(double) const { return "real"; }
    std::string operator()(const std::string&) const { return "text"; }
    std::string operator()(const std::vector<double>&) const { return "reals"; }
    std::string operator()(const std::vector<OptionTable>&) const { return "tables"; }
    std::string operator()(const std::vector<std::string>&) const { return "texts"; }
  };
  return std::visit(Name{}, spec.default_value);
}

std::string limit_text(double limit) {
  // Powers of two such as 2^53 are limits of a representation; as decimals they say nothing.
  int exponent = 0;
  if (limit >= 65536 && std::frexp(limit, &exponent) == 0.5) return fmt::format("2^{}", exponent - 1);
  return fmt::format("{:.12g}", limit);
}

std::string range_text(const OptionSpec& spec) {
  if (!spec.choices.empty()) return fmt::format("{}", fmt::join(spec.choices, " | "));
  const bool low = std::isfinite(spec.low), high = std::isfinite(spec.high);
  if (!low && !high) return "";
  if (low && high) {
    return fmt::format("{}{} .. {}{}", spec.low_open ? ">" : "", limit_text(spec.low), spec.high_open ? "<" : "",
                       limit_text(spec.high));
  }
  if (low) return fmt::format("{} {}", spec.low_open ? ">" : ">=", limit_text(spec.low));
  return fmt::format("{} {}", spec.high_open ? "<" : "<=", limit_text(spec.high));
}

std::string default_text(const OptionSpec& spec) { return spec.required ? "required" : to_toml(spec.default_value); }

/// "1" stands for a plain number.
std::string unit_text(const OptionSpec& spec) { return spec.unit == "1" ? "" : spec.unit; }

using Rows = std::vector<std::vector<std::string>>;

/// Width of each column but the last; 0 for one with nothing but its heading.
std::vector<std::size_t> column_widths(const Rows& rows) {
  std::vector<std::size_t> widths(rows.front().size() - 1, 0);
  for (std::size_t c = 0; c < widths.size(); ++c) {
    for (std::size_t r = 1; r < rows.size(); ++r) widths[c] = std::max(widths[c], text_columns(rows[r][c]));
    if (widths[c] > 0) widths[c] = std::max(widths[c], text_columns(rows[0][c]));
  }
  return widths;
}

std::string columns_of_row(const std::vector<std::string>& row, const std::vector<std::size_t>& widths) {
  std::string line(indent, ' ');
  for (std::size_t c = 0; c < widths.size(); ++c) {
    if (widths[c] > 0) line += row[c] + std::string(widths[c] - text_columns(row[c]) + 2, ' ');
  }
  return line;
}

std::string without_trailing_blanks(const std::string& line) { return line.substr(0, line.find_last_not_of(' ') + 1); }

/// For wide pages: key, type, default, range, unit, and the meaning beside them; empty when there is no room for it.
std::string wide_table(const std::vector<OptionSpec>& specs) {
  constexpr std::size_t widest_range = 24;
  Rows rows = {{"key", "type", "default", "range", "unit", "meaning"}};
  for (const OptionSpec& spec : specs) {
    std::string range = range_text(spec), help = spec.help;
    if (text_columns(range) > widest_range) {  // a long list of choices would push every meaning aside
      const bool several = std::holds_alternative<std::vector<std::string>>(spec.default_value);
      help = (several ? "some of " : "one of ") + range + (help.empty() ? "" : ": " + help);
      range = "(see right)";
    }
    rows.push_back({spec.name, type_name(spec), default_text(spec), range, unit_text(spec), help});
  }
  const std::vector<std::size_t> widths = column_widths(rows);
  std::size_t margin = indent;
  for (const std::size_t width : widths) margin += width > 0 ? width + 2 : 0;
  const std::size_t page = page_width();
  if (margin + narrowest_help > page) return "";
  std::string out;
  for (const auto& row : rows) {
    out += without_trailing_blanks(columns_of_row(row, widths) + wrapped(row.back(), page - margin, margin)) + "\n";
  }
  return out;
}

/// For narrow pages: the meaning on lines of its own.
std::string narrow_table(const std::vector<OptionSpec>& specs) {
  Rows rows = {{"key", "type", "default", "range"}};
  for (const OptionSpec& spec : specs) {
    const std::string unit = unit_text(spec);
    rows.push_back(
        {spec.name, type_name(spec), default_text(spec), range_text(spec) + (unit.empty() ? "" : " " + unit)});
  }
  const std::vector<std::size_t> widths = column_widths(rows);
  constexpr std::size_t margin = indent + 4;
  std::string out;
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out += without_trailing_blanks(columns_of_row(rows[r], widths) + rows[r].back()) + "\n";
    if (r == 0 || specs[r - 1].help.empty()) continue;
    out += std::string(margin, ' ') + wrapped(specs[r - 1].help, page_width() - margin, margin) + "\n";
  }
  return out;
}

std::string option_table(const std::vector<OptionSpec>& specs) {
  if (specs.empty()) return std::string(indent, ' ') + "(no options)\n";
  const std::string wide = wide_table(specs);
  return wide.empty() ? narrow_table(specs) : wide;
}

/// One named thing with its help and options.
std::string entry(const Kind& kind, const std::string& remark) {
  std::string out = kind.name + "\n";
  for (const std::string& text : {kind.help, remark}) {
    if (!text.empty()) out += "  " + wrapped(text, page_width() - 2, 2) + "\n";
  }
  return out + option_table(kind.options);
}

template <class Plugin>
std::vector<Kind> kinds_of(std::span<const Plugin> plugins) {
  std::vector<Kind> kinds;
  for (const Plugin& plugin : plugins) kinds.push_back({plugin.name, plugin.help, plugin.options});
  return kinds;
}

std::vector<Kind> algorithm_kinds() {
  std::vector<Kind> kinds;
  for (const AlgorithmPlugin& plugin : algorithm_plugins()) {
    std::string help = plugin.help;
    if (plugin.traits.needs_posterior) help += ". Needs an optimizer with a posterior.";
    kinds.push_back({plugin.name, help, plugin.options});
  }
  return kinds;
}

/// "parameters: 7850 for 1x28x28 inputs and 10 classes, ..." of a model that has no required keys.
std::string parameters_text(const Kind& model) {
  Options options;
  options.set("kind", {model.name, {}, true});
  for (const OptionSpec& spec : model.options) {
    if (spec.required) return "";
    options.set(spec.name, {spec.default_value, {}, false});
  }
  struct Data {
    Shape shape;
    std::size_t classes;
  };
  std::vector<std::string> counts;
  for (const Data& data : {Data{{1, 28, 28}, 10}, Data{{3, 32, 32}, 10}, Data{{3, 32, 32}, 100}}) {
    const auto network = build_network<float>(layers_of(options), data.shape, data.classes);
    counts.push_back(fmt::format("{} for {} inputs and {} classes", network.layout().size(), fmt::join(data.shape, "x"),
                                 data.classes));
  }
  return fmt::format("parameters: {}", fmt::join(counts, ", "));
}

std::vector<Kind> model_kinds() {
  std::vector<Kind> kinds;
  for (const Model& model : models()) kinds.push_back(model.kind);
  return kinds;
}

std::vector<Kind> scenario_kinds() {
  const ScenarioTable& top = *find_table("");
  std::vector<Kind> kinds = {{"top level", top.help + " (these keys come before the first table)", top.options}};
  for (const std::string& name : table_names()) {
    if (const ScenarioTable* table = find_table(name)) {
      kinds.push_back({name, table->help, table->options});
      continue;
    }
    for (const ChoiceTable& choice : choice_tables()) {
      if (choice.table != name) continue;
      std::vector<OptionSpec> options = {choice.key_spec()};
      options.insert(options.end(), choice.common.begin(), choice.common.end());
      kinds.push_back(
          {name, fmt::format("{}and the keys of the chosen {}", choice.optional ? "may be left out; " : "", choice.key),
           options});
    }
  }
  return kinds;
}

/// Compatibility flags that are no algorithm's own, so that `list algorithms` names all there are.
std::vector<OptionSpec> compatibility_elsewhere() {
  std::vector<OptionSpec> flags;
  const auto collect = [&](const std::string& table, const std::vector<OptionSpec>& specs) {
    for (OptionSpec spec : specs) {
      if (!spec.help.starts_with("compatibility")) continue;
      spec.name = table + "." + spec.name;
      flags.push_back(std::move(spec));
    }
  };
  collect("clients", find_table("clients")->options);
  for (const OptimizerPlugin& plugin : optimizer_plugins())
    collect("clients.optimizer (" + plugin.name + ")", plugin.options);
  return flags;
}

struct Topic {
  std::string name, key, help;  // `key`: where a scenario chooses one of them
  std::function<std::vector<Kind>()> kinds;
  const std::vector<OptionSpec>* common = nullptr;
  std::string (*remark)(const Kind&) = nullptr;  // below the help of each
};

std::vector<Topic> topics() {
  return {
      {"algorithms", "[server] algorithm", "how the server puts clients together", algorithm_kinds},
      {"optimizers", "[clients.optimizer] name", "how a client trains", [] { return kinds_of(optimizer_plugins()); }},
      {"models", "[model] kind", "networks, as lists of layers", model_kinds, &common_model_options(), parameters_text},
      {"layers", "[model] layers", "what networks are made of", [] { return kinds_of(layer_plugins()); }},
      {"datasets", "kind in [data] and [evaluation.ood]", "where examples come from",
       [] { return std::vector<Kind>(dataset_kinds().begin(), dataset_kinds().end()); }, &common_data_options()},
      {"partitions", "[partition] kind", "how examples are divided among clients",
       [] { return std::vector<Kind>(partition_kinds().begin(), partition_kinds().end()); },
       &common_partition_options()},
      {"scenario", "", "the tables and keys of a scenario file", scenario_kinds},
  };
}

std::string topic_list() {
  std::string out = "topics of `ivory list TOPIC [NAME]`:\n";
  for (const Topic& topic : topics()) {
    std::vector<std::string> names;
    for (const Kind& kind : topic.kinds()) names.push_back(kind.name);
    const std::size_t margin = 14;
    const std::string text = fmt::format("{}: {}", topic.help, fmt::join(names, ", "));
    out += fmt::format("  {:<{}}{}\n", topic.name, margin - 2, wrapped(text, page_width() - margin, margin));
  }
  return out;
}

[[noreturn]] void reject(const std::string& what, const std::string& name, const std::vector<std::string>& known) {
  const std::string near = nearest_name(name, known);
  throw InputError(fmt::format("[command line] {} must be {}, got \"{}\"{}", what, quoted_list(known), name,
                               near.empty() ? "" : fmt::format("; did you mean \"{}\"?", near)));
}

int list(const std::string& topic_name, const std::string& name) {
  if (topic_name.empty()) {
    fmt::print("{}", topic_list());
    return 0;
  }
  std::vector<std::string> known;
  for (const Topic& topic : topics()) {
    known.push_back(topic.name);
    if (topic.name != topic_name) continue;
    std::string body;
    std::vector<std::string> names;
    for (const Kind& kind : topic.kinds()) {
      names.push_back(kind.name);
      if (!name.empty() && name != kind.name) continue;
      body += entry(kind, topic.remark != nullptr ? topic.remark(kind) : "") + "\n";
    }
    if (body.empty() && !name.empty()) reject("NAME", name, names);
    if (topic.common != nullptr && !topic.common->empty())
      body += "keys of every kind\n" + option_table(*topic.common) + "\n";
    if (name.empty() && topic.name == "algorithms")
      body += "compatibility flags of other tables\n" + option_table(compatibility_elsewhere()) + "\n";
    std::string head = topic.name + ": " + topic.help;
    if (!topic.key.empty()) head += fmt::format(" (chosen by the key {})", topic.key);
    fmt::print("{}\n\n{}", wrapped(head, page_width(), 0), body.substr(0, body.size() - 1));
    return 0;
  }
  reject("TOPIC", topic_name, known);
}

}  // namespace

void add_list(CLI::App& app, Action& chosen) {
  CLI::App* verb =
      app.add_subcommand("list", "List algorithms, optimizers, models, layers, datasets, partitions, scenario keys");
  struct Flags {
    std::string topic, name;
  };
  const auto flags = std::make_shared<Flags>();
  verb->add_option("TOPIC", flags->topic, "algorithms, optimizers, models, layers, datasets, partitions or scenario")
      ->option_text(" ");
  verb->add_option("NAME", flags->name, "One of them only")->option_text(" ");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return list(flags->topic, flags->name); }; });
}

}  // namespace ivory
