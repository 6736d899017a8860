#include "bench/measure.hpp"

#include <algorithm>
#include <chrono>
#include <ctime>

namespace ivory::bench {

namespace {

double now(Clock clock) {
  if (clock == Clock::wall) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

}  // namespace

std::vector<Timing> interleave(const std::vector<Part>& parts, int repetitions, Clock clock) {
  std::vector<std::vector<double>> seconds(parts.size());
  for (const Part& part : parts) part.run();
  for (int r = 0; r < repetitions; ++r) {
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const double start = now(clock);
      parts[p].run();
      seconds[p].push_back(now(clock) - start);
    }
  }
  std::vector<Timing> timings;
  for (std::size_t p = 0; p < parts.size(); ++p) {
    auto& s = seconds[p];
    std::sort(s.begin(), s.end());
    timings.push_back({parts[p].name, s[s.size() / 2], s.front(), s.back(), parts[p].per_run});
  }
  return timings;
}

Timing measure(const Part& part, int repetitions) { return interleave({part}, repetitions).front(); }

}  // namespace ivory::bench
