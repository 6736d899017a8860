#include "src/reserved_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ivory/error.hpp"

namespace ivory {
namespace {

constexpr const char* other_place = "choose another place (--out) or change its permissions";

}  // namespace

ReservedFile::ReservedFile(const std::string& path) : ReservedFile(path, O_CREAT | O_TRUNC) {}

ReservedFile ReservedFile::reopen(const std::string& path) { return {path, 0}; }

ReservedFile::ReservedFile(std::string path, int flags)
    : path_(std::move(path)), descriptor_(::open(path_.c_str(), O_RDWR | O_CLOEXEC | flags, 0666)) {
  if (descriptor_ < 0)
    flags == 0 ? fail("a log to go on with must be writable", errno,
                      "change its permissions, or copy it with its checkpoints to a place where it is")
               : fail("the file must be creatable", errno, other_place);
}

ReservedFile::~ReservedFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

ReservedFile::ReservedFile(ReservedFile&& other) noexcept
    : path_(std::move(other.path_)), descriptor_(std::exchange(other.descriptor_, -1)) {}

ReservedFile& ReservedFile::operator=(ReservedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(descriptor_, other.descriptor_);
  return *this;
}

void ReservedFile::fail(const std::string& rule, int error, const std::string& advice) const {
  throw RunError(fmt::format("[log] {}, got \"{}\", in {}; {}", rule, std::strerror(error), path_, advice));
}

void ReservedFile::reserve(std::uint64_t bytes, const std::string& advice) {
  rlimit limit{};
  // Past the limit the system would not return an error but kill the process (SIGXFSZ).
  if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur) {
    throw RunError(fmt::format("[log] a file may have {} bytes here (ulimit -f), got {} to write, in {}; {}",
                               static_cast<std::uint64_t>(limit.rlim_cur), bytes, path_, advice));
  }
  int error = 0;
  do {
    error = posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
  } while (error == EINTR);
  if (error == 0) return;
  struct statvfs space {};
  const bool known = fstatvfs(descriptor_, &space) == 0;
  const auto free = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
  fail(fmt::format("the disk must have room for the whole file, {} bytes needed, {} free", bytes,
                   known ? std::to_string(free) : "unknown"),
       error, advice);
}

void ReservedFile::write(std::uint64_t offset, const void* data, std::size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor_, from, bytes, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0)
      fail("the file must be writable", written < 0 ? errno : ENOSPC, "what was written before stays readable");
    from += written;
    offset += static_cast<std::uint64_t>(written);
    bytes -= static_cast<std::size_t>(written);
  }
}

void ReservedFile::read(std::uint64_t offset, void* data, std::size_t bytes) const {
  auto* to = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = ::pread(descriptor_, to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) fail("the file must be readable", got < 0 ? errno : EIO, other_place);
    to += got;
    offset += static_cast<std::uint64_t>(got);
    bytes -= static_cast<std::size_t>(got);
  }
}

std::uint64_t ReservedFile::size() const {
  struct stat status {};
  if (fstat(descriptor_, &status) != 0) fail("the file's size must be readable", errno, other_place);
  return static_cast<std::uint64_t>(status.st_size);
}

bool ReservedFile::has_its_name() const {
  struct stat own {
  }, named{};
  if (fstat(descriptor_, &own) != 0 || stat(path_.c_str(), &named) != 0) return false;
  return own.st_dev == named.st_dev && own.st_ino == named.st_ino;
}

void ReservedFile::rename(const std::string& path) {
  if (std::rename(path_.c_str(), path.c_str()) != 0) {
    fail(fmt::format("the file must be renamable to {}", path), errno, other_place);
  }
  path_ = path;
}

void ReservedFile::close() {
  const int descriptor = std::exchange(descriptor_, -1);
  // Network file systems report a failed write here at the latest.
  if (descriptor >= 0 && ::close(descriptor) != 0 && errno != EINTR) {
    fail("the file must be closable", errno, "the last rounds may be missing");
  }
}

}  // namespace ivory
