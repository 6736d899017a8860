// CIFAR-10 and CIFAR-100: records, labels and planes, damaged files, and the real images where they are.
#define BOOST_TEST_MODULE data_cifar
#include <cmath>
#include <cstdio>

#include "src/data_cifar.hpp"
#include "src/data_files.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t pixels = 3072;

/// A record whose pixel j is (7 first label + j) mod 251.
std::string record(const std::string& labels) {
  std::string out = labels;
  for (std::size_t j = 0; j < pixels; ++j) out += static_cast<char>((7U * static_cast<unsigned>(labels[0]) + j) % 251);
  return out;
}
std::string records(const std::vector<int>& labels) {
  std::string out;
  for (const int label : labels) out += record(std::string(1, static_cast<char>(label)));
  return out;
}

struct Files : TemporaryFolder {
  std::string put(const std::string& name, const std::string& bytes) const {
    write_file(*this / name, bytes);
    return *this / name;
  }
  void put_all(const std::vector<int>& batches) const {
    for (const int b : batches) put("set/data_batch_" + std::to_string(b) + ".bin", records({b, 0}));
    put("set/test_batch.bin.gz", gzip(records({9, 8, 7})));
  }
  std::string set() const { return *this / "set"; }
};

std::string read_error(const std::string& path, std::size_t label_bytes = 1) {
  Dataset data;
  return input_error([&] { read_cifar(path, label_bytes, label_bytes - 1, label_bytes == 1 ? 10 : 100, data); });
}

boost::test_tools::assertion_result has_cifar(boost::unit_test::test_unit_id) {
  const Scenario first = data_scenario("cifar10", {{"directory", std::string("cifar10")}});
  const bool found =
      input_error([&] {
        find_data_files(first, "directory", std::vector<std::string>{"data_batch_1.bin", "test_batch.bin"});
      }).empty();
  if (!found) {
    std::fprintf(stderr,
                 "SKIPPED: CIFAR-10 is not here; set IVORY_DATA_DIR to a folder with cifar10/ (data/README.md)\n");
  }
  return found;
}

}  // namespace

BOOST_AUTO_TEST_CASE(records_are_labels_and_planes) {
  const Files files;
  for (const std::string& bytes : {records({3, 9, 0}), gzip(records({3, 9, 0}))}) {
    Dataset data;
    read_cifar(files.put("a.bin", bytes), 1, 0, 10, data);
    BOOST_TEST(data.labels == (std::vector<std::int32_t>{3, 9, 0}), boost::test_tools::per_element());
    BOOST_TEST(data.features == pixels);
    BOOST_TEST(data.shape == (Shape{3, 32, 32}), boost::test_tools::per_element());
    BOOST_TEST(data.classes == 10);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < 3; ++i) {
      for (std::size_t j = 0; j < pixels; ++j) {
        wrong += data.row(i)[j] != static_cast<float>((7U * static_cast<unsigned>(data.labels[i]) + j) % 251);
      }
    }
    BOOST_TEST(wrong == 0U);
  }
}

BOOST_AUTO_TEST_CASE(batches_choose_the_training_files) {
  const Files files;
  files.put_all({1, 2, 3, 4, 5});
  const DataSplit all = load_data(data_scenario("cifar10", {{"directory", files.set()}, {"divide_by", 255.0}}));
  BOOST_TEST(all.train.labels == (std::vector<std::int32_t>{1, 0, 2, 0, 3, 0, 4, 0, 5, 0}),
             boost::test_tools::per_element());
  BOOST_TEST(all.test.labels == (std::vector<std::int32_t>{9, 8, 7}), boost::test_tools::per_element());
  BOOST_TEST(all.train.shape == (Shape{3, 32, 32}), boost::test_tools::per_element());
  BOOST_TEST(all.train.row(0)[3] == 10.0F / 255);
  const DataSplit some =
      load_data(data_scenario("cifar10", {{"directory", files.set()}, {"batches", std::vector<double>{4, 2}}}));
  BOOST_TEST(some.train.labels == (std::vector<std::int32_t>{4, 0, 2, 0}), boost::test_tools::per_element());
  BOOST_TEST(some.train.classes == 10);
  BOOST_TEST(contains(some.description, "cifar10 " + files.set()), some.description);

  std::filesystem::remove(files / "set/data_batch_3.bin");
  const std::string missing = load_error("cifar10", {{"directory", files.set()}});
  BOOST_TEST(contains(missing, files.set() + ": no data_batch_3.bin\n"), missing);
  BOOST_TEST(contains(missing, "batches = [1]"), missing);
  BOOST_TEST(contains(missing, "https://www.cs.toronto.edu/~kriz/cifar.html"), missing);
  const auto batches = [&](const std::vector<double>& list) {
    return load_error("cifar10", {{"directory", files.set()}, {"batches", list}});
  };
  BOOST_TEST(contains(batches({}), "must name a batch"));
  BOOST_TEST(contains(batches({1, 2, 1}), "got 1 twice, at test.toml:7:3"), batches({1, 2, 1}));
  BOOST_TEST(contains(batches({1.5}), "got 1.5"));
  BOOST_TEST(contains(batches({6}), "[1, 5]"), batches({6}));
}

BOOST_AUTO_TEST_CASE(cifar100_has_a_coarse_and_a_fine_label) {
  const Files files;
  files.put("set/train.bin", record({'\x13', '\x63'}) + record({'\x00', '\x05'}));
  files.put("set/test.bin.gz", gzip(record({'\x04', '\x06'})));
  const DataSplit fine = load_data(data_scenario("cifar100", {{"directory", files.set()}}));
  BOOST_TEST(fine.train.labels == (std::vector<std::int32_t>{99, 5}), boost::test_tools::per_element());
  BOOST_TEST(fine.train.classes == 100);
  BOOST_TEST(fine.train.row(0)[0] == 133.0F);
  const DataSplit coarse =
      load_data(data_scenario("cifar100", {{"directory", files.set()}, {"label", std::string("coarse")}}));
  BOOST_TEST(coarse.train.labels == (std::vector<std::int32_t>{19, 0}), boost::test_tools::per_element());
  BOOST_TEST(coarse.test.labels == std::vector<std::int32_t>{4}, boost::test_tools::per_element());
  BOOST_TEST(coarse.train.classes == 20);
  BOOST_TEST(coarse.train.x == fine.train.x);
}

BOOST_AUTO_TEST_CASE(damaged_files_are_refused_with_record_and_byte) {
  const Files files;
  const std::string whole = records({1, 2});
  for (const std::size_t size : {0U, 1U, 3072U, 3074U, 6145U}) {
    const std::string message = read_error(files.put("cut.bin", whole.substr(0, size)));
    BOOST_TEST(contains(message, "records of 3073 bytes, got " + std::to_string(size % 3073) + " bytes of record " +
                                     std::to_string(size / 3073)),
               message);
    BOOST_TEST(contains(message, files / "cut.bin"), message);
    BOOST_TEST(contains(read_error(files.put("cut.bin", gzip(whole.substr(0, size)))), "records of 3073 bytes"));
  }
  BOOST_TEST(contains(read_error(files.put("more.bin", whole + "x")), "1 bytes of record 2 at byte 6146"));
  const std::string bad = read_error(files.put("bad.bin", records({1, 10})));
  BOOST_TEST(contains(bad, "below 10, got 10"), bad);
  BOOST_TEST(contains(bad, "bad.bin record 1 (byte 3073)"), bad);
  BOOST_TEST(contains(read_error(files.put("bad.bin", record({'\x13', '\x64'})), 2), "below 100, got 100"));
  // CIFAR-100 read as CIFAR-10 and the other way round.
  BOOST_TEST(read_error(files.put("bad.bin", record({'\x13', '\x05'}))) != "");
  BOOST_TEST(read_error(files.put("bad.bin", records({3})), 2) != "");
  const std::string packed = gzip(whole);
  BOOST_TEST(contains(read_error(files.put("cut.gz", packed.substr(0, packed.size() - 5))), "gzip"));
}

BOOST_AUTO_TEST_CASE(the_real_images, *boost::unit_test::precondition(has_cifar)) {
  const DataSplit data = load_data(data_scenario(
      "cifar10", {{"directory", std::string("cifar10")}, {"batches", std::vector<double>{1}}, {"divide_by", 255.0}}));
  // The counts of the original first batch.
  const std::vector<std::size_t> counts = {1005, 974, 1032, 1016, 999, 937, 1030, 1001, 1025, 981};
  BOOST_TEST(class_counts(data.train) == counts, boost::test_tools::per_element());
  BOOST_TEST(data.train.labels[0] == 6);  // its first image is a frog, the test set's a cat
  BOOST_TEST(data.test.labels[0] == 3);
  BOOST_TEST(data.test.size() >= 1000U);
  // Channel means of the whole training set, as widely used for normalisation: 0.4914, 0.4822, 0.4465.
  const double known[] = {0.4914, 0.4822, 0.4465};
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0;
    for (std::size_t i = 0; i < data.train.size(); ++i) {
      for (std::size_t j = 0; j < 1024; ++j) sum += static_cast<double>(data.train.row(i)[c * 1024 + j]);
    }
    BOOST_TEST(std::abs(sum / (1024.0 * static_cast<double>(data.train.size())) - known[c]) < 0.005);
  }
}
