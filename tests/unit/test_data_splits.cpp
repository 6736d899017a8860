// What leaves the training set, and what is done to it: public pool, label noise, subsets, and the checksum.
#define BOOST_TEST_MODULE data_splits
#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include <fmt/format.h>

#include "src/data_common.hpp"
#include "src/data_splits.hpp"
#include "src/hdf5_file.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

Scenario blobs(Values values = {}, std::uint64_t seed = 1) {
  values.try_emplace("train", std::int64_t{4000});
  values.try_emplace("test", std::int64_t{100});
  values.try_emplace("classes", std::int64_t{5});
  return data_scenario("blobs", values, seed);
}

/// An HDF5 file with x[i] = i and the labels and clients given.
struct Hdf5Files : TemporaryFolder {
  std::string make(const std::vector<std::int32_t>& labels, const std::vector<std::int64_t>& client = {}) const {
    const std::string path = *this / "a.h5";
    Hdf5File file = Hdf5File::create(path);
    std::vector<float> x(labels.size());
    std::iota(x.begin(), x.end(), 0.0F);
    file.write("x", {labels.size()}, x);
    file.write("y", {labels.size()}, labels);
    if (!client.empty()) file.write("client", {labels.size()}, client);
    file.write("test/x", {1}, std::vector<float>{-1});
    file.write("test/y", {1}, std::vector<std::int32_t>{0});
    file.close();
    return path;
  }
  Values values(const std::vector<std::int32_t>& labels, const std::vector<std::int64_t>& client,
                std::int64_t wanted) const {
    return {{"file", make(labels, client)}, {"test_group", std::string("test")}, {"public", wanted}};
  }
};

std::set<float> inputs(const Dataset& data) { return {data.x.begin(), data.x.end()}; }

}  // namespace

// ---- data of earlier versions

BOOST_AUTO_TEST_CASE(data_without_anything_new_keep_their_checksum) {
  const DataSplit digits =
      load_data(data_scenario("idx", {{"directory", std::string("digits")}, {"divide_by", 16.0}, {"validation", 0.1}}));
  BOOST_TEST(digits.checksum == 0x1248e3a2e3a11b42U);  // as version 0.1.0 first wrote it into its logs
  BOOST_TEST(digits.train.shape == (Shape{1, 8, 8}), boost::test_tools::per_element());
  BOOST_TEST(digits.public_pool.size() == 0U);
  BOOST_TEST(digits.ood.size() == 0U);
  BOOST_TEST(digits.train.clean_labels.empty());
}

BOOST_AUTO_TEST_CASE(subsets_take_every_column_along) {
  Dataset data;
  data.features = 2, data.classes = 3, data.outputs = 2, data.shape = {1, 2, 1};
  for (int i = 0; i < 7; ++i) {
    const auto f = static_cast<float>(i);
    data.x.insert(data.x.end(), {f, f + 0.5F});
    data.targets.insert(data.targets.end(), {-f, 10 * f});
    data.labels.push_back(i % 3);
    data.client.push_back(100 + i);
    data.clean_labels.push_back((i + 1) % 3);
  }
  const auto check = [](const Dataset& part, const std::vector<int>& expected) {
    BOOST_TEST(part.features == 2U);
    BOOST_TEST(part.outputs == 2U);
    BOOST_TEST(part.classes == 3);
    BOOST_TEST(part.shape == (Shape{1, 2, 1}), boost::test_tools::per_element());
    BOOST_REQUIRE(part.size() == expected.size());
    BOOST_REQUIRE(part.x.size() == 2 * expected.size());
    BOOST_REQUIRE(part.targets.size() == 2 * expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
      const int e = expected[i];
      const auto f = static_cast<float>(e);
      BOOST_TEST((part.row(i)[0] == f && part.row(i)[1] == f + 0.5F));
      BOOST_TEST((part.targets[2 * i] == -f && part.targets[2 * i + 1] == 10 * f));
      BOOST_TEST((part.labels[i] == e % 3 && part.client[i] == 100 + e && part.clean_labels[i] == (e + 1) % 3));
    }
  };
  check(subset(data, std::vector<std::uint32_t>{4, 0, 4}), {4, 0, 4});
  check(subset(data, {}), {});
  Dataset first = data;
  keep_first(first, 3);
  check(first, {0, 1, 2});
  for (const std::vector<std::uint8_t>& marked : std::vector<std::vector<std::uint8_t>>{
           {0, 1, 0, 0, 1, 1, 0}, {1, 1, 1, 1, 1, 1, 1}, {0, 0, 0, 0, 0, 0, 0}, {1, 0, 0, 0, 0, 0, 1}}) {
    Dataset rest = data;
    const Dataset taken = take_out(rest, marked);
    std::vector<int> in, out;
    for (int i = 0; i < 7; ++i) (marked[static_cast<std::size_t>(i)] != 0 ? out : in).push_back(i);
    check(taken, out);
    check(rest, in);
  }
}

// ---- public pool

BOOST_AUTO_TEST_CASE(the_public_pool_is_balanced_and_leaves_the_training_set) {
  const DataSplit all = load_data(blobs({{"validation", 0.1}}));
  const DataSplit data = load_data(blobs({{"validation", 0.1}, {"public", std::int64_t{202}}}));
  BOOST_TEST(data.public_pool.size() == 202U);
  BOOST_TEST(data.train.size() == all.train.size() - 202);
  BOOST_TEST((data.validation.x == all.validation.x));  // chosen before the pool
  std::vector<std::size_t> counts = class_counts(data.public_pool);
  std::sort(counts.begin(), counts.end());
  BOOST_TEST(counts == (std::vector<std::size_t>{40, 40, 40, 41, 41}), boost::test_tools::per_element());
  std::set<std::pair<float, float>> seen;
  for (const Dataset* part : {&data.train, &data.public_pool, &data.validation}) {
    for (std::size_t i = 0; i < part->size(); ++i) seen.insert({part->row(i)[0], part->row(i)[1]});
  }
  BOOST_TEST(seen.size() == 4000U);
  BOOST_TEST(contains(data.description, "3398 training, 400 validation, 202 public and 100 test"), data.description);

  // No client holds any of them.
  const Partition partition = make_partition(partition_scenario("iid", 10), data.train);
  for (const auto& rows : partition.train) {
    for (const std::uint32_t row : rows) BOOST_REQUIRE(row < data.train.size());
  }

  const DataSplit again = load_data(blobs({{"validation", 0.1}, {"public", std::int64_t{202}}}));
  BOOST_TEST(again.checksum == data.checksum);
  BOOST_TEST(all.checksum != data.checksum);
  Values other = {{"public", std::int64_t{50}}, {"seed", std::int64_t{3}}};
  BOOST_TEST(load_data(blobs(other, 1)).checksum == load_data(blobs(other, 2)).checksum);
}

BOOST_AUTO_TEST_CASE(scarce_classes_give_what_they_have) {
  const Hdf5Files files;
  std::vector<std::int32_t> labels(100, 0);
  labels[10] = labels[50] = 1;                          // two of class 1
  for (std::size_t i = 60; i < 80; ++i) labels[i] = 2;  // 20 of class 2, none of class 3
  labels[99] = 4;                                       // one of class 4
  const DataSplit data = load_data(data_scenario("hdf5", files.values(labels, {}, 31)));
  const std::vector<std::size_t> counts = class_counts(data.public_pool);
  BOOST_TEST(counts == (std::vector<std::size_t>{14, 2, 14, 0, 1}), boost::test_tools::per_element());
  BOOST_TEST(data.train.size() == 69U);
  std::set<float> all = inputs(data.train);
  all.merge(inputs(data.public_pool));
  BOOST_TEST(all.size() == 100U);

  const auto error = [&](std::int64_t wanted, const std::vector<std::int64_t>& client = {}) {
    return load_error("hdf5", files.values(labels, client, wanted));
  };
  BOOST_TEST(error(99) == "");
  BOOST_TEST(contains(error(100), "must leave training examples to the clients, got 100 of 100, at test.toml:7:3"),
             error(100));
  BOOST_TEST(contains(error(1000), "got 1000 of 100"));
  // Natural clients keep an example each.
  std::vector<std::int64_t> client(100, 7);
  for (std::size_t i = 90; i < 100; ++i) client[i] = static_cast<std::int64_t>(i);
  const DataSplit natural = load_data(data_scenario("hdf5", files.values(labels, client, 89)));
  BOOST_TEST(std::set<std::int32_t>(natural.train.client.begin(), natural.train.client.end()).size() == 11U);
  BOOST_TEST(natural.train.size() == 11U);
  BOOST_TEST(natural.public_pool.client.size() == 89U);
  BOOST_TEST(contains(error(90, client), "of 100 examples only 89 can be spared"), error(90, client));
}

// ---- label noise

BOOST_AUTO_TEST_CASE(symmetric_noise_spreads_over_the_other_classes) {
  const DataSplit clean = load_data(blobs({{"train", std::int64_t{50000}}}));
  for (const double rate : {0.1, 0.45, 0.9}) {
    const DataSplit data = load_data(blobs({{"train", std::int64_t{50000}}, {"label_noise", rate}}));
    BOOST_TEST((data.train.clean_labels == clean.train.labels));
    BOOST_TEST((data.train.x == clean.train.x));
    BOOST_TEST((data.test.labels == clean.test.labels));
    const std::vector<std::uint32_t> changed = changed_labels(data.train);
    const double n = 50000, deviation = std::sqrt(n * rate * (1 - rate));
    BOOST_TEST(std::abs(static_cast<double>(changed.size()) - n * rate) < 4 * deviation);
    // From each class to each other: (n / 5) rate / 4 expected; chi-squared with 19 degrees of freedom (one is the sum).
    std::map<std::pair<int, int>, double> moves;
    for (const std::uint32_t row : changed) moves[{data.train.clean_labels[row], data.train.labels[row]}] += 1;
    BOOST_TEST(moves.size() == 20U);
    const double expected = static_cast<double>(changed.size()) / 20;
    double chi = 0;
    for (const auto& [move, count] : moves) {
      BOOST_TEST(move.first != move.second);
      chi += (count - expected) * (count - expected) / expected;
    }
    BOOST_TEST(chi < 43.8);  // exceeded once in a thousand
    BOOST_TEST(contains(data.description,
                        fmt::format("{} training labels changed by symmetric noise of rate {}", changed.size(), rate)),
               data.description);
  }
}

BOOST_AUTO_TEST_CASE(pair_noise_goes_to_the_next_class) {
  const DataSplit data =
      load_data(blobs({{"label_noise", 0.3}, {"label_noise_kind", std::string("pair")}, {"validation", 0.2}}));
  std::set<int> moved;
  for (const std::uint32_t row : changed_labels(data.train)) {
    const int before = data.train.clean_labels[row];
    BOOST_REQUIRE(data.train.labels[row] == (before + 1) % 5);
    moved.insert(before);
  }
  BOOST_TEST(moved.size() == 5U);
  BOOST_TEST(std::abs(static_cast<double>(changed_labels(data.train).size()) - 960) < 4 * std::sqrt(3200 * 0.21));
  // Validation, public pool and test set stay clean.
  const DataSplit clean = load_data(blobs({{"validation", 0.2}, {"public", std::int64_t{100}}}));
  const DataSplit noisy = load_data(blobs({{"validation", 0.2}, {"public", std::int64_t{100}}, {"label_noise", 0.5}}));
  BOOST_TEST((noisy.validation.labels == clean.validation.labels));
  BOOST_TEST((noisy.public_pool.labels == clean.public_pool.labels));
  BOOST_TEST((noisy.test.labels == clean.test.labels));
  BOOST_TEST((noisy.train.labels != clean.train.labels));
  for (const Dataset* part : {&noisy.validation, &noisy.public_pool, &noisy.test}) {
    BOOST_TEST(part->clean_labels.empty());
  }
}

BOOST_AUTO_TEST_CASE(noise_follows_the_data_seed) {
  const auto labels = [](const Values& values, std::uint64_t seed) {
    return load_data(blobs(values, seed)).train.labels;
  };
  const Values own = {{"label_noise", 0.5}, {"seed", std::int64_t{7}}};
  BOOST_TEST((labels(own, 1) == labels(own, 2)));
  BOOST_TEST((labels({{"label_noise", 0.5}}, 1) == labels({{"label_noise", 0.5}}, 1)));
  BOOST_TEST((labels({{"label_noise", 0.5}}, 1) != labels({{"label_noise", 0.5}}, 2)));
  BOOST_TEST(load_data(blobs({{"label_noise", 0.5}})).checksum != load_data(blobs()).checksum);
  BOOST_TEST(load_data(blobs({{"label_noise", 0.0}})).checksum == load_data(blobs()).checksum);
}

BOOST_AUTO_TEST_CASE(partitions_go_by_the_labels_before_the_noise) {
  for (const char* kind : {"classes", "dirichlet"}) {
    const Scenario scenario = partition_scenario(kind, 10);
    const std::uint64_t clean = make_partition(scenario, load_data(blobs()).train).hash;
    const DataSplit noisy = load_data(blobs({{"label_noise", 0.6}}));
    BOOST_TEST(make_partition(scenario, noisy.train).hash == clean);
    Dataset forgotten = noisy.train;
    forgotten.clean_labels.clear();
    BOOST_TEST(make_partition(scenario, forgotten).hash != clean);
  }
}

BOOST_AUTO_TEST_CASE(noise_needs_classes) {
  const Hdf5Files files;
  Values one = files.values({0, 0, 0}, {}, 0);
  one["label_noise"] = 0.5;
  BOOST_TEST(contains(load_error("hdf5", one), "two or more classes, got a single class, at test.toml:7:3"));
  const auto option = [](const OptionValue& rate) { return load_error("blobs", {{"label_noise", rate}}); };
  BOOST_TEST(contains(option(1.0), "label_noise"));
  BOOST_TEST(contains(option(-0.1), "label_noise"));
  BOOST_TEST(contains(load_error("blobs", {{"label_noise_kind", std::string("other")}}), "symmetric"));
  // All but certain noise of two classes turns them round.
  const DataSplit data = load_data(blobs({{"classes", std::int64_t{2}}, {"label_noise", std::nextafter(1.0, 0.0)}}));
  for (std::size_t i = 0; i < data.train.size(); ++i) {
    BOOST_REQUIRE(data.train.labels[i] == 1 - data.train.clean_labels[i]);
  }
}
