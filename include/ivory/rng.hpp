// Counter-based random numbers: every value is a pure function of (seed, round, client, step, sample, purpose, index), so
// results do not depend on threads, block sizes or the order of work. Philox4x32-10 after Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3" (SC 2011).
#pragma once
#include <cstddef>
#include <cstdint>

#include "ivory/math.hpp"

namespace ivory {

/// What a stream is drawn for; part of its key. Numbers are part of the reproducibility contract: append, never renumber.
enum class Purpose : std::uint32_t {
  initialisation = 1,
  shuffle = 2,
  training_noise = 3,
  evaluation_noise = 4,
  cohort = 5,
  partition = 6,
  data = 7,
  holdout = 8,
  elbo_noise = 9,
  dropout = 10,
  curvature = 11,
  sweep = 12,
  probe = 13,
  label_noise = 14,
};

/// The four words of one Philox block.
struct Words {
  std::uint32_t a, b, c, d;
};

IVORY_HD Words philox(Words counter, std::uint32_t key0, std::uint32_t key1) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t left = std::uint64_t{0xD2511F53U} * counter.a;
    const std::uint64_t right = std::uint64_t{0xCD9E8D57U} * counter.c;
    counter = {static_cast<std::uint32_t>(right >> 32) ^ counter.b ^ key0, static_cast<std::uint32_t>(right),
               static_cast<std::uint32_t>(left >> 32) ^ counter.d ^ key1, static_cast<std::uint32_t>(left)};
    key0 += 0x9E3779B9U;
    key1 += 0xBB67AE85U;
  }
  return counter;
}

/// One stream of random words: 128 bits of identity (key and upper counter half), 2^64 blocks of four words each.
struct Stream {
  std::uint32_t key0, key1, upper0, upper1;

  IVORY_HD Words block(std::uint64_t index) const {
    return philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32), upper0, upper1}, key0,
                  key1);
  }
};

/// Where in a run a random number is used; absent coordinates stay 0.
struct StreamKey {
  Purpose purpose;
  std::uint64_t round = 0;   // below 2^24
  std::uint64_t client = 0;  // below 2^32
  std::uint64_t step = 0;    // below 2^32
  std::uint64_t sample = 0;  // below 2^16
};

/// Distinct keys give distinct streams: for a fixed seed Philox is a bijection of the 128-bit key.
IVORY_HD Stream make_stream(std::uint64_t seed, const StreamKey& key) {
  const Words words = philox({static_cast<std::uint32_t>(key.client), static_cast<std::uint32_t>(key.step),
                              static_cast<std::uint32_t>(key.round << 8) | static_cast<std::uint32_t>(key.purpose),
                              static_cast<std::uint32_t>(key.sample)},
                             static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32));
  return {words.a, words.b, words.c, words.d};
}

/// Four standard normals from one block (Box-Muller, twice). Largest magnitude 6.7.
IVORY_HD void normals(const Words& words, float out[4]) {
  // u = (word + 1/2) / 2^32 lies in (0, 1], so the logarithm is finite and never above 0.
  const float u1 = math::fma(static_cast<float>(words.a), 0x1p-32F, 0x1p-33F);
  const float u2 = math::fma(static_cast<float>(words.c), 0x1p-32F, 0x1p-33F);
  const float r1 = math::sqrt(-2.0F * math::log_positive(u1));
  const float r2 = math::sqrt(-2.0F * math::log_positive(u2));
  float s1, c1, s2, c2;
  math::sincos_turn(static_cast<std::int32_t>(words.b), s1, c1);
  math::sincos_turn(static_cast<std::int32_t>(words.d), s2, c2);
  out[0] = r1 * c1;
  out[1] = r1 * s1;
  out[2] = r2 * c2;
  out[3] = r2 * s2;
}

/// Elements of a noise vector come in tiles of 64: block (16 * tile + lane) yields elements 64 * tile + lane + {0, 16, 32, 48},
/// so that 16 neighbouring lanes read and write whole vector registers (CPU) or 64-byte segments (GPU).
inline constexpr std::size_t tile_lanes = 16;
inline constexpr std::size_t tile_size = 4 * tile_lanes;
constexpr std::size_t round_up_to_tile(std::size_t n) { return (n + tile_size - 1) / tile_size * tile_size; }

/// A sequential reader of one stream for host-side decisions (shuffles, partitions, data): same numbers everywhere.
class StreamReader {
 public:
  explicit StreamReader(const Stream& stream) : stream_(stream) {}
  StreamReader(std::uint64_t seed, const StreamKey& key) : stream_(make_stream(seed, key)) {}

  std::uint32_t word() {
    if (used_ == 4) {
      const Words w = stream_.block(next_++);
      words_[0] = w.a, words_[1] = w.b, words_[2] = w.c, words_[3] = w.d;
      used_ = 0;
    }
    return words_[used_++];
  }
  /// Uniform in (0, 1], 53 bits (1 itself with probability 2^-53, by rounding).
  double uniform() {
    const std::uint64_t high = word() >> 5, low = word() >> 6;
    return (static_cast<double>(high * 67108864ULL + low) + 0.5) * 0x1p-53;
  }
  /// Uniform integer in [0, bound), without bias (Lemire's rejection); bound >= 1.
  std::uint32_t below(std::uint32_t bound) {
    std::uint64_t product = std::uint64_t{word()} * bound;
    if (static_cast<std::uint32_t>(product) < bound) {
      const std::uint32_t threshold = (0U - bound) % bound;
      while (static_cast<std::uint32_t>(product) < threshold) product = std::uint64_t{word()} * bound;
    }
    return static_cast<std::uint32_t>(product >> 32);
  }
  /// Standard normal in double (Box-Muller; one of the pair is used, which keeps the reader stateless between kinds).
  double normal() {
    const double radius = std::sqrt(-2.0 * std::log(uniform()));
    return radius * std::cos(6.283185307179586476925 * uniform());
  }
  /// Gamma(shape, 1) by Marsaglia and Tsang (2000); shape > 0.
  double gamma(double shape) {
    if (shape < 1.0) {
      const double boost = std::pow(uniform(), 1.0 / shape);
      return gamma(shape + 1.0) * boost;
    }
    const double d = shape - 1.0 / 3.0, c = 1.0 / std::sqrt(9.0 * d);
    for (;;) {
      const double x = normal(), t = 1.0 + c * x;
      if (t <= 0.0) continue;
      const double v = t * t * t;
      if (std::log(uniform()) < 0.5 * x * x + d - d * v + d * std::log(v)) return d * v;
    }
  }
  /// Fisher-Yates on [first, first + count).
  template <class Iterator>
  void shuffle(Iterator first, std::size_t count) {
    for (std::size_t i = count; i > 1; --i) {
      const std::size_t j = below(static_cast<std::uint32_t>(i));
      const auto kept = first[i - 1];
      first[i - 1] = first[j];
      first[j] = kept;
    }
  }

 private:
  Stream stream_;
  std::uint64_t next_ = 0;
  std::uint32_t words_[4] = {};
  int used_ = 4;
};

}  // namespace ivory
