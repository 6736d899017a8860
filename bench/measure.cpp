#include "bench/measure.hpp"

#include <algorithm>
#include <chrono>

namespace ivory::bench {

std::vector<Timing> interleave(const std::vector<Part>& parts, int repetitions) {
  using Clock = std::chrono::steady_clock;
  std::vector<std::vector<double>> seconds(parts.size());
  for (const Part& part : parts) part.run();
  for (int r = 0; r < repetitions; ++r) {
    for (std::size_t p = 0; p < parts.size(); ++p) {
      const auto start = Clock::now();
      parts[p].run();
      seconds[p].push_back(std::chrono::duration<double>(Clock::now() - start).count());
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
