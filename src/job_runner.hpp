// One job of a command: its progress, its failure, or the finished log that stands for it.
#pragma once
#include <cstddef>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "src/cli_common.hpp"
#include "src/run_group.hpp"

namespace ivory {

/// What became of a job; without a summary it was stopped or never began.
struct Outcome {
  std::optional<LogSummary> summary;
  bool reused = false, bad_input = false;
  bool alone = false;  // not done: it cannot share an accelerator with its group
};

/// Messages that several arms share (a missing data set) are said once.
class Failures {
 public:
  /// `name`: of the run.
  void report(const std::string& name, const std::string& message);

 private:
  std::mutex mutex_;
  std::vector<std::pair<std::string, std::string>> said_;
};

/// Texts that are said once, whichever run has them first.
class SaidOnce {
 public:
  bool is_new(const std::string& text);

 private:
  std::mutex mutex_;
  std::set<std::string> said_;
};

/// Runs the jobs of one list, by their index. It may be called by several threads at a time, for different jobs. No failure of
/// a job leaves it as an exception.
class JobRunner {
 public:
  JobRunner(const std::vector<Job>& jobs, const RunFlags& flags, EarlierLog earlier, const ProgressView& view,
            const DeviceChoice& devices)
      : jobs_(jobs), flags_(flags), earlier_(earlier), view_(view), devices_(devices) {}

  /// What the finished log that stands for the job says; nothing where there is none, and the job is to be run.
  std::optional<Outcome> reuse(std::size_t index);

  /// `group` (may be null): the runs that it shares accelerators with.
  Outcome run(std::size_t index, int threads, RunGroup::Invitation* group = nullptr);

 private:
  ProgressTitle title_of(std::size_t index) const;
  Outcome outcome_of_log(const Job& job, bool reused);
  Outcome failed(const Job& job, const std::string& message, bool bad_input);
  Outcome failed_by_exception(const Job& job, bool began);
  bool run_now(const Job& job, const ProgressTitle& title, Progress& progress, int threads, RunGroup::Invitation* group,
               bool& began);
  bool uses_earlier() const { return earlier_ == EarlierLog::used; }

  const std::vector<Job>& jobs_;
  const RunFlags& flags_;
  EarlierLog earlier_;
  ProgressView view_;
  const DeviceChoice& devices_;
  Failures failures_;
  SaidOnce warnings_;
};

}  // namespace ivory
