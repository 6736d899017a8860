// load_data: the user's own HDF5 files.
#define BOOST_TEST_MODULE data_hdf5
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "ivory/rng.hpp"
#include "src/data_common.hpp"
#include "src/hdf5_file.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/data_files.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// An HDF5 file whose x[i] = {i, -i}, y[i] = i % 3.
struct Hdf5Files : TemporaryFolder {
  std::string make(const std::string& name, std::size_t n, const std::vector<std::int64_t>& client = {},
                   const std::string& group = "") const {
    const std::string path = *this / name;
    Hdf5File file = std::filesystem::exists(path) ? Hdf5File::modify(path) : Hdf5File::create(path);
    std::vector<double> x;
    std::vector<std::int32_t> y;
    for (std::size_t i = 0; i < n; ++i) {
      x.push_back(static_cast<double>(i));
      x.push_back(-static_cast<double>(i));
      y.push_back(static_cast<std::int32_t>(i % 3));
    }
    file.write(group + "/x", {n, 2, 1}, x);
    file.write(group + "/y", {n}, y);
    if (!client.empty()) file.write(group + "/client", {n}, client);
    file.close();
    return path;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(hdf5_test_sets_come_from_a_file_a_group_or_a_fraction) {
  const Hdf5Files files;
  const std::string one = files.make("one.h5", 50), two = files.make("two.h5", 20);
  files.make("both.h5", 30, {}, "/train");
  const std::string both = files.make("both.h5", 12, {}, "/test");

  const DataSplit by_file = load_data(data_scenario("hdf5", {{"file", one}, {"test_file", two}}));
  BOOST_TEST(by_file.train.size() == 50U);
  BOOST_TEST(by_file.test.size() == 20U);
  BOOST_TEST(by_file.train.features == 2U);
  BOOST_TEST(by_file.train.classes == 3);
  BOOST_TEST(by_file.train.row(7)[1] == -7.0F);
  BOOST_TEST(by_file.train.client.empty());
  const DataSplit by_group = load_data(data_scenario(
      "hdf5", {{"file", both}, {"train_group", std::string("train")}, {"test_group", std::string("/test")}}));
  BOOST_TEST(by_group.train.size() == 30U);
  BOOST_TEST(by_group.test.size() == 12U);
  // A resolved scenario names every key, this one with its default: it must run again.
  BOOST_TEST(
      load_data(data_scenario("hdf5", {{"file", one}, {"test_file", two}, {"test_fraction", 0.2}})).test.size() == 20U);
  const DataSplit by_fraction = load_data(data_scenario("hdf5", {{"file", one}, {"test_fraction", 0.1}}));
  BOOST_TEST(by_fraction.train.size() == 45U);
  BOOST_TEST(by_fraction.test.size() == 5U);

  BOOST_TEST(
      contains(load_error("hdf5", {{"file", one}, {"test_file", two}, {"test_fraction", 0.1}}), "drop one of them"));
  BOOST_TEST(contains(load_error("hdf5", {{"file", one}, {"test_file", one}}), "must differ"));
  std::filesystem::create_symlink(both, files / "link.h5");
  const std::string one_group[][2] = {{"train", "/train"}, {"/train/", "train"}, {"train", "//train/."}};
  for (const auto& [train, test] : one_group) {
    const Values groups = {{"file", both}, {"train_group", train}, {"test_group", test}};
    BOOST_TEST(contains(load_error("hdf5", groups), "must differ, got the group /train of one file for both, "));
    Values linked = groups;
    linked["test_file"] = files / "link.h5";
    BOOST_TEST(contains(load_error("hdf5", linked), "must differ"));
  }
  for (const char* root : {"/", "//", "."}) {
    BOOST_TEST(contains(load_error("hdf5", {{"file", one}, {"test_group", std::string(root)}}), "must differ"));
  }
  BOOST_TEST(contains(load_error("hdf5", {{"file", both}, {"train_group", std::string("trian")}}), "test, train"));
  BOOST_TEST(contains(load_error("hdf5", {{"file", both}}), "no x"));
}

BOOST_AUTO_TEST_CASE(the_extents_of_x_are_the_shape_of_an_example) {
  const Hdf5Files files;
  const auto shape_of = [&](const std::vector<std::size_t>& extents) {
    std::size_t values = 1;
    for (const std::size_t extent : extents) values *= extent;
    Hdf5File file = Hdf5File::create(files / "shape.h5");
    file.write("x", extents, std::vector<float>(values, 1.0F));
    file.write("y", {extents[0]}, std::vector<std::int32_t>(extents[0], 0));
    file.close();
    const DataSplit data =
        load_data(data_scenario("hdf5", {{"file", files / "shape.h5"}, {"test_fraction", 0.3}, {"validation", 0.3}}));
    for (const Dataset* part : {&data.train, &data.test, &data.validation}) {
      BOOST_TEST(part->shape == data.train.shape, boost::test_tools::per_element());
      BOOST_TEST(part->features == values / extents[0]);
    }
    return data.train.shape;
  };
  BOOST_TEST(shape_of({10, 2, 3, 4}) == (Shape{2, 3, 4}), boost::test_tools::per_element());
  BOOST_TEST(shape_of({10, 3, 4}) == (Shape{1, 3, 4}), boost::test_tools::per_element());
  BOOST_TEST(shape_of({10, 12}) == Shape{12}, boost::test_tools::per_element());
  BOOST_TEST(shape_of({10}) == Shape{1}, boost::test_tools::per_element());
  BOOST_TEST(shape_of({10, 1, 2, 3, 4}) == Shape{24}, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bad_hdf5_data_are_refused_with_file_data_set_and_row) {
  const Hdf5Files files;
  const auto message = [&](const std::vector<std::size_t>& x_shape, const std::vector<float>& x,
                           const std::vector<std::size_t>& y_shape, const std::vector<std::int64_t>& y,
                           const std::vector<std::int64_t>& client = {}) {
    Hdf5File file = Hdf5File::create(files / "bad.h5");
    file.write("x", x_shape, x);
    file.write("y", y_shape, y);
    if (!client.empty()) file.write("client", {client.size()}, client);
    file.close();
    return load_error("hdf5", {{"file", files / "bad.h5"}, {"test_fraction", 0.5}});
  };
  const auto expect = [&](const std::string& text, const std::string& part) {
    BOOST_TEST((text.starts_with("[data] ") || text.starts_with("[memory] ")), text);
    BOOST_TEST(contains(text, files / "bad.h5"), text);
    BOOST_TEST(contains(text, part), text << "\n  lacks: " << part);
  };
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  BOOST_TEST(message({2, 2}, {1, 2, 3, 4}, {2}, {0, 1}) == "");
  BOOST_TEST(message({2}, {1, 2}, {2, 1}, {0, 1}) == "");  // one feature; a column of labels
  expect(message({2, 2}, {1, 2, 3, nan}, {2}, {0, 1}), "x row 1 column 1");
  expect(message({2, 2}, {1, -inf, 3, 4}, {2}, {0, 1}), "x row 0 column 1");
  expect(message({2, 2}, {1, 2, 3, 4}, {3}, {0, 1, 0}), "shape [3]");
  expect(message({2, 2}, {1, 2, 3, 4}, {1, 2}, {0, 1}), "shape [1, 2]");
  expect(message({2, 2}, {1, 2, 3, 4}, {2}, {0, -1}), "got -1");
  expect(message({2, 2}, {1, 2, 3, 4}, {2}, {0, std::int64_t{1} << 40}), "1099511627776");
  expect(message({2, 0}, {}, {2}, {0, 1}), "shape [2, 0]");
  expect(message({}, {1}, {1}, {0}), "shape []");
  expect(message({2, 2}, {1, 2, 3, 4}, {2}, {0, 1}, {5, std::int64_t{1} << 31}), "32-bit");
  expect(message({2, 2}, {1, 2, 3, 4}, {2}, {0, 1}, {5}), "client");

  const auto written = [&](const auto& write) {
    Hdf5File file = Hdf5File::create(files / "bad.h5");
    write(file);
    file.close();
    return load_error("hdf5", {{"file", files / "bad.h5"}});
  };
  expect(written([](Hdf5File& f) { f.write("x", {2}, std::vector<float>{1, 2}); }), "no y");
  expect(written([](Hdf5File& f) {
           f.write("x", {2}, std::vector<float>{1, 2});
           f.write("y", {2}, std::vector<double>{0, 1});
         }),
         "y must hold integers");
  expect(written([](Hdf5File& f) {
           f.write_text("x", {"a", "b"});
           f.write("y", {2}, std::vector<std::int32_t>{0, 1});
         }),
         "text");
  // Extents without data behind them: memory is not taken for what a header says.
  expect(written([](Hdf5File& f) {
           f.make_dataset({.path = "/x", .shape = {std::size_t{1} << 31, 1 << 20}, .allocated = false});
           f.make_dataset({.path = "/y", .type = Hdf5Type::int32, .shape = {std::size_t{1} << 31}, .allocated = false});
         }),
         "fit into memory");
  const std::string different = files.make("different.h5", 9);
  BOOST_TEST(message({2, 3}, {1, 2, 3, 4, 5, 6}, {2}, {0, 1}) == "");
  BOOST_TEST(contains(load_error("hdf5", {{"file", files / "bad.h5"}, {"test_file", different}}), "one size, got 3"));
}

BOOST_AUTO_TEST_CASE(a_hdf5_file_cut_off_anywhere_is_refused) {
  const Hdf5Files files;
  const std::string whole = read_file(files.make("whole.h5", 9));
  for (std::size_t size = 0; size < whole.size(); size += size < 128 ? 1 : 37) {
    write_file(files / "cut.h5", whole.substr(0, size));
    const std::string message = load_error("hdf5", {{"file", files / "cut.h5"}});
    BOOST_TEST(contains(message, files / "cut.h5"), "cut at byte " << size << ": " << message);
  }
}
