// A run between its scenario and its log: the parts, the state, and one round after the other.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ivory/record.hpp"
#include "src/checkpoint.hpp"
#include "src/client_runner.hpp"
#include "src/diagnostics.hpp"
#include "src/experiment.hpp"
#include "src/round_evaluation.hpp"
#include "src/run_log.hpp"
#include "src/run_parts.hpp"
#include "src/run_previews.hpp"

namespace ivory {

/// Everything a run needs before round 1; built once, then only read but for the state. In float, or in double for full
/// covariances.
template <class Real>
class Run {
 public:
  /// Throws InputError, also for what cannot fit into memory.
  Run(const Scenario& scenario, const RunSettings& settings);

  LogPlan log_plan() const;
  std::uint64_t rounds_done() const { return state_.round; }

  void save(Checkpoints& checkpoints);
  /// Takes up the newest checkpoint of at most `rounds` rounds; false without one, and the run begins at its beginning.
  /// `logged(round)` is the hash that the state must have: throws RunError where it has another.
  bool restore(Checkpoints& checkpoints, std::uint64_t rounds, const std::function<std::uint64_t(int)>& logged);

  /// The next round, with its evaluation, into the log. A failure on an accelerator is named after the round it belongs to.
  RoundRecord round(RunLog& log);
  /// The next round without evaluation and log, for its state alone.
  RoundRecord repeat_round();

  // For a visit that is made again (src/replay.cpp).
  const Scenario& scenario() const { return scenario_; }
  const RunParts<Real>& parts() const { return parts_; }
  ServerState<Real>& state() { return state_; }
  ClientRunner<Real>& clients() { return *runner_; }
  std::uint64_t state_hash() const;
  /// The state after `round` rounds, of which some had an accepted update (`begun`), but for what methods remember beside the server's Gaussian ([P] each, on the host; the precision
  /// is empty where the state has none).
  void set_posterior(std::uint64_t round, bool begun, std::span<const Real> mean, std::span<const Real> precision);

 private:
  using Observers = typename ClientRunner<Real>::Observers;
  RoundRecord run_round(RunLog& log);
  void evaluate_previews(RoundRecord& record);
  RoundRecord train_round(const Observers& observers);
  RoundRecord named_after_round(const std::function<RoundRecord()>& work);
  void write_posterior(RunLog& log, int round) const;
  bool logs_matrix() const { return scenario_.log.boolean("precision_matrix"); }
  std::unique_ptr<Device> make_server_device(const RunSettings& settings) const;
  std::size_t block_that_fits(const RunSettings& settings) const;
  void make_runner(const RunSettings& settings);
  void train_at(Places<Real> places);
  void fetch_posterior();
  std::vector<Real> diagonal_of(const std::vector<Real>& precision) const;
  void log_client(RunLog& log, int round, const ServerState<Real>& state, const ClientUpdate<Real>& update) const;
  void fill(RoundRecord& record, CohortReport&& cohort, const AbsorbReport& absorbed,
            std::span<const std::uint32_t> participants) const;

  const Scenario& scenario_;
  int threads_;
  std::shared_ptr<const RunParts<Real>> shared_parts_;  // a group's lanes may need them for longer
  const RunParts<Real>& parts_;
  RunPreviews<Real> previews_;
  std::uint64_t start_hash_ = 0;
  std::unique_ptr<Device> server_;
  std::size_t block_;  // of clients in training, as counted before anything was put on the server's device
  std::unique_ptr<PublicModel<Real>> public_model_;  // where the algorithm uses the public pool
  ServerState<Real> state_;
  std::vector<Real> mean_, precision_;                 // the server's Gaussian, on the host
  std::optional<RoundDiagnostics<Real>> diagnostics_;  // where the log has them
  std::optional<RoundEvaluator<Real>> evaluator_;
  std::unique_ptr<ClientRunner<Real>> runner_;
};

}  // namespace ivory
