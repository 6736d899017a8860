// IEEE 754 binary16, as numpy's float16.
#pragma once
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace ivory {

/// The nearest float16, ties to even; infinite beyond 65504 (from 65520 on), NaN of NaN. Without branches, so that loops over it
/// become vector code on every processor.
constexpr std::uint16_t half_from(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (bits >> 16) & 0x8000U, size = bits & 0x7FFFFFFFU;
  // Normal numbers: the exponent's bias goes from 127 to 15, and 13 bits of the fraction are rounded away; a carry out of the
  // fraction is the next power of two.
  const std::uint32_t normal = (size - (112U << 23) + 0xFFFU + ((size >> 13) & 1U)) >> 13;
  // Below 2^-14 the addition puts the fraction where binary16 has it, rounded by the processor.
  const std::uint32_t small =
      std::bit_cast<std::uint32_t>(std::bit_cast<float>(size < 0x38800000U ? size : 0U) + 0.5F) -
      std::bit_cast<std::uint32_t>(0.5F);
  const std::uint32_t finite = size < 0x38800000U ? small : normal;
  const std::uint32_t special = size > 0x7F800000U ? 0x7E00U : 0x7C00U;
  return static_cast<std::uint16_t>(sign | (size >= 0x477FF000U ? special : finite));
}

/// Exact: every float16 is a float.
inline float value_of_half(std::uint16_t half) {
  const std::uint32_t sign = (half & 0x8000U) << 16, size = half & 0x7FFFU;
  if (size >= 0x7C00U) return std::bit_cast<float>(sign | 0x7F800000U | ((size & 0x3FFU) << 13));
  // Taken as a float its exponent is too small by 127 - 15; the product is exact, also for those below 2^-14.
  return std::bit_cast<float>(sign | (size << 13)) * 0x1p112F;
}

/// Converts float numbers at `values`, as many as `to` has; returns how many finite ones became infinite.
inline std::uint64_t halves_from(const void* values, std::span<std::uint16_t> to) {
  const auto* const from = static_cast<const std::byte*>(values);
  std::uint64_t overflows = 0;
  for (std::size_t i = 0; i < to.size(); ++i) {
    float value = 0;
    std::memcpy(&value, from + i * sizeof(float), sizeof(float));
    to[i] = half_from(value);
    const std::uint32_t size = std::bit_cast<std::uint32_t>(value) & 0x7FFFFFFFU;
    overflows += size >= 0x477FF000U && size < 0x7F800000U ? 1U : 0U;
  }
  return overflows;
}

}  // namespace ivory
