#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ivory/error.hpp"
#include "src/hdf5_detail.hpp"
#include "src/hdf5_file.hpp"

namespace ivory {
namespace {

constexpr hsize_t chunk_bytes = 1 << 20;
constexpr hsize_t least_bytes = 4096;  // of a dataset that is worth chunks
constexpr unsigned deflate_level = 4;

/// The two files; messages name the one that fails.
class Packing {
 public:
  Packing(const std::string& from, const std::string& to)
      : from_name_(from), to_name_(to), from_(Hdf5File::open_contained(from)), turn_(hdf5::take_turn()),
        source_(H5Fopen(from.c_str(), H5F_ACC_RDONLY, hdf5::file_access()), H5Fclose),
        target_(H5Fcreate(to.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, hdf5::file_access()), H5Fclose) {
    hdf5::silence();
    if (!source_.valid()) fail_reading("the log");
    if (!target_.valid()) fail_writing("the file");
  }

  void run() {
    try {
      copy_attributes(object(source_, "/"), object(target_, "/"), "/");
      for_each_dataset("/", [&](const std::string& path) { copy_dataset(path); });
      attach_scales();
    } catch (...) {
      target_.release();  // half made, HDF5 (1.10) could crash in closing it; it is deleted
      throw;
    }
    if (!target_.reset()) fail_writing("the end of the file");
    compare();
  }

 private:
  [[noreturn]] void fail_reading(const std::string& what) const {
    from_.mistrust();
    throw InputError(fmt::format("[pack] a log must be readable, got an error at {}, in {}{}; it is damaged", what,
                                 from_name_, hdf5::reason()));
  }
  [[noreturn]] void fail_writing(const std::string& what) const {
    throw RunError(
        fmt::format("[pack] a packed log must be writable, got an error at {}, in {}{}; check free space and "
                    "permissions",
                    what, to_name_, hdf5::reason()));
  }

  [[noreturn]] void refuse(const std::string& rule, const std::string& path) const {
    throw InputError(fmt::format("[pack] {}, got \"{}\", in {}; it is damaged, or no log", rule, path, from_name_));
  }

  /// Links could lead out of the file, or round in it for ever.
  void enter(const std::string& path) {
    H5O_info_t info, root;
    if (H5Oget_info_by_name2(source_, path.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0 ||
        H5Oget_info2(source_, &root, H5O_INFO_BASIC) < 0) {
      fail_reading(path);
    }
    const bool again =
        std::any_of(places_.begin(), places_.end(), [&](const auto& one) { return one.second == info.addr; });
    if (info.fileno != root.fileno || info.addr == root.addr || again) {
      refuse("every object of a log has one name and is in the log itself", path);
    }
    places_[path] = info.addr;
  }

  static Hdf5Id object(hid_t file, const std::string& path) {
    return {H5Oopen(file, path.c_str(), H5P_DEFAULT), H5Oclose};
  }

  /// Groups on the way are made in the target.
  void for_each_dataset(const std::string& group, const std::function<void(const std::string&)>& visit) {
    const std::string prefix = group == "/" ? "/" : group + "/";
    for (const std::string& name : from_.datasets(group)) {
      enter(prefix + name);
      visit(prefix + name);
    }
    for (const std::string& name : from_.groups(group)) {
      const std::string path = prefix + name;
      enter(path);
      const Hdf5Id made(H5Gcreate2(target_, path.c_str(), H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
      if (!made.valid()) fail_writing(path);
      copy_attributes(object(source_, path), made, path);
      for_each_dataset(path, visit);
    }
  }

  /// Those of dimension scales are made anew, since they refer to places in the file.
  void copy_attributes(hid_t from, hid_t to, const std::string& path) const {
    if (H5Iis_valid(from) <= 0) fail_reading(path);
    hdf5::check_attributes(from, fmt::format("\"{}\" of {}", path, from_name_));
    const int count = H5Aget_num_attrs(from);
    if (count < 0) fail_reading(path);
    for (int i = 0; i < count; ++i) {
      const Hdf5Id attribute(
          H5Aopen_by_idx(from, ".", H5_INDEX_NAME, H5_ITER_INC, static_cast<hsize_t>(i), H5P_DEFAULT, H5P_DEFAULT),
          H5Aclose);
      const ssize_t length = attribute.valid() ? H5Aget_name(attribute, 0, nullptr) : -1;
      if (length < 0) fail_reading(path);
      std::string name(static_cast<std::size_t>(length) + 1, '\0');
      if (H5Aget_name(attribute, name.size(), name.data()) < 0) fail_reading(path);
      name.pop_back();
      if (name == "DIMENSION_LIST" || name == "REFERENCE_LIST" || name == "CLASS" || name == "NAME") continue;
      const Hdf5Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose);
      const hssize_t values = H5Sget_simple_extent_npoints(space);
      if (!type.valid() || !is_plain(type) || values < 0) refuse(needs_plain, path + "@" + name);
      // An attribute's values are beside its name: no file has more of them than bytes.
      if (static_cast<double>(values) * static_cast<double>(H5Tget_size(type)) > static_cast<double>(from_bytes_)) {
        refuse("an attribute's values must be in the file", path + "@" + name);
      }
      std::vector<char> value(H5Tget_size(type) * static_cast<std::size_t>(std::max<hssize_t>(1, values)));
      if (values > 0 && H5Aread(attribute, type, value.data()) < 0) fail_reading(path + "@" + name);
      const Hdf5Id made(H5Acreate2(to, name.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
      if (!made.valid() || (values > 0 && H5Awrite(made, type, value.data()) < 0)) fail_writing(path + "@" + name);
    }
  }

  /// Bytes that mean the same wherever they are.
  static bool is_plain(hid_t type) {
    const H5T_class_t kind = H5Tget_class(type);
    if (kind == H5T_INTEGER || kind == H5T_FLOAT) return hdf5::is_sound_number(type);
    return kind == H5T_STRING && H5Tis_variable_str(type) == 0;
  }

  struct Opened {
    Hdf5Id dataset, type, space;
    std::vector<hsize_t> shape;
    bool written = false;
    hsize_t row_bytes = 0, rows = 0;  // along the first axis, of what was written; a scalar is one row
  };
  Opened open(hid_t file, const std::string& path) const {
    Opened o;
    o.dataset = Hdf5Id(H5Dopen2(file, path.c_str(), H5P_DEFAULT), H5Dclose);
    if (!o.dataset.valid()) fail_reading(path);
    o.type = Hdf5Id(H5Dget_type(o.dataset), H5Tclose);
    o.space = Hdf5Id(H5Dget_space(o.dataset), H5Sclose);
    if (!o.type.valid() || !o.space.valid()) fail_reading(path);
    hdf5::check_attributes(o.dataset, fmt::format("\"{}\" of {}", path, from_name_));
    if (!is_plain(o.type)) refuse(needs_plain, path);
    const int rank = H5Sget_simple_extent_ndims(o.space);
    if (rank < 0) fail_reading(path);
    o.shape.resize(static_cast<std::size_t>(rank));
    H5Sget_simple_extent_dims(o.space, o.shape.data(), nullptr);
    o.written = H5Dget_storage_size(o.dataset) > 0;
    if (!o.written) return o;  // it may claim any shape
    hdf5::check_stored(o.dataset, {o.shape.begin(), o.shape.end()}, H5Tget_size(o.type),
                       fmt::format("dataset \"{}\" of {}", path, from_name_));
    o.rows = o.shape.empty() ? 1 : o.shape[0];
    o.row_bytes = H5Tget_size(o.type);
    for (std::size_t axis = 1; axis < o.shape.size(); ++axis) o.row_bytes *= o.shape[axis];
    return o;
  }

  /// Pieces of at most about chunk_bytes: whole rows, or parts of one.
  static std::vector<hsize_t> chunk_of(const Opened& o) {
    std::vector<hsize_t> chunk = o.shape;
    hsize_t bytes = o.rows * o.row_bytes;
    for (hsize_t& extent : chunk) {
      const hsize_t below = bytes / extent;  // bytes of one index of this axis
      if (bytes <= chunk_bytes) break;
      extent = std::clamp<hsize_t>(chunk_bytes / below, 1, extent);
      bytes = below * extent;
    }
    return chunk;
  }

  void copy_dataset(const std::string& path) {
    const Opened from = open(source_, path);
    Hdf5Id properties(H5Dget_create_plist(from.dataset), H5Pclose);
    if (!properties.valid()) fail_reading(path);
    if (H5Pget_external_count(properties) != 0 || H5Pget_layout(properties) == H5D_VIRTUAL) {
      refuse("the values of a log must be in its own file", path);
    }
    H5Pset_obj_track_times(properties, false);  // the same log makes the same bytes
    const bool empty = !from.written;           // it takes no space here either
    if (!empty && !from.shape.empty() && from.rows * from.row_bytes >= least_bytes) {
      const std::vector<hsize_t> chunk = chunk_of(from);
      H5Pset_alloc_time(properties, H5D_ALLOC_TIME_INCR);
      H5Premove_filter(properties, H5Z_FILTER_ALL);  // of a log that is packed already
      if (H5Pset_chunk(properties, static_cast<int>(chunk.size()), chunk.data()) < 0 ||
          H5Pset_shuffle(properties) < 0 || H5Pset_deflate(properties, deflate_level) < 0) {
        fail_writing(path);
      }
    }
    const Hdf5Id made(H5Dcreate2(target_, path.c_str(), from.type, from.space, H5P_DEFAULT, properties, H5P_DEFAULT),
                      H5Dclose);
    if (!made.valid()) fail_writing(path);
    if (!empty) {
      const bool copied = for_rows(from, [&](hid_t memory, hid_t part, std::vector<char>& bytes) {
        if (H5Dread(from.dataset, from.type, memory, part, H5P_DEFAULT, bytes.data()) < 0) fail_reading(path);
        return H5Dwrite(made, from.type, memory, part, H5P_DEFAULT, bytes.data()) >= 0;
      });
      if (!copied) fail_writing(path);
    }
    copy_attributes(from.dataset, made, path);
    if (is_scale(path) && H5DSset_scale(made, from_.text(path, "NAME").c_str()) < 0) fail_writing(path);
  }

  /// H5DSis_scale crashes on some damaged attributes.
  bool is_scale(const std::string& path) const {
    return from_.has_attribute(path, "CLASS") && from_.text(path, "CLASS") == "DIMENSION_SCALE";
  }

  /// Calls `use` with some rows after the other, a few megabytes each; false as soon as it says so.
  template <class Use>
  static bool for_rows(const Opened& o, const Use& use) {
    if (o.rows * o.row_bytes == 0) return true;
    const hsize_t at_a_time = std::clamp<hsize_t>(8 * chunk_bytes / o.row_bytes, 1, o.rows);
    for (hsize_t row = 0; row < o.rows; row += at_a_time) {
      const hsize_t count = std::min(at_a_time, o.rows - row);
      std::vector<char> bytes(count * o.row_bytes);
      if (o.shape.empty()) return use(H5S_ALL, H5S_ALL, bytes);
      std::vector<hsize_t> start(o.shape.size(), 0), extent = o.shape;
      start[0] = row;
      extent[0] = count;
      const Hdf5Id part(H5Scopy(o.space), H5Sclose),
          memory(H5Screate_simple(static_cast<int>(extent.size()), extent.data(), nullptr), H5Sclose);
      H5Sselect_hyperslab(part, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr);
      if (!use(memory, part, bytes)) return false;
    }
    return true;
  }

  /// Which scale belongs to which axis, from what the scales say of it: what the datasets say is in lists of variable length, which
  /// HDF5 (1.10) reads without looking where they end.
  void attach_scales() {
    std::map<std::pair<haddr_t, int>, std::string> scale_of;  // of an axis of the dataset there
    for_each_path([&](const std::string& path) {
      if (!is_scale(path)) return;
      for (const Reference& one : references(path)) scale_of[{one.dataset, one.axis}] = path;
    });
    for_each_path([&](const std::string& path) {
      const int axes = static_cast<int>(open(source_, path).shape.size());
      for (int axis = 0; axis < axes; ++axis) {
        const auto place = places_.find(path);
        if (place == places_.end()) fail_reading(path + ", which was not there before");
        const auto found = scale_of.find({place->second, axis});
        if (found == scale_of.end()) continue;
        const Hdf5Id data(H5Dopen2(target_, path.c_str(), H5P_DEFAULT), H5Dclose),
            scale(H5Dopen2(target_, found->second.c_str(), H5P_DEFAULT), H5Dclose);
        if (H5DSattach_scale(data, scale, static_cast<unsigned>(axis)) < 0) fail_writing(path);
      }
    });
  }

  /// As HDF5 itself keeps them.
  struct Reference {
    hobj_ref_t dataset;
    int axis;
  };
  std::vector<Reference> references(const std::string& scale) const {
    constexpr const char* name = "REFERENCE_LIST";
    if (!from_.has_attribute(scale, name)) return {};
    const Hdf5Id attribute(H5Aopen_by_name(source_, scale.c_str(), name, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
    if (!attribute.valid()) fail_reading(scale + "@" + name);
    const Hdf5Id type(H5Aget_type(attribute), H5Tclose), space(H5Aget_space(attribute), H5Sclose),
        own(H5Tcreate(H5T_COMPOUND, sizeof(Reference)), H5Tclose);
    H5Tinsert(own, "dataset", HOFFSET(Reference, dataset), H5T_STD_REF_OBJ);
    H5Tinsert(own, "dimension", HOFFSET(Reference, axis), H5T_NATIVE_INT);
    const hssize_t count = H5Sget_simple_extent_npoints(space);
    if (H5Tequal(type, own) <= 0 || count < 0 || static_cast<std::uintmax_t>(count) > from_bytes_ / sizeof(Reference)) {
      refuse("the axes of a scale must be readable", scale + "@" + name);
    }
    std::vector<Reference> found(static_cast<std::size_t>(count));
    if (count > 0 && H5Aread(attribute, own, found.data()) < 0) fail_reading(scale + "@" + name);
    return found;
  }

  void for_each_path(const std::function<void(const std::string&)>& visit) const {
    const std::function<void(const std::string&)> walk = [&](const std::string& group) {
      const std::string prefix = group == "/" ? "/" : group + "/";
      for (const std::string& name : from_.datasets(group)) visit(prefix + name);
      for (const std::string& name : from_.groups(group)) walk(prefix + name);
    };
    walk("/");
  }

  /// Byte for byte what was read.
  void compare() {
    const Hdf5Id again(H5Fopen(to_name_.c_str(), H5F_ACC_RDONLY, hdf5::file_access()), H5Fclose);
    if (!again.valid()) fail_writing("reading it again");
    for_each_path([&](const std::string& path) {
      const Opened from = open(source_, path), to = open(again, path);
      const bool same = from.shape == to.shape && from.written == to.written &&
                        for_rows(from, [&](hid_t memory, hid_t part, std::vector<char>& bytes) {
                          std::vector<char> other(bytes.size());
                          return H5Dread(from.dataset, from.type, memory, part, H5P_DEFAULT, bytes.data()) >= 0 &&
                                 H5Dread(to.dataset, from.type, memory, part, H5P_DEFAULT, other.data()) >= 0 &&
                                 bytes == other;
                        });
      if (!same) fail_writing(path + ", which reads otherwise than it was written");
    });
  }

  static constexpr const char* needs_plain = "a log has numbers and texts of fixed length alone";

  std::string from_name_, to_name_;
  std::uintmax_t from_bytes_ = std::filesystem::file_size(from_name_);
  std::map<std::string, haddr_t> places_;  // of the log's objects
  Hdf5File from_;
  hdf5::Turn turn_;
  Hdf5Id source_, target_;
};

}  // namespace

void pack_hdf5(const std::string& from, const std::string& to) { Packing(from, to).run(); }

}  // namespace ivory
