#include "clients/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace ivory {

LearningRate::LearningRate(double base) : base_(base) {}

LearningRate::LearningRate(double base, std::int64_t rounds, const Options& clients)
    : base_(base), rounds_(static_cast<double>(rounds)),
      over_rounds_{.shape = shape_of(clients.text("schedule")),
                   .every = static_cast<double>(clients.integer("schedule_step_rounds")),
                   .factor = clients.real("schedule_step_factor"),
                   .final = clients.real("schedule_final"),
                   .warmup = static_cast<double>(clients.integer("warmup_rounds"))},
      inside_{.shape = shape_of(clients.text("inner_schedule")),
              .every = static_cast<double>(clients.integer("inner_step_every")),
              .factor = clients.real("inner_step_factor"),
              .final = clients.real("inner_final"),
              .warmup = static_cast<double>(clients.integer("inner_warmup_steps"))} {}

LearningRate::Shape LearningRate::shape_of(const std::string& name) {
  if (name == "constant") return Shape::constant;
  if (name == "cosine") return Shape::cosine;
  if (name == "step") return Shape::step;
  if (name == "linear") return Shape::linear;
  throw std::logic_error("[schedule] unknown shape '" + name + "'");
}

double LearningRate::Factor::times(double rate, double t, double n) const {
  // Cosine and linear start at 1 and would reach `final` at t = n, one past the end.
  const auto fallen = [this](double from_one_to_zero) { return final + (1.0 - final) * from_one_to_zero; };
  const auto shaped = [&] {
    switch (shape) {
      case Shape::constant:
        return 1.0;
      case Shape::cosine:
        return fallen(0.5 * (1.0 + std::cos(std::numbers::pi * t / n)));
      case Shape::linear:
        return fallen(1.0 - t / n);
      case Shape::step:
        return std::pow(factor, std::floor(t / every));
    }
    return 1.0;
  };
  return rate * shaped() * (warmup > 0 ? std::min(1.0, (t + 1.0) / warmup) : 1.0);
}

double LearningRate::at(std::uint64_t round, std::uint64_t step, std::uint64_t steps) const {
  const double of_round = over_rounds_.times(base_, static_cast<double>(round), rounds_);
  return inside_.times(of_round, static_cast<double>(step), static_cast<double>(steps));
}

}  // namespace ivory
