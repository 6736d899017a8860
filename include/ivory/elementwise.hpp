// Running a functor over indices on a device. A functor is a small struct with named fields and an IVORY_HD operator();
// pointers in it that never overlap carry IVORY_RESTRICT.
#pragma once
#include <cstddef>
#include <vector>

#include "ivory/device.hpp"
#include "ivory/rng.hpp"
#include "ivory/simd.hpp"

#define IVORY_RESTRICT __restrict__

namespace ivory {

/// `tiles` * 64 normals of a stream, from tile `first_tile` on (rng.hpp says which element comes from which block).
void fill_normals(const Stream& stream, std::uint64_t first_tile, std::size_t tiles, float* out);

/// Where a sampler's standard normals come from: a Philox stream, or (tests) numbers stored beforehand.
template <class Real>
struct NoiseSource {
  Stream stream{};
  const Real* stored = nullptr;
};

namespace detail {

inline constexpr std::size_t noise_tiles = 16;  // tiles of normals made at a time: 4 KiB, which stays in L1

template <class F>
IVORY_HD void loop(std::size_t count, const F& f) {
#pragma omp simd
  for (std::size_t i = 0; i < count; ++i) f(i);
}
template <class F>
IVORY_AVX512 void loop_avx512(std::size_t count, F f) {
  loop(count, f);
}
template <class F>
IVORY_BASELINE void loop_baseline(std::size_t count, F f) {
  loop(count, f);
}

template <class F>
IVORY_HD void rows_loop(std::size_t rows, std::size_t columns, const F& f) {
  for (std::size_t r = 0; r < rows; ++r) {
#pragma omp simd
    for (std::size_t c = 0; c < columns; ++c) f(r, c);
  }
}
template <class F>
IVORY_AVX512 void rows_loop_avx512(std::size_t rows, std::size_t columns, F f) {
  rows_loop(rows, columns, f);
}
template <class F>
IVORY_BASELINE void rows_loop_baseline(std::size_t rows, std::size_t columns, F f) {
  rows_loop(rows, columns, f);
}

template <class F>
IVORY_HD void noise_loop(std::size_t begin, std::size_t end, const float* z, const F& f) {
#pragma omp simd
  for (std::size_t i = begin; i < end; ++i) f(i, z[i - begin]);
}
template <class F>
IVORY_AVX512 void noise_loop_avx512(std::size_t begin, std::size_t end, const float* z, F f) {
  noise_loop(begin, end, z, f);
}
template <class F>
IVORY_BASELINE void noise_loop_baseline(std::size_t begin, std::size_t end, const float* z, F f) {
  noise_loop(begin, end, z, f);
}

}  // namespace detail

/// Calls f(i) once for every i in [0, count), in no fixed order.
template <class F>
void for_each([[maybe_unused]] Device& device, std::size_t count, const F& f) {
  if (use_avx512()) {
    detail::loop_avx512(count, f);
  } else {
    detail::loop_baseline(count, f);
  }
}

template <class Real>
struct Fill {
  Real* to;
  Real value;
  IVORY_HD void operator()(std::size_t i) const { to[i] = value; }
};

/// Calls f(row, column) once for every place of a [rows x columns] array, in no fixed order.
template <class F>
void for_each_place([[maybe_unused]] Device& device, std::size_t rows, std::size_t columns, const F& f) {
  if (use_avx512()) {
    detail::rows_loop_avx512(rows, columns, f);
  } else {
    detail::rows_loop_baseline(rows, columns, f);
  }
}

/// Calls f(row, column) for the rows of each column in increasing order: what a sum over rows needs.
template <class F>
void for_each_column_in_order(Device& device, std::size_t rows, std::size_t columns, const F& f) {
  for_each_place(device, rows, columns, f);
}

/// Calls f(i, z_i) once for every i in [0, count); z_i is element i of the noise.
template <class Real, class F>
void for_each_with_noise([[maybe_unused]] Device& device, std::size_t count, const NoiseSource<Real>& noise,
                         const F& f) {
  if (noise.stored != nullptr) {
    for (std::size_t i = 0; i < count; ++i) f(i, noise.stored[i]);
    return;
  }
  constexpr std::size_t chunk = detail::noise_tiles * tile_size;
  alignas(64) float z[chunk];
  for (std::size_t begin = 0; begin < count; begin += chunk) {
    const std::size_t end = begin + chunk < count ? begin + chunk : count;
    fill_normals(noise.stream, begin / tile_size, (end - begin + tile_size - 1) / tile_size, z);
    if (use_avx512()) {
      detail::noise_loop_avx512(begin, end, z, f);
    } else {
      detail::noise_loop_baseline(begin, end, z, f);
    }
  }
}

/// Runs functors[b](i) for every client b of a block and every i in [0, count).
template <class F>
void for_each_client(Device& device, std::size_t count, const std::vector<F>& functors) {
  for (const F& f : functors) for_each(device, count, f);
}

/// Runs functors[b](i, z) with the noise of client b.
template <class Real, class F>
void for_each_client_with_noise(Device& device, std::size_t count, const std::vector<F>& functors,
                                const std::vector<NoiseSource<Real>>& noise) {
  for (std::size_t b = 0; b < functors.size(); ++b) for_each_with_noise(device, count, noise[b], functors[b]);
}

/// Sum over i in [0, count) of f(i), in double and in a fixed order: chunks of 1024, then the chunks one after the other.
template <class F>
double sum([[maybe_unused]] Device& device, std::size_t count, const F& f) {
  double total = 0.0;
  for (std::size_t begin = 0; begin < count; begin += 1024) {
    const std::size_t end = begin + 1024 < count ? begin + 1024 : count;
    double part = 0.0;
    for (std::size_t i = begin; i < end; ++i) part += static_cast<double>(f(i));
    total += part;
  }
  return total;
}

}  // namespace ivory
