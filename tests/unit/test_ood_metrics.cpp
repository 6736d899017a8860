// Detection of out-of-distribution inputs (docs/methods, section 12): identities, and brute force over pairs and thresholds.
// Agreement with an independent implementation is tested with metrics.h5.
#define BOOST_TEST_MODULE ood_metrics
#include "tests/support/boost_test.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <vector>

#include "ivory/rng.hpp"
#include "src/ood_metrics.hpp"

using namespace ivory;
using Vector = std::vector<double>;

namespace {

const auto near = boost::test_tools::tolerance(1e-13);

/// Scores in multiples of 1/grain, so that ties are as frequent as wanted.
Vector scores(std::size_t count, double shift, double grain, std::uint64_t salt) {
  StreamReader random(77, {Purpose::data, salt});
  Vector out(count);
  for (double& score : out) score = std::round(grain * (random.normal() + shift)) / grain;
  return out;
}

Vector mapped(Vector values, double (*f)(double)) {
  for (double& value : values) value = f(value);
  return values;
}

/// The definitions, threshold by threshold and pair by pair.
Detection brute_force(const Vector& in, const Vector& out) {
  const auto share = [](const Vector& values, const auto& test) {
    return static_cast<double>(std::count_if(values.begin(), values.end(), test)) / static_cast<double>(values.size());
  };
  Detection result{.auroc = 0, .aupr_in = 0, .aupr_out = 0, .error = 0.5};
  for (const double a : in)
    for (const double b : out)
      result.auroc += (a > b ? 1.0 : a == b ? 0.5 : 0.0) / static_cast<double>(in.size() * out.size());
  std::set<double> thresholds(in.begin(), in.end());
  thresholds.insert(out.begin(), out.end());
  double recall = 0;
  for (auto t = thresholds.rbegin(); t != thresholds.rend(); ++t) {
    const auto taken = [&](double score) { return score >= *t; };
    const double tpr = share(in, taken), fpr = share(out, taken);
    const double tp = tpr * static_cast<double>(in.size()), fp = fpr * static_cast<double>(out.size());
    result.aupr_in += (tpr - recall) * tp / (tp + fp);
    recall = tpr;
    if (std::isnan(result.fpr95) && tpr >= 0.95) result.fpr95 = fpr;
    result.error = std::min(result.error, (fpr - tpr + 1) / 2);
  }
  recall = 0;
  for (const double t : thresholds) {
    const auto taken = [&](double score) { return score <= t; };
    const double tp = share(out, taken) * static_cast<double>(out.size()),
                 fp = share(in, taken) * static_cast<double>(in.size());
    result.aupr_out += (share(out, taken) - recall) * tp / (tp + fp);
    recall = share(out, taken);
  }
  return result;
}

void check_equal(const Detection& a, const Detection& b) {
  BOOST_TEST(a.auroc == b.auroc, near);
  BOOST_TEST(a.aupr_in == b.aupr_in, near);
  BOOST_TEST(a.aupr_out == b.aupr_out, near);
  BOOST_TEST(a.fpr95 == b.fpr95, near);
  BOOST_TEST(a.error == b.error, near);
}

bool all_nan(const Detection& d) {
  const double values[] = {d.auroc, d.aupr_in, d.aupr_out, d.fpr95, d.error};
  return std::all_of(std::begin(values), std::end(values), [](double x) { return std::isnan(x); });
}

}  // namespace

BOOST_AUTO_TEST_CASE(small_random_sets_give_what_the_definitions_say) {
  std::uint64_t salt = 0;
  for (const std::size_t in : {1U, 2U, 7U, 20U, 41U})
    for (const std::size_t out : {1U, 3U, 16U})
      for (const double grain : {1.0, 4.0, 1e6})  // many ties, some, none
        for (const double shift : {-0.5, 0.0, 1.5}) {
          BOOST_TEST_CONTEXT(in << " in, " << out << " out, grain " << grain << ", shift " << shift) {
            const Vector a = scores(in, shift, grain, ++salt), b = scores(out, 0.0, grain, ++salt);
            check_equal(detection(a, b), brute_force(a, b));
          }
        }
}

BOOST_AUTO_TEST_CASE(by_hand) {
  const Vector in{4, 3, 2, 1}, out{2.5, 0.5};
  const Detection d = detection(in, out);
  BOOST_TEST(d.auroc == 6.0 / 8.0, near);  // of 8 pairs (2, 2.5) and (1, 2.5) are in the wrong order
  BOOST_TEST(d.aupr_in == (1.0 + 1.0 + 3.0 / 4.0 + 4.0 / 5.0) / 4, near);
  BOOST_TEST(d.aupr_out == (1.0 + 2.0 / 4.0) / 2, near);
  BOOST_TEST(d.fpr95 == 0.5, near);
  BOOST_TEST(d.error == 0.25, near);  // at 3: two of four missed; at 1: none missed, one of two taken
}

BOOST_AUTO_TEST_CASE(identical_sets_cannot_be_told_apart) {
  for (const double grain : {2.0, 1e6}) {
    const Vector a = scores(200, 0.0, grain, 500);
    const Detection d = detection(a, a);
    BOOST_TEST(d.auroc == 0.5, near);
    BOOST_TEST(d.error == 0.5, near);
    BOOST_TEST(d.fpr95 >= 0.95);
  }
  // One score for all: precision is the share of the positives.
  const Detection tied = detection(Vector(30, 1.0), Vector(10, 1.0));
  check_equal(tied, {.auroc = 0.5, .aupr_in = 0.75, .aupr_out = 0.25, .fpr95 = 1.0, .error = 0.5});
}

BOOST_AUTO_TEST_CASE(separated_sets_are_told_apart_without_error) {
  check_equal(detection(Vector{3, 4, 5}, Vector{1, 2}),
              {.auroc = 1, .aupr_in = 1, .aupr_out = 1, .fpr95 = 0, .error = 0});
  const Detection wrong = detection(Vector{1, 2}, Vector{3, 4, 5});
  BOOST_TEST(wrong.auroc == 0.0);
  BOOST_TEST(wrong.fpr95 == 1.0);
  BOOST_TEST(wrong.error == 0.5);
}

BOOST_AUTO_TEST_CASE(the_first_threshold_with_95_percent_decides) {
  Vector in;
  for (int i = 20; i >= 1; --i) in.push_back(i);
  // 19 of 20 are taken at 2, where the tpr is 0.95 exactly; the lowest score does not matter.
  BOOST_TEST(detection(in, Vector{2.5, 1.5, 0.5, 3.5}).fpr95 == 0.5);
  in.pop_back(), in.pop_back();  // 18: all of them are needed
  BOOST_TEST(detection(in, Vector{2.5, 1.5, 0.5, 3.5}).fpr95 == 0.25);
}

BOOST_AUTO_TEST_CASE(increasing_maps_change_nothing) {
  for (const double grain : {3.0, 1e6}) {
    const Vector in = scores(60, 0.7, grain, 600), out = scores(45, 0.0, grain, 601);
    const Detection d = detection(in, out);
    for (const auto f : {+[](double x) { return std::exp(x); }, +[](double x) { return x * x * x - 9.0; },
                         +[](double x) { return std::atan(x); }})
      check_equal(detection(mapped(in, f), mapped(out, f)), d);
    // Changing the roles and the sign turns "in" into "out".
    const auto minus = +[](double x) { return -x; };
    const Detection other = detection(mapped(out, minus), mapped(in, minus));
    BOOST_TEST(other.auroc == d.auroc, near);
    BOOST_TEST(other.aupr_in == d.aupr_out, near);
    BOOST_TEST(other.aupr_out == d.aupr_in, near);
    BOOST_TEST(other.error == d.error, near);
  }
}

BOOST_AUTO_TEST_CASE(nothing_is_said_of_empty_sets_and_of_scores_that_are_not_numbers) {
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
  BOOST_TEST(all_nan(detection({}, Vector{1, 2})));
  BOOST_TEST(all_nan(detection(Vector{1, 2}, {})));
  BOOST_TEST(all_nan(detection(Vector{1, nan}, Vector{1, 2})));
  BOOST_TEST(all_nan(detection(Vector{1, 2}, Vector{nan})));
  BOOST_TEST(detection(Vector{1, infinite}, Vector{-infinite, 0}).auroc == 1.0);
}

BOOST_AUTO_TEST_CASE(probabilities_are_scored_by_their_maximum_and_their_entropy) {
  // Certain, sure, unsure; the second of `out` has a larger maximum than the first of `in`, but a larger entropy, too.
  const std::vector<float> in{0.5F, 0.5F, 0.0F, 0.9F, 0.05F, 0.05F}, out{0.4F, 0.3F, 0.3F, 0.55F, 0.225F, 0.225F};
  const OodDetection d = ood_detection<float>(in, out, 3);
  BOOST_TEST(d.confidence.auroc == 0.75, near);
  BOOST_TEST(d.entropy.auroc == 1.0, near);
  const std::vector<double> wide_in(in.begin(), in.end()), wide_out(out.begin(), out.end());
  const OodDetection wide = ood_detection<double>(wide_in, wide_out, 3);
  check_equal(wide.confidence, d.confidence);
  check_equal(wide.entropy, d.entropy);
  // A diverged network's probabilities say nothing.
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::vector<float>& bad : {std::vector<float>{nan, nan, nan}, {0.5F, nan, 0.2F}}) {
    BOOST_TEST(all_nan(ood_detection<float>(bad, out, 3).confidence));
    BOOST_TEST(all_nan(ood_detection<float>(in, bad, 3).entropy));
  }
}
