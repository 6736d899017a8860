// ivory sweep: every arm with every setting of its grid, selected on the validation set.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/compare_table.hpp"
#include "src/sweep_grid.hpp"
#include "src/sweep_table.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory sweep scenarios/quickstart.toml --set data.validation=0.2 --grid clients.optimizer.lr=0.003,0.01,0.03
  ivory sweep FILE --grid fedavg:clients.optimizer.lr=0.001,0.01 --grid vb-admm:server.rho=1,2 --seeds 5
  ivory sweep FILE --grid 'model.hidden=[50],[100,50]' clients.batch=16,64 --budget 3 --select nll
  ivory sweep FILE --grid clients.batch=16,64 --shard $SLURM_ARRAY_TASK_ID/4 --out runs/sweep

All combinations of the grids run with all seeds. Settings are selected by the mean over the last three evaluated rounds
and over the seeds on the validation set ([data] validation), one per arm; only those are shown on the test set. A
setting with failed runs loses to those without. Every arm must have as many settings as the others (--budget,
--unequal). Finished logs are reused, as by compare.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
  BatchFlags batch;
  std::vector<std::string> grid;
  std::size_t budget = 0;  // 0: every setting
  std::string select;      // empty: accuracy, or RMSE
  bool unequal = false;    // budgets may be
};

std::vector<SweepArm> settings_of_arms(const Flags& flags) {
  if (flags.grid.empty()) {
    throw InputError(
        "[sweep] a sweep needs at least one --grid KEY=V1,V2,..., got none; `ivory compare` runs the arms as they are");
  }
  std::vector<SweepArm> arms =
      expand_grid(flags.scenario.file, flags.scenario.set, flags.scenario.arms(), parse_grids(flags.grid));
  if (flags.budget > 0) {
    draw_settings(arms, flags.budget, flags.run.seed.value_or(arms.front().settings.front().scenario.seed));
  }
  if (!flags.unequal) check_budgets(arms);
  return arms;
}

void check_baseline_of_sweep(const std::string& baseline, const std::vector<SweepArm>& arms) {
  std::vector<Scenario> named(arms.size());
  for (std::size_t i = 0; i < arms.size(); ++i) named[i].arm = arms[i].name;
  check_baseline(baseline, named);
}

int sweep(const Flags& flags) {
  const Selection selection = parse_selection(flags.select);
  const std::vector<SweepArm> arms = settings_of_arms(flags);
  check_selection(arms, selection);
  check_validation(arms);
  check_baseline_of_sweep(flags.batch.baseline, arms);
  std::vector<Scenario> scenarios;
  for (const SweepArm& arm : arms) {
    for (const SweepSetting& setting : arm.settings) scenarios.push_back(setting.scenario);
  }
  const std::vector<Job> jobs = make_jobs(scenarios, flags.run, flags.batch.seeds);
  if (!flags.batch.shard.empty()) {
    return run_shard(jobs, flags.run, flags.batch, "the same command without --shard reuses the logs and selects",
                     true);
  }
  if (!flags.batch.csv.empty()) check_csv(flags.batch.csv);
  const std::string budget = budget_text(arms);
  const bool talks = !flags.run.quiet && !flags.run.json;
  if (talks) {
    fmt::print("{}{}, each setting with {}\n\n", budget, show_count(static_cast<double>(jobs.size()), "run"),
               show_count(static_cast<double>(flags.batch.seeds), "seed"));
  }
  const JobsReport report = run_jobs(jobs, flags.run, flags.batch.earlier(), true);
  if (report.runs.size() < jobs.size()) {
    fmt::print(stderr, "ivory: {} of {} done, nothing is selected; the same command goes on here\n", report.runs.size(),
               show_count(static_cast<double>(jobs.size()), "run"));
    return report.exit_code;
  }
  const std::vector<SweptArm> swept = select_settings(arms, report.runs, selection);
  const bool all_selected =
      std::all_of(swept.begin(), swept.end(), [](const SweptArm& arm) { return arm.selected.has_value(); });
  const int exit_code = report.exit_code == 0 && !all_selected ? 1 : report.exit_code;
  const std::vector<LogSummary> selected = selected_runs(swept);
  const std::string baseline = selected_title(swept, flags.batch.baseline);
  const std::vector<std::string> logs = report.logs();
  if (!flags.batch.csv.empty() && !logs.empty()) {
    write_csv(flags.batch.csv, comparison_csv(selected, baseline) + settings_csv(swept));
  }
  if (flags.run.json) return exit_code;
  fmt::print("{}{}", talks ? "\n" : "", budget);
  for (const std::string& warning : comparison_warnings(report.runs)) {
    fmt::print("warning: {}\n", warning);
  }
  fmt::print("\n{}\nthe test set, selected settings only\n\n{}", settings_table(swept, selection),
             comparison_table(selected, baseline));
  if (talks && !logs.empty()) {
    fmt::print("\n{} in {}\n", show_count(static_cast<double>(logs.size()), "log"), flags.run.out);
    for (const LogSummary& run : selected) {
      if (run.failure.empty()) fmt::print("  {}\n", quoted_for_shell(run.file));
    }
  }
  return exit_code;
}

}  // namespace

void add_sweep(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("sweep", "Run a grid of settings and select on the validation set");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario);
  verb->add_option("--grid", flags->grid,
                   "Values of a key, for every arm or (ARM:KEY=...) for one; all combinations run; may be repeated")
      ->option_text("KEY=V1,V2,... ...")
      ->allow_extra_args(false);
  verb->add_option("--budget", flags->budget, "Draw N settings of each arm's grid at random; default: all of them")
      ->option_text("N")
      ->check(CLI::Range(std::size_t{1}, most_settings));
  verb->add_flag("--unequal", flags->unequal, "Let arms have different numbers of settings");
  verb->add_option("--select", flags->select,
                   "accuracy (default; rmse in a regression) or nll on the validation set; _bayes: of the average")
      ->option_text("METRIC");
  add_run_flags(*verb, flags->run, "First seed; default: the scenario's");
  add_batch_flags(*verb, flags->batch);
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return sweep(*flags); }; });
}

}  // namespace ivory
