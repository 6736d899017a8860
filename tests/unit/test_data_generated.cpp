// load_data: synthetic(alpha, beta) and Gaussian blobs have the distributions they promise.
#define BOOST_TEST_MODULE data_generated
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

namespace {}  // namespace

BOOST_AUTO_TEST_CASE(synthetic_labels_are_those_of_each_clients_linear_model) {
  const Values values = {{"clients", std::int64_t{7}},
                         {"features", std::int64_t{5}},
                         {"classes", std::int64_t{4}},
                         {"alpha", 2.0},
                         {"beta", 3.0},
                         {"max_examples", std::int64_t{90}},
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
        StreamReader reader(5,
                            {.purpose = Purpose::data, .client = static_cast<std::uint64_t>(iid ? 0 : k), .sample = 4});
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
    return load_data(
               data_scenario("synthetic",
                             {{"alpha", alpha}, {"alpha_per_class", per_class}, {"max_examples", std::int64_t{200}}}))
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

BOOST_AUTO_TEST_CASE(linear_targets_are_those_of_each_clients_weights) {
  const auto make = [](double noise, double shift, const Values& more = {}) {
    Values values = {{"clients", std::int64_t{4}},
                     {"features", std::int64_t{1}},
                     {"outputs", std::int64_t{2}},
                     {"train", std::int64_t{300}},
                     {"test", std::int64_t{20}},
                     {"noise", noise},
                     {"shift", shift}};
    for (const auto& [key, value] : more) values[key] = value;
    return load_data(data_scenario("linear", values, 5));
  };
  // With one feature and no noise, target / input is the weight itself, in every part of the data.
  for (const double shift : {0.0, 0.7}) {
    const DataSplit data = make(0, shift, {{"validation", 0.25}, {"limit_test", std::int64_t{70}}});
    BOOST_TEST(data.train.size() == 900U);
    BOOST_TEST(data.validation.size() == 300U);
    BOOST_TEST(data.test.size() == 70U);
    std::vector<double> of_client[2];
    for (std::size_t k = 0; k < 4; ++k) {
      StreamReader common(5, {.purpose = Purpose::data, .step = 1, .sample = 4});
      StreamReader own(5, {.purpose = Purpose::data, .client = k, .sample = 4});
      for (std::vector<double>& weights : of_client) weights.push_back(common.normal() + shift * own.normal());
    }
    for (const Dataset* part : {&data.train, &data.test, &data.validation}) {
      BOOST_TEST_REQUIRE(part->targets.size() == 2 * part->size());
      BOOST_TEST(part->outputs == 2U);
      std::size_t wrong = 0;
      for (std::size_t i = 0; i < part->size(); ++i) {
        const double x = static_cast<double>(part->x[i]);
        for (std::size_t o = 0; o < 2; ++o) {
          const double expected = of_client[o][static_cast<std::size_t>(part->client[i])] * x;
          wrong +=
              std::abs(static_cast<double>(part->targets[2 * i + o]) - expected) > 1e-6 * (1 + std::abs(x)) ? 1 : 0;
        }
        wrong += part->labels[i] != 0 ? 1 : 0;
      }
      BOOST_TEST(wrong == 0U);
    }
    BOOST_TEST((of_client[0][0] == of_client[0][1]) == (shift == 0.0));
  }
  // The noise comes on top: standard normal once the clean target is taken off and it is scaled.
  const DataSplit clean = make(0, 0.7), noisy = make(2, 0.7);
  BOOST_TEST(clean.train.x == noisy.train.x, boost::test_tools::per_element());
  std::vector<double> noise;
  for (std::size_t i = 0; i < clean.train.targets.size(); ++i) {
    noise.push_back((static_cast<double>(noisy.train.targets[i]) - static_cast<double>(clean.train.targets[i])) / 2);
  }
  BOOST_TEST(kolmogorov(noise, normal_cdf) < kolmogorov_limit);
  BOOST_TEST(clean.checksum != noisy.checksum);
}
