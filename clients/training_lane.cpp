#include "clients/training_lane.hpp"

#include <cassert>

namespace ivory {

template <class Real>
TrainingLane<Real>::TrainingLane(std::unique_ptr<Device> device, const BlockSetup<Real>& setup, std::size_t seats)
    : device_(std::move(device)), on_cpu_(device_->shares_host_memory()), rows_(seats * setup.rows),
      precision_size_(setup.precision_size),
      trainer_(*device_, setup.network, setup.optimizer, setup.data, setup.plan, setup.learning_rate, rows_),
      expected_(seats) {
  if (precision_size_ > 0) precision_ = Buffer<Real>(*device_, rows_ * precision_size_);
}

template <class Real>
void TrainingLane<Real>::call_off() {
  const std::lock_guard lock(mutex_);
  --expected_;
  changed_.notify_all();
}

template <class Real>
void TrainingLane<Real>::train_block(StepWatch<Real>* watch) {
  try {
    results_ = trainer_.train(visits_, {}, watch);
    Real* const precisions = precision_.empty() ? nullptr : precision_.data();
    if (precisions != nullptr) trainer_.precisions(precisions);
    unusable_ = trainer_.unusable(visits_.size(), precisions);
    health_ = trainer_.health(visits_.size());
    device_->synchronise();  // other lanes read what it has written
  } catch (...) {
    failure_ = std::current_exception();
  }
  visits_.clear();
  not_given_back_ = brought_;
  brought_ = 0;
  ++blocks_;
  changed_.notify_all();
}

template <class Real>
void TrainingLane<Real>::give_back_one() {
  if (--not_given_back_ > 0) return;
  failure_ = nullptr;
  changed_.notify_all();
}

template <class Real>
Seat<Real>::Seat(TrainingLane<Real>& lane, std::uint64_t seed, const Dataset& data) : lane_(lane) {
  const std::lock_guard lock(lane_.mutex_);
  data_ = std::make_unique<ResidentData>(*lane_.device_, data);
  source_ = {seed, data_.get()};
}

template <class Real>
Seat<Real>::~Seat() {
  leave();
}

template <class Real>
void Seat<Real>::leave() {
  const std::lock_guard lock(lane_.mutex_);
  if (has_left_) return;
  has_left_ = true;
  if (holds_results_) lane_.give_back_one();
  holds_results_ = false;
  fetched_.clear();
  data_.reset();
  --lane_.expected_;
  lane_.changed_.notify_all();
}

template <class Real>
void Seat<Real>::train(const Bring& bring, const Take& take, StepWatch<Real>* watch) {
  assert(!holds_results_ && !has_left_);
  std::unique_lock lock(lane_.mutex_);
  lane_.changed_.wait(lock, [&] { return lane_.not_given_back_ == 0; });
  fetched_of_.clear();
  const std::vector<Visit<Real>> visits = bring(*this);
  const std::size_t first = lane_.visits_.size(), count = visits.size();
  for (Visit<Real> visit : visits) {
    if (data_ != nullptr) visit.source = &source_;
    lane_.visits_.push_back(visit);
  }
  ++lane_.brought_;
  const std::uint64_t block = lane_.blocks_;
  lane_.changed_.wait(lock, [&] { return lane_.blocks_ != block || lane_.brought_ == lane_.expected_; });
  if (lane_.blocks_ == block) lane_.train_block(watch);  // the last to come, or the others have left
  holds_results_ = true;
  if (lane_.failure_) {
    const std::exception_ptr failure = lane_.failure_;
    holds_results_ = false;
    lane_.give_back_one();
    std::rethrow_exception(failure);
  }
  const Trainer<Real>& trainer = lane_.trainer_;
  take(*lane_.device_,
       {.trainer = trainer,
        .first = first,
        .results = std::span(lane_.results_).subspan(first, count),
        .unusable = std::span(lane_.unusable_).subspan(first, count),
        .health = lane_.health_.empty() ? std::span<const OptimizerHealth>{}
                                        : std::span<const OptimizerHealth>(lane_.health_).subspan(first, count),
        .mean = trainer.mean(first),
        .precision = lane_.precision_.empty() ? nullptr : lane_.precision_.data() + first * lane_.precision_size_,
        .start_gradient = trainer.start_gradient(first),
        .curvature = trainer.curvature(first),
        .public_predictions = trainer.public_predictions(first)});
}

template <class Real>
void Seat<Real>::give_back() {
  const std::lock_guard lock(lane_.mutex_);
  if (!holds_results_) return;
  holds_results_ = false;
  lane_.give_back_one();
}

template <class Real>
const Real* Seat<Real>::fetch(Device& from, const Real* array, std::size_t size) {
  Device& device = *lane_.device_;
  if (array == nullptr || device.shares_memory_with(from)) return array;
  const auto [place, added] = fetched_of_.try_emplace(array, fetched_of_.size());
  if (place->second == fetched_.size()) fetched_.emplace_back();
  // The last visit may have had a shorter array in this place.
  if (fetched_[place->second].size() < size) fetched_[place->second] = Buffer<Real>(device, size);
  Real* const copy = fetched_[place->second].data();
  if (added) device.transfer(device, copy, from, array, size * sizeof(Real));
  return copy;
}

template class TrainingLane<float>;
template class TrainingLane<double>;
template class Seat<float>;
template class Seat<double>;

}  // namespace ivory
