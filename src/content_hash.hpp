// A 64-bit hash of contents (data sets, partitions): tells two inputs apart, is no cryptographic promise.
#pragma once
#include <fmt/format.h>

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>

namespace ivory {

/// Order and boundaries count: add("ab"), add("c") differs from add("a"), add("bc"). Reads eight bytes at a time in
/// four lanes, so it runs at the speed of memory.
class ContentHash {
 public:
  void add(std::uint64_t value) { state_ = mix(state_, value); }

  void add(const void* data, std::size_t bytes) {
    const auto* at = static_cast<const unsigned char*>(data);
    add(std::uint64_t{bytes});
    std::uint64_t lane[4] = {state_, state_ + 1, state_ + 2, state_ + 3};
    for (; bytes >= 32; bytes -= 32, at += 32) {
      for (int i = 0; i < 4; ++i) lane[i] = mix(lane[i], load(at + 8 * i, 8));
    }
    for (const std::uint64_t value : lane) add(value);
    for (; bytes >= 8; bytes -= 8, at += 8) add(load(at, 8));
    if (bytes > 0) add(load(at, bytes));
  }

  std::uint64_t value() const {
    std::uint64_t h = state_;
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93U;
    h = (h ^ (h >> 32)) * 0xD6E8FEB86659FD93U;
    return h ^ (h >> 32);
  }

 private:
  static std::uint64_t load(const unsigned char* from, std::size_t bytes) {
    std::uint64_t word = 0;
    std::memcpy(&word, from, bytes);
    return word;
  }
  // Multiply, rotate, multiply, as in xxHash. With one product the change of a word's top bit (a float's sign) would
  // stay one bit, and one bit of the next word would undo it.
  static std::uint64_t mix(std::uint64_t h, std::uint64_t word) {
    return std::rotl(h + word * 0xD6E8FEB86659FD93U, 31) * 0x9E3779B97F4A7C15U;
  }

  std::uint64_t state_ = 0xCBF29CE484222325U;
};

/// As logs and tables write a hash: 16 hexadecimal digits.
inline std::string hexadecimal(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace ivory
