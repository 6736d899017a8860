#include "src/inspect.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>

#include "ivory/error.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"
#include "src/log_reader.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

constexpr std::size_t most_rows = 12;

std::string show_bytes(double bytes) {
  for (const auto& [unit, size] : {std::pair{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}}) {
    if (bytes >= size) return fmt::format("{:.3g} {}", bytes / size, unit);
  }
  return fmt::format("{:.0f} bytes", bytes);
}

double total(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

std::string show(double value, int decimals) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, decimals);
}

/// "recorded after rounds 10, 20, 30", shortened in the middle.
std::string show_recorded(const std::vector<int>& rounds) {
  if (rounds.empty()) return "not recorded yet";
  if (rounds.size() == 1) return fmt::format("recorded after round {}", rounds[0]);
  if (rounds.size() <= 6) return fmt::format("recorded after rounds {}", fmt::join(rounds, ", "));
  return fmt::format("recorded after {} rounds: {}, {}, {}, ..., {}", rounds.size(), rounds[0], rounds[1], rounds[2],
                     rounds.back());
}

std::string slices_text(const LogReader& log) {
  const std::vector<std::string> names = log.file().read_text("/parameters/name");
  const std::vector<std::size_t> axes = log.file().shape("/parameters/axis");
  const std::size_t rank = axes.empty() ? 0 : axes[0];
  const std::vector<double> shape = log.numbers("/parameters/shape", {names.size(), rank});
  std::vector<std::string> slices;
  for (std::size_t i = 0; i < names.size(); ++i) {
    std::vector<double> extents;
    for (std::size_t axis = 0; axis < rank; ++axis) {
      if (const double extent = shape[i * rank + axis]; extent > 0) extents.push_back(extent);
    }
    slices.push_back(fmt::format("{} [{}]", names[i], fmt::join(extents, ", ")));
  }
  return fmt::format("{}", fmt::join(slices, ", "));
}

std::string clients_text(const LogReader& log) {
  const LogHeader& header = log.header();
  const std::vector<double> examples = log.client_examples();
  if (examples.empty()) return "none";
  const auto [least, most] = std::minmax_element(examples.begin(), examples.end());
  std::string text = fmt::format("{} with {:.0f} to {:.0f} examples ({:.1f} on average)", header.clients, *least, *most,
                                 total(examples) / static_cast<double>(examples.size()));
  const std::int64_t repeated = log.file().integer("/partition", "repeated");
  const std::int64_t unused = log.file().integer("/partition", "unused");
  if (repeated > 0) text += fmt::format(", {} assigned more than once", repeated);
  if (unused > 0) text += fmt::format(", {} unused", unused);
  return text;
}

std::string state_text(const LogReader& log) {
  const LogHeader& header = log.header();
  if (header.finished()) return fmt::format("all {} finished", header.rounds);
  return fmt::format("{} of {} finished; the run goes on or was interrupted", header.rounds_complete, header.rounds);
}

bool has_values(const std::vector<double>& column) {
  return std::any_of(column.begin(), column.end(), [](double value) { return !std::isnan(value); });
}

/// Evaluated rounds, those with a value: all, or some spread evenly with the first and the last.
std::vector<std::size_t> shown_rounds(const std::vector<double>& column) {
  std::vector<std::size_t> evaluated, shown;
  for (std::size_t r = 0; r < column.size(); ++r) {
    if (!std::isnan(column[r])) evaluated.push_back(r);
  }
  if (evaluated.size() <= most_rows) return evaluated;
  for (std::size_t i = 0; i < most_rows; ++i) {
    shown.push_back(evaluated[i * (evaluated.size() - 1) / (most_rows - 1)]);
  }
  return shown;
}

struct MetricText {
  const char *name, *heading;
  double factor;
  int decimals;
};
constexpr MetricText of_classification[] = {
    {"accuracy", "accuracy [%]", 100, 2}, {"nll", "NLL", 1, 4}, {"ece", "ECE [%]", 100, 2}, {"brier", "Brier", 1, 4}};
constexpr MetricText of_regression[] = {{"rmse", "RMSE", 1, 4}, {"nll", "NLL", 1, 4}};

std::span<const MetricText> metrics_of(const LogReader& log) {
  const bool regression = log.has_column("rmse") && has_values(log.column("rmse"));
  return regression ? std::span<const MetricText>(of_regression) : std::span<const MetricText>(of_classification);
}

std::string rounds_table(const LogReader& log) {
  const std::span<const MetricText> shown_metrics = metrics_of(log);
  const std::vector<std::size_t> rows = shown_rounds(log.column(shown_metrics[0].name));
  if (rows.empty()) return "";
  const bool averages = has_values(log.column(fmt::format("{}_bayes", shown_metrics[0].name)));
  std::vector<std::vector<std::string>> cells(rows.size() + 1);
  const auto add = [&](const std::string& heading, const std::vector<double>& values, double factor, int decimals) {
    cells[0].push_back(heading);
    for (std::size_t i = 0; i < rows.size(); ++i) cells[i + 1].push_back(show(factor * values[rows[i]], decimals));
  };
  add("round", log.column("round"), 1, 0);
  for (const auto& column : shown_metrics) add(column.heading, log.column(column.name), column.factor, column.decimals);
  if (averages) {
    for (const auto& column : shown_metrics) {
      add(column.heading, log.column(fmt::format("{}_bayes", column.name)), column.factor, column.decimals);
    }
  }
  add("train loss", log.column("train_loss"), 1, 4);
  add("seconds", log.column("seconds"), 1, 2);
  TextTable table(0);
  std::vector<TextTable::Span> heading = {{"", 1}, {"mean model", shown_metrics.size()}};
  if (averages) heading.push_back({"posterior average", shown_metrics.size()});
  table.heading(std::move(heading));
  for (const auto& row : cells) table.row(row);
  return '\n' + table.text();
}

/// Detection of out-of-distribution inputs in the last evaluated round; empty where there is none.
std::string detection_table(const LogReader& log) {
  const std::vector<std::size_t> rounds = shown_rounds(log.column("accuracy"));
  if (rounds.empty()) return "";
  TextTable table(2);
  std::vector<std::string> headings = {"model", "score"};
  for (const DetectionColumn& column : detection_columns) headings.emplace_back(column.heading);
  table.row(headings);
  bool any = false;
  for (const auto& [suffix, model] : {std::pair{"", "mean model"}, {"_bayes", "posterior average"}}) {
    const OodDetection detection = log.detection(rounds.back(), suffix);
    for (const DetectionScore& score : detection_scores) {
      if (std::isnan((detection.*score.score).auroc)) continue;
      std::vector<std::string> cells = {model, score.meaning};
      for (const DetectionColumn& column : detection_columns)
        cells.push_back(show(100 * (detection.*score.score.*column.value), 2));
      table.row(cells);
      any = true;
    }
  }
  if (!any) return "";
  return fmt::format("\nout-of-distribution inputs told from the test set, round {}:\n", rounds.back() + 1) +
         table.text();
}

/// The posterior average over its first 1, 2, 4, ... and all samples, after the last round; empty where there is none.
std::string curve_table(const LogReader& log) {
  const Hdf5File& file = log.file();
  if (!file.has_dataset("/curve/samples")) return "";
  const std::vector<std::size_t> scale = file.shape("/curve/samples");
  const std::size_t samples = scale.size() == 1 ? scale[0] : 0;
  if (samples == 0) {
    throw InputError(
        fmt::format("[log] dataset \"/curve/samples\" must be a list, got the shape [{}], in {}; the file is damaged",
                    fmt::join(scale, ", "), file.path()));
  }
  std::vector<std::size_t> shown;
  for (std::size_t t = 1; t < samples; t *= 2) shown.push_back(t);
  shown.push_back(samples);
  TextTable table(0);
  std::vector<std::vector<std::string>> cells(shown.size() + 1);
  cells[0].emplace_back("samples");
  for (std::size_t i = 0; i < shown.size(); ++i) cells[i + 1].push_back(std::to_string(shown[i]));
  for (const auto& column : metrics_of(log)) {
    const std::vector<double> values = log.numbers(std::string("/curve/") + column.name, {samples});
    if (cells[0].size() == 1 && !has_values(values)) return "";
    cells[0].emplace_back(column.heading);
    for (std::size_t i = 0; i < shown.size(); ++i)
      cells[i + 1].push_back(show(column.factor * values[shown[i] - 1], column.decimals));
  }
  for (const auto& row : cells) table.row(row);
  return "\nposterior average after the last round, by the number of its samples:\n" + table.text();
}

}  // namespace

std::string inspect_log(const std::string& path) {
  const LogReader log(path);
  const LogHeader& header = log.header();
  std::string text = fmt::format("{}\n", path);
  const auto line = [&](const char* what, const std::string& said) {
    text += fmt::format("  {:<10} {}\n", what, said);
  };
  line("scenario",
       fmt::format("{}{}, seed {}", header.name, header.arm.empty() ? "" : ", arm " + header.arm, header.seed));
  line("method", fmt::format("{} with {} clients{}", header.algorithm, header.optimizer,
                             header.has_posterior ? ", with a posterior" : ", without a posterior"));
  line("rounds", state_text(log));
  line("data", fmt::format("{}, checksum {}", header.data_description, header.data_checksum));
  line("clients", clients_text(log));
  line("parameters", fmt::format("{}: {}", header.parameters, slices_text(log)));
  if (header.rounds_complete > 0) {
    const double seconds = total(log.column("seconds"));
    line("time", fmt::format("{:.1f} s, {:.3g} s per round", seconds, seconds / header.rounds_complete));
    line("sent", fmt::format("{} up, {} down", show_bytes(total(log.column("bytes_up"))),
                             show_bytes(total(log.column("bytes_down")))));
  }
  const double refused = total(log.column("refused")), clamped = total(log.column("clamped"));
  if (refused > 0) line("refused", fmt::format("{:.0f} client updates that were not finite", refused));
  if (clamped > 0) line("clamped", fmt::format("{:.0f} precisions raised to their floor", clamped));
  line("posterior", show_recorded(log.posterior_rounds()));
  if (log.file().has_dataset("/clients/site_round")) {
    line("sites", show_recorded(log.site_rounds()));
  }
  line("written by",
       fmt::format("ivory {} on {}, log format {}", header.ivory_version, header.device, header.format_version));
  text += rounds_table(log) + detection_table(log) + curve_table(log);
  text += fmt::format(
      "\nThe attribute \"scenario\" holds the whole scenario; /rounds/{0} and all others are arrays, in Python:\n"
      "  h5py.File(\"{1}\")[\"rounds/{0}\"][:{2}]\n",
      metrics_of(log)[0].name, path, header.rounds_complete);
  return text;
}

RoundLines round_lines(const std::string& path, int shown) {
  const LogReader log(path);
  const LogHeader& header = log.header();
  RoundLines lines{.text = {}, .rounds_complete = header.rounds_complete, .finished = header.finished()};
  if (header.rounds_complete <= shown) return lines;
  const std::span<const MetricText> metrics = metrics_of(log);
  const std::vector<double> seconds = log.column("seconds"), loss = log.column("train_loss");
  std::vector<std::pair<const MetricText*, std::vector<double>>> columns, averages;
  for (const MetricText& metric : metrics.first(2)) {
    columns.emplace_back(&metric, log.column(metric.name));
    averages.emplace_back(&metric, log.column(fmt::format("{}_bayes", metric.name)));
  }
  const std::size_t width = std::to_string(header.rounds).size();
  for (auto r = static_cast<std::size_t>(shown); r < static_cast<std::size_t>(header.rounds_complete); ++r) {
    lines.text += fmt::format("round {:>{}}/{}", r + 1, width, header.rounds);
    const auto add = [&](const auto& some) {
      for (const auto& [metric, values] : some)
        lines.text += fmt::format("  {} {}", metric->heading, show(metric->factor * values[r], metric->decimals));
    };
    add(columns);
    if (!std::isnan(averages.front().second[r])) {
      lines.text += "  posterior average";
      add(averages);
    }
    lines.text += fmt::format("  train loss {}  {:.2g} s\n", show(loss[r], 4), seconds[r]);
  }
  return lines;
}

}  // namespace ivory
