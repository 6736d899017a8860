#include "src/compare_groups.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>
#include <numeric>
#include <set>
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

/// Mean of a metric over the worst tenth of the clients, in the last round that evaluated them. A client without a value in any
/// round has no examples of its own; one that had a value and lost it has diverged, and the tenth has no value either.
double worst_clients(const LogReader& log, const std::string& suffix, double Metrics::*metric, bool more_is_better) {
  const std::size_t rows = log.client_evaluation_rounds().size();
  if (rows == 0) return no_value;
  std::vector<double> values;
  for (const Metrics& client : log.client_metrics(rows - 1, suffix)) values.push_back(client.*metric);
  const auto lost = [](double value) { return std::isnan(value); };
  if (std::any_of(values.begin(), values.end(), lost)) {
    for (std::size_t row = 0; row + 1 < rows; ++row) {
      const std::vector<Metrics> before = log.client_metrics(row, suffix);
      for (std::size_t k = 0; k < before.size(); ++k) {
        if (!lost(before[k].*metric) && lost(values[k])) return no_value;
      }
    }
    std::erase_if(values, lost);
  }
  if (values.empty()) return no_value;
  std::sort(values.begin(), values.end());
  if (!more_is_better) std::reverse(values.begin(), values.end());
  const std::size_t worst = std::max<std::size_t>(1, values.size() / 10);
  return std::accumulate(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(worst), 0.0) /
         static_cast<double>(worst);
}

/// A column of the log, empty where the log lacks it.
std::vector<double> column_of(const LogReader& log, const std::string& path) {
  return log.has_column(path) ? log.column(path) : std::vector<double>();
}

/// Rounds that were evaluated, by the log's own schedule: a round whose metrics are NaN, since the model diverged, is one of
/// them. A posterior average begins with its first value: a Laplace posterior is there after the last round only.
std::vector<std::size_t> evaluated_rounds(const LogReader& log, const std::string& prefix, const std::string& suffix) {
  const std::vector<double> accuracy = column_of(log, prefix + "accuracy" + suffix),
                            rmse = column_of(log, prefix + "rmse" + suffix),
                            nll = column_of(log, prefix + "nll" + suffix);
  const auto has_value = [&](std::size_t round) {
    const std::vector<double>* const columns[] = {&accuracy, &rmse, &nll};
    return std::any_of(std::begin(columns), std::end(columns), [round](const std::vector<double>* column) {
      return round < column->size() && !std::isnan((*column)[round]);
    });
  };
  const double every = log.scenario_number("evaluation", "every");  // NaN in a log without it
  const auto rounds = static_cast<std::size_t>(log.header().rounds);
  std::vector<std::size_t> evaluated;
  for (std::size_t r = 0; r < nll.size(); ++r) {
    const bool due = every >= 1 && ((r + 1) % static_cast<std::size_t>(every) == 0 || r + 1 == rounds);
    const bool begun = suffix.empty() || !evaluated.empty();
    if (has_value(r) || (due && begun)) evaluated.push_back(r);
  }
  return evaluated;
}

/// The metrics of the columns PREFIXaccuracySUFFIX and so on; without values where the log lacks them.
QualitySummary metrics_of(const LogReader& log, const std::string& prefix, const std::string& suffix) {
  QualitySummary quality;
  const std::vector<std::size_t> evaluated = evaluated_rounds(log, prefix, suffix);
  for (const MetricRow& row : all_metrics) {
    const bool more_is_better = row.metric == &QualitySummary::accuracy;
    const std::vector<double> values = column_of(log, prefix + row.name + suffix);
    if (!values.empty()) quality.*row.metric = summarise(values, evaluated, more_is_better);
  }
  return quality;
}

QualitySummary quality_of(const LogReader& log, const std::string& suffix, const std::vector<double>& bytes,
                          double target) {
  QualitySummary quality = metrics_of(log, "", suffix);
  const std::vector<double> accuracy = log.column("accuracy" + suffix);
  const std::vector<std::size_t> evaluated = evaluated_rounds(log, "", suffix);
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

/// With all logs of a seed that an arm has more than once.
std::vector<ArmGroup> all_by_arm(std::span<const LogSummary> logs) {
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

std::string show_seeds(const ArmGroup& arm) {
  const auto lost = static_cast<std::size_t>(std::count_if(arm.logs.begin(), arm.logs.end(), failed));
  const std::size_t all = arm.logs.size();
  return lost == 0 ? std::to_string(all) : fmt::format("{}/{}", all - lost, all);
}

bool has_average(const ArmGroup& arm) {
  return std::any_of(arm.logs.begin(), arm.logs.end(), [](const LogSummary* log) {
    return !std::isnan(log->bayes.accuracy.best) || !std::isnan(log->bayes.rmse.best);
  });
}

Shown::Shown(const std::vector<ArmGroup>& arms) {
  for (const ArmGroup& arm : arms) {
    for (const LogSummary* log : arm.logs) {
      // Of any round: at its end a run may have diverged.
      if (!std::isnan(log->mean.rmse.best)) regression = true;
      if (!std::isnan(log->mean.accuracy.best)) classification = true;
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
  std::vector<ArmGroup> groups = all_by_arm(logs);
  for (ArmGroup& group : groups) {
    std::set<std::uint64_t> seeds;
    std::erase_if(group.logs, [&](const LogSummary* log) { return !seeds.insert(log->seed).second; });
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

std::vector<std::string> comparison_warnings(std::span<const LogSummary> all) {
  std::vector<LogSummary> logs;  // a failed run has nothing to compare
  std::copy_if(all.begin(), all.end(), std::back_inserter(logs), [](const LogSummary& log) { return !failed(&log); });
  const std::vector<ArmGroup> arms = all_by_arm(logs);
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
      warnings.push_back(fmt::format("{} has seed {} twice: {} and {}; only the first one counts", arm.title, log->seed,
                                     first->second, log->file));
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
