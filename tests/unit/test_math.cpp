// Elementary functions against long double over their whole range. For float every 397th bit pattern is tried, which is
// some million arguments per function; the double versions are the standard library's and get a short check.
#define BOOST_TEST_MODULE math
#include <cmath>
#include <limits>
#include "tests/support/boost_test.hpp"

#include "ivory/math.hpp"

using namespace ivory;

namespace {

constexpr std::uint32_t stride = 397;  // prime: mantissas of every residue come up
constexpr float infinity = std::numeric_limits<float>::infinity();
constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
constexpr float smallest = std::numeric_limits<float>::min();

// Units in the last place of the exact value as a float; below the normal numbers the unit stays that of the smallest one.
double ulps(float value, long double exact) {
  const auto magnitude = std::fmax(std::fabs(static_cast<double>(exact)), static_cast<double>(smallest));
  const double unit = std::ldexp(1.0, std::ilogb(magnitude) - 23);
  return static_cast<double>(std::fabs(static_cast<long double>(value) - exact)) / unit;
}

// Calls f for floats in [from, to], 0 < from < to, in steps of `stride` bit patterns, with both ends.
template <class F>
void for_floats(float from, float to, const F& f) {
  const std::uint32_t last = math::to_bits(to);
  for (std::uint32_t bits = math::to_bits(from); bits < last; bits += stride) f(math::from_bits(bits));
  f(to);
}

struct Worst {
  double error = 0;
  float at = 0;
  void see(double e, float x) {
    if (!(e <= error)) error = e, at = x;  // a NaN error counts as the worst
  }
};

}  // namespace

BOOST_AUTO_TEST_CASE(logarithm_of_every_normal_float) {
  Worst worst;
  for_floats(smallest, std::numeric_limits<float>::max(),
             [&](float x) { worst.see(ulps(math::log_positive(x), std::log(static_cast<long double>(x))), x); });
  for (std::uint32_t i = 0; i < 200000; ++i) {  // around 1, where the result nearly vanishes, without gaps
    const float x = math::from_bits(0x3F800000U - 100000U + i);
    worst.see(ulps(math::log_positive(x), std::log(static_cast<long double>(x))), x);
  }
  BOOST_TEST(worst.error < 2.0, worst.error << " units at " << worst.at);  // as documented
  BOOST_TEST(math::log_positive(1.0F) == 0.0F);
}

BOOST_AUTO_TEST_CASE(logarithm_at_the_edges) {
  const float lowest = math::log(smallest);
  BOOST_TEST(ulps(lowest, std::log(static_cast<long double>(smallest))) < 2.0);
  // Probabilities that underflowed: a large finite loss, not infinity.
  BOOST_TEST(math::log(0.0F) == lowest);
  BOOST_TEST(math::log(std::numeric_limits<float>::denorm_min()) == lowest);
  BOOST_TEST(std::isnan(math::log(not_a_number)),
             "log(NaN) = " << math::log(not_a_number) << " hides a diverged client");
  BOOST_TEST(math::log(2.5) == std::log(2.5));
}

BOOST_AUTO_TEST_CASE(exponential_over_its_range) {
  Worst worst;
  const auto see = [&](float x) { worst.see(ulps(math::exp(x), std::exp(static_cast<long double>(x))), x); };
  for_floats(1e-30F, 88.37F, see);
  for_floats(1e-30F, 87.33F, [&](float x) { see(-x); });
  BOOST_TEST(worst.error < 2.0, worst.error << " units at " << worst.at);  // as documented
  BOOST_TEST(math::exp(0.0F) == 1.0F);
  BOOST_TEST(math::exp(-0.0F) == 1.0F);
}

BOOST_AUTO_TEST_CASE(exponential_saturates_and_keeps_nan) {
  BOOST_TEST(std::isnan(math::exp(not_a_number)));
  BOOST_TEST(std::isnan(math::exp(-not_a_number)));
  const float top = math::exp(infinity), bottom = math::exp(-infinity);
  BOOST_TEST(top > 2.3e38F);  // exp(88.37)
  BOOST_TEST(math::is_finite(top));
  BOOST_TEST(bottom > 0.0F);
  BOOST_TEST(bottom < 1.2e-38F);
  for (const float x : {88.5F, 100.0F, 1e6F, 3e38F}) {
    BOOST_TEST(math::exp(x) == top);
    BOOST_TEST(math::exp(-x) == bottom);
  }
  BOOST_TEST(math::exp(1.5) == std::exp(1.5));
  BOOST_TEST(std::isnan(math::exp(static_cast<double>(not_a_number))));
}

BOOST_AUTO_TEST_CASE(sigmoid_over_its_range) {
  // exp (2 units), the addition and the division (half a unit each): relative error below 3.5 units of 2^-24 to 2^-23.
  Worst worst;
  const auto see = [&](float x) {
    const long double exact = 1.0L / (1.0L + std::exp(-static_cast<long double>(x)));
    worst.see(ulps(math::sigmoid(x), exact), x);
  };
  for_floats(1e-30F, 87.0F, see);
  for_floats(1e-30F, 87.0F, [&](float x) { see(-x); });
  BOOST_TEST(worst.error < 3.5, worst.error << " units at " << worst.at);
  BOOST_TEST(math::sigmoid(0.0F) == 0.5F);
  BOOST_TEST(math::sigmoid(infinity) == 1.0F);
  BOOST_TEST(math::sigmoid(-infinity) < 1.2e-38F);
  BOOST_TEST(math::sigmoid(-infinity) >= 0.0F);
  BOOST_TEST(std::isnan(math::sigmoid(not_a_number)));
  BOOST_TEST(std::fabs(math::sigmoid(-1.25) - 1.0 / (1.0 + std::exp(1.25))) < 1e-16);
}

BOOST_AUTO_TEST_CASE(hyperbolic_tangent_over_its_range) {
  // Near 0 a polynomial of Cephes' accuracy; beyond 0.625 the quotient's error is at most 2 units of a term below half the
  // result. A plain quotient everywhere would be off by thousands of units near 0.
  Worst worst;
  const auto see = [&](float x) { worst.see(ulps(math::tanh(x), std::tanh(static_cast<long double>(x))), x); };
  for_floats(1e-30F, 100.0F, see);
  for_floats(1e-30F, 100.0F, [&](float x) { see(-x); });
  BOOST_TEST(worst.error < 3.0, worst.error << " units at " << worst.at);
  BOOST_TEST(math::tanh(0.0F) == 0.0F);
  for (const float x : {10.0F, 1e3F, 1e20F, 3e38F, infinity}) {  // finite everywhere, never beyond 1
    BOOST_TEST(math::tanh(x) == 1.0F);
    BOOST_TEST(math::tanh(-x) == -1.0F);
  }
  BOOST_TEST(std::isnan(math::tanh(not_a_number)));
  BOOST_TEST(math::tanh(0.3) == std::tanh(0.3));
}

BOOST_AUTO_TEST_CASE(sine_and_cosine_over_the_circle) {
  const long double step = std::acos(-1.0L) / 2147483648.0L;
  double worst = 0, worst_radius = 0;
  const auto see = [&](std::int32_t turn) {
    float s, c;
    math::sincos_turn(turn, s, c);
    const long double angle = step * static_cast<long double>(turn);
    worst = std::fmax(worst, static_cast<double>(std::fabs(s - std::sin(angle))));
    worst = std::fmax(worst, static_cast<double>(std::fabs(c - std::cos(angle))));
    worst_radius = std::fmax(worst_radius, std::fabs(static_cast<double>(s) * s + static_cast<double>(c) * c - 1.0));
  };
  for (std::uint64_t i = 0; i < (1ULL << 32); i += 3989) see(static_cast<std::int32_t>(static_cast<std::uint32_t>(i)));
  for (std::uint32_t eighth = 0; eighth < 8; ++eighth)  // both sides of every change of branch
    for (std::uint32_t d = 0; d < 2001; ++d) see(static_cast<std::int32_t>((eighth << 29) + d - 1000U));
  for (std::uint32_t d = 0; d < 2001; ++d) {  // where a scan of every 41st turn found the largest errors
    see(static_cast<std::int32_t>(544908368U + d - 1000U));
    see(static_cast<std::int32_t>(528833457U + d - 1000U));
  }
  BOOST_TEST(worst < 1.25e-7);  // two units of 2^-24 and a little
  BOOST_TEST(worst_radius < 2.4e-7);

  float s, c;
  math::sincos_turn(0, s, c);
  BOOST_TEST(s == 0.0F);
  BOOST_TEST(c == 1.0F);
  math::sincos_turn(1 << 30, s, c);  // a quarter
  BOOST_TEST(s == 1.0F);
  BOOST_TEST(std::fabs(c) < 1.2e-7F);
  math::sincos_turn(std::numeric_limits<std::int32_t>::min(), s, c);  // half
  BOOST_TEST(std::fabs(s) < 1.2e-7F);
  BOOST_TEST(c == -1.0F);
}

BOOST_AUTO_TEST_CASE(clamp_absolute_value_and_finiteness) {
  BOOST_TEST(math::clamp(3.0F, -1.0F, 2.0F) == 2.0F);
  BOOST_TEST(math::clamp(-3.0F, -1.0F, 2.0F) == -1.0F);
  BOOST_TEST(math::clamp(0.5, -1.0, 2.0) == 0.5);
  BOOST_TEST(math::clamp(infinity, -1.0F, 2.0F) == 2.0F);
  BOOST_TEST(std::isnan(math::clamp(not_a_number, -1.0F, 2.0F)));
  BOOST_TEST(math::abs(-2.5F) == 2.5F);
  BOOST_TEST(math::abs(-infinity) == infinity);
  BOOST_TEST(std::isnan(math::abs(not_a_number)));
  BOOST_TEST(math::is_finite(3e38F));
  BOOST_TEST(!math::is_finite(infinity));
  BOOST_TEST(!math::is_finite(-infinity));
  BOOST_TEST(!math::is_finite(not_a_number));
  BOOST_TEST(!math::is_finite(std::numeric_limits<double>::quiet_NaN()));
  BOOST_TEST(math::is_finite(1e300));
}

BOOST_AUTO_TEST_CASE(fused_multiply_add_rounds_once) {
  // (1 + 2^-12)^2 - 1 - 2^-11 = 2^-24 needs more than the 24 bits of a separate product.
  const float x = 1.0F + 0x1p-12F;
  BOOST_TEST(math::fma(x, x, -1.0F - 0x1p-11F) == 0x1p-24F);
  const double y = 1.0 + 0x1p-27;
  BOOST_TEST(math::fma(y, y, -1.0 - 0x1p-26) == 0x1p-54);
}
