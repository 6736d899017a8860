// [evaluation.ood]: the inputs that come from the table, their scaling, and what does not fit.
#define BOOST_TEST_MODULE data_ood
#include <cmath>

#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

Scenario with_ood(const std::string& kind, const Values& values, const Values& data = {}) {
  Values digits = data;
  digits["directory"] = std::string("digits");
  Scenario scenario = data_scenario("idx", digits);
  scenario.ood = ood_options(kind, values);
  return scenario;
}

const Values blobs = {{"features", std::int64_t{64}}, {"test", std::int64_t{50}}};

std::string ood_error(const std::string& kind, const Values& values) {
  return input_error([&] { load_data(with_ood(kind, values)); });
}

Values joined(Values a, const Values& b) {
  for (const auto& [key, value] : b) a[key] = value;
  return a;
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_test_part_becomes_the_out_of_distribution_set) {
  const DataSplit plain = load_data(data_scenario("idx", {{"directory", std::string("digits")}}));
  const DataSplit data = load_data(with_ood("blobs", blobs));
  const DataSplit source = load_data(data_scenario("blobs", blobs));
  BOOST_TEST((data.ood.x == source.test.x));
  BOOST_TEST(data.ood.size() == 50U);
  BOOST_TEST(data.ood.features == 64U);
  BOOST_TEST(data.ood.classes == 10);
  BOOST_TEST(data.ood.shape == (Shape{1, 8, 8}), boost::test_tools::per_element());
  BOOST_TEST(data.ood.labels == std::vector<std::int32_t>(50, 0), boost::test_tools::per_element());
  BOOST_TEST((data.train.x == plain.train.x));
  BOOST_TEST(data.checksum != plain.checksum);
  BOOST_TEST(contains(data.description, "; out of distribution: 50 examples of 4 Gaussian blobs"), data.description);
  BOOST_TEST(load_data(with_ood("blobs", joined(blobs, {{"limit_test", std::int64_t{7}}}))).ood.size() == 7U);
  // The seed is its own.
  BOOST_TEST((load_data(with_ood("blobs", joined(blobs, {{"seed", std::int64_t{9}}}))).ood.x != data.ood.x));
}

BOOST_AUTO_TEST_CASE(scaling_is_its_own_and_standard_is_that_of_the_training_set) {
  const DataSplit raw = load_data(with_ood("blobs", blobs));
  const Values standard = {{"normalise", std::string("standard")}};
  const DataSplit data =
      load_data(with_ood("blobs", joined(blobs, {{"divide_by", 4.0}, {"normalise", std::string("standard")}}),
                         joined(standard, {{"divide_by", 16.0}})));
  std::size_t constant = 0;
  for (std::size_t j = 0; j < 64; ++j) {
    const auto n = static_cast<double>(raw.train.size());
    double mean = 0, square = 0;
    for (std::size_t i = 0; i < raw.train.size(); ++i) mean += static_cast<double>(raw.train.row(i)[j]) / 16 / n;
    for (std::size_t i = 0; i < raw.train.size(); ++i) {
      const double d = static_cast<double>(raw.train.row(i)[j]) / 16 - mean;
      square += d * d / n;
    }
    constant += square < 1e-20 ? 1 : 0;
    const double std = square < 1e-20 ? 1 : std::sqrt(square);
    for (std::size_t i = 0; i < raw.ood.size(); ++i) {
      const double expected = (static_cast<double>(raw.ood.row(i)[j]) / 4 - mean) / std;
      BOOST_REQUIRE(std::abs(static_cast<double>(data.ood.row(i)[j]) - expected) < 1e-5 * (1 + std::abs(expected)));
    }
  }
  BOOST_TEST(constant < 64U);
  const DataSplit fixed = load_data(with_ood("blobs", joined(blobs, {{"normalise", std::string("fixed")},
                                                                     {"mean", std::vector<double>{2}},
                                                                     {"std", std::vector<double>{4}}})));
  BOOST_TEST(fixed.ood.x[5] == static_cast<float>((static_cast<double>(raw.ood.x[5]) - 2) / 4));
  BOOST_TEST((fixed.test.x == raw.test.x));
}

BOOST_AUTO_TEST_CASE(what_does_not_fit_is_refused_in_the_tables_name) {
  const std::string features = ood_error("blobs", {{"features", std::int64_t{63}}});
  BOOST_TEST(features.starts_with("[evaluation.ood] out-of-distribution inputs must have as many features as the data, "
                                  "got 63 in 4 Gaussian blobs"),
             features);
  BOOST_TEST(contains(features, "and 64 in the training set, at test.toml:2:1"), features);
  const std::string missing = ood_error("idx", {{"directory", std::string("/nowhere")}});
  BOOST_TEST(missing.starts_with("[evaluation.ood] directory must be a folder"), missing);
  BOOST_CHECK_THROW(load_data(with_ood("idx", {{"directory", std::string("/nowhere")}})), MissingFileError);
  const std::string normalise = ood_error("blobs", joined(blobs, {{"normalise", std::string("fixed")}}));
  BOOST_TEST(normalise.starts_with("[evaluation.ood] normalise = \"fixed\" needs mean and std"), normalise);
  const std::string same = ood_error("idx", {{"directory", std::string("digits")}});
  BOOST_TEST(same.starts_with("[evaluation.ood] out-of-distribution inputs must not be those of the test set"), same);
  for (const std::int64_t most : {1, 7, 100000}) {  // a part is as bad as the whole
    const std::string part = ood_error("idx", {{"directory", std::string("digits")}, {"limit_test", most}});
    BOOST_TEST(contains(part, "must not be those of the test set, got the same values in the first"), part);
    Scenario shorter = with_ood("idx", {{"directory", std::string("digits")}}, {{"limit_test", most}});
    BOOST_TEST(contains(input_error([&] { load_data(shorter); }), "must not be those of the test set"));
  }
}
