// Learning-rate schedules: a factor over rounds times a factor over the steps inside a round.
#pragma once
#include <cstdint>

#include "ivory/options.hpp"

namespace ivory {

/// Reads the schedule keys of [clients]. `at` is a pure function, so a resumed run has the same rates.
class LearningRate {
 public:
  /// `base` is the optimizer's lr; `rounds` the length of the run.
  LearningRate(double base, std::int64_t rounds, const Options& clients);
  /// Constant rate.
  explicit LearningRate(double base);

  /// Rate of local step `step` (0-based, of `steps`) in round `round` (0-based).
  double at(std::uint64_t round, std::uint64_t step, std::uint64_t steps) const;

 private:
  enum class Shape { constant, cosine, step, linear };
  static Shape shape_of(const std::string& name);

  double base_ = 0;
  double rounds_ = 1;
  Shape over_rounds_ = Shape::constant, inside_ = Shape::constant;
  double step_rounds_ = 0, step_factor_ = 1, warmup_rounds_ = 0, warmup_steps_ = 0;
};

}  // namespace ivory
