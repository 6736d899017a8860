#include "src/byte_source.hpp"

#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"

namespace ivory {
namespace {

constexpr std::size_t buffer_size = std::size_t{1} << 18;
constexpr std::uint64_t best_deflate_ratio = 1032;  // 258 bytes from two bits

struct Close {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

struct ByteSource::Impl {
  std::string path;
  std::unique_ptr<std::FILE, Close> file;
  std::uint64_t size = 0;
  std::vector<unsigned char> buffer = std::vector<unsigned char>(buffer_size);
  std::size_t begin = 0, end = 0;  // the part of `buffer` that is not used yet
  bool packed = false;
  bool member_ended = false;  // a gzip file is a sequence of members
  z_stream stream{};

  ~Impl() {
    if (packed) inflateEnd(&stream);
  }

  bool refill() {
    begin = 0;
    end = std::fread(buffer.data(), 1, buffer.size(), file.get());
    if (end == 0 && std::ferror(file.get()) != 0) {
      throw InputError(fmt::format("[data] cannot read {}: {}", path, std::strerror(errno)));
    }
    return end > 0;
  }

  std::uint64_t packed_position() const { return static_cast<std::uint64_t>(std::ftell(file.get())) - (end - begin); }

  std::size_t read_plain(unsigned char* to, std::size_t bytes) {
    std::size_t done = 0;
    while (done < bytes) {
      if (begin == end && !refill()) break;
      const std::size_t part = std::min(bytes - done, end - begin);
      std::memcpy(to + done, buffer.data() + begin, part);
      begin += part;
      done += part;
    }
    return done;
  }

  std::size_t read_packed(unsigned char* to, std::size_t bytes) {
    std::size_t done = 0;
    while (done < bytes) {
      const bool at_end = begin == end && !refill();
      if (member_ended) {
        if (at_end) break;
        inflateReset(&stream);
        member_ended = false;
      }
      const auto room = static_cast<uInt>(std::min(bytes - done, buffer_size));
      stream.next_in = buffer.data() + begin;
      stream.avail_in = static_cast<uInt>(end - begin);
      stream.next_out = to + done;
      stream.avail_out = room;
      const int code = inflate(&stream, Z_NO_FLUSH);
      begin = end - stream.avail_in;
      done += room - stream.avail_out;
      if (code == Z_MEM_ERROR) throw std::bad_alloc();
      member_ended = code == Z_STREAM_END;
      // Without input inflate may still hand out what it holds; only when it cannot is the file cut off.
      if (at_end && code == Z_BUF_ERROR) {
        throw InputError(
            fmt::format("[data] a gzip file ends with its checksum, got the end after {} bytes, {}; is the "
                        "download complete?",
                        size, path));
      }
      if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
        throw InputError(fmt::format("[data] gzip data must be intact, got \"{}\" near byte {}, {}; download it again",
                                     stream.msg != nullptr ? stream.msg : "damage", packed_position(), path));
      }
    }
    return done;
  }
};

ByteSource::ByteSource(const std::string& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  std::error_code error;
  impl_->size = std::filesystem::file_size(path, error);  // fails for folders and devices
  if (!error) impl_->file.reset(std::fopen(path.c_str(), "rb"));
  if (error || impl_->file == nullptr) {
    throw InputError(
        fmt::format("[data] cannot open {}: {}", path, error ? error.message() : std::string(std::strerror(errno))));
  }
  impl_->refill();
  if (impl_->end >= 2 && impl_->buffer[0] == 0x1F && impl_->buffer[1] == 0x8B) {
    if (inflateInit2(&impl_->stream, 15 + 16) != Z_OK) throw std::bad_alloc();
    impl_->packed = true;
  }
}

ByteSource::~ByteSource() = default;

std::size_t ByteSource::read(void* to, std::size_t bytes) {
  auto* at = static_cast<unsigned char*>(to);
  return impl_->packed ? impl_->read_packed(at, bytes) : impl_->read_plain(at, bytes);
}

bool ByteSource::packed() const { return impl_->packed; }

std::uint64_t ByteSource::most_bytes() const { return impl_->packed ? impl_->size * best_deflate_ratio : impl_->size; }

}  // namespace ivory
