// Options that several verbs share, and the runs that they ask for.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ivory/scenario.hpp"
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

  std::vector<Scenario> read() const;
};

/// --seed, --threads, --out, --quiet, --json.
struct RunFlags {
  std::optional<std::uint64_t> seed;
  int threads = 0;     // 0: all that the process may use
  std::string device;  // empty: auto
  int block = 0;       // 0: as many as fit
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
};

/// Every arm with `seeds` seeds from --seed (or the arm's own seed) on: all arms of the first seed, then of the next.
/// Throws InputError when two of them would write the same log.
std::vector<Job> make_jobs(const std::vector<Scenario>& arms, const RunFlags& flags, std::uint64_t seeds);

/// `out`/name[-arm]-seedN.h5, with characters that file names do not want replaced by '_'.
std::string log_path(const std::string& out, const Scenario& scenario);
/// The `out`/name that logs of all arms begin with.
std::string log_stem(const std::string& out, const Scenario& scenario);

struct JobsReport {
  std::vector<std::string> logs;  // finished ones, in order
  std::size_t reused = 0, failed = 0;
  int exit_code = 0;  // 1 when a run failed, 2 when all failures were bad input
};

/// Runs the jobs one after the other, each with all threads. A job that fails is reported on stderr and the others
/// still run. `reuse` takes a finished log of the same resolved scenario instead of running again.
JobsReport run_jobs(const std::vector<Job>& jobs, const RunFlags& flags, bool reuse);

}  // namespace ivory
