// ivory run: each arm of a scenario once.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>

#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/compare_table.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory run scenarios/quickstart.toml
  ivory run scenarios/quickstart.toml --set rounds=20 clients.batch=32 --seed 3
  ivory run scenarios/quickstart.toml --only fedavg --out /tmp/logs --threads 2
  ivory run scenarios/quickstart.toml --json > rounds.jsonl

Each arm writes <out>/<scenario>[-<arm>]-seed<N>.h5, replacing a log of that name.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
};

int run(const Flags& flags) {
  const JobsReport report = run_jobs(make_jobs(flags.scenario.read(), flags.run, 1), flags.run, false);
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
  add_scenario_flags(*verb, flags->scenario);
  add_run_flags(*verb, flags->run, "Seed, instead of the scenario's");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return run(*flags); }; });
}

}  // namespace ivory
