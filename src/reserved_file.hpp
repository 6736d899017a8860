// A file whose whole space is taken before the first number is computed, so that a full disk shows at once and not in
// round 80.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace ivory {

/// Owner of an open file. All functions throw RunError with the system's reason.
class ReservedFile {
 public:
  /// New and empty (an older file of that name is emptied).
  explicit ReservedFile(const std::string& path);
  /// One that exists, to be written on in place.
  static ReservedFile reopen(const std::string& path);
  ~ReservedFile();
  ReservedFile(ReservedFile&& other) noexcept;
  ReservedFile& operator=(ReservedFile&& other) noexcept;

  /// Takes the space of the first `bytes` bytes; the error says how many are needed and how many are free. `advice`
  /// ends it.
  void reserve(std::uint64_t bytes, const std::string& advice);
  void write(std::uint64_t offset, const void* data, std::size_t bytes);
  void read(std::uint64_t offset, void* data, std::size_t bytes) const;
  std::uint64_t size() const;
  /// False when the name now belongs to another file, or to none.
  bool has_its_name() const;
  /// Gives the file its final name; one of that name is replaced in the same instant.
  void rename(const std::string& path);
  void close();

 private:
  ReservedFile(std::string path, int flags);
  [[noreturn]] void fail(const std::string& rule, int error, const std::string& advice) const;
  std::string path_;
  int descriptor_ = -1;
};

}  // namespace ivory
