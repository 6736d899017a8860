// What compare and sweep share beside running: shards, the reference arm, tables in files, names for a shell.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "ivory/error.hpp"
#include "src/cli_common.hpp"
#include "src/log_reader.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

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

}  // namespace

void add_batch_flags(CLI::App& verb, BatchFlags& flags) {
  verb.add_option("--seeds", flags.seeds, "Number of seeds; default: 3")->option_text("N")->check(CLI::Range(1, 10000));
  verb.add_option("--baseline", flags.baseline, "Differences are taken to this arm; default: the first")
      ->option_text("ARM");
  auto* csv = verb.add_option("--csv", flags.csv, "Also write the numbers to this file")->option_text("FILE");
  verb.add_flag("--fresh", flags.fresh, "Run again what has a finished log")->option_text(" ");
  verb.add_option("--shard", flags.shard, "Run the I-th of N parts of the list of runs")
      ->option_text("I/N")
      ->excludes(csv);
}

void check_baseline(const std::string& baseline, const std::vector<Scenario>& arms) {
  if (baseline.empty()) return;
  std::vector<std::string> names;
  for (const Scenario& arm : arms) names.push_back(arm.arm.empty() ? arm.name : arm.arm);
  if (std::find(names.begin(), names.end(), baseline) != names.end()) return;
  throw InputError(fmt::format("[command line] --baseline must be one of the arms, got {}{}", shown(baseline),
                               suggestion(baseline, names)));
}

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

std::vector<std::string> without_previews(const std::vector<std::string>& files) {
  if (files.size() < 2) return files;
  std::vector<std::string> logs, others;
  for (const std::string& file : files) (is_made_of_a_log(file) ? others : logs).push_back(file);
  if (logs.empty() || others.empty()) return files;
  fmt::print(stderr, "ivory: passed by what is no log but a preview or a replay of one: {}\n", fmt::join(others, ", "));
  return logs;
}

std::string quoted_for_shell(const std::string& text) {
  constexpr const char* plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./-+=,:@%";
  if (text.find_first_not_of(plain) == std::string::npos) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::string log_pattern(const RunFlags& run, const std::vector<Job>& jobs) {
  const bool arms = std::any_of(jobs.begin(), jobs.end(), [](const Job& job) { return !job.scenario.arm.empty(); });
  return quoted_for_shell(log_stem(run.out, jobs.front().scenario)) + (arms ? "-*-seed*.h5" : "-seed*.h5");
}

int run_shard(const std::vector<Job>& all, const RunFlags& run, const BatchFlags& batch, const std::string& then,
              bool show_validation) {
  const Shard shard = parse_shard(batch.shard);
  const std::vector<Job> jobs = part_of(all, shard);
  const JobsReport report = run_jobs(jobs, run, batch.earlier(), show_validation);
  if (run.json) return report.exit_code;
  fmt::print("shard {}/{}: {} of {}, {} reused, {} failed\n", shard.index, shard.count,
             show_count(static_cast<double>(jobs.size()), "run"), all.size(), report.reused, report.failed);
  for (const std::string& log : report.logs()) fmt::print("  {}\n", log);
  fmt::print("when all shards are done: {}\n", then);
  return report.exit_code;
}

}  // namespace ivory
