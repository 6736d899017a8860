// One round of local training: a cohort's visits run side by side, their updates reach the server in client order.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "clients/trainer.hpp"
#include "ivory/algorithm.hpp"
#include "ivory/record.hpp"

namespace ivory {

/// What a cohort's training left behind, beside the server's sums.
struct CohortReport {
  std::vector<ClientRecord> clients;  // one row per client of the run
  double train_loss = no_value;       // example-weighted mean over accepted participants
  double precision_gap_closed = no_value;
  int participants = 0, refused = 0;
};

class ClientRunner {
 public:
  /// Called for each accepted client in increasing order, with its update and (updated) site still in place.
  using Observer = std::function<void(const ServerState<float>&, const ClientUpdate<float>&)>;

  /// `examples[k]` are client k's rows of `data`. All references outlive the runner.
  ClientRunner(const Network<float>& network, const Optimizer<float>& optimizer, const Algorithm<float>& algorithm,
               const Dataset& data, std::vector<std::vector<std::uint32_t>> examples, const VisitPlan& plan,
               const LearningRate& learning_rate, int threads);
  ~ClientRunner();

  /// Trains `cohort` (increasing client numbers) and lets the algorithm absorb every client of the run in increasing order. A
  /// client whose loss, mean or precision is not finite is refused: its site stays, it counts as absent. Throws RunError with
  /// stage, round and client where training itself fails.
  CohortReport run(ServerState<float>& state, std::span<const std::uint32_t> cohort, const Observer& observer);

 private:
  struct Worker;
  struct Finished;
  struct Progress;
  void visit(Worker& worker, ServerState<float>& state, std::uint32_t client, Finished& result);
  void absorb_ready(Progress& progress, ServerState<float>& state, const Observer& observer);

  const Network<float>& network_;
  const Optimizer<float>& optimizer_;
  const Algorithm<float>& algorithm_;
  const Dataset& data_;
  std::vector<std::vector<std::uint32_t>> examples_;
  VisitPlan plan_;
  std::vector<std::vector<float>> kept_;  // optimizer state clients keep between visits, where the scenario asks for it
  std::vector<std::uint64_t> kept_step_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Finished>>
      slots_;  // updates on their way to the server: two per thread, not one per client
};

}  // namespace ivory
