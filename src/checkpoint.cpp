#include "src/checkpoint.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <system_error>
#include <utility>

#include "ivory/error.hpp"
#include "src/content_hash.hpp"

namespace ivory {
namespace {

// A file is: mark, arrays, and an array of the name `end_name` with the hash of everything before it. An array is an
// ArrayHead, its name and its values.
constexpr char mark[8] = {'i', 'v', 'o', 'r', 'y', 'c', 'p', '1'};
constexpr const char* end_name = "end";
constexpr const char* unfinished_suffix = ".new";

struct ArrayHead {
  std::uint64_t count = 0;  // values
  std::uint32_t size = 0;   // bytes of each
  std::uint32_t name = 0;   // bytes of the name
};

struct Descriptor {
  int number = -1;
  ~Descriptor() {
    if (number >= 0) ::close(number);
  }
  Descriptor() = default;
  explicit Descriptor(int opened) : number(opened) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
};

std::string system_reason(int error) { return std::error_code(error, std::generic_category()).message(); }

}  // namespace

struct CheckpointWriter::File {
  std::string path, unfinished;
  Descriptor descriptor;
  ContentHash hash;
  bool renamed = false;

  [[noreturn]] void fail(int error) const {
    throw RunError(
        fmt::format("[log] a checkpoint must be writable, got \"{}\", in {}; free some space or change the "
                    "permissions of its folder, or go without ([log] checkpoint_every = 0)",
                    system_reason(error), path));
  }
  void write(const void* data, std::size_t bytes) {
    hash.add(data, bytes);
    const auto* from = static_cast<const char*>(data);
    while (bytes > 0) {
      const ssize_t written = ::write(descriptor.number, from, bytes);
      if (written < 0 && errno == EINTR) continue;
      if (written <= 0) fail(written < 0 ? errno : ENOSPC);
      from += written;
      bytes -= static_cast<std::size_t>(written);
    }
  }
  ~File() {
    if (!renamed && descriptor.number >= 0) ::unlink(unfinished.c_str());
  }
};

CheckpointWriter::CheckpointWriter(const std::string& path) : file_(std::make_unique<File>()) {
  file_->path = path;
  file_->unfinished = path + unfinished_suffix;
  file_->descriptor.number = ::open(file_->unfinished.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_->descriptor.number < 0) file_->fail(errno);
  file_->write(mark, sizeof mark);
}

CheckpointWriter::~CheckpointWriter() = default;

void CheckpointWriter::write_array(std::string_view name, const void* data, std::uint64_t count, std::uint32_t size) {
  const ArrayHead head{.count = count, .size = size, .name = static_cast<std::uint32_t>(name.size())};
  file_->write(&head, sizeof head);
  file_->write(name.data(), name.size());
  file_->write(data, count * size);
}

void CheckpointWriter::finish() {
  value(end_name, file_->hash.value());
  // Before the name: after a power failure the name must not stand for a file whose contents never arrived.
  if (::fsync(file_->descriptor.number) != 0) file_->fail(errno);
  if (std::rename(file_->unfinished.c_str(), file_->path.c_str()) != 0) file_->fail(errno);
  file_->renamed = true;
}

struct CheckpointReader::File {
  std::string path;
  std::ifstream stream;
  std::uint64_t size = 0;
};

CheckpointReader::~CheckpointReader() = default;
CheckpointReader::CheckpointReader(CheckpointReader&&) noexcept = default;
CheckpointReader& CheckpointReader::operator=(CheckpointReader&&) noexcept = default;

CheckpointReader::CheckpointReader(const std::string& path) : file_(std::make_unique<File>()) {
  file_->path = path;
  struct stat status {};
  if (::stat(path.c_str(), &status) == 0 && !S_ISREG(status.st_mode))
    fail("it is no file");  // a pipe would be waited for
  file_->stream.open(path, std::ios::binary);
  if (!file_->stream) fail("it cannot be opened");
  file_->stream.seekg(0, std::ios::end);
  const auto size = file_->size = static_cast<std::uint64_t>(file_->stream.tellg());
  file_->stream.seekg(0);
  ContentHash hash;
  const auto take = [&](void* to, std::size_t bytes) {
    read(to, bytes);
    hash.add(to, bytes);
  };
  char begin[sizeof mark];
  take(begin, sizeof begin);
  if (std::memcmp(begin, mark, sizeof mark) != 0) fail("it is something else");
  std::vector<char> bytes;
  for (;;) {
    const std::uint64_t before = hash.value();
    ArrayHead head;
    take(&head, sizeof head);
    const std::uint64_t left = size - static_cast<std::uint64_t>(file_->stream.tellg());
    if (head.name > left || head.size == 0 || head.count > (left - head.name) / head.size) fail("it is damaged");
    std::string name(head.name, ' ');
    take(name.data(), name.size());
    if (name == end_name) {
      std::uint64_t expected = 0;
      if (head.count != 1 || head.size != sizeof expected) fail("it is damaged");
      read(&expected, sizeof expected);
      if (expected != before) fail("it is damaged");
      break;
    }
    bytes.resize(head.count * head.size);
    take(bytes.data(), bytes.size());
  }
  file_->stream.seekg(sizeof mark);
}

std::uint64_t CheckpointReader::most_arrays() const { return file_->size / sizeof(ArrayHead); }

void CheckpointReader::fail(const std::string& what) const {
  std::string both = file_->path;  // LOG.checkpoint-a, LOG.checkpoint-b
  if (both.ends_with("-a") || both.ends_with("-b")) both = both.substr(0, both.size() - 2) + "-a and -b";
  throw RunError(fmt::format(
      "[resume] a checkpoint must be whole, got one of which {}, in {}; remove {}, then the rounds of the log are "
      "computed again, or {}",
      what, file_->path, both, begin_anew));
}

void CheckpointReader::read(void* to, std::size_t bytes) {
  if (!file_->stream.read(static_cast<char*>(to), static_cast<std::streamsize>(bytes))) fail("the end is missing");
}

std::uint64_t CheckpointReader::begin_array(std::string_view name, std::uint32_t size) {
  ArrayHead head;
  read(&head, sizeof head);
  std::string found(head.name, ' ');
  read(found.data(), found.size());
  if (found != name || head.size != size) {
    fail(fmt::format("the array \"{}\" stands where \"{}\" was expected", found, name));
  }
  return head.count;
}

Checkpoints::Checkpoints(std::string log_file) : log_file_(std::move(log_file)) {}

std::string Checkpoints::path(int which) const {
  return fmt::format("{}.checkpoint-{}", log_file_, which == 0 ? 'a' : 'b');
}

bool Checkpoints::exist() const { return ::access(path(0).c_str(), F_OK) == 0 || ::access(path(1).c_str(), F_OK) == 0; }

CheckpointWriter Checkpoints::next() {
  const int now = std::exchange(turn_, 1 - turn_);
  return CheckpointWriter(path(now));
}

void Checkpoints::write_header(CheckpointWriter& writer, std::uint64_t round, const std::string& device) {
  writer.value("build", build_hash());
  writer.array("device", std::span<const char>(device));
  writer.value("round", round);
}

std::optional<FoundCheckpoint> Checkpoints::newest(std::uint64_t rounds, const std::string& device) {
  std::optional<FoundCheckpoint> best;
  for (int which = 0; which < 2; ++which) {
    if (::access(path(which).c_str(), F_OK) != 0) continue;
    std::optional<CheckpointReader> reader;
    try {
      reader.emplace(path(which));
    } catch (const RunError&) {
      continue;  // half written by a machine that went down: the other one stands
    }
    const auto build = reader->value<std::uint64_t>("build");
    const std::vector<char> name = reader->array<char>("device");
    const std::string wrote(name.begin(), name.end());
    const auto round = reader->value<std::uint64_t>("round");
    if (build != build_hash() || wrote != device) {
      throw InputError(fmt::format(
          "[resume] a run goes on with the program and the kind of device that began it, for the same bits; got {}, in "
          "{}; "
          "{}",
          build != build_hash() ? std::string("another build of ivory") : fmt::format("{} after {}", device, wrote),
          path(which), fmt::format("go on with those, or {}", begin_anew)));
    }
    if (round > rounds || (best && round <= best->round)) continue;
    best.emplace(FoundCheckpoint{std::move(*reader), round});
    turn_ = 1 - which;  // the next one replaces the other
  }
  return best;
}

void Checkpoints::move_to(const std::string& other) const {
  const Checkpoints others(other);
  for (int which = 0; which < 2; ++which) {
    ::unlink((path(which) + unfinished_suffix).c_str());
    if (std::rename(path(which).c_str(), others.path(which).c_str()) == 0 || errno == ENOENT) continue;
    throw RunError(fmt::format("[log] a checkpoint must go with its log, got \"{}\", in {} -> {}; rename it by hand",
                               system_reason(errno), path(which), others.path(which)));
  }
}

void Checkpoints::remove() const {
  for (int which = 0; which < 2; ++which) {
    ::unlink(path(which).c_str());
    ::unlink((path(which) + unfinished_suffix).c_str());
  }
}

std::uint64_t build_hash() {
  static const std::uint64_t hash = [] {
    ContentHash content;
    std::ifstream program("/proc/self/exe", std::ios::binary);
    std::vector<char> bytes(std::size_t{1} << 20);
    while (program.read(bytes.data(), static_cast<std::streamsize>(bytes.size())), program.gcount() > 0) {
      content.add(bytes.data(), static_cast<std::size_t>(program.gcount()));
    }
    return content.value();
  }();
  return hash;
}

}  // namespace ivory
