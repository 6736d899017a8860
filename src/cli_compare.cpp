// ivory compare: each arm on several seeds, or a table from logs that are there already.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/compare_ensemble.hpp"
#include "src/compare_table.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory compare scenarios/quickstart.toml
  ivory compare scenarios/quickstart.toml --seeds 5 --seed 10 --only fedavg,vb-admm
  ivory compare --from runs/quickstart-*.h5 --baseline vb-admm --csv table.csv
  ivory compare --from runs/quickstart-*.h5 --ensemble
  ivory compare scenarios/mnist-100-clients.toml --shard $SLURM_ARRAY_TASK_ID/4 --out runs/mnist

A finished log in the output folder of the same resolved scenario is reused, so that an interrupted comparison goes on
where it stopped; --fresh runs it again. Shards count from 1, as in a job array of 1-4.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
  BatchFlags batch;
  std::vector<std::string> from;
  bool ensemble = false;
};

// What --ensemble adds to the table and to the CSV.
struct EnsembleTexts {
  std::string block, csv;
};
EnsembleTexts ensemble_texts(const Flags& flags, const std::vector<LogSummary>& logs) {
  if (!flags.ensemble) return {};
  const auto rows = evaluate_ensembles(logs, flags.scenario.file, flags.run.threads);
  return {"\n" + ensemble_block(rows, logs), ensemble_csv(rows, logs)};
}

int compare(const Flags& flags) {
  const bool from_logs = !flags.from.empty();
  if (from_logs && !flags.scenario.file.empty()) {
    throw InputError(
        fmt::format("[command line] a table comes from a scenario FILE or from --from LOG ..., got both ({})",
                    flags.scenario.file));
  }
  if (from_logs) {
    if (flags.run.threads > 0 && !flags.ensemble) {
      throw InputError(fmt::format(
          "[command line] --threads goes with --from only where --ensemble evaluates, got --threads {}; leave it "
          "out, or add --ensemble",
          flags.run.threads));
    }
    const std::vector<LogSummary> logs = read_summaries(without_previews(flags.from));
    fmt::print("{}", comparison_table(logs, flags.batch.baseline));
    const EnsembleTexts ensembles = ensemble_texts(flags, logs);
    fmt::print("{}", ensembles.block);
    if (!flags.batch.csv.empty()) {
      write_csv(flags.batch.csv, comparison_csv(logs, flags.batch.baseline) + ensembles.csv);
    }
    return 0;
  }
  if (flags.scenario.file.empty()) {
    throw InputError(
        "[command line] compare needs a scenario FILE or --from LOG ..., got neither; "
        "`ivory compare --help` shows examples");
  }
  const std::vector<Scenario> arms = flags.scenario.read();
  check_baseline(flags.batch.baseline, arms);
  const std::vector<Job> jobs = make_jobs(arms, flags.run, flags.batch.seeds);
  if (!flags.batch.shard.empty()) {
    return run_shard(jobs, flags.run, flags.batch, "ivory compare --from " + log_pattern(flags.run, jobs));
  }
  if (!flags.batch.csv.empty()) check_csv(flags.batch.csv);
  const JobsReport report = run_jobs(jobs, flags.run, flags.batch.earlier());
  if (report.runs.empty()) return report.exit_code;
  if (!flags.run.json) {
    fmt::print("{}{}", flags.run.quiet ? "" : "\n", comparison_table(report.runs, flags.batch.baseline));
  }
  const std::vector<std::string> logs = report.logs();
  if (logs.empty()) return report.exit_code;
  const EnsembleTexts ensembles = ensemble_texts(flags, report.runs);
  fmt::print("{}", ensembles.block);
  if (!flags.batch.csv.empty()) {
    write_csv(flags.batch.csv, comparison_csv(report.runs, flags.batch.baseline) + ensembles.csv);
  }
  if (!flags.run.quiet && !flags.run.json) {
    fmt::print("\n{} in {}; the table again: ivory compare --from {}\n",
               show_count(static_cast<double>(logs.size()), "log"), flags.run.out, log_pattern(flags.run, jobs));
    fmt::print("look at one with: ivory inspect {}\n", quoted_for_shell(logs.front()));
  }
  return report.exit_code;
}

}  // namespace

void add_compare(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("compare", "Run every arm on several seeds and compare them");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario, false);
  add_run_flags(*verb, flags->run, "First seed; default: the scenario's");
  auto* from = verb->add_option("--from", flags->from, "Compare these logs; nothing is run")->option_text("LOG ...");
  add_batch_flags(*verb, flags->batch);
  verb->add_flag("--ensemble", flags->ensemble, "Also average the predictions of each arm's seeds (deep ensemble)")
      ->option_text(" ")
      ->excludes(verb->get_option("--json"))
      ->excludes(verb->get_option("--shard"));
  for (const char* name :
       {"--set", "--only", "--seeds", "--seed", "--parallel", "--out", "--json", "--fresh", "--shard"}) {
    from->excludes(verb->get_option(name));
  }
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return compare(*flags); }; });
}

}  // namespace ivory
