// Shared by the hdf5_*.cpp files only: owned identifiers, type mapping and messages.
#pragma once
#include <hdf5.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "src/hdf5_file.hpp"
#include "src/hdf5_guard.hpp"

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
  void release() { id_ = -1; }
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
  std::unique_ptr<ReadingNow> reading = {};  // null where it is written
  bool contained = false;
  bool damaged = false;  // HDF5 (1.10) can crash when it closes such a file: it stays open until the program ends

  ~Impl() {
    if (damaged) file.release();
    file.reset();  // while it still counts as being read
  }
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

/// Throws InputError where `dataset` (`what` in the message) cannot have so many bytes: more than its file holds, compressed as far
/// as it goes.
void check_stored(hid_t dataset, const std::vector<std::size_t>& wanted, std::size_t bytes_each,
                  const std::string& what);

/// To be called before an object's attributes are looked at. Throws InputError where some are said to be stored elsewhere in the
/// file: HDF5 (1.10) crashes when it meets such a one that is damaged, and nobody shares attributes.
void check_attributes(hid_t object, const std::string& what);

/// Whether HDF5 can convert numbers of this type: it trusts a damaged one's positions of bits, and writes beyond its buffers.
bool is_sound_number(hid_t type);

Hdf5Id native(Hdf5Type type);
template <class T>
hid_t native_of();

/// Fixed-length UTF-8 string type, null padded. Length 0 does not exist in HDF5: an empty string is one null byte.
Hdf5Id text_type(std::size_t length);
Hdf5Id space_of(const std::vector<std::size_t>& shape);

}  // namespace hdf5
}  // namespace ivory
