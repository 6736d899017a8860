#include "src/hdf5_guard.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <csignal>

namespace ivory {
namespace {

// A signal handler knows nothing but this.
std::atomic<ReadingNow*> newest = nullptr;

void end_with_message(int signal) {
  if (const ReadingNow* const reading = newest.load()) {
    const std::string& text = reading->message();
    if (::write(STDERR_FILENO, text.data(), text.size()) >= 0) _exit(1);
  }
  std::signal(signal, SIG_DFL);
  std::raise(signal);
}

}  // namespace

void catch_crashes_of_hdf5() {
  // A stack of its own: the other one may be full, or written over.
  alignas(16) static std::array<char, 1 << 16> stack;
  stack_t other{};
  other.ss_sp = stack.data();
  other.ss_size = stack.size();
  sigaltstack(&other, nullptr);
  struct sigaction action {};
  action.sa_handler = end_with_message;
  action.sa_flags = SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) sigaction(signal, &action, nullptr);
}

ReadingNow::ReadingNow(const std::string& path)
    : message_(fmt::format(
          "ivory: [hdf5] a whole file is needed, got one that cannot be read without a crash, {}; it is damaged, or "
          "this is a defect of the program: get it again\n",
          path)),
      before_(newest.exchange(this)) {}

ReadingNow::~ReadingNow() {
  ReadingNow* self = this;
  if (newest.compare_exchange_strong(self, before_)) return;
  for (ReadingNow* one = newest; one != nullptr; one = one->before_) {
    if (one->before_ == this) one->before_ = before_;
  }
}

}  // namespace ivory
