// A lane and its block: one run trains on it, or several that fill the block together.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "clients/trainer.hpp"

namespace ivory {

/// What a block came to for the visits of one seat. The arrays are [visits x ...] in the lane's memory, and null where the plan asks
/// for none.
template <class Real>
struct TrainedVisits {
  const Trainer<Real>& trainer;
  std::size_t first;                        // the first visit's row in the block
  std::span<const VisitResult> results;     // [visits]
  std::span<const double> unusable;         // [visits] of Trainer::unusable
  std::span<const OptimizerHealth> health;  // [visits], or empty
  const Real *mean, *precision;             // [visits x stride], a precision also [visits x P x P]
  const Real *start_gradient, *curvature;   // [visits x stride]
  const Real* public_predictions;           // [visits x pool x classes]

  std::vector<Real> kept_state(std::size_t b) const { return trainer.kept_state(first + b); }
  std::uint64_t optimizer_step(std::size_t b) const { return trainer.optimizer_step(first + b); }
};

/// The block of a lane: its clients, and what the runs that share it have in common.
template <class Real>
struct BlockSetup {
  const Network<Real>& network;
  const Optimizer<Real>& optimizer;
  const Dataset& data;
  const VisitPlan& plan;
  const LearningRate& learning_rate;
  std::size_t precision_size = 0;  // values of a client's posterior precision; 0: it has none
  std::size_t rows = 1;            // clients of one seat in a block, at most
};

template <class Real>
class Seat;

/// Owns a lane's device and trainer. Every seat brings the visits of its run; when all have, they are trained as rows of one block,
/// and when all have given their results back, the next block can be. A visit's result depends on that visit alone, so a run has the
/// bits that it would have alone. Seats are used side by side, each by one thread at a time.
template <class Real>
class TrainingLane {
 public:
  /// Until `seats` of them have been taken or called off, nothing is trained. The references outlive the lane. Throws MemoryError.
  TrainingLane(std::unique_ptr<Device> device, const BlockSetup<Real>& setup, std::size_t seats = 1);

  std::string describe() const { return device_->describe(); }
  bool on_cpu() const { return on_cpu_; }
  /// True where `server` can read the lane's results where they are.
  bool is_near(const Device& server) const { return device_->shares_memory_with(server); }
  /// Clients in a block, of all seats.
  std::size_t rows() const { return rows_; }
  /// One seat will not be taken.
  void call_off();

 private:
  friend class Seat<Real>;
  void train_block(StepWatch<Real>* watch);
  void give_back_one();  // the lock is held

  std::unique_ptr<Device> device_;
  bool on_cpu_;
  std::size_t rows_, precision_size_;
  Trainer<Real> trainer_;
  Buffer<Real> precision_;  // [rows x precision_size]
  std::mutex mutex_;        // of the device, too
  std::condition_variable changed_;
  std::size_t expected_;             // seats that are taken or will be
  std::vector<Visit<Real>> visits_;  // of the next block, seat after seat
  std::size_t brought_ = 0;          // seats whose visits are there
  std::uint64_t blocks_ = 0;         // trained so far
  std::size_t not_given_back_ = 0;   // seats that still use the last block's results
  std::vector<VisitResult> results_;
  std::vector<double> unusable_;
  std::vector<OptimizerHealth> health_;
  std::exception_ptr failure_;  // of the last block
};

/// A run's place on a lane, given up when it is destroyed.
template <class Real>
class Seat {
 public:
  explicit Seat(TrainingLane<Real>& lane) : lane_(lane) {}
  /// Of a run with another seed than the one the lane was made for: its data are copied to the device. Throws MemoryError.
  Seat(TrainingLane<Real>& lane, std::uint64_t seed, const Dataset& data);
  ~Seat();
  Seat(const Seat&) = delete;
  Seat& operator=(const Seat&) = delete;

  const TrainingLane<Real>& lane() const { return lane_; }
  /// Gives the place up: the others wait no longer for this run. It cannot train any more.
  void leave();

  using Bring = std::function<std::vector<Visit<Real>>(Seat& seat)>;
  using Take = std::function<void(Device& device, const TrainedVisits<Real>& trained)>;
  /// Trains the visits that `bring` makes, with those of the other seats, and hands the results to `take`; the device is this
  /// seat's while either of them runs. The results stay in place until `give_back`. Throws what training threw, in every seat of the
  /// block. `watch` (may be null) looks at a visit of a lane with one seat.
  void train(const Bring& bring, const Take& take, StepWatch<Real>* watch = nullptr);
  void give_back();

  /// An array of another device's memory where this one can read it: a copy made for the block to come, once each. Called by
  /// `bring`; null stays null.
  const Real* fetch(Device& from, const Real* array, std::size_t size);

 private:
  TrainingLane<Real>& lane_;
  VisitSource source_;
  std::unique_ptr<ResidentData> data_;
  bool holds_results_ = false, has_left_ = false;
  std::vector<Buffer<Real>> fetched_;
  std::map<const Real*, std::size_t> fetched_of_;  // the other device's address -> index into `fetched_`
};

}  // namespace ivory
