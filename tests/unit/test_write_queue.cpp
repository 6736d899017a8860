// Writing beside the computation, and the conversion to float16 that happens there.
#define BOOST_TEST_MODULE write_queue
#include <atomic>
#include <cmath>
#include <cstring>
#include <latch>
#include <limits>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "src/float16.hpp"
#include "src/write_queue.hpp"
#include "tests/support/boost_test.hpp"

namespace {

using namespace ivory;

/// A file in memory that remembers the order.
struct Memory {
  std::vector<std::uint64_t> offsets;
  std::vector<std::byte> bytes = std::vector<std::byte>(1 << 20);

  void put(std::uint64_t offset, const void* data, std::size_t count) {
    offsets.push_back(offset);
    std::memcpy(bytes.data() + offset, data, count);
  }
  template <class T>
  T at(std::uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
  }
};

// The definition of binary16: sign, 5 bits of exponent, 10 of fraction.
double value_of(std::uint16_t half) {
  const int exponent = (half >> 10) & 31, fraction = half & 1023;
  const double size = exponent == 31  ? (fraction == 0 ? INFINITY : NAN)
                      : exponent == 0 ? std::ldexp(fraction, -24)
                                      : std::ldexp(1024 + fraction, exponent - 25);
  return (half & 0x8000) != 0 ? -size : size;
}

}  // namespace

BOOST_AUTO_TEST_CASE(pieces_are_written_in_order) {
  Memory memory;
  {
    WriteQueue queue([&](auto offset, const void* data, auto bytes) { memory.put(offset, data, bytes); }, 100);
    for (std::uint64_t i = 0; i < 1000; ++i) {
      queue.write(8 * i, &i, sizeof(i));
      queue.write(8 * (i / 2), &i, sizeof(i));  // the later one stays
    }
    queue.flush();
    BOOST_TEST(memory.offsets.size() == 2000U);
    for (std::uint64_t i = 0; i < 1000; ++i) {
      BOOST_TEST(memory.offsets[2 * i] == 8 * i);
      BOOST_TEST(memory.at<std::uint64_t>(8 * i) == (i < 500 ? 2 * i + 1 : i));
    }
    const int last = 5;
    queue.write(0, &last, sizeof(last));
  }
  BOOST_TEST(memory.at<int>(0) == 5);  // without a flush too
}

BOOST_AUTO_TEST_CASE(who_queues_too_much_waits) {
  constexpr std::size_t piece = 10, most = 35, pieces = 20;
  std::atomic<std::size_t> queued = 0, written = 0, most_ahead = 0;
  std::latch first(1), go_on(1);
  WriteQueue queue(
      [&](auto, const void*, auto) {
        if (written == 0) {
          first.count_down();
          go_on.wait();
        }
        ++written;
      },
      most);
  std::thread producer([&] {
    const char text[piece] = {};
    for (std::size_t i = 0; i < pieces; ++i) {
      queue.write(0, text, piece);
      ++queued;
      most_ahead = std::max<std::size_t>(most_ahead, queued - written);
    }
  });
  first.wait();
  // The writer stands still: only what fits can have been taken, however long we look.
  while (queued < most / piece) std::this_thread::yield();
  for (int look = 0; look < 1000; ++look) {
    BOOST_REQUIRE(queued == most / piece);
    std::this_thread::yield();
  }
  go_on.count_down();
  producer.join();
  queue.flush();
  BOOST_TEST(written == pieces);  // none was dropped
  BOOST_TEST(most_ahead <= most / piece + 1);
}

BOOST_AUTO_TEST_CASE(one_large_piece_passes) {
  Memory memory;
  WriteQueue queue([&](auto offset, const void* data, auto bytes) { memory.put(offset, data, bytes); }, 10);
  std::vector<std::byte> large(300000, std::byte{7});
  for (std::size_t i = 0; i < 3; ++i) {
    large.back() = std::byte(i);  // buffers are used again
    queue.write(i * large.size(), large.data(), large.size());
  }
  queue.flush();
  for (std::size_t i = 0; i < 3; ++i) {
    BOOST_TEST(memory.at<std::uint8_t>(i * large.size()) == 7);
    BOOST_TEST(memory.at<std::uint8_t>((i + 1) * large.size() - 1) == i);
  }
}

BOOST_AUTO_TEST_CASE(several_threads_keep_their_own_order) {
  Memory memory;
  WriteQueue queue([&](auto offset, const void* data, auto bytes) { memory.put(offset, data, bytes); }, 64);
  std::vector<std::thread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&queue, t] {
      for (int i = 0; i < 500; ++i) queue.write(8 * t, &i, sizeof(i));
    });
  }
  for (std::thread& thread : threads) thread.join();
  queue.flush();
  BOOST_TEST(memory.offsets.size() == 2000U);
  for (std::uint64_t t = 0; t < 4; ++t) BOOST_TEST(memory.at<int>(8 * t) == 499);
}

BOOST_AUTO_TEST_CASE(nothing_is_written_after_a_failure) {
  Memory memory;
  WriteQueue queue(
      [&](std::uint64_t offset, const void* data, std::size_t bytes) {
        if (offset == 40) throw std::runtime_error("the disk is full");
        memory.put(offset, data, bytes);
      },
      16);
  const auto says_so = [](const std::runtime_error& error) { return error.what() == std::string("the disk is full"); };
  const auto write_all = [&] {
    for (std::uint64_t i = 0; i < 100; ++i) queue.write(8 * i, &i, sizeof(i));
  };
  BOOST_CHECK_EXCEPTION(write_all(), std::runtime_error, says_so);
  BOOST_CHECK_EXCEPTION(queue.flush(), std::runtime_error, says_so);
  BOOST_CHECK_EXCEPTION(queue.write(0, "", 1), std::runtime_error, says_so);
  BOOST_TEST(memory.offsets == (std::vector<std::uint64_t>{0, 8, 16, 24, 32}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(every_float16_and_the_ties_between_them) {
  std::uint64_t wrong = 0;
  for (std::uint32_t code = 0; code < 0x7C00; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    const auto own = static_cast<float>(value_of(half));
    const double next = code == 0x7BFF ? 65536.0 : value_of(static_cast<std::uint16_t>(half + 1));
    const auto tie = static_cast<float>(0.5 * (value_of(half) + next));
    const auto even = static_cast<std::uint16_t>((half & 1) == 0 ? half : half + 1);
    const float below = std::nextafter(tie, 0.0F), above = std::nextafter(tie, INFINITY);
    for (const int sign : {0, 0x8000}) {
      const auto signed_half = [&](int value) { return static_cast<std::uint16_t>(value | sign); };
      const auto signed_value = [&](float value) { return sign != 0 ? -value : value; };
      wrong += half_from(signed_value(own)) != signed_half(half);
      wrong += half_from(signed_value(tie)) != signed_half(even);
      wrong += half_from(signed_value(below)) != signed_half(half);
      wrong += half_from(signed_value(above)) != signed_half(half + 1);
    }
  }
  BOOST_TEST(wrong == 0U);
  for (std::uint32_t code = 0; code < 0x10000; ++code) {
    const auto half = static_cast<std::uint16_t>(code);
    const float value = value_of_half(half);
    const double expected = value_of(half);
    wrong +=
        std::isnan(expected) ? !std::isnan(value) : value != expected || std::signbit(value) != std::signbit(expected);
  }
  BOOST_TEST(wrong == 0U);
  BOOST_TEST(half_from(INFINITY) == 0x7C00);
  BOOST_TEST(half_from(-INFINITY) == 0xFC00);
  BOOST_TEST(half_from(std::numeric_limits<float>::max()) == 0x7C00);
  BOOST_TEST(half_from(std::numeric_limits<float>::denorm_min()) == 0);
  BOOST_TEST(std::isnan(value_of(half_from(NAN))));
  BOOST_TEST(std::isnan(value_of(half_from(-NAN))));
}

BOOST_AUTO_TEST_CASE(float16_is_written_and_what_it_cannot_hold_is_counted) {
  Memory memory;
  WriteQueue queue([&](auto offset, const void* data, auto bytes) { memory.put(offset, data, bytes); }, 1000);
  const std::vector<float> values = {1.5F, -0.25F, 65504.0F, 70000.0F, -1e30F, INFINITY, NAN};
  queue.write_half(6, values);
  queue.flush();
  BOOST_TEST(memory.offsets == std::vector<std::uint64_t>{6}, boost::test_tools::per_element());
  const double expected[] = {1.5, -0.25, 65504, INFINITY, -INFINITY, INFINITY};
  for (std::size_t i = 0; i < 6; ++i) BOOST_TEST(value_of(memory.at<std::uint16_t>(6 + 2 * i)) == expected[i]);
  BOOST_TEST(std::isnan(value_of(memory.at<std::uint16_t>(18))));
  BOOST_TEST(memory.at<std::uint16_t>(20) == 0);
  BOOST_TEST(queue.overflows() == 2U);
}
