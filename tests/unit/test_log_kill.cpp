// A run that dies at any instant: the file is looked at before and after every system call of the writing process,
// which is what a kill at that point leaves behind. Skipped (77) where a process may not watch its child.
#define BOOST_TEST_MODULE log_kill
#define BOOST_TEST_NO_MAIN
#include <sys/ptrace.h>
#include <sys/wait.h>

#include <csignal>

#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"
#include "tests/support/sample_log_check.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

/// Runs `body` in a child that stops at every system call of each of its threads, and calls `look` at each stop. False when
/// watching is not allowed.
template <class Body, class Look>
bool watched(const Body& body, const Look& look) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) _exit(77);
    raise(SIGSTOP);
    try {
      body();
    } catch (const std::exception& error) {
      std::fprintf(stderr, "unexpected: %s\n", error.what());
      _exit(1);
    }
    _exit(0);
  }
  int status = 0;
  if (child < 0 || waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) return false;
  ptrace(PTRACE_SETOPTIONS, child, nullptr, PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE);
  pid_t stopped = child;
  while (ptrace(PTRACE_SYSCALL, stopped, nullptr, nullptr) == 0 || stopped != child) {
    stopped = waitpid(-1, &status, __WALL);
    if (stopped < 0) return false;
    if (stopped == child && WIFEXITED(status)) return WEXITSTATUS(status) == 0;
    if (stopped == child && WIFSIGNALED(status)) return false;
    if (WIFSTOPPED(status)) look();
  }
  return false;
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_instant_leaves_a_readable_log) {
  TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  SampleRun run(4, "every");
  SampleRun::set(run.scenario.log, "posterior_every", std::int64_t{2});
  std::vector<std::size_t> stops(6, 0);  // without a file, with 0 to 4 rounds
  int last = -1;
  const auto look = [&] {
    int rounds = -1;
    if (std::filesystem::exists(path)) {
      rounds = LogReader(path).header().rounds_complete;
      if (rounds != last || stops[static_cast<std::size_t>(rounds) + 1] % 16 == 0) check_log(path, run, rounds, false);
    }
    BOOST_TEST((rounds == last || rounds == last + 1), "from " << last << " to " << rounds << " rounds");
    last = rounds;
    ++stops[static_cast<std::size_t>(rounds) + 1];
  };
  BOOST_TEST(watched([&] { write_log(path, run, 4); }, look));
  BOOST_TEST(last == 4);
  for (const std::size_t count : stops) BOOST_TEST(count > 0U);
  // A round is many writes; that all of them were seen is what makes this test one.
  for (int rounds = 0; rounds < 4; ++rounds) BOOST_TEST(stops[static_cast<std::size_t>(rounds + 1)] > 100U);
}

BOOST_AUTO_TEST_CASE(a_log_that_is_replaced_is_the_old_or_the_new_one) {
  TemporaryFolder folder;
  const std::string path = folder / "a.h5";
  SampleRun run(3, "none");
  write_log(path, run, 3);
  SampleRun other(3, "none");
  other.scenario.seed = 7;
  std::size_t old_ones = 0, new_ones = 0;
  const auto look = [&] {
    const LogHeader header = LogReader(path).header();
    const bool is_new = header.seed == 7;
    BOOST_TEST(header.rounds_complete == (is_new ? 0 : 3));
    ++(is_new ? new_ones : old_ones);
  };
  BOOST_TEST(watched([&] { RunLog(path, other.wired()).close(); }, look));
  BOOST_TEST(old_ones > 100U);
  BOOST_TEST(new_ones > 0U);
}

BOOST_AUTO_TEST_CASE(a_killed_writer_leaves_its_finished_rounds) {
  TemporaryFolder folder;
  for (int rounds = 0; rounds <= 4; ++rounds) {
    SampleRun run(4, "last");
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
      RunLog log(folder / "a.h5", run.wired());
      for (int round = 1; round <= rounds; ++round) write_round(log, run, round);
      raise(SIGKILL);
    }
    int status = 0;
    BOOST_REQUIRE(waitpid(child, &status, 0) == child);
    BOOST_TEST(WIFSIGNALED(status));
    check_log(folder / "a.h5", run, rounds);
  }
}

int main(int argc, char** argv) {
  if (!watched([] {}, [] {})) {
    std::puts("skipped: this process may not watch a child (ptrace)");
    return 77;
  }
  return boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
}
