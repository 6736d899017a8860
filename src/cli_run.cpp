// ivory run: each arm of a scenario once.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/compare_table.hpp"
#include "src/log_reader.hpp"
#include "src/logged_scenario.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory run scenarios/quickstart.toml
  ivory run scenarios/quickstart.toml --set rounds=20 clients.batch=32 --seed 3
  ivory run scenarios/quickstart.toml --only fedavg --out /tmp/logs --threads 2
  ivory run scenarios/quickstart.toml --json > rounds.jsonl
  ivory run --resume runs/quickstart-vb-admm-seed1.h5

Each arm writes <out>/<scenario>[-<arm>]-seed<N>.h5, replacing a log of that name.
With --resume FILE may be left out: the log has its scenario.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
  std::string resume;  // the log to go on with
};

/// The run that a log began. FILE, where it is given, must come to the same scenario.
Job interrupted_job(const Flags& flags) {
  const LogHeader header = LogReader(flags.resume).header();
  if (flags.scenario.file.empty()) {
    if (!flags.scenario.set.empty() || !flags.scenario.only.empty() || flags.run.seed) {
      throw InputError(
          fmt::format("[resume] a run goes on with its own scenario, got --set, --only or --seed beside "
                      "--resume {}; leave them out",
                      flags.resume));
    }
    return {logged_scenario(header), flags.resume, true};
  }
  for (Scenario& arm : flags.scenario.read()) {
    if (arm.arm != header.arm) continue;
    arm.seed = flags.run.seed.value_or(header.seed);
    return {std::move(arm), flags.resume, true};
  }
  throw InputError(
      fmt::format("[resume] the log's arm must be one of the scenario, got \"{}\", in {} and {}; leave "
                  "FILE out to go on with the scenario that the log has",
                  header.arm, flags.resume, flags.scenario.file));
}

int run(const Flags& flags) {
  if (flags.scenario.file.empty() && flags.resume.empty())
    throw InputError(
        "[command line] run needs a scenario, got no FILE; give one, or a log to go on with (--resume LOG)");
  const std::vector<Job> jobs =
      flags.resume.empty() ? make_jobs(flags.scenario.read(), flags.run, 1) : std::vector<Job>{interrupted_job(flags)};
  const JobsReport report = run_jobs(jobs, flags.run, EarlierLog::kept);
  if (flags.run.json || report.runs.empty()) return report.exit_code;
  fmt::print("{}{}", flags.run.quiet ? "" : "\n", comparison_table(report.runs));
  const std::vector<std::string> logs = report.logs();
  if (!flags.run.quiet && !logs.empty()) {
    fmt::print("\nlogs:\n");
    for (const std::string& log : logs) fmt::print("  {}\n", log);
    fmt::print("look at one with: ivory inspect {}\n", logs.front());
  }
  return report.exit_code;
}

}  // namespace

void add_run(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("run", "Run a scenario, each of its arms once");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario, false);
  add_run_flags(*verb, flags->run, "Seed, instead of the scenario's");
  verb->add_option("--resume", flags->resume, "Go on in this log after its last checkpoint")->option_text("LOG");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace ivory
