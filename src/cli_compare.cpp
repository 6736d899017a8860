// ivory compare: each arm on several seeds, or a table from logs that are there already.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/compare_table.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory compare scenarios/quickstart.toml
  ivory compare scenarios/quickstart.toml --seeds 5 --seed 10 --only fedavg,vb-admm
  ivory compare --from runs/quickstart-*.h5 --csv table.csv
  ivory compare scenarios/mnist-100-clients.toml --shard $SLURM_ARRAY_TASK_ID/4 --out runs/mnist

A finished log in the output folder of the same resolved scenario is reused, so that an interrupted comparison goes on
where it stopped; --fresh runs it again. Shards count from 1, as in a job array of 1-4.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
  std::uint64_t seeds = 3;
  std::string shard, csv;
  std::vector<std::string> from;
  bool fresh = false;
};

/// "2/4": the second quarter.
struct Shard {
  std::size_t index = 1, count = 1;
};

constexpr std::size_t most_shards = 1000000;

Shard parse_shard(const std::string& text) {
  Shard shard;
  int used = 0;
  if (text.find_first_not_of("0123456789/") != std::string::npos || text.size() > 20 ||
      std::sscanf(text.c_str(), "%zu/%zu%n", &shard.index, &shard.count, &used) != 2 ||
      static_cast<std::size_t>(used) != text.size() || shard.index < 1 || shard.index > shard.count ||
      shard.count > most_shards) {
    throw InputError(
        fmt::format("[command line] --shard takes i/n with 1 <= i <= n, got \"{}\"; such as 2/4 for the second "
                    "quarter",
                    text));
  }
  return shard;
}

/// A contiguous part of the list: whole seeds first, so that slow arms spread over the shards.
std::vector<Job> part_of(const std::vector<Job>& jobs, const Shard& shard) {
  const auto bound = [&](std::size_t i) {
    return jobs.begin() + static_cast<std::ptrdiff_t>(jobs.size() * i / shard.count);
  };
  return {bound(shard.index - 1), bound(shard.index)};
}

/// Better refused now than after the runs; what is there stays until there is something to replace it.
void check_csv(const std::string& path) {
  std::ofstream file(path, std::ios::app);
  if (file) return;
  throw RunError(
      fmt::format("[command line] the file of --csv must be writable, got {}: {}", path, std::strerror(errno)));
}

void write_csv(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::trunc);
  file << text;
  file.close();
  if (!file) {
    throw RunError(
        fmt::format("[command line] the file of --csv must be writable, got {}: {}", path, std::strerror(errno)));
  }
}

/// As a shell wants to read it.
std::string quoted_for_shell(const std::string& text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=,:@%";
  if (text.find_first_not_of(plain) == std::string::npos) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

/// What a shell would expand to the logs of these jobs, of all shards.
std::string log_pattern(const RunFlags& run, const std::vector<Job>& jobs) {
  const bool arms = std::any_of(jobs.begin(), jobs.end(), [](const Job& job) { return !job.scenario.arm.empty(); });
  return quoted_for_shell(log_stem(run.out, jobs.front().scenario)) + (arms ? "-*-seed*.h5" : "-seed*.h5");
}

int compare_shard(const Flags& flags, const std::vector<Job>& all) {
  const Shard shard = parse_shard(flags.shard);
  const std::vector<Job> jobs = part_of(all, shard);
  const JobsReport report = run_jobs(jobs, flags.run, !flags.fresh);
  if (flags.run.json) return report.exit_code;
  fmt::print("shard {}/{}: {} of {}, {} reused, {} failed\n", shard.index, shard.count,
             show_count(static_cast<double>(jobs.size()), "run"), all.size(), report.reused, report.failed);
  for (const std::string& log : report.logs) fmt::print("  {}\n", log);
  fmt::print("when all shards are done: ivory compare --from {}\n", log_pattern(flags.run, all));
  return report.exit_code;
}

int compare(const Flags& flags) {
  const bool from_logs = !flags.from.empty();
  if (from_logs && !flags.scenario.file.empty()) {
    throw InputError(
        fmt::format("[command line] a table comes from a scenario FILE or from --from LOG ..., got both ({})",
                    flags.scenario.file));
  }
  if (from_logs) {
    const std::vector<LogSummary> logs = read_summaries(flags.from);
    fmt::print("{}", comparison_table(logs));
    if (!flags.csv.empty()) write_csv(flags.csv, comparison_csv(logs));
    return 0;
  }
  if (flags.scenario.file.empty()) {
    throw InputError(
        "[command line] compare needs a scenario FILE or --from LOG ..., got neither; "
        "`ivory compare --help` shows examples");
  }
  const std::vector<Job> jobs = make_jobs(flags.scenario.read(), flags.run, flags.seeds);
  if (!flags.shard.empty()) return compare_shard(flags, jobs);
  if (!flags.csv.empty()) check_csv(flags.csv);
  const JobsReport report = run_jobs(jobs, flags.run, !flags.fresh);
  if (report.logs.empty()) return report.exit_code;
  const std::vector<LogSummary> logs = read_summaries(report.logs);
  if (!flags.run.json) fmt::print("{}{}", flags.run.quiet ? "" : "\n", comparison_table(logs));
  if (!flags.csv.empty()) write_csv(flags.csv, comparison_csv(logs));
  if (flags.run.json) return report.exit_code;
  if (!flags.run.quiet) {
    fmt::print("\n{} in {}; the table again: ivory compare --from {}\n",
               show_count(static_cast<double>(report.logs.size()), "log"), flags.run.out, log_pattern(flags.run, jobs));
    fmt::print("look at one with: ivory inspect {}\n", quoted_for_shell(report.logs.front()));
  }
  return report.exit_code;
}

}  // namespace

void add_compare(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("compare", "Run every arm on several seeds and compare them");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario, false);
  verb->add_option("--seeds", flags->seeds, "Number of seeds; default: 3")
      ->option_text("N")
      ->check(CLI::Range(1, 10000));
  add_run_flags(*verb, flags->run, "First seed; default: the scenario's");
  auto* from = verb->add_option("--from", flags->from, "Compare these logs; nothing is run")->option_text("LOG ...");
  verb->add_option("--csv", flags->csv, "Also write the numbers to this file")->option_text("FILE");
  verb->add_flag("--fresh", flags->fresh, "Run again what has a finished log")->option_text(" ");
  auto* shard =
      verb->add_option("--shard", flags->shard, "Run the I-th of N parts of the list of runs")->option_text("I/N");
  for (const char* name : {"--set", "--only", "--seeds", "--seed", "--threads", "--out", "--json", "--fresh"}) {
    from->excludes(verb->get_option(name));
  }
  from->excludes(shard);
  shard->excludes(verb->get_option("--csv"));
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return compare(*flags); }; });
}

}  // namespace ivory
