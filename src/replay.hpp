// ivory replay: one client's visit of a logged run again, bit for bit, with a look at each of its steps.
#pragma once
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "clients/step_watch.hpp"
#include "src/experiment.hpp"
#include "src/log_reader.hpp"

namespace ivory {

/// Where the state before the round comes from. All give the same bits; `best` is the first of the others that there is.
enum class ReplaySource {
  best,
  log,         // the server's Gaussian of the round before, and the client's site of its last visit
  checkpoint,  // the newest one beside the log before the round; the rounds after it are trained again
  start,       // all rounds before are trained again
};

struct ReplayQuestion {
  std::string log;
  int round = 0;  // 1-based
  std::uint32_t client = 0;
  ReplaySource source = ReplaySource::best;
  std::uint64_t every = 1;   // steps from one report to the next
  bool whole_round = false;  // also compare the server's state after the round, with all its clients trained again
  bool any_device = false;   // go on where the device, or the bits, are others than the log's, and say so
};

struct ReplayReport {
  LogHeader header;
  ReplayQuestion question;
  std::string device;
  std::string source;              // the state before the round came from, in words
  std::vector<std::string> notes;  // what the user should know
  double examples = 0, steps = 0;
  double train_loss = 0, logged_train_loss = 0;  // of the visit; the log's is a float32
  bool refused = false;                          // the server did not take the visit, then and now
  double unusable = 0;                           // what it was refused for: entries of the result that are not usable
  std::vector<StepReport> reports;
  // What the client sent, [P], exact in double; the precision is empty for point methods, or [P x P] with full covariances.
  std::vector<double> mean, precision;
  bool in_double = false;                // of the run: else they are float32
  std::vector<std::string> same;         // what was compared with the log and is the same
  std::vector<std::string> differences;  // and what is not
  bool vectors_logged = true;            // the log has what the client sent; else only loss and steps were compared

  bool steps_have_precision() const { return !reports.empty() && !std::isnan(reports.front().precision_mean); }
};

/// Makes the visit again. `settings` gives threads and devices. The log is only read; it may be one of a run that goes on.
/// Throws InputError for a visit that the log does not have, and for other data, partition, start weights or (unless any_device)
/// another kind of device than the log's; RunError where a round that is trained again ends in another state than the log's.
ReplayReport replay(const ReplayQuestion& question, const RunSettings& settings);

/// Header lines, and a table of the steps; the lines of what was compared.
std::string replay_table(const ReplayReport& report);
std::string replay_comparison(const ReplayReport& report);
std::string replay_csv(const ReplayReport& report);
/// One JSON object per step, and one with the outcome, a line each.
std::string replay_json(const ReplayReport& report);

/// Throws InputError where `path` is something else than a file of an earlier replay.
void check_replay_path(const std::string& path);
/// The steps and what the client sent (docs/log-format.md, "Replays"). Throws RunError.
void write_replay(const std::string& path, const ReplayReport& report);

}  // namespace ivory
