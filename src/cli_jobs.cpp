// The order of a command's runs: on the CPU one after the other or several at a time, on accelerators in groups of seeds.
#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "ivory/error.hpp"
#include "src/cli_common.hpp"
#include "src/devices.hpp"
#include "src/interrupt.hpp"
#include "src/job_runner.hpp"
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

void run_on_cpu(JobRunner& runner, std::vector<Outcome>& outcomes, int side_by_side, int threads) {
  std::atomic<std::size_t> next = 0;
  const auto work = [&](int own_threads) {
    for (std::size_t i = next++; i < outcomes.size() && interrupted() == 0; i = next++) {
      auto reused = runner.reuse(i);
      outcomes[i] = reused ? std::move(*reused) : runner.run(i, own_threads);
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

void run_group(JobRunner& runner, std::vector<Outcome>& outcomes, std::vector<std::size_t> jobs,
               const DeviceChoice& devices, int threads) {
  // What a log stands for takes no part, and no memory.
  std::erase_if(jobs, [&](std::size_t job) {
    auto reused = runner.reuse(job);
    if (reused) outcomes[job] = std::move(*reused);
    return reused.has_value();
  });
  const auto alone = [&](std::size_t job) {
    if (interrupted() == 0) outcomes[job] = runner.run(job, threads);
  };
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
  JobRunner runner(jobs, flags, earlier, {choose_style(flags.quiet, flags.json), several, show_validation}, devices);
  std::vector<Outcome> outcomes(jobs.size());
  if (on_cpu) {
    run_on_cpu(runner, outcomes, side_by_side, threads);
  } else {
    for (const auto& group : groups) {
      if (interrupted() == 0) run_group(runner, outcomes, group, devices, threads);
    }
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
