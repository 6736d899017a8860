// A full disk, on a small file system of its own. Skipped (77) where this process may not mount one.
#define BOOST_TEST_MODULE log_disk_full
#define BOOST_TEST_NO_MAIN
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

#include <cstring>
#include <fstream>

#include "ivory/error.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"
#include "tests/support/sample_log_check.hpp"

#include <boost/test/results_collector.hpp>  // after BOOST_TEST_DYN_LINK

namespace {

using namespace ivory;
using namespace ivory::test;

constexpr int may_not_mount = 77;

/// Runs `body(folder)` in a child whose folder is a file system of `kilobytes`, which goes away with the child. `body`
/// returns 0 when all is as it should be. The child ends as a program does: with all exit handlers, HDF5's among them.
template <class Body>
int on_small_disk(int kilobytes, const Body& body) {
  TemporaryFolder folder;
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child == 0) {
    const int user = geteuid() == 0 ? 0 : CLONE_NEWUSER;
    const std::string options = "size=" + std::to_string(kilobytes) + "k";
    if (unshare(CLONE_NEWNS | user) != 0 || mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        mount("tmpfs", folder.path().c_str(), "tmpfs", 0, options.c_str()) != 0) {
      _exit(may_not_mount);
    }
    int result = 1;
    try {
      result = body(folder);
    } catch (const std::exception& error) {
      std::printf("unexpected: %s\n", error.what());
    }
    std::exit(result);
  }
  int status = 0;
  if (waitpid(child, &status, 0) != child) return 1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

std::string run_error(const std::string& path, SampleRun& run) {
  try {
    RunLog(path, run.wired());
  } catch (const RunError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// Fills the disk to its last byte.
void fill_disk(const std::string& path) {
  std::ofstream file(path, std::ios::binary);
  const std::string block(4096, 'x');
  while (file.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
  }
}

std::uint64_t free_bytes(const std::string& folder) {
  struct statvfs space {};
  return statvfs(folder.c_str(), &space) == 0 ? std::uint64_t{space.f_bavail} * space.f_frsize : 1;
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_disk_too_small_shows_before_round_one) {
  const int result = on_small_disk(64, [](const TemporaryFolder& folder) {
    SampleRun run;
    const std::string message = run_error(folder / "a.h5", run);
    for (const char* part : {"65536 free", "needed", "a.h5", "--out", "posterior_every"}) {
      if (!contains(message, part)) return std::printf("\"%s\" is not in: %s\n", part, message.c_str()), 2;
    }
    if (!contains(message, std::strerror(ENOSPC))) return 3;
    return std::filesystem::is_empty(folder.path()) ? 0 : 4;
  });
  BOOST_TEST(result == 0);
}

BOOST_AUTO_TEST_CASE(a_disk_without_a_single_byte_is_no_crash) {
  const int result = on_small_disk(64, [](const TemporaryFolder& folder) {
    SampleRun run;
    fill_disk(folder / "filler");
    if (free_bytes(folder.path().string()) != 0) return 2;
    if (!contains(run_error(folder / "a.h5", run), "0 free")) return 3;
    return std::filesystem::exists(folder / "a.h5") ? 4 : 0;
  });
  BOOST_TEST(result == 0);
}

BOOST_AUTO_TEST_CASE(a_disk_that_fills_up_during_the_run_does_not_stop_it) {
  const int result = on_small_disk(4096, [](const TemporaryFolder& folder) {
    SampleRun run;
    RunLog log(folder / "a.h5", run.wired());
    write_round(log, run, 1);
    fill_disk(folder / "filler");
    if (free_bytes(folder.path().string()) != 0) return 2;
    for (int round = 2; round <= 6; ++round) write_round(log, run, round);
    log.close();
    check_log(folder / "a.h5", run, 6);
    return boost::unit_test::results_collector.results(boost::unit_test::framework::current_test_case_id()).passed()
               ? 0
               : 3;
  });
  BOOST_TEST(result == 0);
}

// NOLINTNEXTLINE(bugprone-exception-escape): a test that cannot be set up may end so
int main(int argc, char** argv) {
  if (on_small_disk(64, [](const TemporaryFolder&) { return 0; }) == may_not_mount) {
    std::puts("skipped: this process may not mount a file system");
    return may_not_mount;
  }
  return boost::unit_test::unit_test_main(&init_unit_test, argc, argv);
}
