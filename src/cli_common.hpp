// Options that several verbs share, and the runs that they ask for.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ivory/scenario.hpp"
#include "src/compare_table.hpp"
#include "src/devices.hpp"
#include "src/progress.hpp"

namespace CLI {
class App;
}

namespace ivory {

/// FILE, --set, --only.
struct ScenarioFlags {
  std::string file;
  std::vector<std::string> set;
  std::vector<std::string> only;  // as given: each may name several arms, divided by commas

  std::vector<std::string> arms() const;  // of --only; empty: all
  std::vector<Scenario> read() const;
};

/// --seed, --threads, --parallel, --out, --quiet, --json.
struct RunFlags {
  std::optional<std::uint64_t> seed;
  int threads = 0;     // 0: all that the process may use
  std::string device;  // empty: auto
  int block = 0;       // 0: as many as fit
  int parallel = 0;    // runs at a time; 0: see run_jobs
  std::string out = "runs";
  bool quiet = false, json = false;
};

/// `file_required` is off where another option can stand for FILE.
void add_scenario_flags(CLI::App& verb, ScenarioFlags& flags, bool file_required = true);
/// --threads, --device, --block.
void add_device_flags(CLI::App& verb, RunFlags& flags);
void add_run_flags(CLI::App& verb, RunFlags& flags, const std::string& seed_help);

/// One run to do: an arm with its seed.
struct Job {
  Scenario scenario;
  std::string log_file;
  bool resume = false;  // go on in the log; refused where that cannot be
};

/// Every arm with `seeds` seeds from --seed (or the arm's own seed) on: all arms of the first seed, then of the next.
/// Throws InputError when two of them would write the same log.
std::vector<Job> make_jobs(const std::vector<Scenario>& arms, const RunFlags& flags, std::uint64_t seeds);

/// `out`/name[-arm]-seedN.h5, with characters that file names do not want replaced by '_'.
std::string log_path(const std::string& out, const Scenario& scenario);
/// The `out`/name that logs of all arms begin with.
std::string log_stem(const std::string& out, const Scenario& scenario);

struct JobsReport {
  std::vector<LogSummary> runs;  // finished and failed ones, in the order of the jobs
  std::size_t reused = 0, failed = 0;
  int exit_code = 0;  // 1 when a run failed, 2 when all failures were bad input

  std::vector<std::string> logs() const;  // of the finished ones
};

/// What becomes of a log that lies where a run's own would be.
enum class EarlierLog {
  kept,  // moved away where it has something to lose
  used,  // a finished one of the same resolved scenario stands for the run, and an interrupted one is gone on with; else kept
  replaced  // an interrupted one too
};

/// Runs the jobs. On the CPU one after the other, each with all threads, or --parallel of them at a time (where it is not given: as
/// many as have threads to themselves, one per participant of a round). On accelerators the seeds of an arm are a group that fills
/// the same blocks (src/run_group.hpp). A job that fails is reported on stderr and the others still run. `show_validation`: the
/// progress has the quality on the validation set.
JobsReport run_jobs(const std::vector<Job>& jobs, const RunFlags& flags, EarlierLog earlier,
                    bool show_validation = false);
/// The same on these devices.
JobsReport run_jobs_on(const DeviceChoice& devices, const std::vector<Job>& jobs, const RunFlags& flags,
                       EarlierLog earlier, bool show_validation = false);

/// --seeds, --baseline, --csv, --fresh, --shard.
struct BatchFlags {
  std::uint64_t seeds = 3;
  std::string baseline;  // empty: the first arm
  std::string csv, shard;
  bool fresh = false;

  EarlierLog earlier() const { return fresh ? EarlierLog::replaced : EarlierLog::used; }
};

void add_batch_flags(CLI::App& verb, BatchFlags& flags);
/// Throws InputError unless `baseline` is empty or the name of an arm.
void check_baseline(const std::string& baseline, const std::vector<Scenario>& arms);

/// Runs the jobs of --shard and says what to do when all shards are done. Throws InputError for a part that is none.
int run_shard(const std::vector<Job>& all, const RunFlags& run, const BatchFlags& batch, const std::string& then,
              bool show_validation = false);

/// Better refused now than after the runs; what is there stays until there is something to replace it. Throws RunError.
void check_csv(const std::string& path);
void write_csv(const std::string& path, const std::string& text);

/// Of several files those that may be logs: patterns for logs also match the previews and replays beside them, which are named in
/// a note. All of them where no other is among them.
std::vector<std::string> without_previews(const std::vector<std::string>& files);

/// As a shell wants to read it.
std::string quoted_for_shell(const std::string& text);
/// What a shell would expand to the logs of these jobs, of all shards.
std::string log_pattern(const RunFlags& run, const std::vector<Job>& jobs);

}  // namespace ivory
