// Timing by interleaved repetition: all parts of a comparison are run in turn, again and again, so that a slow phase of a noisy
// machine hits all of them; medians are compared, and the spread is shown.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace ivory::bench {

struct Part {
  std::string name;
  std::function<void()> run;
  double per_run = 1;  // units of work in one call of `run`
};

struct Timing {
  std::string name;
  double median = 0, fastest = 0, slowest = 0;  // seconds per call of `run`
  double per_run = 1;
  double per_unit() const { return median / per_run; }
};

/// `thread`: processor time of the calling thread alone, for parts on one thread where other programs take the processor at times.
enum class Clock { wall, thread };

/// Runs each part `repetitions` times, in turn, after one warm-up of each.
std::vector<Timing> interleave(const std::vector<Part>& parts, int repetitions, Clock clock = Clock::wall);

/// Runs one part alone.
Timing measure(const Part& part, int repetitions);

}  // namespace ivory::bench
