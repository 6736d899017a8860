// write_sample_log LOG [ROUNDS [posterior|point]]: a log of made-up numbers for tests in other languages. Its run is
// planned for 6 rounds.
#include <cstdio>
#include <cstdlib>
#include <exception>

#include "tests/support/sample_log.hpp"

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fputs("usage: write_sample_log LOG [ROUNDS [posterior|point]]\n", stderr);
    return 2;
  }
  try {
    const bool posterior = argc < 4 || std::string(argv[3]) == "posterior";
    ivory::test::SampleRun run(6, posterior ? "every" : "none", posterior);
    if (!posterior) run.partition.holdout.clear();                           // an axis of length 0
    if (posterior) run.train.clean_labels = {0, 1, 3, 3, 3, 2, 0, 0, 0, 1};  // label noise, which adds to /partition
    ivory::test::write_log(argv[1], run, argc > 2 ? std::atoi(argv[2]) : 6);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
  return 0;
}
