// One visit of a block of clients, driven by hand: the test plays the network (gradients) and the noise.
#pragma once
#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "ivory/optimizer.hpp"

namespace ivory::test {

template <class Real>
class DrivenVisit {
 public:
  /// Gradient of client b's minibatch mean loss at point[0, P).
  using Gradient = std::function<void(std::size_t b, const Real* point, Real* gradient)>;
  /// Fills z[0, P) with the noise of client b's sample.
  using Noise = std::function<void(std::size_t b, std::size_t step, int sample, Real* z)>;
  using Rate = std::function<double(std::size_t step)>;
  using AfterStep = std::function<void(std::size_t step)>;

  DrivenVisit(Device& device, const Optimizer<Real>& optimizer, std::size_t parameters, std::size_t clients = 1)
      : block(device, clients, round_up_to_tile(parameters), optimizer.vectors(), parameters, optimizer.matrices(),
              optimizer.needs_hessian()),
        optimizer_(optimizer), parameters_(parameters), noise_(clients, std::vector<Real>(block.stride)) {}

  TrainingBlock<Real> block;
  Gradient gradient;
  Gradient hessian;  // for optimizers that need it: into [P x P]
  Noise noise;       // empty: Philox noise of `seed`
  Rate rate;         // empty: 1
  std::function<void()> after_begin;
  AfterStep after_step;
  std::uint64_t seed = 1, round = 0;

  /// Trains from the terms of block.clients. A resumed visit keeps what the optimizer carries over.
  void run(std::size_t steps, bool resumed = false) {
    for (std::size_t b = 0; b < block.clients.size(); ++b) set_noise(b, 0, 0);
    for (auto& client : block.clients) client.resumed = resumed;
    optimizer_.begin(block);
    if (after_begin) after_begin();
    for (std::size_t step = 0; step < steps; ++step) {
      for (auto& client : block.clients) client.learning_rate = rate ? rate(step) : 1.0;
      for (int sample = 0; sample < optimizer_.samples(); ++sample) {
        const bool last_sample = sample + 1 == optimizer_.samples();
        for (std::size_t b = 0; b < block.clients.size(); ++b) {
          gradient(b, block.row(block.point, b), block.row(block.gradient, b));
          if (hessian) {
            hessian(b, block.row(block.point, b), block.hessian.data() + b * parameters_ * parameters_);
          }
          set_noise(b, last_sample ? step + 1 : step, last_sample ? 0 : sample + 1);
        }
        optimizer_.advance(block, sample);
      }
      if (after_step) after_step(step);
    }
  }

  std::vector<Real> mean(std::size_t b = 0) { return head(block.row(block.mean, b)); }
  std::vector<Real> slot(std::size_t i, std::size_t b = 0) { return head(block.row(block.slots[i], b)); }
  std::vector<Real> precision(std::size_t b = 0) {
    if (optimizer_.needs_hessian()) {
      std::vector<Real> s(parameters_ * parameters_ * block.clients.size());
      optimizer_.posterior_precisions(block, s.data());
      const auto from = s.begin() + static_cast<std::ptrdiff_t>(b * parameters_ * parameters_);
      return std::vector<Real>(from, from + static_cast<std::ptrdiff_t>(parameters_ * parameters_));
    }
    std::vector<Real> s(block.stride * block.clients.size());
    optimizer_.posterior_precisions(block, s.data());
    return head(s.data() + b * block.stride);
  }

 private:
  std::vector<Real> head(const Real* row) const { return std::vector<Real>(row, row + parameters_); }

  void set_noise(std::size_t b, std::size_t step, int sample) {
    auto& source = block.clients[b].noise;
    if (noise) {
      std::fill(noise_[b].begin(), noise_[b].end(), Real(0));
      noise(b, step, sample, noise_[b].data());
      source.stored = noise_[b].data();
    } else {
      source.stored = nullptr;
      source.stream = make_stream(seed, {Purpose::training_noise, round, b, step, static_cast<std::uint64_t>(sample)});
    }
  }

  const Optimizer<Real>& optimizer_;
  std::size_t parameters_;
  std::vector<std::vector<Real>> noise_;
};

/// The first P entries given, then zeros up to the stride.
template <class Real, class Value>
std::vector<Real> padded(const std::vector<Value>& values) {
  std::vector<Real> out(round_up_to_tile(values.size()), Real(0));
  std::transform(values.begin(), values.end(), out.begin(), [](Value v) { return static_cast<Real>(v); });
  return out;
}

}  // namespace ivory::test
