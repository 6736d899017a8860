#include <fmt/format.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/hdf5_guard.hpp"

namespace {

/// Threads that wait sleep instead of spinning: on a shared machine spinning ones take the time of those that work (a run of
/// seconds was seen to take 25 times as long). OpenMP reads this before `main`, so the program starts once more.
void wait_asleep(char** argv) {
  for (const char* own_choice : {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}) {
    if (std::getenv(own_choice) != nullptr) return;
  }
  if (setenv("OMP_WAIT_POLICY", "passive", 1) == 0) execv("/proc/self/exe", argv);
}

}  // namespace

int main(int argc, char** argv) {
  wait_asleep(argv);
  ivory::catch_crashes_of_hdf5();
  std::signal(SIGPIPE, SIG_IGN);  // a closed terminal or pipe must not end a run
  // Exit codes: 0 good, 1 the run failed, 2 bad input.
  try {
    const int code = ivory::command_line(argc, argv);
    if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return code;
    fmt::print(stderr, "ivory: [output] not everything could be written to standard output\n");
  } catch (const ivory::InputError& error) {
    fmt::print(stderr, "ivory: {}\n", error.what());
    return 2;
  } catch (const std::bad_alloc&) {
    fmt::print(stderr, "ivory: [memory] there is not enough of it; fewer threads or clients need less\n");
  } catch (const std::exception& error) {
    fmt::print(stderr, "ivory: {}\n", error.what());
  }
  return 1;
}
