// The counter-based generator: known answers, the distribution of everything drawn from it, and that the vector code, the
// scalar code and both instruction sets agree to the last bit.
#define BOOST_TEST_MODULE rng
#include <fmt/core.h>
#include <boost/math/special_functions/gamma.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <set>
#include <string>
#include <tuple>
#include "tests/support/boost_test.hpp"

#include "ivory/elementwise.hpp"
#include "ivory/rng.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/statistics.hpp"
#include "tests/support/visit.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// A key with every coordinate set, so that a swapped or dropped one changes the numbers.
constexpr std::uint64_t golden_seed = 0x123456789ABCDEF0ULL;
constexpr StreamKey golden_key{Purpose::shuffle, 77, 1234567, 89, 5};

std::vector<float> draw(const Stream& stream, std::size_t tiles, std::uint64_t first = 0) {
  std::vector<float> z(tiles * tile_size);
  fill_normals(stream, first, tiles, z.data());
  return z;
}

void check_philox(const Words& counter, std::uint32_t key0, std::uint32_t key1, const Words& expected) {
  const Words w = philox(counter, key0, key1);
  BOOST_TEST(w.a == expected.a);
  BOOST_TEST(w.b == expected.b);
  BOOST_TEST(w.c == expected.c);
  BOOST_TEST(w.d == expected.d);
}

std::uint64_t fnv1a(const void* data, std::size_t bytes, std::uint64_t hash = 0xCBF29CE484222325ULL) {
  const auto* p = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) hash = (hash ^ p[i]) * 0x100000001B3ULL;
  return hash;
}

// Bits of normals, activations and optimizer steps (the library's vectorised loops) on the instruction set in use.
std::uint64_t hash_of_loops() {
  const auto device = make_cpu_device();
  const std::vector<float> z = draw(make_stream(7, {Purpose::training_noise, 3, 2, 1, 4}), 701, 1000);
  std::uint64_t hash = fnv1a(z.data(), z.size() * sizeof(float));
  const auto add = [&hash](const std::vector<float>& x) { hash = fnv1a(x.data(), x.size() * sizeof(float), hash); };
  constexpr std::size_t count = 20011;  // odd: the last vector and the last chunk are incomplete
  const std::vector<float> x(z.begin(), z.begin() + count), ones(count, 1.0F);
  for (const char* const name : {"relu", "sigmoid", "tanh"}) {
    const auto layer = make_layer<float>(name, {}, count);
    std::vector<float> y(count), slope(count);
    layer->forward(*device, {1, 1, nullptr, 0}, nullptr, x.data(), y.data());
    layer->backward(*device, {1, 1, nullptr, 0}, nullptr, x.data(), y.data(), ones.data(), slope.data(), nullptr);
    add(y);
    add(slope);
  }
  const std::vector<float> start(z.begin() + count,
                                 z.begin() + static_cast<std::ptrdiff_t>(count + round_up_to_tile(count)));
  for (const char* const name : {"sgd", "adam", "ivon"}) {
    const auto optimizer = make_optimizer<float>(name, {{"lr", 0.01}});
    DrivenVisit<float> visit(*device, *optimizer, count);
    visit.block.clients[0].terms.start = start.data();
    visit.block.clients[0].examples = 40;
    visit.rate = [](std::size_t) { return 0.01; };
    visit.gradient = [](std::size_t, const float* theta, float* g) {
      for (std::size_t i = 0; i < count; ++i) g[i] = 0.5F * theta[i] * theta[i] - 0.25F;
    };
    visit.run(5);
    add(visit.mean());
    for (std::size_t i = 0; i < visit.block.slots.size(); ++i) add(visit.slot(i));
  }
  return hash;
}

}  // namespace

BOOST_AUTO_TEST_CASE(philox_known_answers) {
  // Published test vectors of Random123 (kat_vectors, philox4x32-10).
  check_philox({0, 0, 0, 0}, 0, 0, {0x6627E8D5U, 0xE169C58DU, 0xBC57AC4CU, 0x9B00DBD8U});
  check_philox({~0U, ~0U, ~0U, ~0U}, ~0U, ~0U, {0x408F276DU, 0x41C83B0EU, 0xA20BC7C6U, 0x6D5451FDU});
  check_philox({0x243F6A88U, 0x85A308D3U, 0x13198A2EU, 0x03707344U}, 0xA4093822U, 0x299F31D0U,
               {0xD16CFE09U, 0x94FDCCEBU, 0x5001E420U, 0x24126EA1U});
}

BOOST_AUTO_TEST_CASE(streams_and_readers_keep_their_numbers) {
  // Computed with an independent program (Python integers) from the definition of keys, words, uniforms and Lemire's method:
  // these numbers are part of the reproducibility contract and never change.
  const Stream stream = make_stream(golden_seed, golden_key);
  BOOST_TEST(stream.key0 == 0xAA6C7254U);
  BOOST_TEST(stream.key1 == 0x103CD5E1U);
  BOOST_TEST(stream.upper0 == 0x9A15FDE0U);
  BOOST_TEST(stream.upper1 == 0xC417C853U);

  StreamReader words(stream);
  for (const std::uint32_t expected : {0x177B1E0FU, 0xE5352928U, 0x467CA6E6U, 0xBD3A8856U, 0x111027B8U, 0xA31597FCU})
    BOOST_TEST(words.word() == expected);
  StreamReader uniforms(golden_seed, golden_key);
  for (const double expected : {0.0917223758648516, 0.27533954187612525, 0.06665275720542846})
    BOOST_TEST(uniforms.uniform() == expected);
  StreamReader digits(stream);
  for (const std::uint32_t expected : {0, 8, 2, 7, 0, 6, 0, 0, 4, 5, 0, 6, 8, 9, 7, 5, 3, 8, 3, 5})
    BOOST_TEST(digits.below(10) == expected);
  StreamReader rejecting(stream);  // a quarter of the words is rejected for this bound
  for (const std::uint32_t expected :
       {295458443U, 886930732U, 2381047360U, 196561958U, 1561846684U, 1734740394U, 67937908U, 2646461505U})
    BOOST_TEST(rejecting.below(3U << 30) == expected);
  std::vector<int> order(16);
  std::iota(order.begin(), order.end(), 0);
  StreamReader(stream).shuffle(order.begin(), order.size());
  const std::vector<int> expected{5, 15, 2, 4, 6, 8, 10, 14, 12, 11, 7, 0, 9, 3, 13, 1};
  BOOST_TEST(order == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(distinct_keys_give_distinct_streams) {
  std::set<std::tuple<std::uint32_t, std::uint32_t, std::uint32_t, std::uint32_t>> seen;
  std::size_t keys = 0;
  const auto add = [&](std::uint64_t seed, const StreamKey& key) {
    const Stream s = make_stream(seed, key);
    seen.insert({s.key0, s.key1, s.upper0, s.upper1});
    ++keys;
  };
  for (const std::uint64_t seed : {0ULL, 1ULL, 1ULL << 32})
    for (const auto purpose : {Purpose::initialisation, Purpose::shuffle, Purpose::elbo_noise})
      for (const std::uint64_t round : {0ULL, 1ULL, 2ULL, (1ULL << 24) - 1})
        for (const std::uint64_t client : {0ULL, 1ULL, 2ULL, (1ULL << 32) - 1})
          for (const std::uint64_t step : {0ULL, 1ULL, 2ULL, (1ULL << 32) - 1})
            for (const std::uint64_t sample : {0ULL, 1ULL, 2ULL, (1ULL << 16) - 1})
              add(seed, {purpose, round, client, step, sample});
  BOOST_TEST(seen.size() == keys);
}

BOOST_AUTO_TEST_CASE(normals_have_the_moments_and_tails_of_the_normal_law) {
  constexpr std::size_t tiles = 1 << 16;  // 4.2 million
  const std::vector<float> z = draw(make_stream(1, {Purpose::training_noise}), tiles);
  const auto n = static_cast<double>(z.size());
  double m1 = 0, m2 = 0, m3 = 0, m4 = 0, largest = 0;
  double beyond[6] = {};
  for (const float zf : z) {
    const double x = zf, x2 = x * x;
    m1 += x, m2 += x2, m3 += x2 * x, m4 += x2 * x2;
    largest = std::max(largest, std::fabs(x));
    for (int k = 1; k <= 5; ++k) beyond[k] += std::fabs(x) > k ? 1.0 : 0.0;
  }
  // Standard errors of the first four moments of a normal sample: 1, sqrt 2, sqrt 15, sqrt 96 over sqrt n; four of them.
  BOOST_TEST(std::fabs(m1 / n) < 4.0 * std::sqrt(1.0 / n));
  BOOST_TEST(std::fabs(m2 / n - 1.0) < 4.0 * std::sqrt(2.0 / n));
  BOOST_TEST(std::fabs(m3 / n) < 4.0 * std::sqrt(15.0 / n));
  BOOST_TEST(std::fabs(m4 / n - 3.0) < 4.0 * std::sqrt(96.0 / n));
  for (int k = 1; k <= 5;
       ++k) {  // binomial counts; the normal approximation needs a few expected, at k = 5 there are 2.4
    const double p = 2.0 * normal_cdf(-k);
    BOOST_TEST(std::fabs(beyond[k] - n * p) < 4.0 * std::sqrt(n * p) + 1.0,
               k << " sigma: " << beyond[k] << " of " << n * p);
  }
  BOOST_TEST(largest < 6.77);  // sqrt(-2 log 2^-33), the smallest uniform
}

BOOST_AUTO_TEST_CASE(normals_pass_kolmogorov_smirnov_in_each_of_their_four_places) {
  constexpr std::size_t tiles = 1 << 13;
  const std::vector<float> z = draw(make_stream(2, {Purpose::training_noise, 9}), tiles);
  std::vector<double> place[4];
  for (std::size_t i = 0; i < z.size(); ++i) place[i % tile_size / tile_lanes].push_back(z[i]);
  for (const auto& sample : place) BOOST_TEST(kolmogorov(sample, normal_cdf) < kolmogorov_limit);
}

BOOST_AUTO_TEST_CASE(extreme_words_give_finite_normals) {
  for (const std::uint32_t a : {0U, 1U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU, 0xFFFFFF80U})
    for (const std::uint32_t b : {0U, 1U, 0x20000000U, 0x40000000U, 0x7FFFFFFFU, 0x80000000U, 0xFFFFFFFFU}) {
      float z[4];
      normals({a, b, b, a}, z);
      for (const float x : z) {
        BOOST_TEST(math::is_finite(x));
        BOOST_TEST(std::fabs(x) < 6.77F);
      }
    }
}

BOOST_AUTO_TEST_CASE(normals_of_different_keys_and_places_are_uncorrelated) {
  constexpr std::size_t tiles = 1 << 12;
  const StreamKey key{Purpose::training_noise, 5, 6, 7, 8};
  std::vector<std::vector<float>> streams{draw(make_stream(3, key), tiles)};
  streams.push_back(draw(make_stream(4, key), tiles));
  for (int coordinate = 0; coordinate < 5; ++coordinate) {
    StreamKey other = key;
    if (coordinate == 0) other.purpose = Purpose::evaluation_noise;
    if (coordinate == 1) ++other.round;
    if (coordinate == 2) ++other.client;
    if (coordinate == 3) ++other.step;
    if (coordinate == 4) ++other.sample;
    streams.push_back(draw(make_stream(3, other), tiles));
  }
  // 21 pairs, twice: 4.5 standard deviations happen by chance once in 3500 such tests.
  for (std::size_t i = 0; i < streams.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) {
      BOOST_TEST(std::fabs(correlation_score(streams[i], streams[j])) < 4.5, "streams " << i << ", " << j);
      std::vector<double> x2,
          y2;  // squares, normalised: Box-Muller pairs share a radius, other pairs must share nothing
      for (std::size_t e = 0; e < streams[i].size(); ++e) {
        x2.push_back((static_cast<double>(streams[i][e]) * streams[i][e] - 1.0) / std::sqrt(2.0));
        y2.push_back((static_cast<double>(streams[j][e]) * streams[j][e] - 1.0) / std::sqrt(2.0));
      }
      BOOST_TEST(std::fabs(correlation_score(x2, y2)) < 4.5, "squares of streams " << i << ", " << j);
    }
  for (const std::size_t lag : {1UL, 16UL, 32UL, 48UL, 64UL}) {  // 16, 32, 48: the four normals of one block
    const std::vector<float>& z = streams[0];
    const std::vector<float> head(z.begin(), z.end() - static_cast<std::ptrdiff_t>(lag));
    const std::vector<float> tail(z.begin() + static_cast<std::ptrdiff_t>(lag), z.end());
    BOOST_TEST(std::fabs(correlation_score(head, tail)) < 4.0, "lag " << lag);
    std::vector<double> x2, y2;
    for (std::size_t e = 0; e < head.size(); ++e) {
      x2.push_back((static_cast<double>(head[e]) * head[e] - 1.0) / std::sqrt(2.0));
      y2.push_back((static_cast<double>(tail[e]) * tail[e] - 1.0) / std::sqrt(2.0));
    }
    BOOST_TEST(std::fabs(correlation_score(x2, y2)) < 4.0, "squares, lag " << lag);
  }
}

BOOST_AUTO_TEST_CASE(vector_normals_equal_scalar_normals_bit_for_bit) {
  const Stream stream = make_stream(5, {Purpose::training_noise, 1, 2, 3, 4});
  // The second start crosses 2^32 blocks: the counter's upper word must carry.
  for (const std::uint64_t first : {0ULL, (1ULL << 28) - 3, 12345678901ULL}) {
    constexpr std::size_t tiles = 37;  // not a multiple of any batch
    const std::vector<float> z = draw(stream, tiles, first);
    std::size_t different = 0;
    for (std::size_t t = 0; t < tiles; ++t)
      for (std::size_t lane = 0; lane < tile_lanes; ++lane) {
        float expected[4];
        normals(stream.block((first + t) * tile_lanes + lane), expected);
        for (std::size_t q = 0; q < 4; ++q)
          different += math::to_bits(z[t * tile_size + q * tile_lanes + lane]) != math::to_bits(expected[q]) ? 1 : 0;
      }
    BOOST_TEST(different == 0U);
  }
}

BOOST_AUTO_TEST_CASE(noise_loops_see_the_elements_of_the_stream) {
  const auto device = make_cpu_device();
  const Stream stream = make_stream(6, {Purpose::training_noise});
  const std::vector<float> z = draw(stream, 40);
  std::vector<float> seen(2500, 0.0F);  // neither whole tiles nor whole chunks
  float* const out = seen.data();
  for_each_with_noise(*device, seen.size(), NoiseSource<float>{stream, nullptr},
                      [out](std::size_t i, float value) { out[i] = value; });
  BOOST_TEST(std::memcmp(seen.data(), z.data(), seen.size() * sizeof(float)) == 0);
  // Stored numbers take the stream's place.
  std::vector<double> stored(100), copy(100, 0.0);
  std::iota(stored.begin(), stored.end(), 0.25);
  double* const to = copy.data();
  for_each_with_noise(*device, copy.size(), NoiseSource<double>{stream, stored.data()},
                      [to](std::size_t i, double value) { to[i] = value; });
  BOOST_TEST(copy == stored, boost::test_tools::per_element());
}

// Runs in a process of its own, started by the test below.
BOOST_AUTO_TEST_CASE(print_hash_of_loops, *boost::unit_test::disabled()) {
  fmt::print("hash {:016x} avx512 {}\n", hash_of_loops(), use_avx512() ? 1 : 0);
  BOOST_TEST(true);
}

BOOST_AUTO_TEST_CASE(both_instruction_sets_give_the_same_bits) {
  const auto run = [](const char* environment) {
    const std::string command = fmt::format("{} '{}' --run_test=print_hash_of_loops 2>/dev/null", environment,
                                            boost::unit_test::framework::master_test_suite().argv[0]);
    std::FILE* const pipe = popen(command.c_str(), "r");
    BOOST_REQUIRE(pipe != nullptr);
    char line[256];
    std::pair<std::string, int> result{"", -1};
    while (std::fgets(line, sizeof line, pipe) != nullptr) {
      char hash[64];
      int wide = 0;
      if (std::sscanf(line, "hash %63s avx512 %d", hash, &wide) == 2) result = {hash, wide};
    }
    pclose(pipe);
    return result;
  };
  const auto [baseline_hash, baseline_wide] = run("IVORY_SIMD=baseline");
  const auto [default_hash, default_wide] = run("env -u IVORY_SIMD");
  BOOST_TEST_REQUIRE(baseline_hash.size() == 16U, "the child process printed no hash");
  BOOST_TEST(baseline_wide == 0, "IVORY_SIMD=baseline must switch the AVX-512 clones off");
  BOOST_TEST(baseline_hash == default_hash);
  if (default_wide != 1) {
    fmt::print("SKIPPED: AVX-512 against baseline: this processor (or build) has no AVX-512\n");
    BOOST_TEST_MESSAGE("SKIPPED: AVX-512 against baseline");
  }
}

BOOST_AUTO_TEST_CASE(uniforms_are_uniform) {
  StreamReader reader(11, {Purpose::data});
  std::vector<double> u(200000);
  for (double& x : u) x = reader.uniform();
  BOOST_TEST(*std::min_element(u.begin(), u.end()) > 0.0);
  BOOST_TEST(*std::max_element(u.begin(), u.end()) < 1.0);
  BOOST_TEST(kolmogorov(u, [](double x) { return x; }) < kolmogorov_limit);
  // The low bits are random too: fractional part of u * 2^40.
  for (double& x : u) x = std::fmod(std::ldexp(x, 40), 1.0);
  BOOST_TEST(kolmogorov(u, [](double x) { return x; }) < kolmogorov_limit);
}

BOOST_AUTO_TEST_CASE(integers_below_a_bound_are_uniform) {
  StreamReader reader(12, {Purpose::shuffle});
  for (int i = 0; i < 20; ++i) BOOST_TEST(reader.below(1) == 0U);
  for (const std::uint32_t bound : {2U, 7U, 10U, 100U}) {
    std::vector<double> counts(bound, 0.0);
    for (int i = 0; i < 200000; ++i) {
      const std::uint32_t x = reader.below(bound);
      BOOST_TEST_REQUIRE(x < bound);
      ++counts[x];
    }
    BOOST_TEST(std::fabs(chi_square_score(counts)) < 4.5, "bound " << bound);
  }
  // Without rejection, word * bound >> 32 for bound = 3 * 2^30 would hit multiples of 3 twice as often as the others.
  std::vector<double> counts(3, 0.0);
  for (int i = 0; i < 200000; ++i) ++counts[reader.below(3U << 30) % 3];
  BOOST_TEST(std::fabs(chi_square_score(counts)) < 4.5);
}

BOOST_AUTO_TEST_CASE(reader_normals_and_gammas_have_their_distributions) {
  StreamReader reader(13, {Purpose::partition});
  std::vector<double> sample(100000);
  for (double& x : sample) x = reader.normal();
  BOOST_TEST(kolmogorov(sample, normal_cdf) < kolmogorov_limit);
  for (const double shape : {0.05, 0.5, 1.0, 1.5, 4.0, 60.0}) {
    for (double& x : sample) x = reader.gamma(shape);
    BOOST_TEST(*std::min_element(sample.begin(), sample.end()) >= 0.0);
    BOOST_TEST(kolmogorov(sample, [shape](double x) { return boost::math::gamma_p(shape, x); }) < kolmogorov_limit,
               "shape " << shape);
  }
}

BOOST_AUTO_TEST_CASE(shuffles_are_permutations_and_all_equally_likely) {
  StreamReader reader(14, {Purpose::shuffle});
  std::map<std::vector<int>, double> seen;
  for (int i = 0; i < 48000; ++i) {
    std::vector<int> order{0, 1, 2, 3};
    reader.shuffle(order.begin(), order.size());
    ++seen[order];
  }
  std::vector<double> counts;
  for (const auto& [order, count] : seen) {
    counts.push_back(count);
    BOOST_TEST(std::is_permutation(order.begin(), order.end(), std::vector<int>{0, 1, 2, 3}.begin()));
  }
  BOOST_TEST(counts.size() == 24U);
  BOOST_TEST(std::fabs(chi_square_score(counts)) < 4.5);
  // Where element 0 of twelve lands.
  std::vector<double> places(12, 0.0);
  for (int i = 0; i < 36000; ++i) {
    std::vector<int> order(12);
    std::iota(order.begin(), order.end(), 0);
    reader.shuffle(order.begin(), order.size());
    ++places[static_cast<std::size_t>(std::find(order.begin(), order.end(), 0) - order.begin())];
  }
  BOOST_TEST(std::fabs(chi_square_score(places)) < 4.5);
}
