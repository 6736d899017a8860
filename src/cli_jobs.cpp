// Running a list of jobs, one after the other or several at a time: reuse of finished logs, progress, failures.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <set>
#include <system_error>
#include <thread>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/cli_common.hpp"
#include "src/content_hash.hpp"
#include "src/devices.hpp"
#include "src/experiment.hpp"
#include "src/interrupt.hpp"
#include "src/log_reader.hpp"
#include "src/run_group.hpp"

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

/// Is there a log of this run that stopped half-way, with a checkpoint?
bool is_interrupted(const Job& job) {
  if (!Checkpoints(job.log_file).exist() || !is_ivory_log(job.log_file)) return false;
  try {
    const LogHeader header = LogReader(job.log_file).header();
    return !header.finished() && of_same_scenario(header, job.scenario);
  } catch (const std::exception&) {
    return false;  // damaged
  }
}

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

/// A run is not lost to another one that goes by its name: its log moves to LOG.1, LOG.2, ..., with its checkpoints. That is for
/// finished logs of other settings (those of the same would be written again as they are) and for interrupted ones with a
/// checkpoint (without one they would begin at round 1 anyway). Returns what to say, empty where nothing was in the way.
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

/// Prints the rounds of a log as --json would have while they ran.
void print_json(const ProgressTitle& title, const LogReader& log) {
  RoundColumns row = columns_of({});
  std::vector<std::vector<double>> columns;
  const std::vector<std::uint64_t> hashes = log.state_hashes();
  for (const auto& [name, value] : row) {
    columns.push_back(log.has_column(name) ? log.column(name) : std::vector<double>(hashes.size(), no_value));
  }
  for (std::size_t i = 0; i < hashes.size(); ++i) {
    for (std::size_t c = 0; c < row.size(); ++c) row[c].second = columns[c][i];
    fmt::print("{}\n", round_as_json(title, static_cast<int>(i) + 1, row, hashes[i]));
  }
}

/// Messages that several arms share (a missing data set) are said once.
class Failures {
 public:
  void report(const Job& job, const std::string& message) {
    const std::lock_guard lock(mutex_);
    const auto known = std::find_if(said_.begin(), said_.end(), [&](const auto& one) { return one.second == message; });
    if (known == said_.end()) {
      fmt::print(stderr, "ivory: {} failed: {}\n", job_name(job), message);
      said_.emplace_back(job_name(job), message);
    } else {
      fmt::print(stderr, "ivory: {} failed like {}\n", job_name(job), known->first);
    }
  }

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> said_;
};

/// Texts that are said once, whichever run has them first.
class SaidOnce {
 public:
  bool is_new(const std::string& text) {
    const std::lock_guard lock(mutex_);
    return said_.insert(text).second;
  }

 private:
  std::mutex mutex_;
  std::set<std::string> said_;
};

/// What became of a job; without a summary it was stopped or never began.
struct Outcome {
  std::optional<LogSummary> summary;
  bool reused = false, bad_input = false;
  bool alone = false;  // not done: it cannot share an accelerator with its group
};

LogSummary failed_run(const Scenario& scenario, const std::string& reason) {
  LogSummary run;
  run.name = scenario.name;
  run.arm = scenario.arm;
  run.algorithm = scenario.algorithm_name;
  run.seed = scenario.seed;
  run.failure = reason;
  return run;
}

/// Clients that train side by side in a round, as far as the scenario alone says it; 0: the data say it.
double participants(const Scenario& scenario) {
  if (scenario.clients.boolean("pool")) return 1;
  const auto clients = static_cast<double>(scenario.clients.integer("count"));
  return std::min(clients, std::max(1.0, std::round(scenario.clients.real("participation") * clients)));
}

/// On the CPU. A run cannot use more threads than it has participants: what is left serves further runs.
int runs_at_a_time(const std::vector<Job>& jobs, const RunFlags& flags, int threads) {
  const int most = static_cast<int>(std::min<std::size_t>(std::max<std::size_t>(jobs.size(), 1), 1024));
  if (flags.parallel > 0) {
    if (flags.parallel > threads) {
      throw InputError(
          fmt::format("[command line] --parallel must be at most the number of threads, {}, got {}; each "
                      "run needs one (--threads)",
                      threads, flags.parallel));
    }
    return std::min(flags.parallel, most);
  }
  double widest = 1;
  for (const Job& job : jobs) {
    const double here = participants(job.scenario);
    widest = std::max(widest, here > 0 ? here : threads);
  }
  return std::clamp(static_cast<int>(threads / widest), 1, most);
}

/// Runs the jobs of one list; `run` may be called by several threads at a time, for different jobs.
class Runner {
 public:
  Runner(const std::vector<Job>& jobs, const RunFlags& flags, EarlierLog earlier, const ProgressView& view,
         const DeviceChoice& devices)
      : jobs_(jobs), flags_(flags), earlier_(earlier), view_(view), devices_(devices) {}

  /// A finished log stands for it.
  bool is_finished(std::size_t index) const {
    try {
      const auto log = uses_earlier() ? finished_log(jobs_[index]) : std::nullopt;
      return log && stands_for(log->header(), jobs_[index].scenario, devices_);
    } catch (const std::exception&) {
      return false;  // the run itself will say what is wrong
    }
  }

  /// `group` (may be null): the runs that it shares accelerators with.
  Outcome run(std::size_t index, int threads, RunGroup::Invitation* group = nullptr) {
    const Job& job = jobs_[index];
    const ProgressTitle title = {job.scenario.name,   job.scenario.arm, job.scenario.seed,
                                 job.scenario.rounds, index + 1,        jobs_.size()};
    Progress progress(view_);
    bool began = false;
    const auto failed = [&](const std::string& message, bool input) {
      progress.abandon();
      failures_.report(job, message);
      return Outcome{.summary = failed_run(job.scenario, message), .reused = false, .bad_input = input};
    };
    try {
      const bool reused = uses_earlier() && print_finished(job, title, progress);
      if (!reused && !run_now(job, title, progress, threads, group, began)) return {};
      LogSummary summary = read_summary(job.log_file);
      if (!summary.failure.empty()) {
        failures_.report(job, fmt::format("{}; see {}", summary.failure, job.log_file));
        return {.summary = std::move(summary), .reused = reused, .bad_input = false};
      }
      return {.summary = std::move(summary), .reused = reused, .bad_input = false};
    } catch (const InputError& error) {
      return failed(error.what(), true);
    } catch (const RunsApart& error) {
      return put_off(job, progress, error.what());
    } catch (const MemoryError& error) {
      if (group != nullptr && !began) return put_off(job, progress, no_room);
      return failed(error.what(), !began);  // before the first round it is the input that does not fit
    } catch (const std::bad_alloc&) {
      if (group != nullptr && !began) return put_off(job, progress, no_room);
      return failed("[memory] there is not enough of it; fewer threads, a smaller batch or a smaller model need less",
                    false);
    } catch (const std::exception& error) {
      return failed(error.what(), false);
    }
  }

 private:
  /// True where a finished log stands for the run.
  bool print_finished(const Job& job, const ProgressTitle& title, Progress& progress) const {
    const auto log = finished_log(job);
    if (!log || !stands_for(log->header(), job.scenario, devices_)) return false;
    progress.note(fmt::format("[{}/{}] {}  reused {}", title.index, title.total, job_name(job), job.log_file));
    if (flags_.json) print_json(title, *log);
    return true;
  }

  static constexpr const char* no_room = "there is not enough memory for all of them (--parallel limits their number)";

  static Outcome put_off(const Job& job, Progress& progress, const std::string& reason) {
    progress.note(fmt::format("{}  runs by itself, after the others: {}", job_name(job), reason));
    progress.abandon();
    return {.summary = {}, .alone = true};
  }

  /// False where the run was told to stop. `began` is set with its first finished round.
  bool run_now(const Job& job, const ProgressTitle& title, Progress& progress, int threads, RunGroup::Invitation* group,
               bool& began) const {
    if (job.resume) {
      if (const auto log = finished_log(job); log && of_same_scenario(log->header(), job.scenario)) {
        progress.note(fmt::format("{}  has all its rounds", job_name(job)));
        Checkpoints(job.log_file).remove();
        return true;
      }
    }
    progress.start(title);
    RunSettings settings;
    settings.threads = threads;
    settings.log_file = job.log_file;
    settings.devices = devices_.lanes;
    settings.block = static_cast<std::size_t>(flags_.block);
    settings.group = group;
    settings.before_log = [&] {
      if (const std::string said = set_aside(job, earlier_); !said.empty()) {
        progress.note(fmt::format("{}  {}", job_name(job), said));
      }
    };
    settings.on_round = [&](const RoundRecord& record) {
      progress.round(record);
      began = true;
    };
    settings.should_stop = [] { return interrupted() != 0; };
    settings.on_note = [&](const std::string& text) { progress.note(fmt::format("{}  {}", job_name(job), text)); };
    settings.on_warning = [&](const std::string& text) {
      if (warnings_.is_new(text)) progress.warn(text);
    };
    settings.resume = job.resume || (uses_earlier() && is_interrupted(job));
    const int rounds = run_or_begin_anew(job, settings);
    progress.finish();
    if (rounds == job.scenario.rounds) return true;
    fmt::print(stderr, "ivory: {} stopped after round {} of {}; {} has these; go on with: {}\n", job_name(job), rounds,
               job.scenario.rounds, job.log_file,
               uses_earlier() ? "the same command" : "ivory run --resume " + quoted_for_shell(job.log_file));
    return false;
  }

  bool uses_earlier() const { return earlier_ == EarlierLog::used; }

  /// Where nobody asked for it by name, a log that cannot be gone on with makes way.
  static int run_or_begin_anew(const Job& job, RunSettings& settings) {
    try {
      return run_experiment(job.scenario, settings);
    } catch (const InputError& error) {
      if (job.resume || !settings.resume || !std::string_view(error.what()).starts_with("[resume]")) throw;
      settings.on_note(fmt::format("begins anew: {}", error.what()));
    }
    settings.resume = false;
    return run_experiment(job.scenario, settings);
  }

  const std::vector<Job>& jobs_;
  const RunFlags& flags_;
  EarlierLog earlier_;
  ProgressView view_;
  const DeviceChoice& devices_;
  Failures failures_;
  mutable SaidOnce warnings_;
};

void run_on_cpu(Runner& runner, std::vector<Outcome>& outcomes, int side_by_side, int threads) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&](int own_threads) {
    for (std::size_t i = next++; i < outcomes.size() && interrupted() == 0; i = next++) {
      outcomes[i] = runner.run(i, own_threads);
    }
  };
  if (side_by_side == 1) return work(threads);
  std::vector<std::jthread> workers;
  for (int w = 0; w < side_by_side; ++w) {
    workers.emplace_back(work, threads / side_by_side + (w < threads % side_by_side ? 1 : 0));
  }
}

using Groups = std::vector<std::vector<std::size_t>>;

/// Seeds of an arm, which share the blocks of an accelerator; --parallel is the most of them.
Groups groups_on_accelerators(const std::vector<Job>& jobs, const RunFlags& flags) {
  constexpr int most_by_default = 8;  // each has its data in main memory
  std::vector<const Scenario*> scenarios;
  for (const Job& job : jobs) scenarios.push_back(&job.scenario);
  return groups_of_seeds(scenarios, static_cast<std::size_t>(flags.parallel > 0 ? flags.parallel : most_by_default));
}

void run_group(Runner& runner, std::vector<Outcome>& outcomes, std::vector<std::size_t> jobs,
               const DeviceChoice& devices, int threads) {
  const auto alone = [&](std::size_t job) {
    if (interrupted() == 0) outcomes[job] = runner.run(job, threads);
  };
  // What a log stands for takes no part, and no memory.
  std::erase_if(jobs, [&](std::size_t job) {
    const bool finished = runner.is_finished(job);
    if (finished) alone(job);
    return finished;
  });
  std::size_t free_memory = 0;
  try {
    if (jobs.size() > 1) free_memory = devices.lanes.front()(ProductPrecision::float32)->free_memory();
  } catch (const RunError&) {  // of the device: each of them says it
  }
  if (free_memory == 0) {
    std::for_each(jobs.begin(), jobs.end(), alone);
    return;
  }
  {
    RunGroup group(jobs.size(), free_memory);
    const int own_threads = std::max(1, threads / static_cast<int>(jobs.size()));
    std::vector<std::jthread> workers;
    // Those that never come must not be waited for: an invitation ends with its thread, or here where that cannot start.
    std::vector<std::unique_ptr<RunGroup::Invitation>> invitations;
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      invitations.push_back(std::make_unique<RunGroup::Invitation>(group));
    }
    for (std::size_t i = 0; i < jobs.size(); ++i) {
      workers.emplace_back([&runner, &outcomes, job = jobs[i], own_threads, invitation = std::move(invitations[i])] {
        if (interrupted() == 0) outcomes[job] = runner.run(job, own_threads, invitation.get());
      });
    }
  }
  for (const std::size_t job : jobs) {
    if (outcomes[job].alone) alone(job);
  }
}

}  // namespace

JobsReport run_jobs(const std::vector<Job>& jobs, const RunFlags& flags, EarlierLog earlier, bool show_validation) {
  const DeviceChoice devices = choose_devices(flags.device);
  // Who built without CUDA and asks for nothing need not be told every time.
  const bool expected = flags.device.empty() && !cuda_devices().built;
  if (!devices.why_cpu.empty() && !flags.quiet && !flags.json && !expected) {
    fmt::print(stderr, "ivory: on the CPU: {}\n", devices.why_cpu);
  }
  return run_jobs_on(devices, jobs, flags, earlier, show_validation);
}

JobsReport run_jobs_on(const DeviceChoice& devices, const std::vector<Job>& jobs, const RunFlags& flags,
                       EarlierLog earlier, bool show_validation) {
  // Affinity and OMP_NUM_THREADS count.
  const int threads = flags.threads > 0 ? flags.threads : omp_get_max_threads();
  const bool on_cpu = devices.lanes.empty();
  const int side_by_side = on_cpu ? runs_at_a_time(jobs, flags, threads) : 1;
  const auto groups = on_cpu ? Groups{} : groups_on_accelerators(jobs, flags);
  const bool several =
      side_by_side > 1 || std::any_of(groups.begin(), groups.end(), [](const auto& group) { return group.size() > 1; });
  if (!jobs.empty()) make_folder(flags.out);
  catch_interrupts();
  Runner runner(jobs, flags, earlier, {choose_style(flags.quiet, flags.json), several, show_validation}, devices);
  std::vector<Outcome> outcomes(jobs.size());
  if (on_cpu) {
    run_on_cpu(runner, outcomes, side_by_side, threads);
  } else {
    for (const auto& group : groups) run_group(runner, outcomes, group, devices, threads);
  }

  JobsReport report;
  bool all_input = true;
  for (Outcome& outcome : outcomes) {
    if (!outcome.summary) continue;
    report.reused += outcome.reused ? 1 : 0;
    if (!outcome.summary->failure.empty()) {
      ++report.failed;
      all_input = all_input && outcome.bad_input;
    }
    report.runs.push_back(std::move(*outcome.summary));
  }
  if (report.failed > 0) report.exit_code = all_input ? 2 : 1;
  if (interrupted() != 0) report.exit_code = 128 + interrupted();
  return report;
}

std::vector<std::string> JobsReport::logs() const {
  std::vector<std::string> files;
  for (const LogSummary& run : runs) {
    if (run.failure.empty()) files.push_back(run.file);
  }
  return files;
}

}  // namespace ivory
