// A run's state on disk between rounds, so that an interrupted run goes on where it stopped, bit for bit.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

namespace ivory {

/// The way out where a run cannot go on, in the words of each verb.
inline constexpr const char* begin_anew = "begin anew (run without --resume, compare and sweep with --fresh)";

/// Writes named arrays into a file that gets its name only when it is whole. All functions throw RunError with the system's
/// reason; the file of that name before stays then.
class CheckpointWriter {
 public:
  explicit CheckpointWriter(const std::string& path);
  ~CheckpointWriter();
  CheckpointWriter(const CheckpointWriter&) = delete;
  CheckpointWriter& operator=(const CheckpointWriter&) = delete;

  template <class T>
  void array(std::string_view name, std::span<const T> values) {
    static_assert(std::is_trivially_copyable_v<T>);
    write_array(name, values.data(), values.size(), sizeof(T));
  }
  template <class T>
  void value(std::string_view name, const T& one) {
    array(name, std::span<const T>(&one, 1));
  }
  /// To the disk, and to its name.
  void finish();

 private:
  void write_array(std::string_view name, const void* data, std::uint64_t count, std::uint32_t size);
  struct File;
  std::unique_ptr<File> file_;
};

/// Reads what a CheckpointWriter wrote, in the same order.
class CheckpointReader {
 public:
  /// Throws RunError where there is no such file, or none that is whole: its checksum is tried first.
  explicit CheckpointReader(const std::string& path);
  ~CheckpointReader();
  CheckpointReader(CheckpointReader&&) noexcept;
  CheckpointReader& operator=(CheckpointReader&&) noexcept;

  /// The next array. Throws RunError where it has another name or type.
  template <class T>
  std::vector<T> array(std::string_view name) {
    static_assert(std::is_trivially_copyable_v<T>);
    std::vector<T> values(begin_array(name, sizeof(T)));
    read(values.data(), values.size() * sizeof(T));
    return values;
  }
  template <class T>
  T value(std::string_view name) {
    const std::vector<T> one = array<T>(name);
    if (one.size() != 1) fail(std::string(name) + " is not one value");
    return one.front();
  }
  [[noreturn]] void fail(const std::string& what) const;
  /// An upper bound of the arrays in the file.
  std::uint64_t most_arrays() const;

 private:
  std::uint64_t begin_array(std::string_view name, std::uint32_t size);
  void read(void* to, std::size_t bytes);
  struct File;
  std::unique_ptr<File> file_;
};

/// A checkpoint, read past its header.
struct FoundCheckpoint {
  CheckpointReader reader;
  std::uint64_t round = 0;  // rounds finished
};

/// The two checkpoints of a log take turns, so that one is whole at every moment.
class Checkpoints {
 public:
  explicit Checkpoints(std::string log_file);

  bool exist() const;
  /// Replaces the older one.
  CheckpointWriter next();
  /// The newest whole one of a round up to `rounds`; nothing where there is none. Throws InputError for one that
  /// another build, or another kind of device, wrote.
  std::optional<FoundCheckpoint> newest(std::uint64_t rounds, const std::string& device);
  /// They become those of the log `other`, which has none. Throws RunError with the system's reason.
  void move_to(const std::string& other) const;
  /// Every checkpoint begins with this.
  static void write_header(CheckpointWriter& writer, std::uint64_t round, const std::string& device);
  /// A finished run needs none.
  void remove() const;

 private:
  std::string path(int which) const;
  std::string log_file_;
  int turn_ = 0;
};

/// Fingerprint of the program that runs: another build may compute other bits.
std::uint64_t build_hash();

}  // namespace ivory
