#include "src/experiment.hpp"

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/data_sets.hpp"
#include "src/model.hpp"
#include "src/partition.hpp"
#include "src/run.hpp"
#include "src/state_hash.hpp"

namespace ivory {
namespace {

std::string resume_note(std::uint64_t from, int logged) {
  const auto complete = static_cast<std::uint64_t>(logged);
  if (from == complete) return fmt::format("goes on after round {}", from);
  return fmt::format(
      "goes on after round {}; computes {} again, which the log has", from,
      from + 1 == complete ? fmt::format("round {}", complete) : fmt::format("rounds {} to {}", from + 1, complete));
}

template <class Real>
int run_rounds(const Scenario& scenario, const RunSettings& settings) {
  Run<Real> run(scenario, settings);
  if (const std::string warning = holdout_warning(scenario, run.parts().partition);
      !warning.empty() && settings.on_warning) {
    settings.on_warning(warning);
  }
  if (settings.before_log && !settings.resume) settings.before_log();
  const auto note = [&](const std::string& text) {
    if (settings.on_note) settings.on_note(text);
  };
  Checkpoints checkpoints(settings.log_file);
  RunLog log =
      settings.resume ? RunLog::reopen(settings.log_file, run.log_plan()) : RunLog(settings.log_file, run.log_plan());
  if (!settings.resume) checkpoints.remove();  // of the run whose log is replaced, once it is
  const int logged = log.rounds_complete();
  if (settings.resume) {
    run.restore(checkpoints, static_cast<std::uint64_t>(logged), [&](int round) { return log.state_hash(round); });
    note(resume_note(run.rounds_done(), logged));
  }
  const auto every = static_cast<std::uint64_t>(scenario.log.integer("checkpoint_every"));
  std::uint64_t saved = run.rounds_done();
  bool complained = false;
  const auto save = [&] {
    log.flush();  // a checkpoint that is ahead of the log is of no use
    try {
      run.save(checkpoints);
      saved = run.rounds_done();
      complained = false;
    } catch (const RunError& error) {  // the run is worth more than its checkpoint
      if (!complained) note(fmt::format("{}; the run goes on without it, and tries again", error.what()));
      complained = true;
    }
  };
  const auto rounds = static_cast<std::uint64_t>(scenario.rounds);
  while (run.rounds_done() < rounds && !(settings.should_stop && settings.should_stop())) {
    const RoundRecord record = run.round(log);
    if (settings.on_round && record.round > logged) settings.on_round(record);
    if (every > 0 && run.rounds_done() % every == 0 && run.rounds_done() < rounds) save();
  }
  if (run.rounds_done() == rounds) {
    log.flush();  // until its last round is written they are needed
    checkpoints.remove();
  } else if (run.rounds_done() > saved) {
    save();
  }
  log.close();
  if (log.overflows() > 0) {
    note(
        fmt::format("{} recorded numbers are beyond what float16 holds (65504) and stand as infinite in the log; set "
                    "log.storage = \"float32\"",
                    log.overflows()));
  }
  return static_cast<int>(run.rounds_done());
}

}  // namespace

int run_experiment(const Scenario& scenario, const RunSettings& settings) {
  return runs_in_double(scenario) ? run_rounds<double>(scenario, settings) : run_rounds<float>(scenario, settings);
}

RunIdentity identify(const Scenario& scenario) {
  const DataSplit data = load_data(scenario);
  const auto network = make_network<float>(scenario, data.train);
  return {.data_checksum = data.checksum, .start_hash = hash_weights(initial_weights(scenario, network))};
}

}  // namespace ivory
