// Normals by the thousand: Philox in 64-bit lanes (a 32x32 -> 64 bit product per lane and nothing to shuffle), then the
// Box-Muller polynomials of rng.hpp as vector code. Compiled once per instruction set (IVORY_ISA names it).
#include <cstdint>

#include "ivory/rng.hpp"
#include "kernels/cpu/isa.hpp"
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace ivory::IVORY_ISA {
namespace {

struct TileWords {
  alignas(64) std::uint32_t a[tile_lanes], b[tile_lanes], c[tile_lanes], d[tile_lanes];
};

#if defined(__AVX2__)
// 64-bit lanes of which the low half counts: what stands above it is ignored by the product and cut off by the store.
#if defined(__AVX512F__)
constexpr std::size_t width = 8;
#else
constexpr std::size_t width = 4;
#endif
using Lanes = std::uint64_t __attribute__((vector_size(8 * width)));
using Words32 = std::uint32_t __attribute__((vector_size(8 * width)));

// The one operation the compiler does not find by itself.
inline Lanes multiply(Lanes x, std::uint32_t y) {
#if defined(__AVX512F__)
  return (Lanes)_mm512_maskz_mul_epu32(0xFF, (__m512i)x, _mm512_set1_epi64(y));
#else
  return (Lanes)_mm256_mul_epu32((__m256i)x, _mm256_set1_epi64x(y));
#endif
}

// The low halves of two vectors side by side.
inline void store(std::uint32_t* to, Lanes first, Lanes second) {
#if defined(__AVX512F__)
  const Words32 packed = __builtin_shufflevector((Words32)first, (Words32)second, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20,
                                                 22, 24, 26, 28, 30);
#else
  const Words32 packed = __builtin_shufflevector((Words32)first, (Words32)second, 0, 2, 4, 6, 8, 10, 12, 14);
#endif
  *reinterpret_cast<Words32*>(to) = packed;
}

// The ten round keys of a stream as whole vectors: reading them costs less than moving them out of integer registers for
// every tile.
struct RoundKeys {
  explicit RoundKeys(const Stream& stream) {
    std::uint32_t left = stream.key0, right = stream.key1;
    for (int round = 0; round < 10; ++round) {
      first[round] = Lanes{} + left, second[round] = Lanes{} + right;
      left += 0x9E3779B9U;
      right += 0xBB67AE85U;
    }
  }
  Lanes first[10], second[10];
};

inline Lanes lane_numbers() {
#if defined(__AVX512F__)
  return Lanes{0, 1, 2, 3, 4, 5, 6, 7};
#else
  return Lanes{0, 1, 2, 3};
#endif
}

// Two vectors at a time: enough independent work to hide the products' latency, and whole registers to store.
inline void philox_tile(const Stream& stream, const RoundKeys& keys, std::uint64_t tile, TileWords& words) {
  for (std::size_t part = 0; part < tile_lanes; part += 2 * width) {
    Lanes a[2], b[2], c[2], d[2];
    for (std::size_t half = 0; half < 2; ++half) {
      a[half] = lane_numbers() + (tile * tile_lanes + part + half * width);
      b[half] = a[half] >> 32;
      c[half] = Lanes{} + stream.upper0;
      d[half] = Lanes{} + stream.upper1;
    }
    for (int round = 0; round < 10; ++round) {
      for (std::size_t half = 0; half < 2; ++half) {
        const Lanes left = multiply(a[half], 0xD2511F53U), right = multiply(c[half], 0xCD9E8D57U);
        a[half] = (right >> 32) ^ b[half] ^ keys.first[round];
        b[half] = right;
        c[half] = (left >> 32) ^ d[half] ^ keys.second[round];
        d[half] = left;
      }
    }
    store(words.a + part, a[0], a[1]);
    store(words.b + part, b[0], b[1]);
    store(words.c + part, c[0], c[1]);
    store(words.d + part, d[0], d[1]);
  }
}
#else
struct RoundKeys {
  explicit RoundKeys(const Stream&) {}
};

inline void philox_tile(const Stream& stream, const RoundKeys&, std::uint64_t tile, TileWords& words) {
  for (std::size_t lane = 0; lane < tile_lanes; ++lane) {
    const Words w = stream.block(tile * tile_lanes + lane);
    words.a[lane] = w.a, words.b[lane] = w.b, words.c[lane] = w.c, words.d[lane] = w.d;
  }
}
#endif

// A function of its own: the compiler vectorises the caller's loop only where the four normals are not an array of the loop.
IVORY_HD void normals_of_lane(const TileWords& words, std::size_t lane, float* out) {
  float z[4];
  normals({words.a[lane], words.b[lane], words.c[lane], words.d[lane]}, z);
  out[lane] = z[0];
  out[lane + tile_lanes] = z[1];
  out[lane + 2 * tile_lanes] = z[2];
  out[lane + 3 * tile_lanes] = z[3];
}

}  // namespace

void fill_normals(const Stream& stream, std::uint64_t first_tile, std::size_t tiles, float* out) {
  constexpr std::size_t batch = 16;  // tiles between two passes: long enough for a vector loop, short enough for L1
  TileWords words[batch];
  const RoundKeys keys(stream);
  for (std::size_t t = 0; t < tiles; t += batch) {
    const std::size_t count = tiles - t < batch ? tiles - t : batch;
    for (std::size_t i = 0; i < count; ++i) philox_tile(stream, keys, first_tile + t + i, words[i]);
    for (std::size_t i = 0; i < count; ++i) {
      const TileWords& w = words[i];
      float* const o = out + (t + i) * tile_size;
#pragma omp simd
      for (std::size_t lane = 0; lane < tile_lanes; ++lane) normals_of_lane(w, lane, o);
    }
  }
}

}  // namespace ivory::IVORY_ISA
