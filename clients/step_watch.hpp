// Looking at one visit of a block while it trains, step by step. What is looked at is copied to the host, so that nothing of the
// training changes; only an accelerator has to wait at every step that is reported.
#pragma once
#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "ivory/optimizer.hpp"

namespace ivory {

/// One optimizer step of a visit.
struct StepReport {
  std::uint64_t step = 0;    // from 1
  std::uint64_t epoch = 0;   // over the client's examples, from 1
  double examples = 0;       // in the minibatch
  double learning_rate = 0;  // schedules applied
  double loss = 0;           // the minibatch's mean loss (mean over samples), where the step began
  // Length of that loss's gradient (mean over samples): without the terms of the algorithm, weight decay and clipping.
  double gradient_norm = 0;
  double distance = 0;  // |m - m_start| after the step
  // Mean and least precision of the client's posterior after the step, of a matrix its diagonal; NaN: it has none.
  double precision_mean = std::numeric_limits<double>::quiet_NaN();
  double precision_least = std::numeric_limits<double>::quiet_NaN();
};

/// Reports every `every`-th step of the block's visit `visit`, and its last one.
template <class Real>
class StepWatch {
 public:
  using Report = std::function<void(const StepReport&)>;
  StepWatch(std::size_t visit, std::uint64_t every, Report report);
  std::size_t visit() const { return visit_; }

  // The trainer calls these, in this order. `row_losses` [clients x rows] are sums over the steps so far.
  /// After the optimizer's begin; the visit takes `steps` steps, so many of them an epoch.
  void begin(const TrainingBlock<Real>& block, const Optimizer<Real>& optimizer, std::uint64_t steps,
             std::uint64_t steps_per_epoch);
  void open_step(std::uint64_t t, const Buffer<double>& row_losses);
  void take_gradient(const TrainingBlock<Real>& block);
  void close_step(const TrainingBlock<Real>& block, const Buffer<double>& row_losses);

 private:
  std::vector<Real> fetch(const TrainingBlock<Real>& block, const Buffer<Real>& array) const;
  void add_precision(const TrainingBlock<Real>& block, StepReport& report);

  std::size_t visit_;
  std::uint64_t every_;
  Report report_;
  const Optimizer<Real>* optimizer_ = nullptr;
  std::uint64_t steps_ = 0, steps_per_epoch_ = 1, step_ = 0;
  bool wanted_ = false;  // the step under way is reported
  std::vector<Real> start_;
  std::vector<double> losses_before_, gradient_;  // of the step under way
  Buffer<Real> precision_;                        // of the block
};

}  // namespace ivory
