// Bytes of a file in order, unpacked on the way when it is a gzip file.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace ivory {

class ByteSource {
 public:
  /// Throws InputError when the file cannot be opened.
  explicit ByteSource(const std::string& path);
  ~ByteSource();
  ByteSource(const ByteSource&) = delete;
  ByteSource& operator=(const ByteSource&) = delete;

  /// Up to `bytes` bytes; fewer only at the end. Throws InputError, naming the byte, for gzip data that is cut off or
  /// damaged.
  std::size_t read(void* to, std::size_t bytes);

  bool packed() const;
  /// An upper bound of the (unpacked) contents: the file's size, or what deflate can make of it at its best.
  std::uint64_t most_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivory
