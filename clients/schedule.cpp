#include "clients/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace ivory {

LearningRate::LearningRate(double base) : base_(base) {}

LearningRate::LearningRate(double base, std::int64_t rounds, const Options& clients)
    : base_(base), rounds_(static_cast<double>(rounds)), over_rounds_(shape_of(clients.text("schedule"))),
      inside_(shape_of(clients.text("inner_schedule"))),
      step_rounds_(static_cast<double>(clients.integer("schedule_step_rounds"))),
      step_factor_(clients.real("schedule_step_factor")),
      warmup_rounds_(static_cast<double>(clients.integer("warmup_rounds"))),
      warmup_steps_(static_cast<double>(clients.integer("inner_warmup_steps"))) {}

LearningRate::Shape LearningRate::shape_of(const std::string& name) {
  if (name == "constant") return Shape::constant;
  if (name == "cosine") return Shape::cosine;
  if (name == "step") return Shape::step;
  if (name == "linear") return Shape::linear;
  throw std::logic_error("[schedule] unknown shape '" + name + "'");
}

double LearningRate::at(std::uint64_t round, std::uint64_t step, std::uint64_t steps) const {
  // Position t of n: cosine (1 + cos(pi t/n))/2 and linear 1 - t/n start at 1 and would reach 0 at t = n, one past the end.
  const auto shaped = [this](Shape shape, double t, double n) {
    switch (shape) {
      case Shape::constant:
        return 1.0;
      case Shape::cosine:
        return 0.5 * (1.0 + std::cos(std::numbers::pi * t / n));
      case Shape::linear:
        return 1.0 - t / n;
      case Shape::step:
        return std::pow(step_factor_, std::floor(t / step_rounds_));
    }
    return 1.0;
  };
  const auto warmup = [](double t, double length) { return length > 0 ? std::min(1.0, (t + 1.0) / length) : 1.0; };
  const auto r = static_cast<double>(round), s = static_cast<double>(step), n = static_cast<double>(steps);
  return base_ * shaped(over_rounds_, r, rounds_) * warmup(r, warmup_rounds_) * shaped(inside_, s, n) *
         warmup(s, warmup_steps_);
}

}  // namespace ivory
