// Running a list of jobs: reuse of finished logs, progress, failures.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <filesystem>
#include <new>
#include <optional>
#include <system_error>

#include "ivory/error.hpp"
#include "src/cli_common.hpp"
#include "src/content_hash.hpp"
#include "src/devices.hpp"
#include "src/experiment.hpp"
#include "src/interrupt.hpp"
#include "src/log_reader.hpp"

namespace ivory {
namespace {

void make_folder(const std::string& folder) {
  if (folder.empty()) return;
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) {
    throw RunError(fmt::format("[log] the folder for the logs must be creatable, got {}: {}; choose another with --out",
                               folder, error.message()));
  }
}

std::string job_name(const Job& job) {
  const std::string& name = job.scenario.arm.empty() ? job.scenario.name : job.scenario.arm;
  return fmt::format("{} seed {}", name, job.scenario.seed);
}

/// The log of a finished run under the job's name; empty when there is none.
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

/// Would this run write the same numbers again? Same scenario, program, examples, start weights and kind of device.
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

/// A finished run of other settings is not lost to a trial that goes by the same name: its log moves to LOG.1, LOG.2, ...
/// Returns the new name, empty where nothing was in the way.
std::string set_aside(const Job& job) {
  const auto log = finished_log(job);
  if (!log || of_same_scenario(log->header(), job.scenario)) return "";
  for (int number = 1;; ++number) {
    std::string other = fmt::format("{}.{}", job.log_file, number);
    if (std::filesystem::exists(std::filesystem::symlink_status(other))) continue;
    std::error_code error;
    std::filesystem::rename(job.log_file, other, error);
    if (!error) return other;
    throw RunError(
        fmt::format("[log] a finished log of other settings is kept under another name, got {} -> {}: {}; "
                    "choose another place (--out)",
                    job.log_file, other, error.message()));
  }
}

/// Prints the rounds of a log as --json would have while they ran.
void print_json(const ProgressTitle& title, const LogReader& log) {
  RoundColumns row = columns_of({});
  std::vector<std::vector<double>> columns;
  for (const auto& [name, value] : row) columns.push_back(log.column(name));
  const std::vector<std::uint64_t> hashes = log.state_hashes();
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    for (std::size_t c = 0; c < row.size(); ++c) row[c].second = columns[c][i];
    fmt::print("{}\n", round_as_json(title, static_cast<int>(i) + 1, row, hashes[i]));
  }
}

/// Messages that several arms share (a missing data set) are said once.
class Failures {
 public:
  void report(const Job& job, const std::string& message) {
    const auto known = std::find_if(said_.begin(), said_.end(), [&](const auto& one) { return one.second == message; });
    if (known == said_.end()) {
      fmt::print(stderr, "ivory: {} failed: {}\n", job_name(job), message);
      said_.emplace_back(job_name(job), message);
    } else {
      fmt::print(stderr, "ivory: {} failed like {}\n", job_name(job), known->first);
    }
  }

 private:
  std::vector<std::pair<std::string, std::string>> said_;
};

}  // namespace

JobsReport run_jobs(const std::vector<Job>& jobs, const RunFlags& flags, bool reuse) {
  JobsReport report;
  Progress progress(choose_style(flags.quiet, flags.json));
  Failures failures;
  bool all_input = true;
  const DeviceChoice devices = choose_devices(flags.device);
  // Who built without CUDA and asks for nothing need not be told every time.
  const bool expected = flags.device.empty() && !cuda_devices().built;
  if (!devices.why_cpu.empty() && !flags.quiet && !flags.json && !expected) {
    fmt::print(stderr, "ivory: on the CPU: {}\n", devices.why_cpu);
  }
  if (!jobs.empty()) make_folder(flags.out);
  catch_interrupts();
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const Job& job = jobs[i];
    const ProgressTitle title = {job.scenario.name, job.scenario.arm, job.scenario.seed, job.scenario.rounds, i + 1,
                                 jobs.size()};
    if (const auto log = reuse ? finished_log(job) : std::nullopt;
        log && stands_for(log->header(), job.scenario, devices)) {
      progress.note(fmt::format("[{}/{}] {}  reused {}", i + 1, jobs.size(), job_name(job), job.log_file));
      if (flags.json) print_json(title, *log);
      report.logs.push_back(job.log_file);
      ++report.reused;
      continue;
    }
    const auto failed = [&](const std::string& message, bool input) {
      progress.abandon();
      failures.report(job, message);
      ++report.failed;
      all_input = all_input && input;
    };
    double used = 0;
    try {
      progress.start(title);
      RunSettings settings;
      settings.threads =
          flags.threads > 0 ? flags.threads : omp_get_max_threads();  // affinity and OMP_NUM_THREADS count
      settings.log_file = job.log_file;
      settings.devices = devices.lanes;
      settings.block = static_cast<std::size_t>(flags.block);
      settings.before_log = [&] {
        const std::string other = set_aside(job);
        if (other.empty()) return;
        progress.note(
            fmt::format("{}  an earlier run of other settings had this log; it is now {}", job_name(job), other));
      };
      settings.on_round = [&](const RoundRecord& record) {
        progress.round(record);
        used += record.participants;
      };
      settings.should_stop = [] { return interrupted() != 0; };
      const int rounds = run_experiment(job.scenario, settings);
      progress.finish();
      if (rounds < job.scenario.rounds) {
        fmt::print(stderr, "ivory: {} stopped after round {} of {}; {} has these\n", job_name(job), rounds,
                   job.scenario.rounds, job.log_file);
        break;
      }
      if (used == 0) {
        failed(fmt::format("[run] some client's update must be usable, got none in {} rounds; see {}", rounds,
                           job.log_file),
               false);
        continue;
      }
      report.logs.push_back(job.log_file);
    } catch (const InputError& error) {
      failed(error.what(), true);
    } catch (const MemoryError& error) {
      failed(error.what(), used == 0);  // before the first round it is the input that does not fit
    } catch (const std::bad_alloc&) {
      failed("[memory] there is not enough of it; fewer threads, a smaller batch or a smaller model need less", false);
    } catch (const std::exception& error) {
      failed(error.what(), false);
    }
    if (interrupted() != 0) break;
  }
  if (report.failed > 0) report.exit_code = all_input ? 2 : 1;
  if (interrupted() != 0) report.exit_code = 128 + interrupted();
  return report;
}

}  // namespace ivory
