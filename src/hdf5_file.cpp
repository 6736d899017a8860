#include "src/hdf5_file.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "ivory/error.hpp"
#include "src/hdf5_detail.hpp"

namespace ivory {
namespace hdf5 {

Turn take_turn() {
  static std::recursive_mutex mutex;
  return Turn(mutex);
}

void silence() { H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr); }

std::string reason() {
  std::string text;
  const auto keep_first = [](unsigned, const H5E_error2_t* entry, void* out) -> herr_t {
    auto& kept = *static_cast<std::string*>(out);
    if (kept.empty() && entry->desc != nullptr) kept = entry->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  return text.empty() ? text : ": " + text;
}

Hdf5Id file_access() {
  Hdf5Id access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_file_locking(access, false, true);
  H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_LATEST);
  H5Pset_fclose_degree(access, H5F_CLOSE_STRONG);
  return access;
}

std::string absolute(std::string_view name) {
  while (!name.empty() && name.front() == '/') name.remove_prefix(1);
  while (!name.empty() && name.back() == '/') name.remove_suffix(1);
  return "/" + std::string(name);
}

bool exists(hid_t file, const std::string& name, H5O_type_t type) {
  silence();
  if (name != "/") {
    for (std::size_t end = name.find('/', 1);; end = name.find('/', end + 1)) {
      const std::string part = name.substr(0, end);
      if (H5Lexists(file, part.c_str(), H5P_DEFAULT) <= 0) return false;
      if (H5Oexists_by_name(file, part.c_str(), H5P_DEFAULT) <= 0) return false;  // a dangling link
      if (end == std::string::npos) break;
    }
  }
  H5O_info_t info;
  return H5Oget_info_by_name2(file, name.c_str(), &info, H5O_INFO_BASIC, H5P_DEFAULT) >= 0 && info.type == type;
}

namespace {

// HDF5 1.x has no native one; these are the fields of IEEE binary16.
hid_t half() {
  const hid_t type = H5Tcopy(H5T_NATIVE_FLOAT);
  H5Tset_fields(type, 15, 10, 5, 0, 10);
  H5Tset_size(type, 2);
  H5Tset_ebias(type, 15);
  return type;
}

hid_t standard(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::int8:
      return H5T_NATIVE_INT8;
    case Hdf5Type::int32:
      return H5T_NATIVE_INT32;
    case Hdf5Type::int64:
      return H5T_NATIVE_INT64;
    case Hdf5Type::uint64:
      return H5T_NATIVE_UINT64;
    case Hdf5Type::float32:
      return H5T_NATIVE_FLOAT;
    default:
      return H5T_NATIVE_DOUBLE;
  }
}

}  // namespace

Hdf5Id native(Hdf5Type type) { return {type == Hdf5Type::float16 ? half() : H5Tcopy(standard(type)), H5Tclose}; }

Hdf5Id text_type(std::size_t length) {
  Hdf5Id type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type, std::max<std::size_t>(1, length));
  H5Tset_strpad(type, H5T_STR_NULLPAD);
  H5Tset_cset(type, H5T_CSET_UTF8);
  return type;
}

Hdf5Id space_of(const std::vector<std::size_t>& shape) {
  if (shape.empty()) return {H5Screate(H5S_SCALAR), H5Sclose};
  const std::vector<hsize_t> extents(shape.begin(), shape.end());
  return {H5Screate_simple(static_cast<int>(extents.size()), extents.data(), nullptr), H5Sclose};
}

}  // namespace hdf5

namespace {

/// Names of the children of `group` that are of the given type, sorted.
std::vector<std::string> children(hid_t file, const std::string& path, const std::string& group, H5O_type_t type) {
  if (!hdf5::exists(file, group, H5O_TYPE_GROUP)) {
    throw InputError(fmt::format("[hdf5] there must be a group \"{}\", got none, in {}", group, path));
  }
  const Hdf5Id opened(H5Gopen2(file, group.c_str(), H5P_DEFAULT), H5Gclose);
  H5G_info_t info;
  if (!opened.valid() || H5Gget_info(opened, &info) < 0) {
    throw InputError(fmt::format("[hdf5] group \"{}\" of {} must be readable{}", group, path, hdf5::reason()));
  }
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const ssize_t length = H5Lget_name_by_idx(opened, ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT);
    if (length < 0)
      throw InputError(fmt::format("[hdf5] group \"{}\" of {} is damaged{}", group, path, hdf5::reason()));
    std::string name(static_cast<std::size_t>(length) + 1, '\0');
    H5Lget_name_by_idx(opened, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size(), H5P_DEFAULT);
    name.pop_back();
    if (hdf5::exists(file, hdf5::absolute(group + "/" + name), type)) names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::size_t size_of(Hdf5Type type) {
  switch (type) {
    case Hdf5Type::int8:
      return 1;
    case Hdf5Type::float16:
      return 2;
    case Hdf5Type::int32:
    case Hdf5Type::float32:
      return 4;
    default:
      return 8;
  }
}

Hdf5File::Hdf5File(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Hdf5File::~Hdf5File() = default;
Hdf5File::Hdf5File(Hdf5File&&) noexcept = default;
Hdf5File& Hdf5File::operator=(Hdf5File&&) noexcept = default;

Hdf5File Hdf5File::open(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  hdf5::silence();
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) {
    throw InputError(fmt::format("[hdf5] the file must exist, got {} ({}); check the path", path,
                                 error ? error.message() : std::string("no such file")));
  }
  if (std::filesystem::is_directory(status)) {
    throw InputError(fmt::format("[hdf5] an HDF5 file is needed, got the directory {}", path));
  }
  const Hdf5Id access = hdf5::file_access();
  errno = 0;
  Hdf5Id file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, access), H5Fclose);
  if (!file.valid()) {
    const int cause = errno;
    if (cause == EACCES || cause == EPERM) {
      throw InputError(fmt::format("[hdf5] the file must be readable, got {}: {}", path, std::strerror(cause)));
    }
    throw InputError(
        fmt::format("[hdf5] a whole HDF5 file is needed, got {}{}; it is of another kind, or was cut off or "
                    "damaged: get it again",
                    path, hdf5::reason()));
  }
  impl->path = path;
  impl->file = std::move(file);
  return Hdf5File(std::move(impl));
}

const std::string& Hdf5File::path() const { return impl_->path; }

bool Hdf5File::has_group(std::string_view name) const {
  return hdf5::exists(impl_->file, hdf5::absolute(name), H5O_TYPE_GROUP);
}

bool Hdf5File::has_dataset(std::string_view name) const {
  return hdf5::exists(impl_->file, hdf5::absolute(name), H5O_TYPE_DATASET);
}

bool Hdf5File::has_attribute(std::string_view object, std::string_view attribute) const {
  const std::string name = hdf5::absolute(object);
  if (!hdf5::exists(impl_->file, name, H5O_TYPE_GROUP) && !hdf5::exists(impl_->file, name, H5O_TYPE_DATASET))
    return false;
  return H5Aexists_by_name(impl_->file, name.c_str(), std::string(attribute).c_str(), H5P_DEFAULT) > 0;
}

std::vector<std::string> Hdf5File::groups(std::string_view group) const {
  return children(impl_->file, impl_->path, hdf5::absolute(group), H5O_TYPE_GROUP);
}

std::vector<std::string> Hdf5File::datasets(std::string_view group) const {
  return children(impl_->file, impl_->path, hdf5::absolute(group), H5O_TYPE_DATASET);
}

std::vector<std::string> Hdf5File::attributes(std::string_view object) const {
  const std::string name = hdf5::absolute(object);
  hdf5::silence();
  const Hdf5Id opened(H5Oopen(impl_->file, name.c_str(), H5P_DEFAULT), H5Oclose);
  std::vector<std::string> names;
  const auto keep = [](hid_t, const char* attribute, const H5A_info_t*, void* out) -> herr_t {
    static_cast<std::vector<std::string>*>(out)->push_back(attribute);
    return 0;
  };
  if (!opened.valid() || H5Aiterate2(opened, H5_INDEX_NAME, H5_ITER_INC, nullptr, keep, &names) < 0) {
    throw InputError(fmt::format("[hdf5] there must be an object \"{}\", got none, in {}", name, impl_->path));
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace ivory
