// Preloaded into a program, kills it at its IVORY_KILL_AT-th write to a file (renames and syncs count), with half of the bytes
// written: kill -9 at that very moment. IVORY_COUNT_WRITES names a file that gets the number of writes of a program that ends
// by itself.
#include <dlfcn.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdio>
#include <cstdlib>

namespace {

std::atomic<long> writes = 0;

bool is_file(int descriptor) {
  struct stat status {};
  return fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
}

bool reached() {
  const char* const at = std::getenv("IVORY_KILL_AT");
  const long now = ++writes;
  return at != nullptr && now == std::atol(at);
}

[[noreturn]] void die() {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(dlsym(RTLD_NEXT, name));
}

struct Report {
  ~Report() {
    const char* const path = std::getenv("IVORY_COUNT_WRITES");
    std::FILE* const file = path == nullptr ? nullptr : std::fopen(path, "w");
    if (file == nullptr) return;
    std::fprintf(file, "%ld\n", writes.load());
    std::fclose(file);
  }
} const report;

}  // namespace

extern "C" {

ssize_t write(int descriptor, const void* data, size_t bytes) {
  auto* const original = next<ssize_t(int, const void*, size_t)>("write");
  if (is_file(descriptor) && reached()) {
    original(descriptor, data, bytes / 2);
    die();
  }
  return original(descriptor, data, bytes);
}

ssize_t pwrite64(int descriptor, const void* data, size_t bytes, off64_t offset) {
  auto* const original = next<ssize_t(int, const void*, size_t, off64_t)>("pwrite64");
  if (is_file(descriptor) && reached()) {
    original(descriptor, data, bytes / 2, offset);
    die();
  }
  return original(descriptor, data, bytes, offset);
}

int fsync(int descriptor) {
  if (is_file(descriptor) && reached()) die();
  return next<int(int)>("fsync")(descriptor);
}

int rename(const char* from, const char* to) noexcept {
  if (reached()) die();
  return next<int(const char*, const char*)>("rename")(from, to);
}

}  // extern "C"
