// load_data: search, scaling, splits, checksum, generated data, the user's own HDF5 files and the shipped digits.
#define BOOST_TEST_MODULE data
#include "tests/support/boost_test.hpp"
#include <cmath>
#include <limits>
#include <numeric>
#include <set>

#include "ivory/rng.hpp"
#include "src/content_hash.hpp"
#include "src/data_common.hpp"
#include "src/hdf5_file.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/data_files.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

std::string load_error(const std::string& kind, const Values& values) {
  return input_error([&] { load_data(data_scenario(kind, values)); });
}

std::vector<std::size_t> class_counts(const Dataset& data) {
  std::vector<std::size_t> counts(static_cast<std::size_t>(data.classes));
  for (const std::int32_t label : data.labels) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

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
  BOOST_TEST(std::vector<float>(data.train.x.begin(), data.train.x.begin() + 8) == first_row, boost::test_tools::per_element());
  BOOST_TEST(contains(data.description, "1497 training and 300 test examples, 64 features, 10 classes"), data.description);
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
  for (const float x : data.train.x) sum += static_cast<double>(x), squares += static_cast<double>(x) * static_cast<double>(x);
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
  for (const char* place : {"scenarios/set: no such folder", "env/set: no such folder", "work/data/set: no such folder"}) {
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

  const std::string partial = load_error("idx", {{"directory", folder / "env/set"}, {"test_labels", std::string("other")}});
  BOOST_TEST(contains(partial, folder / "env/set: no other"), partial);
}

BOOST_AUTO_TEST_CASE(a_missing_data_set_names_its_public_source) {
  const auto message = [](const std::string& directory) { return load_error("idx", {{"directory", "/nowhere/" + directory}}); };
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
  BOOST_TEST(contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{1}}}), "needs mean and std, got no std"));
  BOOST_TEST(contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{1, 2}}, {"std", std::vector<double>{1}}}),
                      "64 features, got 2 values"));
  BOOST_TEST(contains(fixed({{"std", std::vector<double>{1}}}), "std belongs to normalise = \"fixed\""));
  BOOST_TEST(contains(fixed({{"normalise", kind}, {"mean", std::vector<double>{0}}, {"std", std::vector<double>{0}}}), "std"));
  BOOST_TEST(contains(fixed({{"divide_by", 0.0}}), "divide_by"));
  // 16 / 1e-30 / 1e-30 exceeds float.
  BOOST_TEST(contains(fixed({{"normalise", kind},
                             {"divide_by", 1e-30},
                             {"mean", std::vector<double>{0}},
                             {"std", std::vector<double>{1e-30}}}),
                      "scaled training set row 0 column 2"));
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
  const DataSplit data = load_data(data_scenario("hdf5", {{"file", files / "constant.h5"}, {"normalise", std::string("standard")}}));
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
      BOOST_REQUIRE(data.client[i] == (data.row(i)[0] < 900 ? static_cast<int>(data.row(i)[0]) % 7 : 1000 + static_cast<int>(data.row(i)[0])));
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

  Values lonely = {{"file", files.make("lonely.h5", 4, {1, 2, 3, 4})}, {"test_file", files.make("t.h5", 3)}, {"validation", 0.5}};
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
  std::set<std::uint64_t> seen = {hash(text, ""), hash("", text), hash(text.substr(0, 50), text.substr(50)), hash(text + "a", ""),
                                  hash(text, std::string(1, '\0'))};
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

BOOST_AUTO_TEST_CASE(synthetic_labels_are_those_of_each_clients_linear_model) {
  const Values values = {{"clients", std::int64_t{7}},  {"features", std::int64_t{5}}, {"classes", std::int64_t{4}},
                         {"alpha", 2.0},                {"beta", 3.0},                 {"max_examples", std::int64_t{90}},
                         {"test_fraction", 0.25}};
  for (const bool iid : {false, true}) {
    for (const bool per_class : {false, true}) {
      Values more = values;
      more["iid"] = iid;
      more["alpha_per_class"] = per_class;
      const DataSplit data = load_data(data_scenario("synthetic", more, 5));
      std::size_t wrong = 0, examples = 0;
      for (int k = 0; k < 7; ++k) {
        // The model once more, from the equations and the stream of the client (of client 0 for all when iid).
        StreamReader reader(5, {.purpose = Purpose::data, .client = static_cast<std::uint64_t>(iid ? 0 : k), .sample = 4});
        double u[4] = {}, b[4], w[4][5], v[5] = {}, centre = 0;
        if (!iid) {
          u[0] = u[1] = u[2] = u[3] = 2 * reader.normal();
          centre = 3 * reader.normal();
          if (per_class) {
            for (double& mean : u) mean = 2 * reader.normal();
          }
        }
        for (int c = 0; c < 4; ++c) {
          for (double& weight : w[c]) weight = u[c] + reader.normal();
        }
        for (int c = 0; c < 4; ++c) b[c] = u[c] + reader.normal();
        if (!iid) {
          for (double& mean : v) mean = centre + reader.normal();
        }
        std::vector<double> distance;
        for (const Dataset* part : {&data.train, &data.test}) {
          for (std::size_t i = 0; i < part->size(); ++i) {
            if (part->client[i] != k) continue;
            const float* x = part->row(i);
            double logit[4];
            for (int c = 0; c < 4; ++c) logit[c] = b[c] + std::inner_product(x, x + 5, w[c], 0.0);
            wrong += std::max_element(logit, logit + 4) - logit != part->labels[i];
            distance.push_back(x[0] - v[0]);
            ++examples;
          }
        }
        BOOST_TEST(std::abs(mean_of(distance)) < 4 / std::sqrt(static_cast<double>(distance.size())));
      }
      BOOST_TEST(wrong == 0U);
      BOOST_TEST(examples == data.train.size() + data.test.size());
    }
  }
}

BOOST_AUTO_TEST_CASE(synthetic_inputs_and_sizes_have_the_published_distributions) {
  // Sizes: floor(lognormal(4, 2)) + 50, of which floor(0.9 n) train.
  const DataSplit sized = load_data(data_scenario(
      "synthetic", {{"clients", std::int64_t{1000}}, {"features", std::int64_t{1}}, {"classes", std::int64_t{2}}}, 3));
  std::vector<std::size_t> train(1000), test(1000);
  for (const std::int32_t k : sized.train.client) ++train[static_cast<std::size_t>(k)];
  for (const std::int32_t k : sized.test.client) ++test[static_cast<std::size_t>(k)];
  std::vector<double> sizes;
  for (std::size_t k = 0; k < 1000; ++k) {
    const auto n = static_cast<double>(train[k] + test[k]);
    BOOST_REQUIRE(train[k] == static_cast<std::size_t>(std::floor(0.9 * n)));
    BOOST_REQUIRE(n >= 50);
    sizes.push_back(n - 50);
  }
  // The distribution function at whole numbers: P(floor(X) <= m) = Phi((log(m + 1) - 4) / 2).
  std::sort(sizes.begin(), sizes.end());
  double distance = 0;
  for (std::size_t i = 0; i < sizes.size(); ++i) {
    if (i + 1 < sizes.size() && sizes[i + 1] == sizes[i]) continue;
    const double f = normal_cdf((std::log(sizes[i] + 1) - 4) / 2);
    distance = std::max(distance, std::abs(static_cast<double>(i + 1) / 1000 - f));
  }
  BOOST_TEST(std::sqrt(1000.0) * distance < kolmogorov_limit);

  // Inputs: variance j^-1.2 inside a client, B_k ~ N(0, beta^2) between clients.
  const std::size_t clients = 400, features = 20;
  const DataSplit data = load_data(data_scenario("synthetic", {{"clients", std::int64_t{clients}},
                                                               {"features", std::int64_t{features}},
                                                               {"beta", 3.0},
                                                               {"max_examples", std::int64_t{60}}}));
  std::vector<double> centre(clients * features, 0), count(clients, 0), grand(clients, 0);
  for (std::size_t i = 0; i < data.train.size(); ++i) {
    const auto k = static_cast<std::size_t>(data.train.client[i]);
    ++count[k];
    for (std::size_t j = 0; j < features; ++j) centre[k * features + j] += data.train.row(i)[j];
  }
  for (std::size_t i = 0; i < centre.size(); ++i) {
    centre[i] /= count[i / features];
    grand[i / features] += centre[i] / static_cast<double>(features);
  }
  std::vector<double> within(features, 0);
  for (std::size_t i = 0; i < data.train.size(); ++i) {
    for (std::size_t j = 0; j < features; ++j) {
      const double d = data.train.row(i)[j] - centre[static_cast<std::size_t>(data.train.client[i]) * features + j];
      within[j] += d * d / static_cast<double>(data.train.size() - clients);
    }
  }
  // About 20,000 examples: the standard error of a variance is 1 %, of the one over 400 clients 7 %; four of them.
  for (std::size_t j = 0; j < features; ++j) {
    BOOST_TEST(std::abs(within[j] / std::pow(static_cast<double>(j + 1), -1.2) - 1) < 0.04);
  }
  double between = 0;
  for (const double mean : grand) between += mean * mean / static_cast<double>(clients);
  BOOST_TEST(std::abs(between / (9 + 1.0 / features) - 1) < 0.28);
}

BOOST_AUTO_TEST_CASE(alpha_changes_labels_only_when_drawn_per_class) {
  const auto labels = [](double alpha, bool per_class) {
    return load_data(data_scenario("synthetic", {{"alpha", alpha}, {"alpha_per_class", per_class}, {"max_examples", std::int64_t{200}}}))
        .train.labels;
  };
  BOOST_TEST(labels(0, false) == labels(9, false));  // the published generator: one shift for all logits
  BOOST_TEST(labels(0, true) != labels(9, true));
}

BOOST_AUTO_TEST_CASE(blobs_have_the_separation_spread_and_counts_asked_for) {
  const auto make = [](double spread, std::uint64_t seed) {
    return load_data(data_scenario("blobs",
                                   {{"classes", std::int64_t{5}},
                                    {"features", std::int64_t{3}},
                                    {"train", std::int64_t{10002}},
                                    {"test", std::int64_t{501}},
                                    {"separation", 2.5},
                                    {"spread", spread}},
                                   seed));
  };
  const DataSplit data = make(0.7, 1);
  BOOST_TEST(data.train.size() == 10002U);
  BOOST_TEST(data.test.size() == 501U);
  const std::vector<std::size_t> counts = {2001, 2001, 2000, 2000, 2000};
  BOOST_TEST(class_counts(data.train) == counts, boost::test_tools::per_element());
  std::vector<double> centre(15, 0), variance(15, 0);
  for (std::size_t i = 0; i < data.train.size(); ++i) {
    const auto c = static_cast<std::size_t>(data.train.labels[i]);
    for (std::size_t j = 0; j < 3; ++j) centre[3 * c + j] += data.train.row(i)[j] / static_cast<double>(counts[c]);
  }
  for (std::size_t i = 0; i < data.train.size(); ++i) {
    const auto c = static_cast<std::size_t>(data.train.labels[i]);
    for (std::size_t j = 0; j < 3; ++j) {
      variance[3 * c + j] += std::pow(data.train.row(i)[j] - centre[3 * c + j], 2) / static_cast<double>(counts[c]);
    }
  }
  // 2000 examples: standard errors 0.016 of a mean and 1.6 % of a standard deviation.
  for (const double v : variance) BOOST_TEST(std::abs(std::sqrt(v) / 0.7 - 1) < 0.07);
  double closest = 1e9;
  for (std::size_t a = 0; a < 5; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      closest = std::min(closest, std::hypot(centre[3 * a] - centre[3 * b], centre[3 * a + 1] - centre[3 * b + 1],
                                             centre[3 * a + 2] - centre[3 * b + 2]));
    }
  }
  BOOST_TEST(std::abs(closest - 2.5) < 0.1);
  BOOST_TEST(make(0.7, 1).checksum == data.checksum);
  BOOST_TEST(make(0.7, 2).checksum != data.checksum);
  // Test examples are not the training examples again.
  BOOST_TEST(!std::equal(data.test.x.begin(), data.test.x.end(), data.train.x.begin()));
}

BOOST_AUTO_TEST_CASE(impossible_sizes_of_generated_data_are_refused) {
  const std::int64_t many = std::int64_t{1} << 31;
  BOOST_TEST(contains(load_error("blobs", {{"train", many}, {"features", std::int64_t{1 << 20}}}), "fit into memory"));
  BOOST_TEST(contains(load_error("synthetic", {{"features", std::int64_t{1 << 20}}, {"classes", std::int64_t{65536}}}),
                      "fit into memory"));
  BOOST_TEST(contains(load_error("synthetic", {{"clients", std::int64_t{3}}, {"max_examples", std::int64_t{1}}}),
                      "test set must not be empty"));
}

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
  const DataSplit by_group = load_data(
      data_scenario("hdf5", {{"file", both}, {"train_group", std::string("train")}, {"test_group", std::string("/test")}}));
  BOOST_TEST(by_group.train.size() == 30U);
  BOOST_TEST(by_group.test.size() == 12U);
  const DataSplit by_fraction = load_data(data_scenario("hdf5", {{"file", one}, {"test_fraction", 0.1}}));
  BOOST_TEST(by_fraction.train.size() == 45U);
  BOOST_TEST(by_fraction.test.size() == 5U);

  BOOST_TEST(contains(load_error("hdf5", {{"file", one}, {"test_file", two}, {"test_fraction", 0.1}}), "drop one of them"));
  BOOST_TEST(contains(load_error("hdf5", {{"file", one}, {"test_file", one}}), "must differ"));
  BOOST_TEST(contains(load_error("hdf5", {{"file", both}, {"train_group", std::string("trian")}}), "test, train"));
  BOOST_TEST(contains(load_error("hdf5", {{"file", both}}), "no x"));
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
