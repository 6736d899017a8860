// Metrics of predictions (docs/methods, section 12) and the predictor that makes them. Agreement with an independent
// implementation is tested with metrics.h5; here are the identities.
#define BOOST_TEST_MODULE evaluation
#include <numbers>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "ivory/gaussian.hpp"
#include "src/evaluation.hpp"
#include "tests/support/compare.hpp"

using namespace ivory;
using namespace ivory::test;
using Vector = std::vector<double>;

namespace {

constexpr std::size_t bins = 15;

// n rows of probabilities over `classes`, some of them sharp, and labels that agree with them now and then.
struct Predicted {
  Predicted(std::size_t n_, std::size_t classes_, std::uint64_t salt = 0) : n(n_), classes(classes_) {
    StreamReader random(31, {Purpose::data, salt});
    for (std::size_t r = 0; r < n; ++r) {
      Vector p(classes);
      double total = 0.0;
      const double sharpness = 6.0 * random.uniform();
      for (double& x : p) total += (x = std::exp(sharpness * random.uniform()));
      for (const double x : p) probability.push_back(x / total);
      const auto likely = std::max_element(p.begin(), p.end()) - p.begin();
      labels.push_back(random.uniform() < 0.6
                           ? static_cast<std::int32_t>(likely)
                           : static_cast<std::int32_t>(random.below(static_cast<std::uint32_t>(classes))));
    }
  }
  std::size_t n, classes;
  Vector probability;
  std::vector<std::int32_t> labels;

  Evaluation evaluate(std::size_t from, std::size_t count) const {
    return evaluate_probabilities(probability.data() + from * classes, labels.data() + from, count, classes, bins);
  }
};

void check_equal(const Metrics& a, const Metrics& b, double tolerance) {
  BOOST_TEST(std::fabs(a.accuracy - b.accuracy) <= tolerance);
  BOOST_TEST(std::fabs(a.nll - b.nll) <= tolerance);
  BOOST_TEST(std::fabs(a.ece - b.ece) <= tolerance);
  BOOST_TEST(std::fabs(a.brier - b.brier) <= tolerance);
  BOOST_TEST(std::fabs(a.entropy - b.entropy) <= tolerance);
}

}  // namespace

BOOST_AUTO_TEST_CASE(metrics_by_hand) {
  const Vector p{0.7, 0.2, 0.1, 0.3, 0.6, 0.1, 0.25, 0.25, 0.5};
  const std::vector<std::int32_t> labels{0, 0, 2};
  const Evaluation e = evaluate_probabilities(p.data(), labels.data(), 3, 3, 10);
  BOOST_TEST(std::fabs(e.metrics.accuracy - 2.0 / 3.0) < 1e-15);
  BOOST_TEST(std::fabs(e.metrics.nll + (std::log(0.7) + std::log(0.3) + std::log(0.5)) / 3.0) < 1e-15);
  BOOST_TEST(std::fabs(e.metrics.brier -
                       ((0.09 + 0.04 + 0.01) + (0.49 + 0.36 + 0.01) + (0.0625 + 0.0625 + 0.25)) / 3.0) < 1e-15);
  double entropy = 0.0;
  for (const double x : p) entropy -= x * std::log(x) / 3.0;
  BOOST_TEST(std::fabs(e.metrics.entropy - entropy) < 1e-15);
  BOOST_TEST(std::fabs(e.metrics.ece - (0.3 + 0.6 + 0.5) / 3.0) < 1e-15);  // three bins of one example each
  // True class by predicted class, and the metrics by true class.
  BOOST_TEST(e.confusion == (Vector{1, 1, 0, 0, 0, 0, 0, 0, 1}), boost::test_tools::per_element());
  BOOST_TEST(e.classes.examples == (Vector{2, 0, 1}), boost::test_tools::per_element());
  BOOST_TEST_REQUIRE(e.classes.rows.size() == 3U);
  BOOST_TEST(e.classes.rows[0].accuracy == 0.5);
  BOOST_TEST(std::fabs(e.classes.rows[0].nll + (std::log(0.7) + std::log(0.3)) / 2.0) < 1e-15);
  BOOST_TEST(std::isnan(e.classes.rows[1].accuracy), "no example of class 1");
  BOOST_TEST(e.classes.rows[2].accuracy == 1.0);
}

BOOST_AUTO_TEST_CASE(no_number_is_no_prediction) {
  // The middle example, of class 1, has no prediction; with class 0 as its most probable one it would be half right.
  for (const std::size_t place : {0U, 1U}) {
    Vector p{0.75, 0.25, 0.5, 0.5, 0.75, 0.25};
    p[2 + place] = std::nan("");
    for (const std::int32_t label : {0, 1}) {
      const std::vector<std::int32_t> labels{1 - label, label, 1 - label};
      const Vector likelihood{-1, -2, -3};
      const Evaluation e = evaluate_probabilities(p.data(), labels.data(), 3, 2, 4, likelihood.data());
      for (const double value :
           {e.metrics.accuracy, e.metrics.nll, e.metrics.ece, e.metrics.brier, e.metrics.entropy}) {
        BOOST_TEST(std::isnan(value));
      }
      const auto own = static_cast<std::size_t>(label);
      BOOST_TEST(std::isnan(e.classes.rows[own].accuracy));
      BOOST_TEST(std::isnan(e.classes.rows[own].ece));
      BOOST_TEST(e.classes.rows[1 - own].accuracy == (label == 1 ? 1.0 : 0.0));
      BOOST_TEST(e.classes.rows[1 - own].nll == 2.0);
      BOOST_TEST(std::accumulate(e.confusion.begin(), e.confusion.end(), 0.0) == 2.0);
      BOOST_TEST(e.bins.count == (Vector{0, 0, 2, 0}), boost::test_tools::per_element());
    }
  }
}

BOOST_AUTO_TEST_CASE(a_uniform_prediction) {
  for (const std::size_t classes : {2U, 5U, 10U}) {
    const Vector p(classes * 4, 1.0 / static_cast<double>(classes));
    const std::vector<std::int32_t> labels{0, 1, 1, 0};
    const Metrics m = evaluate_probabilities(p.data(), labels.data(), 4, classes, bins).metrics;
    const auto c = static_cast<double>(classes);
    BOOST_TEST(m.accuracy == 0.5);  // the first of equal classes is the prediction
    BOOST_TEST(std::fabs(m.brier - (1.0 - 1.0 / c)) < 1e-15);
    BOOST_TEST(std::fabs(m.nll - std::log(c)) < 1e-15);
    BOOST_TEST(std::fabs(m.entropy - std::log(c)) < 1e-14);
  }
}

BOOST_AUTO_TEST_CASE(certain_predictions_have_a_calibration_error_of_one_minus_accuracy) {
  Vector p;
  std::vector<std::int32_t> labels;
  for (int i = 0; i < 10; ++i) {
    p.insert(p.end(), {0.0, 1.0, 0.0});
    labels.push_back(i < 7 ? 1 : 2);
  }
  const Metrics m = evaluate_probabilities(p.data(), labels.data(), 10, 3, bins).metrics;
  BOOST_TEST(std::fabs(m.accuracy - 0.7) < 1e-15);
  BOOST_TEST(std::fabs(m.ece - 0.3) < 1e-15);
  BOOST_TEST(std::fabs(m.brier - 0.6) < 1e-15);
  BOOST_TEST(m.entropy == 0.0);                                  // 0 log 0 = 0
  BOOST_TEST(std::fabs(m.nll + 0.3 * std::log(1e-12)) < 1e-12);  // log max(p, 1e-12)
}

BOOST_AUTO_TEST_CASE(bins_are_right_closed) {
  // Four bins; confidences on all their edges (exact in binary), and 0, which goes to the first.
  const std::vector<float> p{0.25F, 0.25F, 0.25F, 0.25F, 0.5F, 0.25F, 0.25F, 0.0F, 0.75F,      0.25F,      0.0F, 0.0F,
                             1.0F,  0.0F,  0.0F,  0.0F,  0.0F, 0.0F,  0.0F,  0.0F, 0.5000001F, 0.4999999F, 0.0F, 0.0F};
  const std::vector<std::int32_t> labels{0, 0, 0, 0, 1, 1};
  const CalibrationBins b = evaluate_probabilities(p.data(), labels.data(), 6, 4, 4).bins;
  BOOST_TEST(b.count == (Vector{2, 1, 2, 1}), boost::test_tools::per_element());
  BOOST_TEST(std::fabs(b.confidence[0] - 0.25) < 1e-7);
  BOOST_TEST(b.confidence[3] == 1.0);
  BOOST_TEST(b.correct[1] == 1.0);
  BOOST_TEST(b.correct[2] == 1.0);
}

BOOST_AUTO_TEST_CASE(no_edge_of_any_number_of_bins_is_missed_by_rounding) {
  const std::vector<std::int32_t> label{0};
  const auto bin_of = [&](double confidence, std::size_t count) {
    const Vector p{confidence, 0.0};
    const CalibrationBins b = evaluate_probabilities(p.data(), label.data(), 1, 2, count).bins;
    return static_cast<std::size_t>(std::find(b.count.begin(), b.count.end(), 1.0) - b.count.begin());
  };
  for (std::size_t count = 1; count <= 100; ++count)
    for (std::size_t j = 1; j <= count; ++j) {
      const double edge = static_cast<double>(j) / static_cast<double>(count);
      BOOST_TEST(bin_of(edge, count) == j - 1, j << "/" << count);
      if (j < count) BOOST_TEST(bin_of(std::nextafter(edge, 2.0), count) == j, "beyond " << j << "/" << count);
    }
  BOOST_TEST(bin_of(std::nextafter(1.0, 2.0), 15) == 14U);  // a sum of floats may exceed 1
}

BOOST_AUTO_TEST_CASE(bins_of_clients_add_up_to_the_pooled_calibration_error) {
  const Predicted all(500, 10);
  const Evaluation pooled = all.evaluate(0, 500);
  CalibrationBins sum{Vector(bins, 0.0), Vector(bins, 0.0), Vector(bins, 0.0)};
  Metrics mean{0, 0, 0, 0, 0};
  for (const auto& [from, count] : {std::pair<std::size_t, std::size_t>{0, 120}, {120, 1}, {121, 300}, {421, 79}}) {
    const Evaluation part = all.evaluate(from, count);
    for (std::size_t b = 0; b < bins; ++b) {
      sum.count[b] += part.bins.count[b];
      sum.confidence[b] += part.bins.confidence[b];
      sum.correct[b] += part.bins.correct[b];
    }
    const double share = static_cast<double>(count) / 500.0;
    mean.accuracy += share * part.metrics.accuracy;
    mean.nll += share * part.metrics.nll;
    mean.brier += share * part.metrics.brier;
    mean.entropy += share * part.metrics.entropy;
  }
  BOOST_TEST(std::fabs(calibration_error(sum) - pooled.metrics.ece) < 1e-13);
  BOOST_TEST(pooled.metrics.ece > 0.01);
  mean.ece = pooled.metrics.ece;
  check_equal(mean, pooled.metrics, 1e-13);
  // By class, too, the counts and metrics put together give the whole.
  double examples = 0.0, nll = 0.0, correct = 0.0;
  for (std::size_t c = 0; c < 10; ++c) {
    examples += pooled.classes.examples[c];
    nll += pooled.classes.examples[c] * pooled.classes.rows[c].nll;
    correct += pooled.confusion[c * 10 + c];
  }
  BOOST_TEST(examples == 500.0);
  BOOST_TEST(std::fabs(nll / 500.0 - pooled.metrics.nll) < 1e-13);
  BOOST_TEST(std::fabs(correct / 500.0 - pooled.metrics.accuracy) < 1e-13);
}

BOOST_AUTO_TEST_CASE(no_examples_give_no_numbers) {
  const Evaluation e = evaluate_probabilities<double>(nullptr, nullptr, 0, 3, bins);
  for (const double x : {e.metrics.accuracy, e.metrics.nll, e.metrics.ece, e.metrics.brier, e.metrics.entropy})
    BOOST_TEST(std::isnan(x));
  BOOST_TEST(std::isnan(calibration_error({Vector(5, 0.0), Vector(5, 0.0), Vector(5, 0.0)})));
}

BOOST_AUTO_TEST_CASE(exact_log_likelihoods_take_precedence) {
  const Vector p{1.0, 0.0}, log_likelihood{-123.5};
  const std::vector<std::int32_t> labels{1};
  BOOST_TEST(evaluate_probabilities(p.data(), labels.data(), 1, 2, bins, log_likelihood.data()).metrics.nll == 123.5);
}

namespace {

// Softmax regression on 3 features: everything about it can be computed again here.
struct Regression {
  Regression()
      : network(make_mlp<float>(3, {}, 4, "relu", true)), mean(network.initialise(5)), precision(mean.size(), 4.0F) {
    StreamReader random(33, {Purpose::data});
    data.features = 3;
    data.classes = 4;
    for (int i = 0; i < 700; ++i) {  // more than one chunk of rows
      for (int f = 0; f < 3; ++f) data.x.push_back(static_cast<float>(2.0 * random.uniform() - 1.0));
      data.labels.push_back(static_cast<std::int32_t>(random.below(4)));
    }
    for (float& m : mean) m *= 3.0F;
    for (std::size_t i = 0; i < network.layout().size(); ++i)
      precision[i] = static_cast<float>(1.0 + 3.0 * random.uniform());
  }
  Network<float> network;
  std::vector<float> mean, precision;
  Dataset data;

  // Probabilities [n x 4] in double: weight [4, 3], then bias [4].
  Vector softmax(const Vector& theta) const {
    Vector p(data.size() * 4);
    for (std::size_t r = 0; r < data.size(); ++r) {
      double total = 0.0;
      for (std::size_t c = 0; c < 4; ++c) {
        double z = theta[12 + c];
        for (std::size_t f = 0; f < 3; ++f) z += theta[c * 3 + f] * static_cast<double>(data.x[r * 3 + f]);
        total += p[r * 4 + c] = std::exp(z);
      }
      for (std::size_t c = 0; c < 4; ++c) p[r * 4 + c] /= total;
    }
    return p;
  }
  Vector sample(StreamReader& random) const {
    Vector theta(16);
    for (std::size_t i = 0; i < 16; ++i)
      theta[i] = static_cast<double>(mean[i]) + random.normal() / std::sqrt(static_cast<double>(precision[i]));
    return theta;
  }
  double nll(const Vector& p) const {
    return evaluate_probabilities(p.data(), data.labels.data(), data.size(), 4, bins).metrics.nll;
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(predictions_are_the_networks_softmax_for_any_number_of_threads) {
  const Regression r;
  const Predictions one = Predictor(r.network, 1).predict(r.mean.data(), r.data);
  const Vector exact = r.softmax(Vector(r.mean.begin(), r.mean.begin() + 16));
  BOOST_TEST(largest_difference(one.values, exact) < 1e-6);  // float
  for (std::size_t i = 0; i < r.data.size(); ++i)
    BOOST_TEST(std::fabs(one.log_likelihood[i] - std::log(exact[i * 4 + static_cast<std::size_t>(r.data.labels[i])])) <
               2e-6);
  for (const int threads : {2, 3}) {
    const Predictions more = Predictor(r.network, threads).predict(r.mean.data(), r.data);
    BOOST_TEST(more.values == one.values, boost::test_tools::per_element());
    BOOST_TEST(more.log_likelihood == one.log_likelihood, boost::test_tools::per_element());
  }
  // The metrics of some rows are those of a data set of these rows.
  const std::vector<std::uint32_t> rows{3, 699, 3, 40, 0, 512};
  std::vector<float> probability;
  std::vector<std::int32_t> labels;
  Vector log_likelihood;
  for (const std::uint32_t i : rows) {
    probability.insert(probability.end(), one.values.begin() + 4 * i, one.values.begin() + 4 * i + 4);
    labels.push_back(r.data.labels[i]);
    log_likelihood.push_back(one.log_likelihood[i]);
  }
  check_equal(
      metrics_of_rows(one, r.data, rows, bins),
      evaluate_probabilities(probability.data(), labels.data(), rows.size(), 4, bins, log_likelihood.data()).metrics,
      1e-15);
}

BOOST_AUTO_TEST_CASE(the_posterior_average_averages_probabilities) {
  const Regression r;
  const Predictor predictor(r.network, 1);
  constexpr int samples = 4096;
  const PosteriorAverage average =
      predictor.posterior_average({r.mean.data(), r.precision.data()}, r.data, samples, bins, 7, 3);
  // An independent average over more samples, and the two mistakes to be told apart from it.
  StreamReader random(34, {Purpose::data});
  Vector mean_probability(r.data.size() * 4, 0.0);
  double mean_nll = 0.0;
  constexpr int reference_samples = 6000;
  for (int s = 0; s < reference_samples; ++s) {
    const Vector p = r.softmax(r.sample(random));
    for (std::size_t i = 0; i < p.size(); ++i) mean_probability[i] += p[i] / reference_samples;
    mean_nll += r.nll(p) / reference_samples;
  }
  const double error = average.error.nll;
  BOOST_TEST(error > 0.0);
  BOOST_TEST(error < 0.01);
  // The jackknife over 8 groups knows the error to 27 %; the reference adds 0.8 of it.
  BOOST_TEST(std::fabs(average.evaluation.metrics.nll - r.nll(mean_probability)) < 5.0 * error);
  BOOST_TEST(std::fabs(mean_nll - r.nll(mean_probability)) > 10.0 * error, "averaging losses would be seen");
  BOOST_TEST(
      std::fabs(r.nll(r.softmax(Vector(r.mean.begin(), r.mean.begin() + 16))) - r.nll(mean_probability)) > 10.0 * error,
      "the mean model would be seen");
  BOOST_TEST_MESSAGE("nll " << average.evaluation.metrics.nll << " +- " << error << ", reference "
                            << r.nll(mean_probability) << ", mean of losses " << mean_nll);

  const PosteriorAverage threaded =
      Predictor(r.network, 3).posterior_average({r.mean.data(), r.precision.data()}, r.data, samples, bins, 7, 3);
  check_equal(threaded.evaluation.metrics, average.evaluation.metrics, 0.0);
  const PosteriorAverage other =
      predictor.posterior_average({r.mean.data(), r.precision.data()}, r.data, samples, bins, 7, 4);
  BOOST_TEST(other.evaluation.metrics.nll != average.evaluation.metrics.nll, "another round draws other samples");
  BOOST_TEST(
      std::isnan(predictor.posterior_average({r.mean.data(), r.precision.data()}, r.data, 1, bins, 7, 3).error.nll));
}

BOOST_AUTO_TEST_CASE(the_curve_is_the_average_over_ever_more_samples) {
  const Regression r;
  for (const int threads : {1, 3}) {
    const Predictor predictor(r.network, threads);
    const auto average = [&](int samples, bool curve) {
      return predictor.posterior_average({r.mean.data(), r.precision.data()}, r.data, samples, bins, 7, 3,
                                         {.curve = curve});
    };
    const PosteriorAverage all = average(20, true), plain = average(20, false);
    BOOST_TEST_REQUIRE(all.curve.size() == 20U);
    BOOST_TEST(plain.curve.empty());
    check_equal(all.curve.back(), all.evaluation.metrics, 0.0);
    check_equal(all.evaluation.metrics, plain.evaluation.metrics, 0.0);
    check_equal(all.error, plain.error, 0.0);
    // The probabilities are those that a prediction of any data set has, to the last bit: scores can be compared.
    const PosteriorAverage with =
        predictor.posterior_average({r.mean.data(), r.precision.data()}, r.data, 20, bins, 7, 3, {.probability = true});
    const Predictions same = predictor.average_predictions({r.mean.data(), r.precision.data()}, r.data, 20, 7, 3);
    BOOST_TEST(with.probability == same.values, boost::test_tools::per_element());
    BOOST_TEST(plain.probability.empty());
    // The first t samples of a longer average are those of a shorter one; float sums of other groups round differently.
    for (const int t : {1, 2, 7, 8, 9, 19})
      check_equal(all.curve[static_cast<std::size_t>(t) - 1], average(t, false).evaluation.metrics, 1e-6);
    BOOST_TEST(all.curve[0].nll > all.curve[19].nll);  // one network of a wide posterior is worse than twenty
  }
}

// A linear model with a Gaussian posterior: y | x ~ N(m'x, 1/noise + sum_j x_j^2 / s_j), all in closed form.
BOOST_AUTO_TEST_CASE(the_posterior_average_of_a_regression_averages_densities) {
  constexpr double noise = 3.0;
  const auto network = make_mlp<float>(2, {}, 2, "relu", false, {.kind = Loss::Kind::gaussian, .precision = noise});
  std::vector<float> mean(network.layout().stride(), 0.0F);
  std::copy_n(std::vector<float>{1.0F, -0.5F, 0.25F, 2.0F}.begin(), 4, mean.begin());
  const std::vector<float> precision(mean.size(), 5.0F);
  Dataset data;
  data.features = data.outputs = 2;
  data.classes = 1;
  StreamReader random(36, {Purpose::data});
  double nll = 0, loss = 0, squares = 0;  // of the average, of its networks on average, of the mean's error
  constexpr int n = 600;
  for (int i = 0; i < n; ++i) {
    double x[2], spread = 0;
    for (double& value : x) {
      value = random.normal();
      data.x.push_back(static_cast<float>(value));
      spread += value * value / 5.0;
    }
    data.labels.push_back(0);
    for (std::size_t o = 0; o < 2; ++o) {
      const double error = random.normal();
      const double f = static_cast<double>(mean[2 * o]) * x[0] + static_cast<double>(mean[2 * o + 1]) * x[1];
      data.targets.push_back(static_cast<float>(f + error));
      const double variance = 1 / noise + spread, two_pi = 2 * std::numbers::pi;
      nll += 0.5 * (error * error / variance + std::log(two_pi * variance)) / n;
      loss += 0.5 * (noise * (error * error + spread) + std::log(two_pi / noise)) / n;
      squares += error * error / (2 * n);
    }
  }
  const Predictor predictor(network, 1);
  const Metrics at_mean = evaluate(predictor.predict(mean.data(), data), data, bins).metrics;
  BOOST_TEST(std::fabs(at_mean.rmse - std::sqrt(squares)) < 1e-6);
  constexpr int samples = 8192;
  const PosteriorAverage average =
      predictor.posterior_average({mean.data(), precision.data()}, data, samples, bins, 7, 3);
  const double error = average.error.nll;
  BOOST_TEST(error > 0.0);
  BOOST_TEST(error < 0.01);
  BOOST_TEST(std::fabs(average.evaluation.metrics.nll - nll) < 5.0 * error);
  BOOST_TEST(std::fabs(loss - nll) > 10.0 * error, "averaging losses would be seen");
  BOOST_TEST(std::fabs(at_mean.nll - nll) > 10.0 * error, "the mean model would be seen");
  BOOST_TEST(std::fabs(average.evaluation.metrics.rmse - std::sqrt(squares)) < 5.0 * average.error.rmse + 1e-4);
  BOOST_TEST(average.error.rmse > 0.0);
  BOOST_TEST(std::isnan(average.error.accuracy));
  const PosteriorAverage threaded =
      Predictor(network, 3).posterior_average({mean.data(), precision.data()}, data, samples, bins, 7, 3);
  BOOST_TEST(threaded.evaluation.metrics.nll == average.evaluation.metrics.nll);
  BOOST_TEST(threaded.evaluation.metrics.rmse == average.evaluation.metrics.rmse);
  // The average's predictions say the same.
  const Predictions predicted = predictor.average_predictions({mean.data(), precision.data()}, data, samples, 7, 3);
  std::vector<std::uint32_t> rows(n);
  std::iota(rows.begin(), rows.end(), 0U);
  const Metrics own = metrics_of_rows(predicted, data, rows, bins);
  BOOST_TEST(std::fabs(own.nll - average.evaluation.metrics.nll) < 1e-9);
  BOOST_TEST(std::fabs(own.rmse - average.evaluation.metrics.rmse) < 1e-6);
}

// Log densities far below what a double's exponential can hold, infinite ones, and none that is a number.
BOOST_AUTO_TEST_CASE(densities_are_averaged_where_they_cannot_be_written_down) {
  const auto network = make_mlp<float>(1, {}, 1, "relu", false, {.kind = Loss::Kind::gaussian, .precision = 1e4});
  Dataset data;
  data.features = data.outputs = 1;
  data.classes = 1;
  data.x = {1.0F};
  data.labels = {0};
  const std::vector<float> mean(64, 0.0F), sharp(64, 1e14F);
  const Predictor predictor(network, 1);
  const auto nll = [&](float target, const std::vector<float>& at) {
    data.targets = {target};
    return predictor.posterior_average({at.data(), sharp.data()}, data, 9, bins, 1, 0).evaluation.metrics.nll;
  };
  const double constant = 0.5 * std::log(1e4 / (2 * std::numbers::pi));
  BOOST_TEST(std::fabs(nll(10.0F, mean) - (0.5e6 - constant)) < 1.0);  // exp(-500000) is 0 in double
  std::vector<float> diverged = mean;
  diverged[0] = std::numeric_limits<float>::infinity();
  BOOST_TEST(nll(1.0F, diverged) == std::numeric_limits<double>::infinity());
  diverged[0] = std::numeric_limits<float>::quiet_NaN();
  BOOST_TEST(std::isnan(nll(1.0F, diverged)));
}

BOOST_AUTO_TEST_CASE(a_sharp_posterior_is_the_mean_model) {
  const Regression r;
  const Predictor predictor(r.network, 2);
  const std::vector<float> sharp(r.mean.size(), 1e14F);
  const Predictions at_mean = predictor.predict(r.mean.data(), r.data);
  const Metrics expected = evaluate_probabilities(at_mean.values.data(), r.data.labels.data(), r.data.size(), 4, bins,
                                                  at_mean.log_likelihood.data())
                               .metrics;
  const PosteriorAverage average = predictor.posterior_average({r.mean.data(), sharp.data()}, r.data, 4, bins, 1, 0);
  check_equal(average.evaluation.metrics, expected, 1e-5);  // noise of 1e-7 in the weights, float probabilities
}

BOOST_AUTO_TEST_CASE(negative_elbo_is_the_expected_loss_plus_the_divergence_from_the_prior) {
  const Regression r;
  const Predictor predictor(r.network, 1);
  const std::size_t n = r.data.size();
  std::vector<float> weights(n);
  for (std::size_t i = 0; i < n; ++i) weights[i] = static_cast<float>(i % 3);  // examples held by 0, 1 or 2 clients
  const double temperature = 0.5, prior = 2.5;
  const auto device = make_cpu_device();
  const double kl =
      kl_diagonal(*device, 16, KlTerm<float>{r.mean.data(), r.precision.data(), nullptr, nullptr, 0.0, prior});
  StreamReader random(35, {Purpose::data});
  Vector expected(3000);
  for (double& value : expected) {
    const Vector p = r.softmax(r.sample(random));
    double loss = 0.0;
    for (std::size_t i = 0; i < n; ++i)
      loss -= static_cast<double>(weights[i]) * std::log(p[i * 4 + static_cast<std::size_t>(r.data.labels[i])]);
    value = loss / temperature + kl;
  }
  const NegativeElbo elbo =
      predictor.negative_elbo({r.mean.data(), r.precision.data()}, r.data, weights, temperature, prior, 512, 7, 3);
  BOOST_TEST(elbo.error > 0.0);
  BOOST_TEST(std::fabs(elbo.value - mean_of(expected)) < 4.0 * std::hypot(elbo.error, error_of_mean(expected)));
  BOOST_TEST(elbo.error < 0.03 * elbo.value);
  // Its error is the standard error over samples: that of 3000 scaled to 512.
  BOOST_TEST(std::fabs(elbo.error / (error_of_mean(expected) * std::sqrt(3000.0 / 512.0)) - 1.0) < 0.2);
  const NegativeElbo threaded =
      Predictor(r.network, 3)
          .negative_elbo({r.mean.data(), r.precision.data()}, r.data, weights, temperature, prior, 512, 7, 3);
  BOOST_TEST(threaded.value == elbo.value);
  BOOST_TEST(threaded.error == elbo.error);

  // Without uncertainty the expectation is the loss at the mean.
  const std::vector<float> sharp(r.mean.size(), 1e14F);
  const Predictions at_mean = predictor.predict(r.mean.data(), r.data);
  double loss = 0.0;
  for (std::size_t i = 0; i < n; ++i) loss -= static_cast<double>(weights[i]) * at_mean.log_likelihood[i];
  const double sharp_kl =
      kl_diagonal(*device, 16, KlTerm<float>{r.mean.data(), sharp.data(), nullptr, nullptr, 0.0, prior});
  const NegativeElbo at =
      predictor.negative_elbo({r.mean.data(), sharp.data()}, r.data, weights, temperature, prior, 8, 7, 3);
  BOOST_TEST(std::fabs(at.value - (loss / temperature + sharp_kl)) < 1e-5 * at.value);
}

BOOST_AUTO_TEST_CASE(predictions_of_several_networks_are_averaged_as_probabilities_and_densities) {
  Dataset classes{.features = 1, .classes = 2, .x = {0, 0}, .labels = {1, 0}};
  const std::vector<Predictions> guesses = {{{0.25F, 0.75F, 0.5F, 0.5F}, {0, 0}}, {{0.75F, 0.25F, 1.0F, 0.0F}, {0, 0}}};
  const Predictions mean = average_of(guesses, classes);
  BOOST_TEST(mean.values == (std::vector<float>{0.5F, 0.5F, 0.75F, 0.25F}), boost::test_tools::per_element());
  BOOST_TEST(std::fabs(mean.log_likelihood[0] - std::log(0.5)) < 1e-12);
  BOOST_TEST(std::fabs(mean.log_likelihood[1] - std::log(0.75)) < 1e-12);
  classes.outputs = 1, classes.targets = {0, 0};
  const std::vector<Predictions> values = {{{1.0F, 5.0F}, {-1.0, -2000.0}}, {{4.0F, 6.0F}, {-3.0, -2002.0}}};
  const Predictions mixture = average_of(values, classes);
  BOOST_TEST(mixture.values == (std::vector<float>{2.5F, 5.5F}), boost::test_tools::per_element());
  const double half = std::log((1 + std::exp(-2.0)) / 2);  // of both: the second one's densities underflow
  BOOST_TEST(std::fabs(mixture.log_likelihood[0] - (-1 + half)) < 1e-12);
  BOOST_TEST(std::fabs(mixture.log_likelihood[1] - (-2000 + half)) < 1e-9);
}
