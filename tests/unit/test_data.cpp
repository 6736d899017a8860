// load_data: search, scaling, splits, checksum and the shipped digits.
#define BOOST_TEST_MODULE data
#include <cmath>
#include <limits>
#include <numeric>
#include <set>
#include "tests/support/boost_test.hpp"

#include "ivory/rng.hpp"
#include "src/content_hash.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"
#include "src/hdf5_file.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/data_files.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Sets an environment variable for the length of a test.
struct Environment {
  Environment(const char* name_, const std::string& value) : name(name_) {
    const char* old = std::getenv(name);
    had = old != nullptr;
    if (had) before = old;
    setenv(name, value.c_str(), 1);
  }
  ~Environment() {
    if (had) {
      setenv(name, before.c_str(), 1);
    } else {
      unsetenv(name);
    }
  }
  const char* name;
  bool had = false;
  std::string before;
};

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

bool mnist_found() {
  try {
    find_data_files(data_scenario("idx", {{"directory", std::string("mnist")}}), "directory",
                    std::vector<std::string>{"train-images-idx3-ubyte", "t10k-images-idx3-ubyte"});
    return true;
  } catch (const InputError&) {
    return false;
  }
}
boost::test_tools::assertion_result has_mnist(boost::unit_test::test_unit_id) {
  if (mnist_found()) return true;
  std::fprintf(stderr, "SKIPPED: MNIST is not here; set IVORY_DATA_DIR to a folder with mnist/ (data/README.md)\n");
  return false;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_shipped_digits_are_what_their_source_says) {
  const DataSplit data = load_data(data_scenario("idx", {{"directory", std::string("digits")}, {"divide_by", 16.0}}));
  BOOST_TEST(data.train.size() == 1497U);
  BOOST_TEST(data.test.size() == 300U);
  BOOST_TEST(data.train.features == 64U);
  BOOST_TEST(data.train.classes == 10);
  BOOST_TEST(data.test.classes == 10);
  BOOST_TEST(data.validation.size() == 0U);
  BOOST_TEST(data.train.client.empty());
  const std::vector<std::size_t> train = {151, 151, 149, 152, 148, 152, 150, 149, 146, 149};
  const std::vector<std::size_t> test = {27, 31, 28, 31, 33, 30, 31, 30, 28, 31};
  BOOST_TEST(class_counts(data.train) == train, boost::test_tools::per_element());
  BOOST_TEST(class_counts(data.test) == test, boost::test_tools::per_element());
  const auto [low, high] = std::minmax_element(data.train.x.begin(), data.train.x.end());
  BOOST_TEST(*low == 0.0F);
  BOOST_TEST(*high == 1.0F);
  // The first image: grey levels 0 to 16 of the digit 0.
  const std::vector<float> first_row = {0, 0, 5 / 16.0F, 13 / 16.0F, 9 / 16.0F, 1 / 16.0F, 0, 0};
  BOOST_TEST(std::vector<float>(data.train.x.begin(), data.train.x.begin() + 8) == first_row,
             boost::test_tools::per_element());
  BOOST_TEST(contains(data.description, "1497 training and 300 test examples, 64 features, 10 classes"),
             data.description);
}

BOOST_AUTO_TEST_CASE(mnist_is_read_whole, *boost::unit_test::precondition(has_mnist)) {
  const DataSplit data = load_data(data_scenario("idx", {{"directory", std::string("mnist")}, {"divide_by", 255.0}}));
  const std::vector<std::size_t> train = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};
  const std::vector<std::size_t> test = {980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009};
  BOOST_TEST(class_counts(data.train) == train, boost::test_tools::per_element());
  BOOST_TEST(class_counts(data.test) == test, boost::test_tools::per_element());
  BOOST_TEST(data.train.features == 784U);
  // Torchvision's well-known constants of the training pixels; the copy may lack grey level 1, worth less than 1e-4.
  double sum = 0, squares = 0;
  for (const float x : data.train.x)
    sum += static_cast<double>(x), squares += static_cast<double>(x) * static_cast<double>(x);
  const double n = static_cast<double>(data.train.x.size()), mean = sum / n;
  BOOST_TEST(std::abs(mean - 0.1307) < 2e-4);
  BOOST_TEST(std::abs(std::sqrt(squares / n - mean * mean) - 0.3081) < 2e-4);
}

BOOST_AUTO_TEST_CASE(files_are_looked_for_in_the_order_promised) {
  const TemporaryFolder folder;
  const auto put = [&](const std::string& place, std::uint32_t n) {
    const std::string x = idx(0x08, {n, 1, 1}, std::string(n, 'x')), y = idx(0x08, {n}, std::string(n, '\0'));
    for (const char* part : {"train", "t10k"}) {
      write_file(place + "/set/" + part + "-images-idx3-ubyte", x);
      write_file(place + "/set/" + part + "-labels-idx1-ubyte", y);
    }
  };
  const auto found = [&] {
    Scenario scenario = data_scenario("idx", {{"directory", std::string("set")}});
    scenario.file = folder / "scenarios/a.toml";
    return load_data(scenario).train.size();
  };
  const Environment variable("IVORY_DATA_DIR", folder / "env");
  const std::filesystem::path before = std::filesystem::current_path();
  std::filesystem::create_directories(folder / "work");
  std::filesystem::current_path(folder / "work");

  const std::string nothing = input_error(found);
  for (const char* place :
       {"scenarios/set: no such folder", "env/set: no such folder", "work/data/set: no such folder"}) {
    BOOST_TEST(contains(nothing, folder / place), nothing);
  }
  BOOST_TEST(contains(nothing, "test.toml:7:3"), nothing);
  BOOST_TEST(contains(nothing, "data/README.md"), nothing);
  put(folder / "work/data", 5);
  BOOST_TEST(found() == 5U);
  put(folder / "env", 4);
  BOOST_TEST(found() == 4U);
  // A folder that lacks a file is no place; where none is complete the message says what each lacks.
  write_file(folder / "scenarios/set/train-images-idx3-ubyte", "?");
  BOOST_TEST(found() == 4U);
  put(folder / "scenarios", 3);
  BOOST_TEST(found() == 3U);
  std::filesystem::current_path(before);

  const std::string partial =
      load_error("idx", {{"directory", folder / "env/set"}, {"test_labels", std::string("other")}});
  BOOST_TEST(contains(partial, folder / "env/set: no other"), partial);
}

BOOST_AUTO_TEST_CASE(a_missing_data_set_names_its_public_source) {
  const auto message = [](const std::string& directory) {
    return load_error("idx", {{"directory", "/nowhere/" + directory}});
  };
  BOOST_TEST(contains(message("mnist"), "https://ossci-datasets.s3.amazonaws.com/mnist/"));
  BOOST_TEST(!contains(message("mnist"), "zalandoresearch"));
  BOOST_TEST(contains(message("Fashion-MNIST"), "https://github.com/zalandoresearch/fashion-mnist"));
  BOOST_TEST(contains(message("emnist-letters"), "https://www.nist.gov"));
  BOOST_TEST(contains(message("digits"), "https://archive.ics.uci.edu"));
  for (const char* source : {"ossci-datasets", "zalandoresearch", "nist.gov", "uci.edu"}) {
    BOOST_TEST(contains(message("mine"), source));
  }
  BOOST_TEST(contains(load_error("hdf5", {{"file", std::string("none.h5")}}), "nowhere/none.h5"));
}

BOOST_AUTO_TEST_CASE(division_and_fixed_normalisation_follow_their_formula) {
  const std::string digits = "digits";
  const DataSplit raw = load_data(data_scenario("idx", {{"directory", digits}}));
  const DataSplit divided = load_data(data_scenario("idx", {{"directory", digits}, {"divide_by", 7.0}}));
  std::vector<double> mean(64), std(64);
  for (std::size_t j = 0; j < 64; ++j) mean[j] = 0.01 * static_cast<double>(j), std[j] = 0.5 + static_cast<double>(j);
  const DataSplit per_feature = load_data(data_scenario(
      "idx",
      {{"directory", digits}, {"divide_by", 7.0}, {"normalise", std::string("fixed")}, {"mean", mean}, {"std", std}}));
  const DataSplit one = load_data(data_scenario("idx", {{"directory", digits},
                                                        {"normalise", std::string("fixed")},
                                                        {"mean", std::vector<double>{4.9}},
                                                        {"std", std::vector<double>{6}}}));
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < raw.test.x.size(); ++i) {
    const std::size_t j = i % 64;
    const float x = raw.test.x[i];
    wrong += divided.test.x[i] != x / 7.0F;  // the correctly rounded quotient
    wrong += per_feature.test.x[i] != static_cast<float>((static_cast<double>(x) / 7.0 - mean[j]) / std[j]);
    wrong += one.test.x[i] != static_cast<float>((static_cast<double>(x) - 4.9) / 6.0);
  }
  BOOST_TEST(wrong == 0U);

  const auto fixed = [&](Values values) {
    values["directory"] = digits;
    return load_error("idx", values);
  };
  const std::string kind = "fixed";
  BOOST_TEST(
      contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{1}}}), "needs mean and std, got no std"));
  BOOST_TEST(
      contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{1, 2}}, {"std", std::vector<double>{1}}}),
               "64 features, got 2 values"));
  BOOST_TEST(contains(fixed({{"std", std::vector<double>{1}}}), "std belongs to normalise = \"fixed\""));
  BOOST_TEST(
      contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{0}}, {"std", std::vector<double>{0}}}), "std"));
  BOOST_TEST(contains(fixed({{"divide_by", 0.0}}), "divide_by"));
  // 16 / 1e-30 / 1e-30 exceeds float.
  BOOST_TEST(
      contains(fixed({{"normalise", kind},
                      {"divide_by", 1e-30},
                      {"mean", std::vector<double>{0}},
                      {"std", std::vector<double>{1e-30}}}),
               "scaled training set row 0 column 2, after divide_by = 1e-30, at test.toml:7:3 and std = [1e-30], at "
               "test.toml:7:3; inputs are divided by these, so give larger numbers"));
  const std::string tiny = fixed({{"divide_by", 1e-39}});
  BOOST_TEST(contains(tiny, "got inf, scaled training set row 0 column 2, after divide_by = 1e-39, at test.toml:7:3; "),
             tiny);
}

BOOST_AUTO_TEST_CASE(standard_normalisation_uses_the_training_examples_that_remain) {
  const Values values = {{"directory", std::string("digits")}, {"validation", 0.3}};
  Values standard = values;
  standard["normalise"] = std::string("standard");
  const DataSplit raw = load_data(data_scenario("idx", values));
  const DataSplit data = load_data(data_scenario("idx", standard));
  const std::size_t n = raw.train.size();
  std::size_t constant = 0;
  for (std::size_t j = 0; j < 64; ++j) {
    std::vector<double> column, scaled;
    for (std::size_t i = 0; i < n; ++i) {
      column.push_back(raw.train.row(i)[j]);
      scaled.push_back(data.train.row(i)[j]);
    }
    const double mean = mean_of(column);
    double variance = 0;
    for (const double x : column) variance += (x - mean) * (x - mean) / static_cast<double>(n);
    const double std = variance > 0 ? std::sqrt(variance) : 1;
    constant += variance > 0 ? 0 : 1;
    // Float rounding of results up to about 40 (a pixel that is set once in 1000 images).
    for (const Dataset* part : {&raw.train, &raw.test, &raw.validation}) {
      const Dataset& other = part == &raw.train ? data.train : part == &raw.test ? data.test : data.validation;
      for (std::size_t i = 0; i < part->size(); ++i) {
        BOOST_REQUIRE(std::abs((part->row(i)[j] - mean) / std - other.row(i)[j]) < 1e-5);
      }
    }
    BOOST_TEST(std::abs(mean_of(scaled)) < 1e-6);
  }
  BOOST_TEST(constant > 0U);  // the digits' corner pixels are never set
}

BOOST_AUTO_TEST_CASE(a_constant_feature_is_centred_whatever_its_value) {
  const Hdf5Files files;
  Hdf5File file = Hdf5File::create(files / "constant.h5");
  std::vector<float> x;
  for (int i = 0; i < 1001; ++i) x.push_back(0.1F), x.push_back(static_cast<float>(i % 2));  // 0.1 sums with rounding
  file.write("x", {1001, 2}, x);
  file.write("y", {1001}, std::vector<std::int32_t>(1001, 1));
  file.close();
  const DataSplit data =
      load_data(data_scenario("hdf5", {{"file", files / "constant.h5"}, {"normalise", std::string("standard")}}));
  for (std::size_t i = 0; i < data.train.size(); ++i) BOOST_REQUIRE(std::abs(data.train.row(i)[0]) < 1e-12F);
  BOOST_TEST(std::abs(std::abs(data.train.row(0)[1]) - 1) < 0.1);
}

BOOST_AUTO_TEST_CASE(the_validation_split_is_a_keyed_part_of_the_training_set) {
  const Hdf5Files files;
  std::vector<std::int64_t> client;
  for (int i = 0; i < 1000; ++i) client.push_back(i < 900 ? i % 7 : 1000 + i);  // 100 clients of a single example
  const Values values = {{"file", files.make("a.h5", 1000, client)}, {"validation", 0.25}, {"test_fraction", 0.2}};
  const auto ids = [](const Dataset& data) {
    std::set<int> out;
    for (std::size_t i = 0; i < data.size(); ++i) {
      out.insert(static_cast<int>(data.row(i)[0]));
      BOOST_REQUIRE(data.row(i)[1] == -data.row(i)[0]);
      BOOST_REQUIRE(data.labels[i] == static_cast<int>(data.row(i)[0]) % 3);
      BOOST_REQUIRE(data.client[i] == (data.row(i)[0] < 900 ? static_cast<int>(data.row(i)[0]) % 7
                                                            : 1000 + static_cast<int>(data.row(i)[0])));
    }
    BOOST_TEST(out.size() == data.size());
    return out;
  };
  const DataSplit data = load_data(data_scenario("hdf5", values));
  BOOST_TEST(data.test.size() == 200U);
  BOOST_TEST(data.validation.size() == 200U);  // 0.25 of the 800 that remain
  BOOST_TEST(data.train.size() == 600U);
  std::set<int> all = ids(data.train);
  BOOST_TEST(*all.rbegin() == 999);  // the single examples are all still in the training set
  for (int i = 900; i < 1000; ++i) BOOST_TEST(all.count(i) == 1U);
  all.merge(ids(data.validation));
  all.merge(ids(data.test));
  BOOST_TEST(all.size() == 1000U);

  Values other = values;
  other["seed"] = std::int64_t{1};
  BOOST_TEST(load_data(data_scenario("hdf5", other, 99)).checksum == data.checksum);  // seed 1, whatever the scenario's
  BOOST_TEST(load_data(data_scenario("hdf5", values, 99)).checksum != data.checksum);

  Values lonely = {
      {"file", files.make("lonely.h5", 4, {1, 2, 3, 4})}, {"test_file", files.make("t.h5", 3)}, {"validation", 0.5}};
  BOOST_TEST(contains(load_error("hdf5", lonely), "one per client"));
}

BOOST_AUTO_TEST_CASE(limits_take_the_first_examples) {
  const std::string digits = "digits";
  const DataSplit all = load_data(data_scenario("idx", {{"directory", digits}}));
  const DataSplit some = load_data(
      data_scenario("idx", {{"directory", digits}, {"limit_train", std::int64_t{5}}, {"limit_test", std::int64_t{3}}}));
  BOOST_TEST(some.train.size() == 5U);
  BOOST_TEST(some.test.size() == 3U);
  BOOST_TEST(some.train.classes == 10);  // five examples do not show them all
  BOOST_TEST(std::equal(some.train.x.begin(), some.train.x.end(), all.train.x.begin()));
  BOOST_TEST(std::equal(some.test.labels.begin(), some.test.labels.end(), all.test.labels.begin()));
}

BOOST_AUTO_TEST_CASE(the_checksum_sees_every_bit_and_every_boundary) {
  const auto hash = [](const std::string& a, const std::string& b) {
    ContentHash h;
    h.add(a.data(), a.size());
    h.add(b.data(), b.size());
    return h.value();
  };
  std::string text(101, 'a');
  std::set<std::uint64_t> seen = {hash(text, ""), hash("", text), hash(text.substr(0, 50), text.substr(50)),
                                  hash(text + "a", ""), hash(text, std::string(1, '\0'))};
  BOOST_TEST(seen.size() == 5U);
  for (std::size_t at = 0; at < text.size(); ++at) {
    for (int bit = 0; bit < 8; ++bit) {
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
      seen.insert(hash(text, ""));
      text[at] = static_cast<char>(text[at] ^ (1 << bit));
    }
  }
  BOOST_TEST(seen.size() == 5U + 808U);
  // Two flipped signs at the distance of a whole word or lane must not cancel.
  for (const std::size_t a : {std::size_t{7}, std::size_t{15}, std::size_t{71}}) {
    for (const std::size_t b : {std::size_t{39}, std::size_t{47}, std::size_t{79}}) {
      std::string changed = text;
      changed[a] = static_cast<char>(changed[a] ^ '\x80');
      changed[b] = static_cast<char>(changed[b] ^ '\x80');
      BOOST_TEST(seen.insert(hash(changed, "")).second);
    }
  }
}
