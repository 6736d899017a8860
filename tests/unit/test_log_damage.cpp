// Damaged logs in the readers themselves, many more than the command line's test can start programs for: every byte is suspect, an
// error names the file, and nothing takes memory that the file does not account for.
#define BOOST_TEST_MODULE log_damage
#include <fcntl.h>
#include <hdf5.h>
#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <functional>
#include <iterator>
#include <random>
#include <string_view>

#include "ivory/error.hpp"
#include "src/compare_groups.hpp"
#include "src/hdf5_guard.hpp"
#include "src/inspect.hpp"
#include "src/log_pack.hpp"
#include "src/log_reader.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"

// HDF5 1.10 itself leaks a little when it meets a damaged file.
// NOLINTNEXTLINE(bugprone-reserved-identifier): the name that the leak sanitizer asks for
extern "C" const char* __lsan_default_suppressions() { return "leak:libhdf5_serial"; }
// What a sanitizer finds is no crash of HDF5, into which it does not look, but for the memory that HDF5 asks for and copies: its own
// affair, as much of it as a damaged size says.
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __asan_default_options() { return "exitcode=99:allocator_may_return_null=1"; }
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __asan_default_suppressions() { return "interceptor_via_lib:libhdf5_serial"; }
// NOLINTNEXTLINE(bugprone-reserved-identifier)
extern "C" const char* __ubsan_default_options() { return "exitcode=99"; }

namespace {

using namespace ivory;
using namespace ivory::test;

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

/// IVORY_TEST_DAMAGES: for hours of it.
int damages() {
  const char* const wanted = std::getenv("IVORY_TEST_DAMAGES");
  return wanted != nullptr ? std::atoi(wanted) : 100;
}

/// Cut off, or with some bytes changed; more often near the beginning, where the structure is. The same number, the same damage.
std::string damaged(std::string bytes, int number) {
  std::mt19937_64 draw(static_cast<std::uint64_t>(number));
  const auto below = [&](std::size_t end) { return static_cast<std::size_t>(draw() % end); };
  const auto place = [&] { return below(below(2) == 0 ? bytes.size() : std::min<std::size_t>(bytes.size(), 20000)); };
  if (number % 8 == 0) return bytes.substr(0, place());
  const std::size_t count = std::size_t{1} << below(4), length = number % 8 == 1 ? std::size_t{1} << below(10) : 1;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t first = place(), end = std::min(bytes.size(), first + length);
    const char flip = static_cast<char>(below(3) == 0 ? 0xff : 1U << below(8));
    for (std::size_t at = first; at < end; ++at) bytes[at] = static_cast<char>(bytes[at] ^ flip);
  }
  return bytes;
}

void read_everything(const std::string& path) {
  const LogReader log(path);
  for (const char* column : {"accuracy", "nll_bayes", "seconds", "refused", "ood_auroc"}) (void)log.column(column);
  (void)log.state_hashes();
  (void)log.client_examples();
  (void)log.client_history("participation");
  for (std::size_t row = 0; row < log.posterior_rounds().size(); ++row) {
    (void)log.posterior_mean(row);
    (void)log.posterior_precision(row);
  }
  for (std::size_t row = 0; row < log.site_rounds().size(); ++row) (void)log.client_vectors("site_precision", row);
  for (std::size_t row = 0; row < log.client_evaluation_rounds().size(); ++row) (void)log.client_metrics(row, "_bayes");
}

/// How a reader ended. In a process of its own: HDF5 itself crashes on some damage, which the program reports as damage.
enum End { good = 0, crash_was_reported = 1, refused = 2, refused_without_name = 3, strange_error = 4 };

End end_of(const std::string& path, const std::function<void(const std::string&)>& read) {
  const auto judge = [&](const std::exception& error) {
    return std::string_view(error.what()).find(path) != std::string_view::npos ? refused : refused_without_name;
  };
  try {
    read(path);
    return good;
  } catch (const InputError& error) {
    return judge(error);
  } catch (const RunError& error) {
    return judge(error);
  } catch (const std::exception&) {
    return strange_error;
  }
}

/// Each with `damages()` damaged logs; how many of them it noticed.
int noticed(int rounds, const std::function<void(const std::string&)>& read) {
  constexpr long most_memory = 1 << 19;  // KiB
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "whole.h5", run, rounds);
  const std::string whole = bytes_of(folder / "whole.h5"), path = folder / "damaged.h5";
  put(path, whole);
  BOOST_TEST(end_of(path, read) == good);
  int count = 0, crashes = 0;
  for (int number = 0; number < damages(); ++number) {
    put(path, damaged(whole, number));
    const pid_t child = fork();
    BOOST_REQUIRE(child >= 0);
    if (child == 0) {
      // HDF5 reserves memory by sizes that it reads, and leaves it untouched when it sees the file's end.
      mallopt(M_PERTURB, 0);
      catch_crashes_of_hdf5();
      const int nowhere = open("/dev/null", O_WRONLY);
      dup2(nowhere, STDERR_FILENO);
      _exit(end_of(path, read));
    }
    int status = 0;
    rusage usage{};
    BOOST_REQUIRE(wait4(child, &status, 0, &usage) == child);
    const int end = WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
    BOOST_TEST((end == good || end == refused || end == crash_was_reported),
               "damage " << number << ": ended with " << end);
    BOOST_TEST(usage.ru_maxrss < most_memory, "damage " << number << ": " << usage.ru_maxrss << " KiB of memory");
    count += end == good ? 0 : 1;
    crashes += end == crash_was_reported ? 1 : 0;
  }
  BOOST_TEST(crashes <= 2 + damages() / 100);  // else something is wrong on our side
  return count;
}

/// Some damage is in numbers, which nobody can tell from others; some is in what makes the file one.
void check_noticed(int count) {
  BOOST_TEST(count > damages() / 12);
  BOOST_TEST(count < damages());
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_reader_of_a_log) { check_noticed(noticed(6, read_everything)); }

BOOST_AUTO_TEST_CASE(inspect) {
  check_noticed(noticed(6, [](const std::string& path) { (void)inspect_log(path); }));
}

BOOST_AUTO_TEST_CASE(inspect_that_follows) {
  check_noticed(noticed(4, [](const std::string& path) { (void)round_lines(path, 1); }));
}

BOOST_AUTO_TEST_CASE(compare) {
  check_noticed(noticed(6, [](const std::string& path) { (void)read_summary(path); }));
}

BOOST_AUTO_TEST_CASE(pack) {
  check_noticed(noticed(6, [](const std::string& path) { (void)pack_log(path, path + ".packed"); }));
}

BOOST_AUTO_TEST_CASE(resume) {
  SampleRun run;
  check_noticed(noticed(4, [&](const std::string& path) {
    RunLog log = RunLog::reopen(path, run.wired());
    if (log.rounds_complete() == 4) write_round(log, run, 5);
    log.close();
  }));
}

BOOST_AUTO_TEST_CASE(a_log_does_not_show_other_files) {
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "a.h5", run, 6);
  write_log(folder / "b.h5", run, 6);
  const hid_t file = H5Fopen((folder / "a.h5").c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
  H5Ldelete(file, "/rounds/accuracy", H5P_DEFAULT);
  H5Lcreate_external((folder / "b.h5").c_str(), "/rounds/accuracy", file, "/rounds/accuracy", H5P_DEFAULT, H5P_DEFAULT);
  H5Fclose(file);
  const auto message = [&](const auto& call) -> std::string {
    try {
      call();
    } catch (const InputError& error) {
      return error.what();
    }
    return "";
  };
  for (const std::string& text : {message([&] { (void)LogReader(folder / "a.h5").column("accuracy"); }),
                                  message([&] { (void)pack_log(folder / "a.h5", folder / "c.h5"); })}) {
    BOOST_TEST(text.find("/rounds/accuracy") != std::string::npos, text);
    BOOST_TEST(text.find(folder / "a.h5") != std::string::npos, text);
  }
  BOOST_TEST(!std::filesystem::exists(folder / "c.h5"));
}

BOOST_AUTO_TEST_CASE(rows_of_a_resumed_log_go_nowhere_else) {
  TemporaryFolder folder;
  SampleRun run;
  const auto refused = [&](const char* dataset, const std::function<void(hid_t)>& replace) -> std::string {
    const std::string path = folder / "log.h5";
    write_log(path, run, 4);
    const hid_t file = H5Fopen(path.c_str(), H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, dataset, H5P_DEFAULT);
    replace(file);
    H5Fclose(file);
    const std::string before = bytes_of(path);
    std::string message;
    try {
      RunLog::reopen(path, run.wired());
    } catch (const InputError& error) {
      message = error.what();
    }
    BOOST_TEST(bytes_of(path) == before);
    BOOST_TEST(message.find(path) != std::string::npos, message);
    return message;
  };
  const auto made = [](const char* name, hid_t type, std::vector<hsize_t> shape, bool early) {
    return [=](hid_t file) {
      const hid_t space = H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr);
      const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
      if (early) H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
      H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, properties, H5P_DEFAULT));
      H5Pclose(properties);
      H5Sclose(space);
    };
  };
  const char* const name = "/rounds/train_loss";
  const auto says = [](const std::string& message, const std::string& part) {
    BOOST_TEST(message.find(part) != std::string::npos, message);
  };
  says(refused(name, made(name, H5T_NATIVE_DOUBLE, {5}, true)),
       "\"/rounds/train_loss\" must have the shape [6], got [5]");
  says(refused(name, made(name, H5T_NATIVE_FLOAT, {6}, true)), "\"/rounds/train_loss\" must be contiguous");
  says(refused(name, made(name, H5T_IEEE_F64BE, {6}, true)), "\"/rounds/train_loss\" must be contiguous");
  says(refused(name, made(name, H5T_NATIVE_DOUBLE, {6}, false)), "\"/rounds/train_loss\" must be contiguous");
  says(refused(name,
               [](hid_t file) {
                 H5Lcreate_hard(file, "/rounds/seconds", file, "/rounds/train_loss", H5P_DEFAULT, H5P_DEFAULT);
               }),
       "must have a place of its own, got that of /rounds/");
}
