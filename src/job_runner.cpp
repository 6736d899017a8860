#include "src/job_runner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <new>
#include <string_view>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/experiment.hpp"
#include "src/interrupt.hpp"
#include "src/job_logs.hpp"

namespace ivory {
namespace {

constexpr const char* no_room = "there is not enough memory for all of them (--parallel limits their number)";

std::string job_name(const Job& job) {
  const std::string& name = job.scenario.arm.empty() ? job.scenario.name : job.scenario.arm;
  return fmt::format("{} seed {}", name, job.scenario.seed);
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

LogSummary failed_run(const Scenario& scenario, const std::string& reason) {
  LogSummary run;
  run.name = scenario.name;
  run.arm = scenario.arm;
  run.algorithm = scenario.algorithm_name;
  run.seed = scenario.seed;
  run.failure = reason;
  return run;
}

Outcome put_off(const Job& job, Progress& progress, const std::string& reason) {
  progress.note(fmt::format("{}  runs by itself, after the others: {}", job_name(job), reason));
  progress.abandon();
  return {.summary = {}, .alone = true};
}

/// Where nobody asked for it by name, a log that cannot be gone on with makes way.
int run_or_begin_anew(const Job& job, RunSettings& settings) {
  try {
    return run_experiment(job.scenario, settings);
  } catch (const InputError& error) {
    if (job.resume || !settings.resume || !std::string_view(error.what()).starts_with("[resume]")) throw;
    settings.on_note(fmt::format("begins anew: {}", error.what()));
  }
  settings.resume = false;
  return run_experiment(job.scenario, settings);
}

}  // namespace

void Failures::report(const std::string& name, const std::string& message) {
  const std::lock_guard lock(mutex_);
  const auto known = std::find_if(said_.begin(), said_.end(), [&](const auto& one) { return one.second == message; });
  if (known == said_.end()) {
    fmt::print(stderr, "ivory: {} failed: {}\n", name, message);
    said_.emplace_back(name, message);
  } else {
    fmt::print(stderr, "ivory: {} failed like {}\n", name, known->first);
  }
}

bool SaidOnce::is_new(const std::string& text) {
  const std::lock_guard lock(mutex_);
  return said_.insert(text).second;
}

std::optional<Outcome> JobRunner::reuse(std::size_t index) {
  if (!uses_earlier()) return std::nullopt;
  const Job& job = jobs_[index];
  try {
    const auto log = finished_log(job);
    if (!log || !stands_for(log->header(), job.scenario, devices_)) return std::nullopt;
    Progress(view_).note(fmt::format("[{}/{}] {}  reused {}", index + 1, jobs_.size(), job_name(job), job.log_file));
    if (flags_.json) print_json(title_of(index), *log);
    return outcome_of_log(job, true);
  } catch (const std::exception&) {
    return failed_by_exception(job, false);
  }
}

Outcome JobRunner::run(std::size_t index, int threads, RunGroup::Invitation* group) {
  const Job& job = jobs_[index];
  Progress progress(view_);
  bool began = false;
  try {
    if (!run_now(job, title_of(index), progress, threads, group, began)) return {};
    return outcome_of_log(job, false);
  } catch (const RunsApart& error) {
    return put_off(job, progress, error.what());
  } catch (const std::exception& error) {
    const bool of_memory =
        dynamic_cast<const MemoryError*>(&error) != nullptr || dynamic_cast<const std::bad_alloc*>(&error) != nullptr;
    if (of_memory && group != nullptr && !began) return put_off(job, progress, no_room);
    progress.abandon();
    return failed_by_exception(job, began);
  }
}

ProgressTitle JobRunner::title_of(std::size_t index) const {
  const Scenario& scenario = jobs_[index].scenario;
  return {scenario.name, scenario.arm, scenario.seed, scenario.rounds, index + 1, jobs_.size()};
}

Outcome JobRunner::outcome_of_log(const Job& job, bool reused) {
  LogSummary summary = read_summary(job.log_file);
  if (!summary.failure.empty()) {
    failures_.report(job_name(job), fmt::format("{}; see {}", summary.failure, job.log_file));
  }
  return {.summary = std::move(summary), .reused = reused, .bad_input = false};
}

Outcome JobRunner::failed(const Job& job, const std::string& message, bool bad_input) {
  failures_.report(job_name(job), message);
  return {.summary = failed_run(job.scenario, message), .reused = false, .bad_input = bad_input};
}

/// Of the exception under way.
Outcome JobRunner::failed_by_exception(const Job& job, bool began) {
  try {
    throw;
  } catch (const InputError& error) {
    return failed(job, error.what(), true);
  } catch (const MemoryError& error) {
    return failed(job, error.what(), !began);  // before the first round it is the input that does not fit
  } catch (const std::bad_alloc&) {
    return failed(
        job, "[memory] there is not enough of it; fewer threads, a smaller batch or a smaller model need less", false);
  } catch (const std::exception& error) {
    return failed(job, error.what(), false);
  }
}

/// False where the run was told to stop. `began` is set with its first finished round.
bool JobRunner::run_now(const Job& job, const ProgressTitle& title, Progress& progress, int threads,
                        RunGroup::Invitation* group, bool& began) {
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

}  // namespace ivory
