// Elementary functions with one definition for CPU and GPU: branch-free, so that loops over them become vector code, with
// explicit fused multiply-adds, so that every instruction set and both devices give the same bits. float is the production
// type; double goes to the standard library and serves the reference tests.
#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#if defined(__CUDACC__)
#define IVORY_HD __host__ __device__ __forceinline__
#else
#define IVORY_HD inline __attribute__((always_inline))
#endif

namespace ivory::math {

IVORY_HD float fma(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
IVORY_HD double fma(double a, double b, double c) { return __builtin_fma(a, b, c); }
IVORY_HD float sqrt(float x) { return __builtin_sqrtf(x); }
IVORY_HD double sqrt(double x) { return __builtin_sqrt(x); }
template <class Real>
IVORY_HD Real abs(Real x) {
  return x < Real(0) ? -x : x;
}
// NaN in `x` stays NaN: the comparison is false for it.
template <class Real>
IVORY_HD Real clamp(Real x, Real low, Real high) {
  const Real y = x < low ? low : x;
  return y > high ? high : y;
}
template <class Real>
IVORY_HD bool is_finite(Real x) {
  return x - x == Real(0);
}

IVORY_HD float from_bits(std::uint32_t bits) { return __builtin_bit_cast(float, bits); }
IVORY_HD std::uint32_t to_bits(float x) { return __builtin_bit_cast(std::uint32_t, x); }

/// Natural logarithm of a positive normal float; relative error below 2 units in the last place, no special values.
/// The mantissa is brought to [sqrt(1/2), sqrt(2)) and log1p approximated by a degree-9 polynomial (minimax form of Cephes).
IVORY_HD float log_positive(float x) {
  const std::uint32_t shifted = to_bits(x) - 0x3F3504F3U;  // 0x3F3504F3 = sqrt(1/2)
  const float exponent = static_cast<float>(static_cast<std::int32_t>(shifted) >> 23);
  const float f = from_bits((shifted & 0x007FFFFFU) + 0x3F3504F3U) - 1.0F;
  const float f2 = f * f;
  float p = 7.0376836292e-2F;
  p = fma(p, f, -1.1514610310e-1F);
  p = fma(p, f, 1.1676998740e-1F);
  p = fma(p, f, -1.2420140846e-1F);
  p = fma(p, f, 1.4249322787e-1F);
  p = fma(p, f, -1.6668057665e-1F);
  p = fma(p, f, 2.0000714765e-1F);
  p = fma(p, f, -2.4999993993e-1F);
  p = fma(p, f, 3.3333331174e-1F);
  float y = f * f2 * p;
  y = fma(exponent, -2.12194440e-4F, y);
  y = fma(-0.5F, f2, y);
  return fma(exponent, 0.693359375F, f + y);
}

/// exp(x) in float, relative error below 2 units in the last place; saturates outside [-87.3, 88.3]; NaN gives NaN.
IVORY_HD float exp(float x) {
  const float clamped = clamp(x, -87.33654F, 88.3762F);
  const float magic = fma(clamped, 1.44269504F, 12582912.0F);  // 1.5 * 2^23: rounds to the nearest integer
  const float n = magic - 12582912.0F;
  float r = fma(n, -0.693359375F, clamped);
  r = fma(n, 2.12194440e-4F, r);
  float p = 1.9875691500e-4F;
  p = fma(p, r, 1.3981999507e-3F);
  p = fma(p, r, 8.3334519073e-3F);
  p = fma(p, r, 4.1665795894e-2F);
  p = fma(p, r, 1.6666665459e-1F);
  p = fma(p, r, 5.0000001201e-1F);
  p = fma(p, r * r, r) + 1.0F;
  return p * from_bits((to_bits(magic) + 127U) << 23);
}
IVORY_HD double exp(double x) { return std::exp(x); }

/// log(x) for x > 0; tiny and subnormal arguments are read as the smallest normal number; NaN gives NaN.
IVORY_HD float log(float x) {
  const float y = log_positive(x < 1.17549435e-38F ? 1.17549435e-38F : x);
  return x == x ? y : x;
}
IVORY_HD double log(double x) { return std::log(x); }

/// log(1 + x) for finite x >= 0, exact also where 1 + x rounds: the rounding error of 1 + x divides out (Kahan).
IVORY_HD double log1p(double x) {
  const double y = 1.0 + x;
  return y == 1.0 ? x : log(y) * (x / (y - 1.0));
}

template <class Real>
IVORY_HD Real sigmoid(Real x) {
  return Real(1) / (Real(1) + exp(-x));
}

/// tanh(x): odd polynomial near 0 (no cancellation), exponentials elsewhere.
IVORY_HD float tanh(float x) {
  const float x2 = x * x;
  float p = -5.70498872745e-3F;
  p = fma(p, x2, 2.06390887954e-2F);
  p = fma(p, x2, -5.37397155531e-2F);
  p = fma(p, x2, 1.33314422036e-1F);
  p = fma(p, x2, -3.33332819422e-1F);
  const float near = fma(p * x2, x, x);
  const float far = 1.0F - 2.0F / (exp(2.0F * x) + 1.0F);
  return abs(x) < 0.625F ? near : far;
}
IVORY_HD double tanh(double x) { return std::tanh(x); }

/// sin and cos of pi * turn / 2^31 for a signed 32-bit `turn` (the whole circle); absolute error below 1.25e-7.
IVORY_HD void sincos_turn(std::int32_t turn, float& sine, float& cosine) {
  const std::uint32_t quadrant = (static_cast<std::uint32_t>(turn) + 0x20000000U) >> 30;
  const auto rest = static_cast<std::int32_t>(static_cast<std::uint32_t>(turn) - (quadrant << 30));
  const float r = static_cast<float>(rest) * 1.46291807926715968e-9F;  // pi / 2^31: r in [-pi/4, pi/4]
  const float r2 = r * r;
  float s = -1.9515295891e-4F;
  s = fma(s, r2, 8.3321608736e-3F);
  s = fma(s, r2, -1.6666654611e-1F);
  s = fma(s * r2, r, r);
  float c = 2.443315711809948e-5F;
  c = fma(c, r2, -1.388731625493765e-3F);
  c = fma(c, r2, 4.166664568298827e-2F);
  c = fma(c, r2 * r2, fma(-0.5F, r2, 1.0F));
  const bool swap = (quadrant & 1U) != 0;
  const float a = swap ? c : s;
  const float b = swap ? s : c;
  sine = from_bits(to_bits(a) ^ ((quadrant & 2U) << 30));
  cosine = from_bits(to_bits(b) ^ (((quadrant + 1U) & 2U) << 30));
}

}  // namespace ivory::math
