#include "src/compare_groups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <sstream>

#include "src/log_reader.hpp"

namespace ivory {
namespace {

std::size_t distinct_names(std::span<const LogSummary> logs) {
  std::vector<std::string> names;
  for (const LogSummary& log : logs) names.push_back(log.name);
  std::sort(names.begin(), names.end());
  return static_cast<std::size_t>(std::unique(names.begin(), names.end()) - names.begin());
}

MetricSummary summarise(const std::vector<double>& column, const std::vector<std::size_t>& evaluated,
                        bool more_is_better) {
  MetricSummary summary;
  if (evaluated.empty()) return summary;
  for (const std::size_t round : evaluated) {
    // fmin and fmax pass over a NaN: a round that diverged is not the best one.
    summary.best = more_is_better ? std::fmax(summary.best, column[round]) : std::fmin(summary.best, column[round]);
  }
  summary.final = column[evaluated.back()];
  const std::size_t last = std::min<std::size_t>(3, evaluated.size());
  summary.last = 0;
  for (std::size_t i = evaluated.size() - last; i < evaluated.size(); ++i) summary.last += column[evaluated[i]];
  summary.last /= static_cast<double>(last);
  return summary;
}

/// Mean of a metric over the worst tenth of the clients, in the last round that evaluated them.
double worst_clients(const LogReader& log, const std::string& suffix, double Metrics::*metric, bool more_is_better) {
  for (std::size_t row = log.client_evaluation_rounds().size(); row-- > 0;) {
    std::vector<double> values;
    for (const Metrics& client : log.client_metrics(row, suffix)) {
      if (!std::isnan(client.*metric)) values.push_back(client.*metric);
    }
    if (values.empty()) continue;
    std::sort(values.begin(), values.end());
    if (!more_is_better) std::reverse(values.begin(), values.end());
    const std::size_t worst = std::max<std::size_t>(1, values.size() / 10);
    return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(worst), 0.0) /
           static_cast<double>(worst);
  }
  return no_value;
}

/// Rounds in which a column has a value.
std::vector<std::size_t> evaluated_rounds(const std::vector<double>& column) {
  std::vector<std::size_t> evaluated;
  for (std::size_t r = 0; r < column.size(); ++r) {
    if (!std::isnan(column[r])) evaluated.push_back(r);
  }
  return evaluated;
}

/// The metrics of the columns PREFIXaccuracySUFFIX and so on; without values where the log lacks them.
QualitySummary metrics_of(const LogReader& log, const std::string& prefix, const std::string& suffix) {
  QualitySummary quality;
  const auto column = [&](const char* name) {
    const std::string path = prefix + name + suffix;
    return log.has_column(path) ? log.column(path) : std::vector<double>();
  };
  std::vector<std::size_t> evaluated = evaluated_rounds(column("accuracy"));
  if (evaluated.empty()) evaluated = evaluated_rounds(column("rmse"));
  for (const MetricRow& row : all_metrics) {
    const bool more_is_better = row.metric == &QualitySummary::accuracy;
    const std::vector<double> values = column(row.name);
    if (!values.empty()) quality.*row.metric = summarise(values, evaluated, more_is_better);
  }
  return quality;
}

QualitySummary quality_of(const LogReader& log, const std::string& suffix, const std::vector<double>& bytes,
                          double target) {
  QualitySummary quality = metrics_of(log, "", suffix);
  const std::vector<double> accuracy = log.column("accuracy" + suffix);
  const std::vector<std::size_t> evaluated = evaluated_rounds(accuracy);
  quality.worst_clients = worst_clients(log, suffix, &Metrics::accuracy, true);
  quality.worst_clients_rmse = worst_clients(log, suffix, &Metrics::rmse, false);
  if (!evaluated.empty()) quality.ood = log.detection(evaluated.back(), suffix);
  const auto reached =
      std::find_if(evaluated.begin(), evaluated.end(), [&](std::size_t round) { return accuracy[round] >= target; });
  if (reached != evaluated.end()) {
    quality.rounds_to_target = static_cast<double>(*reached + 1);
    quality.bytes_to_target =
        std::accumulate(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(*reached) + 1, 0.0);
  }
  return quality;
}

double total(const std::vector<double>& values) { return std::accumulate(values.begin(), values.end(), 0.0); }

/// "NAME (FILE)" for one log of each value, where the logs have several.
template <class Value>
std::string differing(std::span<const LogSummary> logs, const Value& value) {
  std::map<std::string, std::string> example;
  for (const LogSummary& log : logs) example.emplace(value(log), log.file);
  if (example.size() < 2) return "";
  std::vector<std::string> parts;
  for (const auto& [text, file] : example) parts.push_back(fmt::format("{} ({})", text, file));
  constexpr std::size_t most = 4;
  const std::string more = parts.size() > most ? fmt::format(" and {} more", parts.size() - most) : "";
  parts.resize(std::min(most, parts.size()));
  return fmt::format("{}{}", fmt::join(parts, ", "), more);
}

/// Settings that logs of one arm need not share.
bool differs_by_right(const std::string& setting) {
  const auto is = [&](const char* key) { return setting.rfind(std::string(key) + " = ", 0) == 0; };
  return is("seed") || is("rounds") || is("evaluation.target_accuracy");
}

/// The first setting that two logs of an arm do not share; empty when they are of one kind.
std::string first_difference(const LogSummary& a, const LogSummary& b) {
  for (std::size_t i = 0; i < std::max(a.settings.size(), b.settings.size()); ++i) {
    const auto text = [i](const LogSummary& log) {
      return i < log.settings.size() ? log.settings[i] : std::string("fewer settings");
    };
    if (text(a) != text(b)) return fmt::format("{} ({}) and {} ({})", text(a), a.file, text(b), b.file);
  }
  return "";
}

std::string show_number(double value, int decimals) {
  if (std::isnan(value)) return "-";
  if (!std::isfinite(value) || std::fabs(value) >= 1e6) return fmt::format("{:.4g}", value);
  return fmt::format("{:.{}f}", value, decimals);
}

}  // namespace

std::string show(const Spread& spread, double factor, int decimals) {
  if (spread.count == 0) return "-";
  std::string text = show_number(factor * spread.mean, decimals);
  if (spread.count > 1) text += " ±" + show_number(factor * spread.deviation, decimals);
  if (spread.count < spread.logs) text += fmt::format(" ({}/{})", spread.count, spread.logs);
  return text;
}

bool has_average(const ArmGroup& arm) {
  return std::any_of(arm.logs.begin(), arm.logs.end(), [](const LogSummary* log) {
    return !std::isnan(log->bayes.accuracy.final) || !std::isnan(log->bayes.rmse.final);
  });
}

Shown::Shown(const std::vector<ArmGroup>& arms) {
  for (const ArmGroup& arm : arms) {
    for (const LogSummary* log : arm.logs) {
      if (!std::isnan(log->mean.rmse.final)) regression = true;
      if (!std::isnan(log->mean.accuracy.final)) classification = true;
    }
  }
  classification = classification || !regression;
  for (const MetricRow& metric : all_metrics) {
    if ((metric.classification && classification) || (metric.regression && regression)) metrics.push_back(metric);
  }
}

std::vector<std::string> settings_of(const std::string& scenario) {
  std::vector<std::string> settings;
  std::string table;
  std::istringstream lines(scenario);
  for (std::string line; std::getline(lines, line);) {
    if (line.empty()) continue;
    if (line.front() == '[') {
      table = line.substr(1, line.find(']') - 1) + ".";
      continue;
    }
    settings.push_back(table + line);
  }
  return settings;
}

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  spread.logs = values.size();
  double sum = 0;
  for (const double value : values) {
    if (std::isnan(value)) continue;
    sum += value;
    ++spread.count;
  }
  if (spread.count == 0) return spread;
  spread.mean = sum / static_cast<double>(spread.count);
  if (spread.count < 2) return spread;
  double squares = 0;
  for (const double value : values) {
    if (!std::isnan(value)) squares += (value - spread.mean) * (value - spread.mean);
  }
  spread.deviation = std::sqrt(squares / static_cast<double>(spread.count - 1));
  return spread;
}

LogSummary read_summary(const std::string& path) {
  const LogReader log(path);
  const LogHeader& header = log.header();
  LogSummary summary;
  summary.file = path;
  summary.name = header.name;
  summary.arm = header.arm;
  summary.algorithm = header.algorithm;
  summary.seed = header.seed;
  summary.rounds = header.rounds;
  summary.rounds_complete = header.rounds_complete;
  summary.data_checksum = header.data_checksum;
  summary.partition_hash = header.partition_hash;
  summary.settings = settings_of(header.scenario);
  std::erase_if(summary.settings, differs_by_right);
  summary.target = log.scenario_number("evaluation", "target_accuracy");
  summary.seconds = total(log.column("seconds"));
  if (header.finished() && total(log.column("participants")) == 0) {
    summary.failure = fmt::format("[run] some client's update must be usable, got none in {} rounds", header.rounds);
    return summary;
  }
  std::vector<double> bytes = log.column("bytes_up");
  const std::vector<double> down = log.column("bytes_down");
  std::transform(bytes.begin(), bytes.end(), down.begin(), bytes.begin(), std::plus<>());
  summary.mean = quality_of(log, "", bytes, summary.target);
  summary.bayes = quality_of(log, "_bayes", bytes, summary.target);
  summary.validation = metrics_of(log, "validation_", "");
  summary.validation_bayes = metrics_of(log, "validation_", "_bayes");
  summary.bytes = total(bytes);
  summary.refused = total(log.column("refused"));
  summary.clamped = total(log.column("clamped"));
  return summary;
}

std::vector<LogSummary> read_summaries(std::span<const std::string> paths) {
  std::vector<LogSummary> logs;
  for (const std::string& path : paths) logs.push_back(read_summary(path));
  return logs;
}

std::vector<ArmGroup> group_by_arm(std::span<const LogSummary> logs) {
  const bool with_name = distinct_names(logs) > 1;
  std::vector<ArmGroup> groups;
  for (const LogSummary& log : logs) {
    const std::string title = log.arm.empty() ? log.name : with_name ? log.name + " / " + log.arm : log.arm;
    auto group = std::find_if(groups.begin(), groups.end(), [&](const ArmGroup& g) { return g.title == title; });
    if (group == groups.end()) group = groups.insert(groups.end(), {title, {}});
    group->logs.push_back(&log);
  }
  return groups;
}

std::string common_name(std::span<const LogSummary> logs) {
  std::vector<std::string> names;
  for (const LogSummary& log : logs) {
    if (std::find(names.begin(), names.end(), log.name) == names.end()) names.push_back(log.name);
  }
  return fmt::format("{}", fmt::join(names, ", "));
}

std::vector<std::string> comparison_warnings(std::span<const LogSummary> all, const std::vector<ArmGroup>& groups) {
  std::vector<LogSummary> logs;  // a failed run has nothing to compare
  std::copy_if(all.begin(), all.end(), std::back_inserter(logs), [](const LogSummary& log) { return !failed(&log); });
  std::vector<ArmGroup> arms = groups;
  for (ArmGroup& arm : arms) std::erase_if(arm.logs, failed);
  std::vector<std::string> warnings;
  const auto warn = [&](const char* what, const std::string& found) {
    if (!found.empty()) warnings.push_back(fmt::format("the logs have different {}: {}", what, found));
  };
  // A new seed may draw new data (generated sets, validation splits); within one seed all arms must see the same.
  std::map<std::uint64_t, std::vector<LogSummary>> by_seed;
  for (const LogSummary& log : logs) by_seed[log.seed].push_back(log);
  for (const auto& [seed, same_seed] : by_seed) {
    warn("data", differing(same_seed, [](const LogSummary& log) { return "checksum " + log.data_checksum; }));
    warn("partitions", differing(same_seed, [](const LogSummary& log) { return "hash " + log.partition_hash; }));
  }
  warn("numbers of rounds", differing(logs, [](const LogSummary& log) { return fmt::format("{}", log.rounds); }));
  warn("target accuracies", differing(logs, [](const LogSummary& log) { return fmt::format("{}", log.target); }));
  for (const ArmGroup& arm : arms) {
    for (const LogSummary* log : arm.logs) {
      const std::string difference = first_difference(*arm.logs.front(), *log);
      if (difference.empty()) continue;
      warnings.push_back(fmt::format("{} puts runs of different settings together: {}", arm.title, difference));
      break;
    }
    std::map<std::uint64_t, std::string> seeds;
    for (const LogSummary* log : arm.logs) {
      const auto [first, is_new] = seeds.emplace(log->seed, log->file);
      if (is_new) continue;
      warnings.push_back(
          fmt::format("{} has seed {} twice: {} and {}", arm.title, log->seed, first->second, log->file));
    }
  }
  return warnings;
}

std::string failure_notes(const std::vector<ArmGroup>& arms) {
  std::string notes;
  for (const ArmGroup& arm : arms) {
    std::map<std::string, std::vector<std::uint64_t>> seeds;  // by reason
    std::size_t count = 0;
    for (const LogSummary* log : arm.logs) {
      if (!failed(log)) continue;
      seeds[log->failure].push_back(log->seed);
      ++count;
    }
    for (const auto& [reason, of] : seeds) {
      notes += fmt::format("{}: {} of {} runs failed; seed {}: {}\n", arm.title, count, arm.logs.size(),
                           fmt::join(of, ", "), reason);
    }
  }
  return notes;
}

}  // namespace ivory
