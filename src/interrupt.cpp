#include "src/interrupt.hpp"

#include <unistd.h>

#include <csignal>
#include <initializer_list>

namespace ivory {
namespace {

volatile std::sig_atomic_t received = 0;

extern "C" void note_interrupt(int signal) {
  received = signal;
  constexpr char text[] = "\nivory: stopping after this round; once more stops at once\n";
  if (::write(STDERR_FILENO, text, sizeof text - 1) < 0) return;  // nobody to tell
}

}  // namespace

void catch_interrupts() {
  for (const int signal : {SIGINT, SIGTERM}) {
    struct sigaction action {};
    if (sigaction(signal, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) continue;  // nohup and the like
    action = {};
    action.sa_handler = note_interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND | SA_RESTART);
    sigaction(signal, &action, nullptr);
  }
}

int interrupted() { return received; }

}  // namespace ivory
