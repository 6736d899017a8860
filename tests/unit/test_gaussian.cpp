// Diagonal Gaussians: divergence, sampling, precision floors.
#define BOOST_TEST_MODULE gaussian
#include <limits>
#include "tests/support/boost_test.hpp"

#include "ivory/gaussian.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;
using Vector = std::vector<double>;

namespace {

struct Gaussians {
  explicit Gaussians(std::size_t size) : m1(size), s1(size), m2(size), s2(size) {
    StreamReader random(17, {Purpose::data});
    for (std::size_t i = 0; i < size; ++i) {
      m1[i] = 2.0 * random.uniform() - 1.0;
      m2[i] = 2.0 * random.uniform() - 1.0;
      s1[i] = std::exp(3.0 * random.uniform() - 1.0);
      s2[i] = std::exp(3.0 * random.uniform() - 1.0);
    }
  }
  Vector m1, s1, m2, s2;

  double kl(Device& device, std::size_t from, std::size_t count) const {
    return kl_diagonal(device, count,
                       KlTerm<double>{m1.data() + from, s1.data() + from, m2.data() + from, s2.data() + from});
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(divergence_is_positive_zero_only_for_equal_gaussians_and_additive) {
  const auto device = make_cpu_device();
  const Gaussians g(3000);  // several chunks of the sum
  for (std::size_t i = 0; i < 200; ++i) BOOST_TEST(g.kl(*device, i, 1) > 0.0);
  BOOST_TEST(kl_diagonal(*device, 3000, KlTerm<double>{g.m1.data(), g.s1.data(), g.m1.data(), g.s1.data()}) == 0.0);
  const double whole = g.kl(*device, 0, 3000);
  BOOST_TEST(std::fabs(g.kl(*device, 0, 1000) + g.kl(*device, 1000, 2000) - whole) < 1e-12 * whole);
  BOOST_TEST(g.kl(*device, 0, 0) == 0.0);

  // By hand: N(1, 1/4) against N(-1, 1/2): 0.5 (2/4 + 2*4 - 1 + log 2).
  const Vector m1{1.0}, s1{4.0}, m2{-1.0}, s2{2.0};
  const double kl = kl_diagonal(*device, 1, KlTerm<double>{m1.data(), s1.data(), m2.data(), s2.data()});
  BOOST_TEST(std::fabs(kl - 0.5 * (0.5 + 8.0 - 1.0 + std::log(2.0))) < 1e-15);
}

BOOST_AUTO_TEST_CASE(divergence_is_the_mean_log_ratio_of_densities) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 8, samples = 40000;
  const Gaussians g(size);
  StreamReader random(18, {Purpose::data});
  Vector ratios(samples, 0.0);
  for (double& ratio : ratios)
    for (std::size_t i = 0; i < size; ++i) {
      const double x = g.m1[i] + random.normal() / std::sqrt(g.s1[i]);
      ratio += 0.5 * std::log(g.s1[i] / g.s2[i]) - 0.5 * g.s1[i] * (x - g.m1[i]) * (x - g.m1[i]) +
               0.5 * g.s2[i] * (x - g.m2[i]) * (x - g.m2[i]);
    }
  BOOST_TEST(std::fabs(mean_of(ratios) - g.kl(*device, 0, size)) < 3.0 * error_of_mean(ratios));
  BOOST_TEST(error_of_mean(ratios) < 0.01 * mean_of(ratios));
}

BOOST_AUTO_TEST_CASE(a_missing_prior_array_stands_for_a_scalar) {
  const auto device = make_cpu_device();
  const Gaussians g(100);
  const Vector zero(100, 0.0), half(100, 0.5), three(100, 3.0);
  const double against_prior =
      kl_diagonal(*device, 100, KlTerm<double>{g.m1.data(), g.s1.data(), nullptr, nullptr, 0.0, 3.0});
  BOOST_TEST(against_prior ==
             kl_diagonal(*device, 100, KlTerm<double>{g.m1.data(), g.s1.data(), zero.data(), three.data()}));
  BOOST_TEST(kl_diagonal(*device, 100, KlTerm<double>{g.m1.data(), g.s1.data(), nullptr, three.data(), 0.5}) ==
             kl_diagonal(*device, 100, KlTerm<double>{g.m1.data(), g.s1.data(), half.data(), three.data()}));
  // float arrays, double arithmetic: only the inputs are rounded.
  std::vector<float> m(g.m1.begin(), g.m1.end()), s(g.s1.begin(), g.s1.end());
  const double in_float = kl_diagonal(*device, 100, KlTerm<float>{m.data(), s.data(), nullptr, nullptr, 0.0, 3.0});
  BOOST_TEST(std::fabs(in_float - against_prior) < 1e-6 * against_prior);
}

BOOST_AUTO_TEST_CASE(samples_have_mean_and_precision) {
  const auto device = make_cpu_device();
  constexpr std::size_t size = 20000;
  const std::vector<float> mean(size, 0.7F), precision(size, 25.0F);
  std::vector<float> sample(size);
  for_each_with_noise(*device, size, NoiseSource<float>{make_stream(2, {Purpose::evaluation_noise}), nullptr},
                      SampleGaussian<float>{mean.data(), precision.data(), sample.data()});
  Vector z(sample.begin(), sample.end());
  for (double& x : z) x = (x - 0.7) * 5.0;
  BOOST_TEST(kolmogorov(z, normal_cdf) < kolmogorov_limit);
}

BOOST_AUTO_TEST_CASE(precisions_below_the_floor_are_raised_and_counted_without_the_padding) {
  const auto device = make_cpu_device();
  const double floor = 0.01;
  Vector s(64, 1.0);
  s[0] = -3.0, s[1] = 0.0099, s[2] = 0.01, s[3] = 0.0101, s[9] = -std::numeric_limits<double>::infinity();
  for (std::size_t i = 10; i < 64; ++i) s[i] = 0.0;  // padding
  BOOST_TEST(floor_precision(*device, 10, 64, s.data(), floor) == 3.0);
  BOOST_TEST(s[0] == floor);
  BOOST_TEST(s[1] == floor);
  BOOST_TEST(s[2] == floor);
  BOOST_TEST(s[3] == 0.0101);
  BOOST_TEST(s[4] == 1.0);
  BOOST_TEST(s[9] == floor);
  for (std::size_t i = 10; i < 64; ++i) BOOST_TEST(s[i] > 0.0);  // usable: means are divided by it
  BOOST_TEST(floor_precision(*device, 10, 64, s.data(), floor) == 0.0);
  // NaN is no small precision: it stays, so that the run can see it.
  s[5] = std::numeric_limits<double>::quiet_NaN();
  BOOST_TEST(floor_precision(*device, 10, 64, s.data(), floor) == 0.0);
  BOOST_TEST(std::isnan(s[5]));
}
