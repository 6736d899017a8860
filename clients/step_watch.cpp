#include "clients/step_watch.hpp"

#include <algorithm>
#include <cmath>

namespace ivory {

template <class Real>
StepWatch<Real>::StepWatch(std::size_t visit, std::uint64_t every, Report report)
    : visit_(visit), every_(std::max<std::uint64_t>(every, 1)), report_(std::move(report)) {}

template <class Real>
std::vector<Real> StepWatch<Real>::fetch(const TrainingBlock<Real>& block, const Buffer<Real>& array) const {
  std::vector<Real> row(block.parameters);
  block.device.download(row.data(), block.row(array, visit_), row.size() * sizeof(Real));
  return row;
}

template <class Real>
void StepWatch<Real>::begin(const TrainingBlock<Real>& block, const Optimizer<Real>& optimizer, std::uint64_t steps,
                            std::uint64_t steps_per_epoch) {
  optimizer_ = &optimizer;
  steps_ = steps;
  steps_per_epoch_ = std::max<std::uint64_t>(steps_per_epoch, 1);
  start_ = fetch(block, block.mean);
  if (!optimizer.gives_posterior()) return;
  // Of clients without a visit nothing is written but matrices.
  std::size_t rows = block.clients.size(), entries = block.parameters * block.parameters;
  if (!optimizer.needs_hessian()) {
    entries = block.stride;
    while (!block.clients[rows - 1].active) --rows;
  }
  precision_ = Buffer<Real>(block.device, rows * entries);
}

template <class Real>
void StepWatch<Real>::open_step(std::uint64_t t, const Buffer<double>& row_losses) {
  step_ = t + 1;
  wanted_ = step_ <= steps_ && (step_ % every_ == 0 || step_ == steps_);
  if (!wanted_) return;
  losses_before_ = row_losses.to_host();
  gradient_.assign(start_.size(), 0.0);
}

template <class Real>
void StepWatch<Real>::take_gradient(const TrainingBlock<Real>& block) {
  if (!wanted_) return;
  const std::vector<Real> gradient = fetch(block, block.gradient);
  for (std::size_t i = 0; i < gradient.size(); ++i) gradient_[i] += static_cast<double>(gradient[i]);
}

template <class Real>
void StepWatch<Real>::close_step(const TrainingBlock<Real>& block, const Buffer<double>& row_losses) {
  if (!wanted_) return;
  const auto& client = block.clients[visit_];
  const double samples = optimizer_->samples();
  StepReport report{.step = step_,
                    .epoch = (step_ - 1) / steps_per_epoch_ + 1,
                    .examples = client.batch,
                    .learning_rate = client.learning_rate};
  const std::vector<double> losses = row_losses.to_host();
  const std::size_t rows = losses.size() / block.clients.size();
  for (std::size_t i = visit_ * rows; i < (visit_ + 1) * rows; ++i) report.loss += losses[i] - losses_before_[i];
  report.loss /= samples;
  double square = 0, move = 0;
  for (const double g : gradient_) square += g * g;
  report.gradient_norm = std::sqrt(square) / samples;
  const std::vector<Real> mean = fetch(block, block.mean);
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double way = static_cast<double>(mean[i]) - static_cast<double>(start_[i]);
    move += way * way;
  }
  report.distance = std::sqrt(move);
  add_precision(block, report);
  report_(report);
}

template <class Real>
void StepWatch<Real>::add_precision(const TrainingBlock<Real>& block, StepReport& report) {
  if (precision_.empty() || block.parameters == 0) return;
  optimizer_->posterior_precisions(block, precision_.data());
  const std::size_t size = block.parameters;
  const bool matrix = optimizer_->needs_hessian();
  std::vector<Real> own(matrix ? size * size : size);
  block.device.download(own.data(), precision_.data() + visit_ * (matrix ? size * size : block.stride),
                        own.size() * sizeof(Real));
  double total = 0, least = std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < size; ++i) {
    const auto s = static_cast<double>(own[matrix ? i * size + i : i]);
    total += s;
    least = std::isnan(s) || std::isnan(least) ? std::numeric_limits<double>::quiet_NaN() : std::min(least, s);
  }
  report.precision_mean = total / static_cast<double>(size);
  report.precision_least = least;
}

template class StepWatch<float>;
template class StepWatch<double>;

}  // namespace ivory
