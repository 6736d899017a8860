// The loops of elementwise.hpp, each written twice: `on_cpu` as vector code, `on_thread` as one of many GPU threads.
#pragma once
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "ivory/launch.hpp"
#include "ivory/rng.hpp"
#include "ivory/simd.hpp"

#define IVORY_RESTRICT __restrict__

// Templates that start kernels exist once per compiler: with nvcc's kernels, or without. Their names must not mix at the link.
#if defined(__CUDACC__)
#define IVORY_TRANSLATION with_kernels
#else
#define IVORY_TRANSLATION without_kernels
#endif

namespace ivory {

/// `tiles` * 64 normals of a stream, from tile `first_tile` on (rng.hpp says which element comes from which block).
void fill_normals(const Stream& stream, std::uint64_t first_tile, std::size_t tiles, float* out);

/// Where a sampler's standard normals come from: a Philox stream, or (tests) numbers stored beforehand on the device.
template <class Real>
struct NoiseSource {
  Stream stream{};
  const Real* stored = nullptr;
};

/// One client's part of a loop: functor(i) for i in [0, count).
template <class F>
struct Share {
  std::size_t count;
  F functor;
};
template <class F>
Share(std::size_t, F) -> Share<F>;

/// The same with noise: functor(i, z_i).
template <class Real, class F>
struct NoisyShare {
  std::size_t count;
  F functor;
  NoiseSource<Real> noise;
};
template <class Real, class F>
NoisyShare(std::size_t, F, NoiseSource<Real>) -> NoisyShare<Real, F>;

inline namespace IVORY_TRANSLATION {
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

/// A functor that writes only what its place gives and never reads what it writes may say `static constexpr bool repeatable =
/// true`: a place may then be done twice.
template <class F>
concept Repeatable = F::repeatable;

/// Columns [0, columns) of a row as pieces of a whole vector, of which the last overlaps the one before. Needs columns >= piece.
template <std::size_t piece, class F>
IVORY_HD void row_in_pieces(std::size_t row, std::size_t columns, const F& f) {
  for (std::size_t c = 0; c < columns; c += piece) {
    const std::size_t begin = c + piece <= columns ? c : columns - piece;
#pragma omp simd
    for (std::size_t i = 0; i < piece; ++i) f(row, begin + i);
  }
}

template <class F>
IVORY_HD void rows_loop(std::size_t rows, std::size_t columns, const F& f) {
  if constexpr (Repeatable<
                    F>) {  // images are few pixels wide: what is left over from whole vectors would cost more than they
    if (columns >= 8) {
      for (std::size_t r = 0; r < rows; ++r) row_in_pieces<8>(r, columns, f);
      return;
    }
    if (columns >= 4) {
      for (std::size_t r = 0; r < rows; ++r) row_in_pieces<4>(r, columns, f);
      return;
    }
  }
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

template <class F>
struct AddToSum {
  F f;
  IVORY_HD void operator()(std::size_t r, std::size_t c) const { f.sum[c] += f(r, c); }
};

}  // namespace detail

/// Each loop says how much work there is for threads (`units`), and what thread `thread` of `threads` does for one client.
namespace loops {

struct Each {
  IVORY_HD static std::size_t units(std::size_t count, std::size_t) { return count; }
  template <class F>
  static void on_cpu(const Share<F>& share, std::size_t) {
    if (use_avx512()) {
      detail::loop_avx512(share.count, share.functor);
    } else {
      detail::loop_baseline(share.count, share.functor);
    }
  }
  template <class F>
  IVORY_HD static void on_thread(const Share<F>& share, std::size_t, std::size_t thread, std::size_t threads) {
    for (std::size_t i = thread; i < share.count; i += threads) share.functor(i);
  }
};

/// A unit is one Philox block: four elements, 16 apart (rng.hpp).
struct EachWithNoise {
  IVORY_HD static std::size_t units(std::size_t count, std::size_t) {
    return (count + tile_size - 1) / tile_size * tile_lanes;
  }
  template <class Real, class F>
  static void on_cpu(const NoisyShare<Real, F>& share, std::size_t) {
    const std::size_t count = share.count;
    if (share.noise.stored != nullptr) {
      for (std::size_t i = 0; i < count; ++i) share.functor(i, share.noise.stored[i]);
      return;
    }
    constexpr std::size_t chunk = detail::noise_tiles * tile_size;
    alignas(64) float z[chunk];
    for (std::size_t begin = 0; begin < count; begin += chunk) {
      const std::size_t end = begin + chunk < count ? begin + chunk : count;
      fill_normals(share.noise.stream, begin / tile_size, (end - begin + tile_size - 1) / tile_size, z);
      if (use_avx512()) {
        detail::noise_loop_avx512(begin, end, z, share.functor);
      } else {
        detail::noise_loop_baseline(begin, end, z, share.functor);
      }
    }
  }
  template <class Real, class F>
  IVORY_HD static void on_thread(const NoisyShare<Real, F>& share, std::size_t, std::size_t thread,
                                 std::size_t threads) {
    const std::size_t end = units(share.count, 1);
    for (std::size_t unit = thread; unit < end; unit += threads) {
      const std::size_t first = unit / tile_lanes * tile_size + unit % tile_lanes;
      float z[4] = {};
      if (share.noise.stored == nullptr) normals(share.noise.stream.block(unit), z);
      for (std::size_t part = 0; part < 4; ++part) {
        const std::size_t i = first + part * tile_lanes;
        if (i >= share.count) continue;
        share.functor(i, share.noise.stored != nullptr ? share.noise.stored[i] : static_cast<Real>(z[part]));
      }
    }
  }
};

struct Places {
  IVORY_HD static std::size_t units(std::size_t rows, std::size_t columns) { return rows * columns; }
  template <class F>
  static void on_cpu(const Share<F>& share, std::size_t columns) {
    if (use_avx512()) {
      detail::rows_loop_avx512(share.count, columns, share.functor);
    } else {
      detail::rows_loop_baseline(share.count, columns, share.functor);
    }
  }
  template <class F>
  IVORY_HD static void on_thread(const Share<F>& share, std::size_t columns, std::size_t thread, std::size_t threads) {
    const auto width = static_cast<std::uint32_t>(columns);  // a 64-bit division costs more than the work
    for (std::size_t place = thread; place < share.count * columns; place += threads) {
      const auto p = static_cast<std::uint32_t>(place);
      share.functor(p / width, p % width);
    }
  }
};

/// functor.sum[c] = the sum of functor(r, c) over the rows, in increasing order.
struct ColumnSums {
  IVORY_HD static std::size_t units(std::size_t, std::size_t columns) { return columns; }
  template <class F>
  static void on_cpu(const Share<F>& share, std::size_t columns) {
    for (std::size_t c = 0; c < columns; ++c) share.functor.sum[c] = 0;
    Places::on_cpu(Share<detail::AddToSum<F>>{share.count, {share.functor}}, columns);
  }
  template <class F>
  IVORY_HD static void on_thread(const Share<F>& share, std::size_t columns, std::size_t thread, std::size_t threads) {
    for (std::size_t c = thread; c < columns; c += threads) {
      decltype(share.functor(0, c)) total = 0;
      for (std::size_t r = 0; r < share.count; ++r) total += share.functor(r, c);
      share.functor.sum[c] = total;
    }
  }
};

}  // namespace loops

namespace detail {

/// Every thread of a launch, one after the other: a device of the tests runs kernels so.
template <class Loop, class Row>
void launch_host(const Launch& launch) {
  const std::size_t threads = std::max<std::size_t>(Loop::units(launch.most, launch.columns), 1);
  const Row* const rows = launch.table.rows<Row>();
  for (std::size_t b = 0; b < launch.clients; ++b) {
    for (std::size_t t = 0; t < threads; ++t) Loop::on_thread(rows[b], launch.columns, t, threads);
  }
}

}  // namespace detail
}  // namespace IVORY_TRANSLATION
}  // namespace ivory
