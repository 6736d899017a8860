#include "src/data_csv.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/csv_file.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"
#include "src/option_messages.hpp"
#include "src/trimmed.hpp"

namespace ivory {
namespace {

using Cells = std::vector<std::string>;

/// The whole text as a number; nothing where it is none. What is too small for a real number is 0.
template <class T>
std::optional<T> number_in(std::string_view text) {
  text = trimmed(text);
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);  // from_chars knows no plus
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end != text.data() + text.size() || text.empty()) return std::nullopt;
  if constexpr (std::is_floating_point_v<T>) {
    // from_chars says "out of range" for both ends of it.
    if (error == std::errc::result_out_of_range && std::abs(std::strtod(std::string(text).c_str(), nullptr)) < 1) {
      return T{0};
    }
  }
  return error == std::errc() ? std::optional<T>(value) : std::nullopt;
}

char separator_of(const Options& options) {
  const std::string& name = options.text("separator");
  return name == "comma" ? ',' : name == "semicolon" ? ';' : '\t';
}

/// What each column of the files is: an index, or nothing where there is no such column.
struct Columns {
  Cells header;  // empty for files without one
  std::size_t count = 0;
  std::vector<std::size_t> inputs, targets;
  std::optional<std::size_t> label, client;

  std::string name(std::size_t column) const {
    return header.empty() ? fmt::format("column {}", column)
                          : fmt::format("column {} ({})", column, shown(OptionValue(header[column])));
  }
};

/// The column that a key names: by the header, or by its number from 0, from the end where it is negative.
std::size_t column_named(const std::string& text, const Columns& columns, std::string_view key, const Options& options,
                         const std::string& path) {
  const auto named = std::find(columns.header.begin(), columns.header.end(), text);
  if (named != columns.header.end()) {
    if (std::find(named + 1, columns.header.end(), text) != columns.header.end()) {
      throw InputError(
          fmt::format("[data] {} must name one column, got {}, the name of several in {}{}; give its number", key,
                      shown(OptionValue(text)), path, written_at(options, key)));
    }
    return static_cast<std::size_t>(named - columns.header.begin());
  }
  const auto number = number_in<std::int64_t>(text);
  const auto count = static_cast<std::int64_t>(columns.count);
  if (!number || *number >= count || *number < -count) {
    const std::string names = columns.header.empty() ? std::string() : suggestion(text, columns.header);
    throw InputError(
        fmt::format("[data] {} must be {}the number of a column (0 to {}, or -1 for the last), got {}{}, {}{}", key,
                    columns.header.empty() ? "" : "the name or ", count - 1, shown(OptionValue(text)),
                    written_at(options, key), path, names));
  }
  return static_cast<std::size_t>(*number < 0 ? *number + count : *number);
}

/// The columns of "a, b, 3".
std::vector<std::size_t> columns_named(const Columns& columns, std::string_view key, const Options& options,
                                       const std::string& path) {
  std::vector<std::size_t> found;
  const std::string& list = options.text(key);
  for (std::size_t begin = 0; begin <= list.size() && !list.empty();) {
    const std::size_t end = std::min(list.find(',', begin), list.size());
    const std::string name(trimmed(std::string_view(list).substr(begin, end - begin)));
    found.push_back(column_named(name, columns, key, options, path));
    begin = end + 1;
  }
  return found;
}

void check_task(const Options& options) {
  const bool label = !options.text("label").empty(), targets = !options.text("targets").empty();
  if (label == targets) {
    throw InputError(fmt::format("[data] csv needs a label (classification) or targets (regression), got {}{}",
                                 label ? "both" : "neither", written_at(options, label ? "targets" : "kind")));
  }
  if (targets && options.integer("classes") > 0) {
    throw InputError(fmt::format("[data] classes belongs to a label, got targets, which have none{}; leave it out",
                                 written_at(options, "classes")));
  }
}

/// Takes the header, or the first row for the number of columns, and gives every column its use.
Columns read_columns(const Cells& first, const Options& options, const std::string& path) {
  Columns columns;
  columns.count = first.size();
  if (options.boolean("header")) {
    for (const std::string& name : first) columns.header.emplace_back(trimmed(name));
  }
  std::vector<const char*> use(columns.count, nullptr);
  const auto claim = [&](std::size_t column, const char* key) {
    if (use[column] != nullptr) {
      throw InputError(fmt::format("[data] a column has one use, got {} for {} and {}{}, {}", columns.name(column),
                                   use[column], key, written_at(options, key), path));
    }
    use[column] = key;
    return column;
  };
  const auto one = [&](const char* key) -> std::optional<std::size_t> {
    if (options.text(key).empty()) return std::nullopt;
    return claim(column_named(options.text(key), columns, key, options, path), key);
  };
  columns.label = one("label");
  columns.client = one("client");
  for (const std::size_t column : columns_named(columns, "targets", options, path)) {
    columns.targets.push_back(claim(column, "targets"));
  }
  for (const std::size_t column : columns_named(columns, "leave_out", options, path)) claim(column, "leave_out");
  for (std::size_t column = 0; column < columns.count; ++column) {
    if (use[column] == nullptr) columns.inputs.push_back(column);
  }
  if (columns.inputs.empty()) {
    throw InputError(
        fmt::format("[data] examples need a column of inputs, got none beside {} others, {}; is separator "
                    "right?",
                    columns.count, path));
  }
  return columns;
}

float real_cell(const std::string& cell, std::size_t column, const Columns& columns, const CsvFile& file) {
  const auto value = number_in<double>(cell);
  const auto single = static_cast<float>(value.value_or(0));
  if (value && std::isfinite(single)) return single;
  throw InputError(fmt::format(
      "[data] inputs and targets must be finite numbers{}, got {}, {} line {} {}; {}",
      value && std::isfinite(*value) ? " of at most 3.4e38" : "", shown(OptionValue(cell)), file.path(), file.line(),
      columns.name(column),
      value && std::isfinite(*value) ? "give the column another unit" : "leave_out names columns that are no inputs"));
}

std::int32_t label_cell(const std::string& cell, std::size_t column, const Columns& columns, const CsvFile& file,
                        std::int64_t classes) {
  const auto value = number_in<std::int64_t>(cell);
  if (!value) {
    throw InputError(
        fmt::format("[data] a label is a class number 0, 1, 2 ..., got {}, {} line {} {}; targets names "
                    "the columns of a regression",
                    shown(OptionValue(cell)), file.path(), file.line(), columns.name(column)));
  }
  const std::string place = fmt::format("{} line {} {}", file.path(), file.line(), columns.name(column));
  if (classes > 0 && *value >= classes) throw InputError(label_beyond(*value, classes, place));
  return checked_label(*value, place);
}

std::string client_cell(const std::string& cell, std::size_t column, const Columns& columns, const CsvFile& file) {
  std::string name(trimmed(cell));
  if (!name.empty()) return name;
  throw InputError(fmt::format("[data] every example must name its client, got an empty cell, {} line {} {}",
                               file.path(), file.line(), columns.name(column)));
}

/// One file's examples. `columns` is filled by the training file and must fit the test file.
Dataset read_examples(const std::string& path, const Options& options, std::optional<Columns>& columns,
                      NameNumbers& clients) {
  CsvFile file(path, separator_of(options));
  Cells cells;
  bool more = file.next(cells);
  if (!more) throw InputError(fmt::format("[data] a CSV file has rows, got none, {}", path));
  const bool header = options.boolean("header");
  if (!columns) {
    columns = read_columns(cells, options, path);
  } else if (header) {
    for (std::size_t c = 0; c < std::max(cells.size(), columns->count); ++c) {
      if (c < cells.size() && c < columns->count && trimmed(cells[c]) == columns->header[c]) continue;
      throw InputError(
          fmt::format("[data] training and test file must have the same columns, got {} and {} of them, "
                      "which first differ in column {}, {}",
                      columns->count, cells.size(), c, path));
    }
  }
  if (header) more = file.next(cells);

  const std::int64_t classes = options.integer("classes");
  Dataset data;
  data.features = columns->inputs.size();
  data.outputs = columns->targets.size();
  for (; more; more = file.next(cells)) {
    if (cells.size() != columns->count) {
      throw InputError(fmt::format("[data] rows must have as many cells as the {}, {}, got {}, {} line {}",
                                   header ? "header" : "first row", columns->count, cells.size(), path, file.line()));
    }
    check_growth(data.x, data.features, path);
    for (const std::size_t c : columns->inputs) data.x.push_back(real_cell(cells[c], c, *columns, file));
    for (const std::size_t c : columns->targets) data.targets.push_back(real_cell(cells[c], c, *columns, file));
    data.labels.push_back(columns->label ? label_cell(cells[*columns->label], *columns->label, *columns, file, classes)
                                         : 0);
    if (columns->client) {
      data.client.push_back(clients(client_cell(cells[*columns->client], *columns->client, *columns, file)));
    }
  }
  if (data.labels.empty())
    throw InputError(fmt::format("[data] a CSV file has rows below its header, got none, {}", path));
  return data;
}

}  // namespace

const Kind& csv_kind() {
  static const Kind kind = {
      "csv",
      "your own data in CSV, plain or .gz: a row per example, every column a number but the client's; for "
      "classification (label) or regression (targets)",
      {
          {.name = "file",
           .default_value = std::string(),
           .help = "file with the training examples; a relative path is looked for beside the scenario, then in "
                   "IVORY_DATA_DIR, then in data/",
           .required = true},
          {.name = "test_file",
           .default_value = std::string(),
           .help = "file with the test examples and the same columns; without it, test_fraction is put aside"},
          {.name = "test_fraction",
           .default_value = default_test_fraction,
           .help = "share of the examples that becomes the test set when there is none, chosen at random by the seed",
           .unit = "1",
           .low = 0,
           .high = 0.9,
           .low_open = true},
          {.name = "header", .default_value = true, .help = "the first row has the names of the columns"},
          {.name = "separator",
           .default_value = std::string("comma"),
           .help = "between two cells",
           .choices = {"comma", "semicolon", "tab"}},
          {.name = "label",
           .default_value = std::string(),
           .help =
               "column of class numbers 0, 1, 2 ..., by its name or its number: \"0\" is the first, \"-1\" the last"},
          {.name = "targets",
           .default_value = std::string(),
           .help = "regression: columns of real numbers to predict, by name or number, separated by commas"},
          {.name = "client",
           .default_value = std::string(),
           .help =
               "column that names the client of each example (any text), for partition kind \"natural\"; clients are "
               "numbered in order of appearance"},
          {.name = "leave_out",
           .default_value = std::string(),
           .help = "columns that are no inputs, by name or number, separated by commas"},
          {.name = "classes",
           .default_value = std::int64_t{0},
           .help = "number of classes; 0: one more than the largest label",
           .unit = "classes",
           .low = 0,
           .high = max_classes},
      }};
  return kind;
}

DataSplit load_csv(const Scenario& scenario) {
  const Options& options = scenario.data;
  check_task(options);
  const bool has_test = !options.text("test_file").empty();
  if (has_test) refuse_test_fraction(options, "test_file");
  const std::string train_path = find_data_file(scenario, "file").string();
  const std::string test_path = has_test ? find_data_file(scenario, "test_file").string() : std::string();
  if (has_test && is_same_file(train_path, test_path)) {
    throw InputError(
        fmt::format("[data] training and test set must differ, got one file for both, {} and {}{}; drop test_file to "
                    "put test_fraction of the examples aside",
                    train_path, test_path, written_at(options, "test_file")));
  }
  DataSplit data;
  std::optional<Columns> columns;
  NameNumbers clients;
  data.train = read_examples(train_path, options, columns, clients);
  if (has_test) data.test = read_examples(test_path, options, columns, clients);
  set_classes(data, options.integer("classes"), train_path, test_path);
  if (!has_test) split_test(data, scenario);
  data.description = "csv " + train_path + (has_test ? ", " + test_path : std::string());
  return data;
}

}  // namespace ivory
