// The HDF5 log: what is written is read back, rounds to come read as missing, and what cannot be written is said.
#define BOOST_TEST_MODULE log
#include <hdf5.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iterator>

#include "ivory/error.hpp"
#include "src/inspect.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"
#include "tests/support/sample_log_check.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& text) { std::ofstream(path, std::ios::binary) << text; }

/// The message of the RunError that `call` throws; "" when it throws none. Any other exception passes through.
template <class Call>
std::string run_error(const Call& call) {
  try {
    call();
  } catch (const RunError& error) {
    return error.what();
  }
  return "";
}

template <class Call>
std::string input_error(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// What a child process returns that runs `body` and then ends as a program does, with all exit handlers.
template <class Body>
int in_child(const Body& body) {
  std::fflush(nullptr);
  const pid_t child = fork();
  BOOST_REQUIRE(child >= 0);
  if (child == 0) {
    int result = 99;
    try {
      result = body();
    } catch (...) {
    }
    H5close();  // what HDF5's own exit handler does, without the test framework's
    _exit(result);
  }
  int status = 0;
  BOOST_REQUIRE(waitpid(child, &status, 0) == child);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/// Files of the folder, to see that nothing is left behind.
std::size_t files_in(const TemporaryFolder& folder) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(folder.path()), std::filesystem::directory_iterator()));
}

}  // namespace

BOOST_AUTO_TEST_CASE(a_whole_run_reads_back) {
  TemporaryFolder folder;
  for (const bool posterior : {true, false}) {
    for (const char* sites : {"none", "last", "every"}) {
      SampleRun run(6, sites, posterior);
      write_log(folder / "a.h5", run, 6);
      check_log(folder / "a.h5", run, 6);
    }
  }
  BOOST_TEST(files_in(folder) == 1U);
}

BOOST_AUTO_TEST_CASE(records_come_when_the_scenario_asks) {
  TemporaryFolder folder;
  const auto rounds_of = [&](std::int64_t every, const std::string& sites) {
    SampleRun run(6, sites);
    SampleRun::set(run.scenario.log, "posterior_every", every);
    const RunLog log(folder / "a.h5", run.wired());
    std::pair<std::vector<int>, std::vector<int>> wanted;
    for (int round = 1; round <= 6; ++round) {
      if (log.wants_posterior(round)) wanted.first.push_back(round);
      if (log.wants_sites(round)) wanted.second.push_back(round);
    }
    return wanted;
  };
  using Rounds = std::vector<int>;
  BOOST_TEST((rounds_of(4, "every") == std::pair(Rounds{4, 6}, Rounds{4, 6})));
  BOOST_TEST((rounds_of(3, "last") == std::pair(Rounds{3, 6}, Rounds{6})));
  BOOST_TEST((rounds_of(0, "every") == std::pair(Rounds{6}, Rounds{6})));
  BOOST_TEST((rounds_of(100, "none") == std::pair(Rounds{6}, Rounds{})));
}

BOOST_AUTO_TEST_CASE(labels_that_noise_changed_are_told_where_there_was_noise) {
  const TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "clean.h5", run, 1);
  BOOST_TEST(!LogReader(folder / "clean.h5").file().has_dataset("/partition/flipped_index"));
  run.train.clean_labels = {0, 1, 3, 3, 3, 2, 0, 0, 0, 1};  // the labels are 0 1 2 3 3 2 1 0 0 3
  write_log(folder / "noisy.h5", run, 1);
  const LogReader noisy(folder / "noisy.h5");
  check_same("flipped_index", noisy.file().read<double>("/partition/flipped_index").values, std::vector<int>{2, 6, 9});
  check_same("flipped_class", noisy.file().read<double>("/partition/flipped_class").values, std::vector<int>{3, 0, 1});
  run.train.clean_labels = run.train.labels;  // noise that changed nothing
  write_log(folder / "lucky.h5", run, 1);
  BOOST_TEST(LogReader(folder / "lucky.h5").file().shape("/partition/flipped_index") == std::vector<std::size_t>{0},
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(header_partition_and_parameters_read_back) {
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "a.h5", run, 6);
  const LogReader log(folder / "a.h5");
  const LogHeader& header = log.header();
  BOOST_TEST(header.format_version == log_format_version);
  BOOST_TEST(header.ivory_version == IVORY_VERSION);
  BOOST_TEST(header.name == "sample");
  BOOST_TEST(header.arm == "vb");
  BOOST_TEST(header.scenario == to_toml(run.scenario));
  BOOST_TEST(header.algorithm == "vb_admm");
  BOOST_TEST(header.optimizer == "ivon");
  BOOST_TEST(header.device == "a device with µ");
  BOOST_TEST(header.data_checksum == "0123456789abcdef");
  BOOST_TEST(header.data_description == "made up");
  BOOST_TEST(header.partition_hash == "fedcba9876543210");
  BOOST_TEST(header.seed == 18446744073709551615U);
  BOOST_TEST(header.clients == 3U);
  BOOST_TEST(header.classes == 4U);
  BOOST_TEST(header.bins == 5U);
  BOOST_TEST(header.parameters == 32U);
  BOOST_TEST(header.has_posterior);
  BOOST_TEST(header.finished());
  BOOST_TEST(log.scenario_number("evaluation", "target_accuracy") == 0.75);
  BOOST_TEST(log.scenario_number("evaluation", "clients_every") == 2.0);
  BOOST_TEST(std::isnan(log.scenario_number("evaluation", "no_such_key")));

  const Hdf5File& file = log.file();
  check_same("examples", log.client_examples(), std::vector<int>{4, 1, 3});
  check_same("holdout_examples", file.read<double>("/clients/holdout_examples").values, std::vector<int>{1, 0, 2});
  check_same("train_offset", file.read<double>("/partition/train_offset").values, std::vector<int>{0, 4, 5});
  check_same("train_count", file.read<double>("/partition/train_count").values, std::vector<int>{4, 1, 3});
  check_same("train_index", file.read<double>("/partition/train_index").values,
             std::vector<int>{0, 2, 4, 9, 1, 7, 8, 5});
  check_same("holdout_offset", file.read<double>("/partition/holdout_offset").values, std::vector<int>{0, 1, 1});
  check_same("holdout_count", file.read<double>("/partition/holdout_count").values, std::vector<int>{1, 0, 2});
  check_same("holdout_index", file.read<double>("/partition/holdout_index").values, std::vector<int>{3, 6, 2});
  // Labels 0 2 3 3 | 1 | 0 0 2.
  check_same("class_counts", file.read<double>("/partition/class_counts").values,
             std::vector<int>{1, 0, 1, 2, 0, 1, 0, 0, 2, 0, 1, 0});
  BOOST_TEST(file.integer("/partition", "repeated") == 5);
  BOOST_TEST(file.integer("/partition", "unused") == 7);
  BOOST_TEST(file.text("/partition", "hash") == "fedcba9876543210");
  BOOST_TEST((file.read_text("/parameters/name") == std::vector<std::string>{"0.weight", "0.bias"}));
  check_same("offset", file.read<double>("/parameters/offset").values, std::vector<int>{0, 28});
  check_same("size", file.read<double>("/parameters/size").values, std::vector<int>{28, 4});
  check_same("shape", file.read<double>("/parameters/shape").values, std::vector<int>{4, 7, 4, 0});
  check_same("bin", file.read<double>("/rounds/bin").values, std::vector<double>{1 / 5., 2 / 5., 3 / 5., 4 / 5., 1.});
}

BOOST_AUTO_TEST_CASE(an_open_log_is_read_after_every_round) {
  TemporaryFolder folder;
  SampleRun run;
  RunLog log(folder / "a.h5", run.wired());
  check_log(folder / "a.h5", run, 0);
  const LogReader early(folder / "a.h5");  // opened before round 1 and kept open
  for (int round = 1; round <= 6; ++round) {
    write_round(log, run, round);
    check_log(folder / "a.h5", run, round);
  }
  BOOST_TEST(early.header().rounds_complete == 0);
  BOOST_TEST(early.column("accuracy").empty());
  log.close();
  check_log(folder / "a.h5", run, 6);
}

BOOST_AUTO_TEST_CASE(a_round_without_evaluation_stays_missing) {
  TemporaryFolder folder;
  SampleRun run;
  RunLog log(folder / "a.h5", run.wired());
  RoundRecord record = sample_record(1);
  record.evaluated = false;
  log.append(record);
  const LogReader reader(folder / "a.h5");
  BOOST_TEST(std::isnan(reader.column("accuracy").at(0)));
  BOOST_TEST(std::isnan(reader.column("nll_bayes").at(0)));
  BOOST_TEST(reader.column("train_loss").at(0) == record.train_loss);
}

BOOST_AUTO_TEST_CASE(without_out_of_distribution_data_their_columns_take_no_space) {
  TemporaryFolder folder;
  SampleRun run;
  run.plan.has_ood = false;
  write_log(folder / "a.h5", run, 6);
  const LogReader reader(folder / "a.h5");
  std::size_t columns = 0;
  for (const LogDataset& dataset : log_datasets(run.wired(), shape_of(run.plan))) {
    if (!contains(dataset.layout.path, "/rounds/ood_")) continue;
    ++columns;
    BOOST_TEST(!dataset.layout.allocated, dataset.layout.path);
    for (const double value : reader.column(dataset.layout.path.substr(8))) BOOST_TEST(std::isnan(value));
  }
  BOOST_TEST(columns == 20U);
  BOOST_TEST(!contains(inspect_log(folder / "a.h5"), "out-of-distribution"));
}

BOOST_AUTO_TEST_CASE(the_file_is_of_the_old_plain_kind) {
  TemporaryFolder folder;
  SampleRun run(6, "every", false);
  write_log(folder / "a.h5", run, 6);
  const std::string bytes = contents(folder / "a.h5");
  BOOST_TEST(bytes.substr(1, 3) == "HDF");
  BOOST_TEST(bytes.at(8) == '\0');  // version of the superblock

  const hid_t file = H5Fopen((folder / "a.h5").c_str(), H5F_ACC_RDONLY, H5P_DEFAULT);
  BOOST_REQUIRE(file >= 0);
  const LogShape shape = shape_of(run.wired());
  for (const LogDataset& dataset : log_datasets(run.plan, shape)) {
    const std::string& path = dataset.layout.path;
    const hid_t id = H5Dopen2(file, path.c_str(), H5P_DEFAULT);
    BOOST_TEST_REQUIRE((id >= 0), path);
    const hid_t properties = H5Dget_create_plist(id);
    BOOST_TEST((H5Pget_layout(properties) == H5D_CONTIGUOUS), path);
    const bool has_space = H5Dget_offset(id) != HADDR_UNDEF;
    BOOST_TEST(has_space == dataset.layout.allocated, path);
    // What a method without a posterior, or a classification, never writes takes no space.
    const bool never = contains(path, "rmse") || contains(path, "_bayes") || contains(path, "/site_mean") ||
                       contains(path, "/site_precision") || path == "/clients/precision" ||
                       path == "/posterior/precision" || (contains(path, "/curve/") && !dataset.is_scale);
    BOOST_TEST(has_space == !never, path);
    H5Pclose(properties);
    H5Dclose(id);
  }
  H5Fclose(file);
}

BOOST_AUTO_TEST_CASE(the_same_run_writes_the_same_bytes) {
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "a.h5", run, 6);
  const std::string first = contents(folder / "a.h5");
  sleep(1);  // a time stamp of HDF5 would show
  write_log(folder / "a.h5", run, 6);
  BOOST_TEST((first == contents(folder / "a.h5")));
}

BOOST_AUTO_TEST_CASE(ten_thousand_clients_take_little_more_than_their_numbers) {
  TemporaryFolder folder;
  SampleRun run(50, "none");
  run.partition = {};
  run.partition.train.assign(10000, {0, 1, 2, 3, 4, 5});
  SampleRun::set(run.scenario.evaluation, "clients_every", std::int64_t{10});
  RunLog log(folder / "a.h5", run.wired());
  RoundRecord record = sample_record(1);
  record.clients.assign(10000, {ClientStatus::trained, 0.5, 3});
  log.append(record);
  log.flush();  // rows are written beside the run
  const auto bytes = static_cast<double>(std::filesystem::file_size(folder / "a.h5"));
  // Status, loss and steps per round; twice five metrics in five rounds; six examples as entry and index; counts by class.
  const double numbers = 10000.0 * (50 * (1 + 4 + 4) + 2 * 5 * 5 * 4 + 6 * 8 + 4 * 4);
  BOOST_TEST(bytes > numbers);
  BOOST_TEST(bytes < 1.2 * numbers + 2e5);
  BOOST_TEST(LogReader(folder / "a.h5").client_history("train_loss").at(9999) == 0.5);
}

BOOST_AUTO_TEST_CASE(rows_without_a_place_are_refused) {
  TemporaryFolder folder;
  SampleRun run;
  RunLog log(folder / "a.h5", run.wired());
  BOOST_TEST(contains(run_error([&] { log.append(sample_record(2)); }), "round 2"));
  RoundRecord wrong = sample_record(1);
  wrong.clients.pop_back();
  BOOST_TEST(contains(run_error([&] { log.append(wrong); }), "/clients/participation has 3 values, got 2"));
  BOOST_TEST(LogReader(folder / "a.h5").header().rounds_complete == 0);
  const std::vector<float> vector = sample_vector(1, 0), shorter(vector.begin(), vector.end() - 1);
  BOOST_TEST(contains(run_error([&] { log.write_posterior(1, vector, vector); }), "round 1"));
  BOOST_TEST(contains(run_error([&] { log.write_posterior(4, shorter, vector); }), "32 values, got 31"));
  const ClientArrays nobody{.client = 3, .mean = vector, .precision = {}, .site_mean = {}, .site_precision = {}};
  BOOST_TEST(contains(run_error([&] { log.write_client(4, nobody); }), "round 4"));
  for (int round = 1; round <= 6; ++round) write_round(log, run, round);
  BOOST_TEST(contains(run_error([&] { log.append(sample_record(7)); }), "round 7"));
  log.close();
  check_log(folder / "a.h5", run, 6);
}

BOOST_AUTO_TEST_CASE(only_a_log_is_replaced) {
  TemporaryFolder folder;
  SampleRun run;
  const auto refused = [&](const std::string& path) { return run_error([&] { RunLog(path, run.wired()); }); };

  put(folder / "notes.h5", "my notes");
  BOOST_TEST(contains(refused(folder / "notes.h5"), folder / "notes.h5"));
  BOOST_TEST(contents(folder / "notes.h5") == "my notes");

  Hdf5File::create(folder / "data.h5").write("x", {2}, std::vector<double>{1, 2});
  const std::string data = contents(folder / "data.h5");
  BOOST_TEST(contains(refused(folder / "data.h5"), "something else"));
  BOOST_TEST((contents(folder / "data.h5") == data));

  std::filesystem::create_directory(folder / "runs");
  BOOST_TEST(contains(refused(folder / "runs"), folder / "runs"));
  BOOST_TEST(files_in(folder) == 3U);

  write_log(folder / "a.h5", run, 6);
  const std::string finished = contents(folder / "a.h5");
  // An old log stays until the new one is ready: a run that cannot begin destroys nothing.
  SampleRun too_long;
  too_long.scenario.algorithm_name = std::string(70000, 'x');
  BOOST_TEST(contains(run_error([&] { RunLog(folder / "a.h5", too_long.wired()); }), "64000"));
  BOOST_TEST((contents(folder / "a.h5") == finished));
  BOOST_TEST(files_in(folder) == 4U);

  write_log(folder / "a.h5", run, 2);
  check_log(folder / "a.h5", run, 2);
}

BOOST_AUTO_TEST_CASE(a_place_that_cannot_be_written_is_named) {
  TemporaryFolder folder;
  SampleRun run;
  const auto refused = [&](const std::string& path) { return run_error([&] { RunLog(path, run.wired()); }); };
  const std::string missing = refused(folder / "no/such/a.h5");
  BOOST_TEST(contains(missing, folder / "no/such/a.h5"));
  BOOST_TEST(contains(missing, std::strerror(ENOENT)));
  BOOST_TEST(contains(missing, "--out"));
  put(folder / "file", "");
  BOOST_TEST(contains(refused(folder / "file/a.h5"), std::strerror(ENOTDIR)));

  std::filesystem::create_directory(folder / "locked");
  std::filesystem::permissions(folder / "locked",
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  std::filesystem::permissions(folder.path(), std::filesystem::perms::all);
  const int result = in_child([&] {
    constexpr unsigned nobody = 65534;
    if (geteuid() == 0 && setuid(nobody) != 0) return 1;  // permissions do not bind root
    const std::string message = refused(folder / "locked/a.h5");
    return contains(message, folder / "locked/a.h5") && contains(message, std::strerror(EACCES)) ? 0 : 2;
  });
  BOOST_TEST(result == 0);
}

BOOST_AUTO_TEST_CASE(a_limit_on_file_sizes_shows_before_round_one) {
  TemporaryFolder folder;
  SampleRun run;
  const int result = in_child([&] {
    const rlimit limit{10000, 10000};
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    const std::string message = run_error([&] { RunLog(folder / "a.h5", run.wired()); });
    return contains(message, "10000 bytes") && contains(message, "ulimit -f") ? 0 : 2;
  });
  BOOST_TEST(result == 0);
  BOOST_TEST(files_in(folder) == 0U);
}

BOOST_AUTO_TEST_CASE(a_failed_write_keeps_the_earlier_rounds) {
  TemporaryFolder folder;
  SampleRun run;
  const int result = in_child([&] {
    RunLog log(folder / "a.h5", run.wired());
    write_round(log, run, 1);
    write_round(log, run, 2);
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{4000, 4000};  // from here on the system refuses to write behind the first 4000 bytes
    if (setrlimit(RLIMIT_FSIZE, &limit) != 0) return 1;
    const std::string message = run_error([&] { write_round(log, run, 3); });
    return contains(message, folder / "a.h5") && contains(message, std::strerror(EFBIG)) ? 0 : 2;
  });
  BOOST_TEST(result == 0);
  check_log(folder / "a.h5", run, 2, false);
}

BOOST_AUTO_TEST_CASE(what_is_not_a_log_is_said) {
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "a.h5", run, 6);
  put(folder / "text", "name = 3");
  put(folder / "empty", "");
  put(folder / "cut.h5", contents(folder / "a.h5").substr(0, 3000));
  Hdf5File::create(folder / "data.h5").write("x", {1}, std::vector<double>{1});
  for (const char* name : {"text", "empty", "cut.h5", "data.h5", "missing.h5"}) {
    const std::string message = input_error([&] { LogReader(folder / name); });
    BOOST_TEST(contains(message, folder / name), name << ": " << message);
    BOOST_TEST(!is_ivory_log(folder / name), name);
  }
  BOOST_TEST(is_ivory_log(folder / "a.h5"));
  Hdf5File::modify(folder / "a.h5").set_integer("/", "format_version", 2);
  BOOST_TEST(contains(input_error([&] { LogReader(folder / "a.h5"); }), "got format 2"));
  BOOST_TEST(is_ivory_log(folder / "a.h5"));  // may be replaced by a new run
}

BOOST_AUTO_TEST_CASE(inspect_tells_what_there_is) {
  TemporaryFolder folder;
  SampleRun run;
  write_log(folder / "a.h5", run, 5);
  const std::string text = inspect_log(folder / "a.h5");
  for (const char* part : {"sample, arm vb, seed 18446744073709551615", "5 of 6 finished", "checksum 0123456789abcdef",
                           "0.weight [4, 7], 0.bias [4]", "3 with 1 to 4 examples (2.7 on average)",
                           "recorded after round 4", "5 client updates", "posterior average", "32000.00"}) {
    BOOST_TEST(contains(text, part), part << " is not in\n" << text);
  }
  BOOST_TEST(
      contains(text,
               "\nout-of-distribution inputs told from the test set, round 5:\n"
               "model              score                AUROC [%]  AUPR in [%]  AUPR out [%]  FPR at 95 % [%]  "
               "detection error [%]\n"
               "mean model         largest probability   32900.00     32903.12      32906.25         32909.38     "
               "        32912.50\n"));
  BOOST_TEST(!contains(text, "by the number of its samples"));  // that comes with the last round
  write_log(folder / "a.h5", run, 6);
  BOOST_TEST(contains(inspect_log(folder / "a.h5"),
                      "\nposterior average after the last round, by the number of its samples:\n"
                      "samples  accuracy [%]       NLL   ECE [%]     Brier\n"
                      "      1      40000.00  401.0000  40200.00  403.0000\n"
                      "      2      40003.12  401.0312  40203.12  403.0312\n"
                      "      3      40006.25  401.0625  40206.25  403.0625\n"));
  SampleRun point(6, "none", false);
  write_log(folder / "b.h5", point, 0);
  const std::string nothing = inspect_log(folder / "b.h5");
  BOOST_TEST(contains(nothing, "0 of 6 finished"));
  BOOST_TEST(contains(nothing, "without a posterior"));
  BOOST_TEST(!contains(nothing, "posterior average"));
}
