// Shared by the hdf5_*.cpp files only: owned identifiers, type mapping and messages.
#pragma once
#include <hdf5.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "src/hdf5_file.hpp"

namespace ivory {

/// Owner of one HDF5 identifier, closed by the function it came with.
class Hdf5Id {
 public:
  using Close = herr_t (*)(hid_t);
  Hdf5Id() = default;
  Hdf5Id(hid_t id, Close close) : id_(id), close_(close) {}
  Hdf5Id(Hdf5Id&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Hdf5Id& operator=(Hdf5Id&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  Hdf5Id(const Hdf5Id&) = delete;
  Hdf5Id& operator=(const Hdf5Id&) = delete;
  ~Hdf5Id() { reset(); }

  operator hid_t() const { return id_; }
  bool valid() const { return id_ >= 0; }
  bool reset() {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

namespace hdf5 {

/// HDF5's library is not for several threads: whoever has a file open keeps the others out. A thread may have several open.
using Turn = std::unique_lock<std::recursive_mutex>;
Turn take_turn();

}  // namespace hdf5

struct Hdf5File::Impl {
  hdf5::Turn turn = hdf5::take_turn();  // first, so that it ends last
  std::string path;
  Hdf5Id file;
};

namespace hdf5 {

/// HDF5 prints its error stack unless told not to, for each thread anew.
void silence();

/// The innermost entry of HDF5's error stack, as ": text"; empty when there is none.
std::string reason();

/// Access properties of every file: no locking (a log is read while it is written), old format, closing closes
/// everything.
Hdf5Id file_access();

/// "rounds/accuracy" and "/rounds/accuracy/" name the same object.
std::string absolute(std::string_view name);

/// Whether every link of the path exists, down to an object of that type.
bool exists(hid_t file, const std::string& name, H5O_type_t type);

Hdf5Id native(Hdf5Type type);
template <class T>
hid_t native_of();

/// Fixed-length UTF-8 string type, null padded. Length 0 does not exist in HDF5: an empty string is one null byte.
Hdf5Id text_type(std::size_t length);
Hdf5Id space_of(const std::vector<std::size_t>& shape);

}  // namespace hdf5
}  // namespace ivory
