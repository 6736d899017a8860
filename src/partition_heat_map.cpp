// The client x class counts of a partition as text.
#include <algorithm>
#include <cmath>
#include <vector>

#include <fmt/format.h>

#include "src/partition.hpp"

namespace ivory {
namespace {

constexpr std::string_view shades = ".:-=+*#%@";  // a cell without examples stays blank
constexpr std::size_t most_counted_classes = 16;  // more classes: one shade per class and no numbers
constexpr std::size_t most_columns = 96;          // more classes than that: neighbours share a column

/// Range r of `ranges` nearly equal ranges of [0, n).
std::pair<std::size_t, std::size_t> range(std::size_t r, std::size_t ranges, std::size_t n) {
  return {r * n / ranges, (r + 1) * n / ranges};
}

std::string range_label(std::size_t r, std::size_t ranges, std::size_t n) {
  const auto [first, end] = range(r, ranges, n);
  return end - first == 1 ? fmt::format("{}", first) : fmt::format("{}-{}", first, end - 1);
}

struct Table {
  std::size_t clients = 0, classes = 0, rows = 0, columns = 0;
  std::vector<std::size_t> cells;  // [rows x columns] examples
  std::vector<std::size_t> columns_total, rows_total;
  std::vector<std::size_t> sizes;  // [clients]
  double classes_per_client = 0;
  std::size_t largest = 0, total = 0;
};

Table count(const Partition& partition, const Dataset& train, std::size_t max_rows) {
  Table table;
  table.clients = partition.clients();
  table.classes = static_cast<std::size_t>(train.classes);
  table.rows = std::min(std::max<std::size_t>(max_rows, 1), table.clients);
  table.columns = std::min(table.classes, most_columns);
  table.cells.assign(table.rows * table.columns, 0);
  table.columns_total.assign(table.columns, 0);
  table.rows_total.assign(table.rows, 0);
  std::vector<std::size_t> column_of(table.classes), last_client(table.classes, table.clients);
  for (std::size_t j = 0; j < table.columns; ++j) {
    const auto [first, end] = range(j, table.columns, table.classes);
    std::fill(column_of.begin() + static_cast<std::ptrdiff_t>(first),
              column_of.begin() + static_cast<std::ptrdiff_t>(end), j);
  }
  std::size_t client_classes = 0;
  for (std::size_t r = 0; r < table.rows; ++r) {
    const auto [first, end] = range(r, table.rows, table.clients);
    for (std::size_t k = first; k < end; ++k) {
      table.sizes.push_back(partition.train[k].size());
      table.rows_total[r] += partition.train[k].size();
      table.total += partition.train[k].size();
      for (const std::uint32_t i : partition.train[k]) {
        const auto c = static_cast<std::size_t>(train.labels[i]);
        ++table.cells[r * table.columns + column_of[c]];
        ++table.columns_total[column_of[c]];
        client_classes += last_client[c] != k ? 1 : 0;
        last_client[c] = k;
      }
    }
  }
  if (table.clients > 0)
    table.classes_per_client = static_cast<double>(client_classes) / static_cast<double>(table.clients);
  if (!table.cells.empty()) table.largest = *std::max_element(table.cells.begin(), table.cells.end());
  return table;
}

char shade(std::size_t value, std::size_t largest) {
  if (value == 0) return ' ';
  const std::size_t step = (value * shades.size() + largest - 1) / largest;  // 1 .. number of shades
  return shades[step - 1];
}

std::string summary(const Table& table, const Partition& partition) {
  std::vector<std::size_t> sizes = table.sizes;
  std::sort(sizes.begin(), sizes.end());
  const std::size_t n = sizes.size();
  const double median = n == 0 ? 0 : (static_cast<double>(sizes[(n - 1) / 2]) + static_cast<double>(sizes[n / 2])) / 2;
  std::size_t held_out = 0;
  for (const auto& list : partition.holdout) held_out += list.size();
  return fmt::format(
      "{} clients of {} to {} examples (median {}), {:.1f} classes per client on average; {} held out, {} repeated, "
      "{} unused\n",
      n, n == 0 ? 0 : sizes.front(), n == 0 ? 0 : sizes.back(), median, table.classes_per_client, held_out,
      partition.repeated, partition.unused);
}

/// Class labels written downwards, one digit to a line, for columns one character wide.
std::string upright_labels(const Table& table, const std::string& indent) {
  std::vector<std::string> labels;
  std::size_t digits = 0;
  for (std::size_t j = 0; j < table.columns; ++j) {
    labels.push_back(fmt::format("{}", range(j, table.columns, table.classes).first));
    digits = std::max(digits, labels.back().size());
  }
  std::string text;
  for (std::size_t d = 0; d < digits; ++d) {
    std::string line = indent;
    for (const std::string& label : labels) {
      const std::size_t missing = digits - label.size();
      line += d < missing ? ' ' : label[d - missing];
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

}  // namespace

std::string heat_map(const Partition& partition, const Dataset& train, std::size_t max_rows) {
  const Table table = count(partition, train, max_rows);
  const bool counted = table.classes <= most_counted_classes;
  std::size_t label_width = std::string_view("clients").size();
  for (std::size_t r = 0; r < table.rows; ++r) {
    label_width = std::max(label_width, range_label(r, table.rows, table.clients).size());
  }
  const std::size_t size_width = std::max<std::size_t>(4, fmt::format("{}", table.total).size());
  std::size_t cell_width = 1;
  for (const std::size_t value : table.columns_total)
    cell_width = std::max(cell_width, fmt::format("{}", value).size());

  const char* what = table.rows < table.clients ? "clients" : "client";
  std::string text;
  if (counted) {
    text += fmt::format("{:<{}}  {:>{}}  ", what, label_width, "size", size_width);
    for (std::size_t j = 0; j < table.columns; ++j) text += fmt::format("  {:>{}}", j, cell_width);
    text += "\n";
  } else {
    text += upright_labels(table, std::string(label_width + size_width + 4, ' '));
    text += fmt::format("{:<{}}  {:>{}}\n", what, label_width, "size", size_width);
  }
  for (std::size_t r = 0; r < table.rows; ++r) {
    std::string line = fmt::format("{:<{}}  {:>{}}  ", range_label(r, table.rows, table.clients), label_width,
                                   table.rows_total[r], size_width);
    for (std::size_t j = 0; j < table.columns; ++j) {
      const std::size_t value = table.cells[r * table.columns + j];
      const char mark = shade(value, table.largest);
      line += counted
                  ? fmt::format(" {}{:>{}}", mark, value == 0 ? std::string() : fmt::format("{}", value), cell_width)
                  : std::string(1, mark);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  text += fmt::format("{:<{}}  {:>{}}  ", "total", label_width, table.total, size_width);
  if (counted) {
    for (const std::size_t value : table.columns_total) text += fmt::format("  {:>{}}", value, cell_width);
  } else {
    const std::size_t most = *std::max_element(table.columns_total.begin(), table.columns_total.end());
    for (const std::size_t value : table.columns_total) text += shade(value, most);
  }
  text.erase(text.find_last_not_of(' ') + 1);
  text += "\n";
  if (table.rows < table.clients) text += "rows add up the clients they stand for; ";
  text += fmt::format("shades {} go up to {} examples{}\n", shades, table.largest,
                      counted                         ? ""
                      : table.columns < table.classes ? ", columns are ranges of classes"
                                                      : ", columns are classes");
  return text + summary(table, partition);
}

}  // namespace ivory
