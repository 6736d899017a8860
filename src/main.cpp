#include <fmt/format.h>

#include <cstdio>
#include <exception>
#include <new>

#include "ivory/error.hpp"
#include "src/cli.hpp"

int main(int argc, char** argv) {
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
