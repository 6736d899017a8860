#include "src/job_logs.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/content_hash.hpp"
#include "src/experiment.hpp"

namespace ivory {
namespace {

/// The first of LOG.1, LOG.2, ... that neither a log nor its checkpoints have.
std::string free_name(const std::string& log_file) {
  for (int number = 1;; ++number) {
    std::string other = fmt::format("{}.{}", log_file, number);
    if (!std::filesystem::exists(std::filesystem::symlink_status(other)) && !Checkpoints(other).exist()) return other;
  }
}

std::string move_away(const std::string& log_file, const char* what) {
  std::string other = free_name(log_file);
  std::error_code error;
  std::filesystem::rename(log_file, other, error);
  if (error) {
    throw RunError(fmt::format("[log] {} is kept under another name, got {} -> {}: {}; choose another place (--out)",
                               what, log_file, other, error.message()));
  }
  Checkpoints(log_file).move_to(other);
  return other;
}

}  // namespace

std::optional<LogReader> finished_log(const Job& job) {
  if (!is_ivory_log(job.log_file)) return std::nullopt;
  try {
    LogReader log(job.log_file);
    if (log.header().finished()) return log;
  } catch (const std::exception&) {
    // Damaged, or of another format: nobody's result.
  }
  return std::nullopt;
}

bool of_same_scenario(const LogHeader& header, const Scenario& scenario) {
  return header.seed == scenario.seed && header.scenario == to_toml(scenario);
}

bool stands_for(const LogHeader& header, const Scenario& scenario, const DeviceChoice& devices) {
  if (!of_same_scenario(header, scenario) || header.ivory_version != IVORY_VERSION) return false;
  if (header.device.starts_with("cuda") == devices.lanes.empty()) return false;
  try {
    const RunIdentity now = identify(scenario);
    return header.data_checksum == hexadecimal(now.data_checksum) && header.start_hash == hexadecimal(now.start_hash);
  } catch (const InputError&) {
    return false;  // the run itself will say what is wrong
  }
}

bool is_interrupted(const Job& job) {
  if (!Checkpoints(job.log_file).exist() || !is_ivory_log(job.log_file)) return false;
  try {
    const LogHeader header = LogReader(job.log_file).header();
    return !header.finished() && of_same_scenario(header, job.scenario);
  } catch (const std::exception&) {
    return false;  // damaged
  }
}

std::string set_aside(const Job& job, EarlierLog earlier) {
  std::optional<LogHeader> header;
  try {
    if (is_ivory_log(job.log_file)) header = LogReader(job.log_file).header();
  } catch (const std::exception&) {
    // Damaged, or of another format: nobody's result.
  }
  if (!header) return "";
  const bool same = of_same_scenario(*header, job.scenario);
  if (header->finished()) {
    if (same) return "";
    return fmt::format("an earlier run of other settings had this log; it is now {}",
                       move_away(job.log_file, "a finished log of other settings"));
  }
  if (earlier == EarlierLog::replaced || header->rounds_complete == 0 || !Checkpoints(job.log_file).exist()) return "";
  const std::string other = move_away(job.log_file, "the log of an interrupted run");
  return fmt::format(
      "an interrupted run of {} settings, with {} of {} rounds, had this log; it is now {}; go on with it: "
      "ivory run --resume {}",
      same ? "these" : "other", header->rounds_complete, header->rounds, other, quoted_for_shell(other));
}

}  // namespace ivory
