// Preloaded into a program, lets its disk fail: opening a file for writing whose path contains IVORY_FAIL_PATH fails from the
// IVORY_FAIL_FROM-th time on (1: always). IVORY_FAIL_WITH says how: a number of errno at opening, or "full", where half of the first
// write arrives and then the disk is full. At the IVORY_FAIL_KILL_AT-th such opening the program is killed. Root is above
// permissions: a read-only folder would stop nobody.
#undef _FILE_OFFSET_BITS  // else open is another name of open64
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdlib>
#include <cstring>

namespace {

std::atomic<long> openings = 0;
std::atomic<int> full = -1;  // descriptor of the file that finds no room

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

long number(const char* variable) {
  const char* const text = std::getenv(variable);
  return text == nullptr ? 0 : std::atol(text);
}

int open_as(const char* function, const char* path, int flags, mode_t mode) {
  const char* const part = std::getenv("IVORY_FAIL_PATH");
  const char* const how = std::getenv("IVORY_FAIL_WITH");
  auto* const original = next<int(const char*, int, ...)>(function);
  if (part == nullptr || how == nullptr || (flags & O_ACCMODE) == O_RDONLY || std::strstr(path, part) == nullptr) {
    return original(path, flags, mode);
  }
  const long now = ++openings;
  if (now == number("IVORY_FAIL_KILL_AT")) kill(getpid(), SIGKILL);
  if (now < number("IVORY_FAIL_FROM")) return original(path, flags, mode);
  if (std::strcmp(how, "full") == 0) return full = original(path, flags, mode);
  errno = std::atoi(how);
  return -1;
}

mode_t mode_in(int flags, va_list arguments) { return (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0; }

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return open_as("open", path, flags, mode);
}

int open64(const char* path, int flags, ...) {
  va_list arguments;
  va_start(arguments, flags);
  const mode_t mode = mode_in(flags, arguments);
  va_end(arguments);
  return open_as("open64", path, flags, mode);
}

ssize_t write(int descriptor, const void* data, size_t bytes) {
  auto* const original = next<ssize_t(int, const void*, size_t)>("write");
  if (descriptor != full) return original(descriptor, data, bytes);
  if (bytes > 1) return original(descriptor, data, bytes / 2);
  errno = ENOSPC;
  return -1;
}

int close(int descriptor) {
  int expected = descriptor;
  full.compare_exchange_strong(expected, -1);
  return next<int(int)>("close")(descriptor);
}

}  // extern "C"
