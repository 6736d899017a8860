// One round of local training: a cohort's visits run side by side, their updates reach the server in client order.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "clients/training_lane.hpp"
#include "ivory/algorithm.hpp"
#include "ivory/record.hpp"

namespace ivory {

/// What a cohort's training left behind, beside the server's sums.
struct CohortReport {
  std::vector<ClientRecord> clients;  // one row per client of the run
  double train_loss = no_value;       // example-weighted mean over accepted participants
  double precision_gap_closed = no_value;
  OptimizerHealth health;  // mean over accepted participants
  int participants = 0, refused = 0;
};

/// One client's visit by itself. The arrays have P values each; `precision` is empty for point methods, or [P x P].
template <class Real>
struct LoneVisit {
  std::vector<Real> mean, precision;
  double train_loss = no_value, steps = 0;
  double unusable = 0;   // entries that are not finite, or precisions that are not above 0
  bool refused = false;  // as `run` would refuse it
};

/// The lanes that train side by side, and how many clients each takes at a time.
struct Lanes {
  std::vector<std::unique_ptr<Device>> devices;
  std::size_t block = 1;
};

/// One CPU lane per thread, each with one client at a time.
Lanes cpu_lanes(int threads);

/// Values of a client's posterior precision: [stride], [P x P] with full covariances, 0 for point methods.
std::size_t precision_size(const AlgorithmTraits& traits, const ParameterLayout& layout);

/// Where a run's clients train: a seat on every lane, for `block` of them at a time.
template <class Real>
struct Places {
  std::vector<std::unique_ptr<TrainingLane<Real>>> own;  // the run's; empty where it shares those of a RunGroup
  std::vector<std::unique_ptr<Seat<Real>>> seats;
  std::size_t block = 1;
};

/// Lanes of the run's own, with blocks of the lanes' size. Throws MemoryError where a block does not fit into a device.
template <class Real>
Places<Real> own_places(Lanes lanes, BlockSetup<Real> setup);

/// In float, or in double for full covariances.
template <class Real>
class ClientRunner {
 public:
  /// Called for each accepted client, with its update and (updated) site still in place.
  using Observer = std::function<void(const ServerState<Real>&, const ClientUpdate<Real>&)>;
  struct Observers {
    Observer trained = {};   // on the CPU by the thread that trained it, several at a time, in no order
    Observer absorbed = {};  // later, one at a time and in increasing order
  };

  /// `examples[k]` are client k's rows of the data set; `plan` is what the places train by; `server` is the device of the server
  /// state. All references outlive the runner. Throws MemoryError.
  ClientRunner(const Network<Real>& network, const Optimizer<Real>& optimizer, const Algorithm<Real>& algorithm,
               std::vector<std::vector<std::uint32_t>> examples, const VisitPlan& plan, Device& server,
               Places<Real> places);
  ~ClientRunner();

  /// The lanes' devices, and the block where it is not one client: how many of this run's it holds.
  std::string describe() const;

  /// Trains `cohort` (increasing client numbers) and lets the algorithm absorb every client of the run in increasing order. A
  /// client whose loss, mean or precision is not finite is refused: its site stays, it counts as absent. Throws RunError with
  /// stage, round and clients where training itself fails.
  CohortReport run(ServerState<Real>& state, std::span<const std::uint32_t> cohort, const Observers& observers);

  /// The visit that `run` would make of `client` in the next round, on the first lane; nothing goes to the server, and the state of
  /// the run stays as it is. `site` (natural mean and precision, [P] each, on the host), where it is not empty, stands in for the
  /// client's site in the state.
  LoneVisit<Real> visit_alone(ServerState<Real>& state, std::uint32_t client, std::span<const Real> site_mean,
                              std::span<const Real> site_precision, StepWatch<Real>& watch);

  /// The optimizer state that clients keep between visits: `visitor(name, member)` for each of its two arrays by client.
  template <class Visitor>
  void visit_kept(const Visitor& visitor) {
    visitor("kept", kept_);
    visitor("kept_step", kept_step_);
  }

 private:
  struct Worker;
  struct Finished;
  struct Progress;
  using Clients = std::span<const std::uint32_t>;
  void visit(Worker& worker, ServerState<Real>& state, Clients clients, Finished& result, const Observer& trained);
  Visit<Real> visit_of(Seat<Real>& seat, const ServerState<Real>& state, std::uint32_t client, LocalTerms<Real> terms);
  void hand_over(Device& device, const TrainedVisits<Real>& trained, const ServerState<Real>& state, Clients clients,
                 Finished& result);
  std::size_t predictions_size() const;
  std::size_t take_block(Worker& worker, Progress& progress) const;
  void work(Worker& worker, Progress& progress, ServerState<Real>& state, const Observers& observers);
  void absorb(Progress& progress, ServerState<Real>& state, Finished& finished, const Observers& observers);
  void absorb_absent(Progress& progress, ServerState<Real>& state, std::uint32_t end);
  void absorb_ready(Progress& progress, ServerState<Real>& state, const Observers& observers);
  [[noreturn]] static void rethrow(const Progress& progress, std::uint64_t round);

  const Network<Real>& network_;
  const Optimizer<Real>& optimizer_;
  const Algorithm<Real>& algorithm_;
  std::vector<std::vector<std::uint32_t>> examples_;
  VisitPlan plan_;
  Device& server_;
  Places<Real> places_;
  std::vector<std::vector<Real>> kept_;  // optimizer state clients keep between visits, where the scenario asks for it
  std::vector<std::uint64_t> kept_step_;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<std::unique_ptr<Finished>> slots_;  // updates on their way to the server: two per CPU thread
  std::vector<std::vector<Finished*>> free_;
};

}  // namespace ivory
