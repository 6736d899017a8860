// HDF5 files as values and names: a small RAII layer over the C API, for the log, data files and tests. File locking is
// off and HDF5's own error prints are silenced; every failure is an InputError (reading) or a RunError (writing) that
// names the file, the object in it and what to do.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ivory {

/// Numbers with their shape, row-major. A scalar has an empty shape and one value.
template <class T>
struct Hdf5Array {
  std::vector<std::size_t> shape;
  std::vector<T> values;
};

enum class Hdf5Type { int8, int32, int64, uint64, float16, float32, float64 };

std::size_t size_of(Hdf5Type type);

/// A dataset to be made. Contiguous always.
struct Hdf5Layout {
  std::string path = {};  // "/rounds/accuracy"
  Hdf5Type type = Hdf5Type::float64;
  std::vector<std::size_t> shape = {};  // empty: a scalar
  double fill = 0;                      // value of what is never written
  bool allocated = true;                // false: takes no space until written, and reads as `fill`
};

inline constexpr std::size_t longest_text_attribute = 64000;  // an object header message ends at 64 KiB

/// An open file. Objects are named by their path in it ("/rounds/accuracy"; a leading '/' may be missing). One thread at a
/// time has files open: another one waits where it opens, and a file is closed by the thread that opened it.
class Hdf5File {
 public:
  /// Read-only. Throws InputError when there is no such file or it is not HDF5.
  static Hdf5File open(const std::string& path);
  /// New or replaced, old superblock (readable by every HDF5 since 1.6). Throws RunError.
  static Hdf5File create(const std::string& path);
  /// An existing file, to add to. Throws RunError.
  static Hdf5File modify(const std::string& path);

  ~Hdf5File();
  Hdf5File(Hdf5File&&) noexcept;
  Hdf5File& operator=(Hdf5File&&) noexcept;

  const std::string& path() const;

  // Looking around. Names of children come sorted and without their parent's path.
  bool has_group(std::string_view name) const;
  bool has_dataset(std::string_view name) const;
  bool has_attribute(std::string_view object, std::string_view attribute) const;
  std::vector<std::string> groups(std::string_view group = "/") const;
  std::vector<std::string> datasets(std::string_view group = "/") const;
  std::vector<std::string> attributes(std::string_view object = "/") const;
  std::vector<std::size_t> shape(std::string_view dataset) const;
  bool is_integer(std::string_view dataset) const;  // integers and booleans
  bool is_text(std::string_view dataset) const;

  // Reading; all throw InputError. T: float, double, std::int8_t, std::uint8_t, std::int32_t, std::int64_t,
  // std::uint64_t; any numeric dataset converts (reals to integers by truncation).
  template <class T>
  Hdf5Array<T> read(std::string_view dataset) const;
  /// Rows [first, first + count) of the first axis.
  template <class T>
  Hdf5Array<T> read_rows(std::string_view dataset, std::size_t first, std::size_t count) const;
  /// `count` entries of each axis from `first` on. T: float, double.
  template <class T>
  Hdf5Array<T> read_part(std::string_view dataset, const std::vector<std::size_t>& first,
                         const std::vector<std::size_t>& count) const;
  /// Strings of fixed or variable length; a scalar gives one.
  std::vector<std::string> read_text(std::string_view dataset) const;

  // Attributes; `object` is "/" for the file itself. InputError when missing, of another kind or not a single value.
  std::int64_t integer(std::string_view object, std::string_view attribute) const;
  std::uint64_t natural(std::string_view object, std::string_view attribute) const;
  double real(std::string_view object, std::string_view attribute) const;
  std::string text(std::string_view object, std::string_view attribute) const;
  std::vector<double> reals(std::string_view object, std::string_view attribute) const;  // any number of values

  // Writing; all throw RunError. Missing parent groups are made.
  void make_group(std::string_view group);
  void make_dataset(const Hdf5Layout& layout);
  /// Makes the dataset and writes `values` to it. T: float, double, std::int8_t, std::int32_t, std::int64_t,
  /// std::uint64_t.
  template <class T>
  void write(std::string_view dataset, const std::vector<std::size_t>& shape, std::span<const T> values);
  template <class T>
  void write(std::string_view dataset, const std::vector<std::size_t>& shape, const std::vector<T>& values) {
    write(dataset, shape, std::span<const T>(values));
  }
  /// One axis of fixed-length strings, null padded, UTF-8.
  void write_text(std::string_view dataset, const std::vector<std::string>& values);

  void set_integer(std::string_view object, std::string_view attribute, std::int64_t value);
  void set_natural(std::string_view object, std::string_view attribute, std::uint64_t value);
  void set_real(std::string_view object, std::string_view attribute, double value);
  /// Fixed length, null padded, UTF-8; at most longest_text_attribute bytes.
  void set_text(std::string_view object, std::string_view attribute, std::string_view value);
  /// One value of the dataset's own type: what the netCDF attribute `_FillValue` has to be.
  void set_fill_attribute(std::string_view dataset, double value);

  /// Declares `dataset` the dimension scale `name`.
  void make_scale(std::string_view dataset, std::string_view name);
  void attach_scale(std::string_view dataset, std::size_t axis, std::string_view scale);

  /// Position of an allocated dataset's first byte in the file.
  std::uint64_t offset(std::string_view dataset) const;

  void flush();
  /// Writes everything and closes; throws RunError, which the destructor cannot.
  void close();

 private:
  struct Impl;
  explicit Hdf5File(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

/// Bytes of a new HDF5 file with an empty root group, for callers that write and reserve the file themselves.
std::vector<std::byte> empty_hdf5_image();

/// Writes a copy of the file `from`, in which datasets of at least 4 KiB are in chunks of about 1 MiB, shuffled and deflated; every
/// group, dataset, attribute and dimension scale is there, and all values are read back and compared. Throws InputError where
/// `from` cannot be read, RunError where `to` cannot be written.
void pack_hdf5(const std::string& from, const std::string& to);

}  // namespace ivory
