#include "src/sweep_table.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "ivory/error.hpp"
#include "src/compare_differences.hpp"
#include "src/option_messages.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

constexpr PickModel on_validation[] = {&LogSummary::validation, &LogSummary::validation_bayes};

/// `metric` of a model on the validation set, mean over the last three evaluated rounds.
LogValue validation_value(PickModel model, MetricSummary QualitySummary::*metric) {
  return [model, metric](const LogSummary& log) { return (log.*model.*metric).last; };
}

/// The metrics that may select, and that the table of the settings shows.
bool selects(const MetricRow& row) {
  return row.metric == &QualitySummary::accuracy || row.metric == &QualitySummary::rmse ||
         row.metric == &QualitySummary::nll;
}

/// Some metric of the model on the validation set, in some setting.
bool has_value(const std::vector<ArmGroup>& settings, PickModel model) {
  return std::any_of(settings.begin(), settings.end(), [&](const ArmGroup& setting) {
    return setting.spread(validation_value(model, &QualitySummary::nll)).count > 0;
  });
}

MetricSummary QualitySummary::*metric_of(const std::vector<ArmGroup>& settings, const Selection& selection) {
  if (selection.metric != nullptr) return selection.metric;
  return Shown(settings).regression ? &QualitySummary::rmse : &QualitySummary::accuracy;
}

/// Whether the posterior average selects: where it was asked for, and there is one.
bool average_selects(const std::vector<ArmGroup>& settings, const Selection& selection) {
  return selection.average && has_value(settings, on_validation[1]);
}

/// " of the posterior average", " of the mean model (no arm has a posterior average)", or which arms have which.
std::string selecting_models(const std::vector<SweptArm>& arms, const Selection& selection) {
  if (!selection.average) return "";
  std::vector<std::string> without;
  for (const SweptArm& arm : arms) {
    if (!average_selects(arm.settings, selection)) without.push_back(arm.name);
  }
  if (without.empty()) return " of the posterior average";
  if (without.size() == arms.size()) return " of the mean model, since no run has a posterior average";
  return fmt::format(" of the posterior average, of the mean model for {} (no posterior average)",
                     fmt::join(without, ", "));
}

std::optional<std::size_t> best_of(const std::vector<ArmGroup>& settings, const Selection& selection) {
  const bool average = average_selects(settings, selection);
  const auto metric = metric_of(settings, selection);
  const double sign = metric == &QualitySummary::accuracy ? 1 : -1;
  std::optional<std::size_t> best;
  std::pair<std::size_t, double> best_score;  // finished seeds count first: a setting that fails on some is no winner
  for (std::size_t i = 0; i < settings.size(); ++i) {
    const Spread spread = settings[i].spread(validation_value(on_validation[average ? 1 : 0], metric));
    const std::pair<std::size_t, double> score = {spread.count, sign * spread.mean};
    if (spread.count == 0 || (best && score <= best_score)) continue;
    best = i;
    best_score = score;
  }
  return best;
}

}  // namespace

Selection parse_selection(const std::string& text) {
  const auto without = [](std::string_view whole, std::string_view part, bool front) {
    const bool there = front ? whole.starts_with(part) : whole.ends_with(part);
    return std::pair{!there  ? whole
                     : front ? whole.substr(part.size())
                             : whole.substr(0, whole.size() - part.size()),
                     there};
  };
  if (text.empty()) return {};
  const auto [name, average] = without(without(text, "validation/", true).first, "_bayes", false);
  for (const MetricRow& row : all_metrics) {
    if (name == row.name && selects(row)) return {row.metric, average};
  }
  throw InputError(fmt::format(
      "[sweep] --select must be accuracy, rmse or nll, or one of them with _bayes for the posterior average, all "
      "on the validation set, got {}; the test set never selects",
      shown(text)));
}

void check_selection(const std::vector<SweepArm>& arms, const Selection& selection) {
  if (selection.metric == nullptr) return;
  const auto row = std::find_if(std::begin(all_metrics), std::end(all_metrics),
                                [&](const MetricRow& metric) { return metric.metric == selection.metric; });
  for (const SweepArm& arm : arms) {
    for (const SweepSetting& setting : arm.settings) {
      const std::string& loss = setting.scenario.model.text("loss");
      const bool regression = loss == "gaussian";
      if (regression ? row->regression : row->classification) continue;
      throw InputError(fmt::format(
          "[sweep] --select must be a metric that every setting has, got {} with model.loss = \"{}\" ({}) for {}; "
          "take {} or nll",
          row->name, loss, regression ? "regression" : "classification", arm.name, regression ? "rmse" : "accuracy"));
    }
  }
}

void check_validation(const std::vector<SweepArm>& arms) {
  for (const SweepArm& arm : arms) {
    for (const SweepSetting& setting : arm.settings) {
      if (setting.scenario.data.real("validation") > 0) continue;
      throw InputError(fmt::format(
          "[sweep] settings are selected on a validation set, so data.validation must be > 0, got {} for {}; "
          "write validation = 0.1 below [data], or --set data.validation=0.1",
          setting.scenario.data.real("validation"), arm.name));
    }
  }
}

std::vector<SweptArm> select_settings(const std::vector<SweepArm>& arms, std::span<const LogSummary> runs,
                                      const Selection& selection) {
  std::map<std::string, std::vector<const LogSummary*>> by_arm;
  for (const LogSummary& run : runs) by_arm[run.arm].push_back(&run);
  std::vector<SweptArm> swept;
  for (const SweepArm& arm : arms) {
    SweptArm& own = swept.emplace_back(SweptArm{arm.name, {}, {}});
    for (const SweepSetting& setting : arm.settings) {
      own.settings.push_back({setting.label, by_arm[setting.scenario.arm]});
    }
    own.selected = best_of(own.settings, selection);
  }
  return swept;
}

std::vector<LogSummary> selected_runs(const std::vector<SweptArm>& arms) {
  std::vector<LogSummary> runs;
  for (const SweptArm& arm : arms) {
    if (arm.selected) {
      for (const LogSummary* log : arm.settings[*arm.selected].logs) runs.push_back(*log);
      continue;
    }
    std::set<std::uint64_t> seeds;
    for (const ArmGroup& setting : arm.settings) {
      for (const LogSummary* log : setting.logs) {
        if (!seeds.insert(log->seed).second) continue;
        LogSummary lost;
        lost.name = log->name;
        lost.arm = arm.name;
        lost.algorithm = log->algorithm;
        lost.seed = log->seed;
        lost.failure = "[sweep] no setting of the arm has a value on the validation set, see above";
        runs.push_back(std::move(lost));
      }
    }
  }
  return runs;
}

std::string selected_title(const std::vector<SweptArm>& arms, const std::string& name) {
  const auto found =
      name.empty() ? arms.begin()
                   : std::find_if(arms.begin(), arms.end(), [&](const SweptArm& arm) { return arm.name == name; });
  if (found == arms.end()) return name;
  if (!found->selected || found->settings[*found->selected].logs.empty()) return found->name;
  const LogSummary& first = *found->settings[*found->selected].logs.front();
  return first.arm.empty() ? first.name : first.arm;
}

std::string settings_table(const std::vector<SweptArm>& arms, const Selection& selection) {
  std::vector<ArmGroup> all;  // titled for the notes
  for (const SweptArm& arm : arms) {
    for (const ArmGroup& setting : arm.settings) all.push_back({arm.name + " " + setting.title, setting.logs});
  }
  const std::size_t shown_models = has_value(all, on_validation[1]) ? 2 : 1;
  std::vector<MetricRow> rows = Shown(all).metrics;
  std::erase_if(rows, [](const MetricRow& row) { return !selects(row); });
  TextTable table(2);
  std::vector<TextTable::Span> heading = {{"", 1}, {"", 1}};
  std::vector<std::string> columns = {"arm", "setting"};
  for (std::size_t model = 0; model < shown_models; ++model) {
    heading.push_back({name_of(models[model]), rows.size()});
    for (const MetricRow& row : rows) columns.emplace_back(row.heading);
  }
  columns.emplace_back("seeds");
  table.heading(std::move(heading));
  table.row(columns);
  for (const SweptArm& arm : arms) {
    for (std::size_t i = 0; i < arm.settings.size(); ++i) {
      const ArmGroup& setting = arm.settings[i];
      std::vector<std::string> cells = {i == 0 ? arm.name : "", setting.title};
      for (std::size_t model = 0; model < shown_models; ++model) {
        for (const MetricRow& row : rows) {
          const Spread spread = setting.spread(validation_value(on_validation[model], row.metric));
          cells.push_back(show(spread, row.factor, row.decimals));
        }
      }
      cells.push_back(show_seeds(setting));
      if (arm.selected == i) cells.emplace_back("selected");
      table.row(cells);
    }
  }
  const auto by = std::find_if(std::begin(all_metrics), std::end(all_metrics),
                               [&](const MetricRow& row) { return row.metric == metric_of(all, selection); });
  std::string text = fmt::format(
      "the validation set, mean over the last three evaluated rounds ±standard deviation over seeds; selected by "
      "{}{}\n\n",
      by->name, selecting_models(arms, selection));
  text += table.text();
  const std::string notes = failure_notes(all);
  return notes.empty() ? text : text + '\n' + notes;
}

std::string settings_csv(const std::vector<SweptArm>& arms) {
  std::string text;
  for (const SweptArm& arm : arms) {
    const Shown shown(arm.settings);
    for (std::size_t i = 0; i < arm.settings.size(); ++i) {
      const ArmGroup& setting = arm.settings[i];
      if (setting.logs.empty()) continue;
      for (int model = 0; model < 2; ++model) {
        for (const MetricRow& metric : shown.metrics) {
          text += csv_row(setting, model == 0 ? "mean" : "posterior_average", std::string("validation_") + metric.name,
                          "last_3", metric.unit, validation_value(on_validation[model], metric.metric));
        }
      }
      text += csv_row(setting, "", "selected", "share", "1",
                      [&](const LogSummary&) { return arm.selected == i ? 1.0 : 0.0; });
    }
  }
  return text;
}

}  // namespace ivory
