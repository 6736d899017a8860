// Runs that differ in their seeds alone: on accelerators they go side by side, and their clients are rows of the same blocks.
#pragma once
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "src/client_runner.hpp"
#include "src/devices.hpp"
#include "src/run_parts.hpp"

namespace ivory {

/// A run cannot share blocks with the others of its group, and why; it can be run by itself.
class RunsApart : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Which of the scenarios differ in nothing but their seeds: their indices, at most `most` (> 0) in a group. Every one is in one group;
/// groups are in the order of their first members.
std::vector<std::vector<std::size_t>> groups_of_seeds(const std::vector<const Scenario*>& scenarios, std::size_t most);

/// The lanes that a group's runs train on, once the first of them has made them.
class RunGroup {
 public:
  /// `free_memory`: bytes on the first device before any of the runs is there.
  RunGroup(std::size_t runs, std::size_t free_memory) : runs_(runs), expected_(runs), free_memory_(free_memory) {}

  std::size_t runs() const { return runs_; }
  /// What one of the runs may take.
  std::size_t memory_of_a_run() const { return free_memory_ / runs_; }

  /// A run's invitation. The others wait until it has been taken up or is destroyed.
  class Invitation {
   public:
    explicit Invitation(RunGroup& group) : group_(group) {}
    ~Invitation();
    Invitation(const Invitation&) = delete;
    Invitation& operator=(const Invitation&) = delete;

    const RunGroup& group() const { return group_; }
    /// A seat on every lane, for `block` clients at a time. The first run makes the lanes, for all. The group keeps the first run's
    /// parts; the scenario that they were made from outlives it. Throws RunsApart and MemoryError.
    Places<float> join(const std::shared_ptr<const RunParts<float>>& parts, std::size_t block,
                       const std::vector<DeviceMaker>& makers, ProductPrecision products);
    /// Clients in double have matrices, which are factorised one after the other, and one without a factor ends its run, not the
    /// others': always throws RunsApart.
    [[noreturn]] Places<double> join(const std::shared_ptr<const RunParts<double>>& parts, std::size_t block,
                                     const std::vector<DeviceMaker>& makers, ProductPrecision products);

   private:
    RunGroup& group_;
    bool taken_ = false;
  };

 private:
  void call_off();

  std::mutex mutex_;
  std::size_t runs_, expected_, free_memory_;
  std::shared_ptr<const RunParts<float>> parts_;  // of the first run
  std::size_t block_ = 0;
  std::vector<std::unique_ptr<TrainingLane<float>>> lanes_;
};

/// What a lane is made for, of a run's parts, for `block` clients of each run.
template <class Real>
BlockSetup<Real> block_setup(const RunParts<Real>& parts, std::size_t block) {
  return {.network = parts.training_network,
          .optimizer = *parts.optimizer,
          .data = parts.data.train,
          .plan = parts.visit_plan,
          .learning_rate = parts.learning_rate,
          .precision_size = precision_size(parts.traits, parts.training_network.layout()),
          .rows = block};
}

}  // namespace ivory
