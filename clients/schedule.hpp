// Learning-rate schedules: a factor over rounds times a factor over the steps inside a round.
#pragma once
#include <cstdint>

#include "ivory/options.hpp"

namespace ivory {

/// Reads the schedule keys of [clients]. `at` is a pure function, so a resumed run has the same rates. methods.md, section 1.4.
class LearningRate {
 public:
  /// `base` is the optimizer's lr; `rounds` the length of the run.
  LearningRate(double base, std::int64_t rounds, const Options& clients);
  /// Constant rate.
  explicit LearningRate(double base);

  /// Rate of local step `step` (0-based, of `steps`) in round `round` (0-based).
  double at(std::uint64_t round, std::uint64_t step, std::uint64_t steps) const;

 private:
  enum class Shape { constant, cosine, linear, step };

  /// What multiplies the rate at place t of n.
  struct Factor {
    Shape shape = Shape::constant;
    double every = 0, factor = 1;  // step: times `factor` at every `every` places
    double final = 0;              // cosine and linear: what they fall to
    double warmup = 0;             // places of linear rise, on top
    double times(double rate, double t, double n) const;
  };
  static Shape shape_of(const std::string& name);

  double base_ = 0;
  double rounds_ = 1;
  Factor over_rounds_, inside_;
};

}  // namespace ivory
