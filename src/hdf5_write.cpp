// Writing groups, datasets, attributes and dimension scales.
#include <fmt/format.h>
#include <hdf5_hl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "ivory/error.hpp"
#include "src/hdf5_detail.hpp"

namespace ivory {
namespace {

[[noreturn]] void fail(const std::string& path, const std::string& what) {
  throw RunError(
      fmt::format("[hdf5] {} must be possible, in {}{}; check free space and permissions", what, path, hdf5::reason()));
}

/// Contiguous, allocated at once or not at all, without time stamps (the same run writes the same bytes).
Hdf5Id creation(const Hdf5Layout& layout) {
  Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_layout(properties, H5D_CONTIGUOUS);
  H5Pset_alloc_time(properties, layout.allocated ? H5D_ALLOC_TIME_EARLY : H5D_ALLOC_TIME_LATE);
  H5Pset_fill_time(properties, H5D_FILL_TIME_ALLOC);
  H5Pset_fill_value(properties, H5T_NATIVE_DOUBLE, &layout.fill);
  H5Pset_obj_track_times(properties, false);
  return properties;
}

Hdf5Id links() {
  Hdf5Id properties(H5Pcreate(H5P_LINK_CREATE), H5Pclose);
  H5Pset_create_intermediate_group(properties, 1);
  return properties;
}

Hdf5Id make(hid_t file, const std::string& path, const std::string& name, hid_t type, hid_t space, hid_t properties) {
  hdf5::silence();
  Hdf5Id dataset(H5Dcreate2(file, name.c_str(), type, space, links(), properties, H5P_DEFAULT), H5Dclose);
  if (!dataset.valid()) fail(path, fmt::format("making the dataset \"{}\"", name));
  return dataset;
}

Hdf5Id open_object(hid_t file, const std::string& path, const std::string& name) {
  hdf5::silence();
  Hdf5Id object(H5Oopen(file, name.c_str(), H5P_DEFAULT), H5Oclose);
  if (!object.valid()) fail(path, fmt::format("opening \"{}\"", name));
  return object;
}

void set_attribute(hid_t object, const std::string& path, std::string_view name, hid_t type, const void* value) {
  const std::string attribute(name);
  const Hdf5Id space = hdf5::space_of({});
  if (H5Aexists(object, attribute.c_str()) > 0) H5Adelete(object, attribute.c_str());
  const Hdf5Id made(H5Acreate2(object, attribute.c_str(), type, space, H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (!made.valid() || H5Awrite(made, type, value) < 0)
    fail(path, fmt::format("writing the attribute \"{}\"", attribute));
}

Hdf5Id opened(const std::string& path, bool create) {
  hdf5::silence();
  const Hdf5Id access = hdf5::file_access();
  errno = 0;
  Hdf5Id file(create ? H5Fcreate(path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access)
                     : H5Fopen(path.c_str(), H5F_ACC_RDWR, access),
              H5Fclose);
  if (!file.valid()) {
    const int cause = errno;
    throw RunError(fmt::format("[hdf5] the file must be {}, got {}: {}; choose another place or change its permissions",
                               create ? "creatable" : "writable", path,
                               cause != 0 ? std::string(std::strerror(cause)) : "HDF5 refuses" + hdf5::reason()));
  }
  return file;
}

}  // namespace

Hdf5File Hdf5File::create(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = opened(path, true);
  return Hdf5File(std::move(impl));
}

Hdf5File Hdf5File::modify(const std::string& path) {
  auto impl = std::make_unique<Impl>();
  impl->path = path;
  impl->file = opened(path, false);
  return Hdf5File(std::move(impl));
}

Hdf5File Hdf5File::in_memory() {
  auto impl = std::make_unique<Impl>();
  hdf5::silence();
  impl->path = "memory";
  const Hdf5Id access = hdf5::file_access();
  H5Pset_fapl_core(access, 1 << 8, false);  // it grows by so much, which is how exact its size is
  impl->file = Hdf5Id(H5Fcreate(impl->path.c_str(), H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose);
  if (!impl->file.valid()) fail(impl->path, "making a file in memory");
  return Hdf5File(std::move(impl));
}

std::uint64_t Hdf5File::size() {
  flush();
  hsize_t bytes = 0;
  if (H5Fget_filesize(impl_->file, &bytes) < 0) fail(impl_->path, "asking for the file's size");
  return bytes;
}

void Hdf5File::make_group(std::string_view group) {
  const std::string name = hdf5::absolute(group);
  if (name == "/" || has_group(name)) return;
  hdf5::silence();
  const Hdf5Id made(H5Gcreate2(impl_->file, name.c_str(), links(), H5P_DEFAULT, H5P_DEFAULT), H5Gclose);
  if (!made.valid()) fail(impl_->path, fmt::format("making the group \"{}\"", name));
}

void Hdf5File::make_dataset(const Hdf5Layout& layout) {
  make(impl_->file, impl_->path, hdf5::absolute(layout.path), hdf5::native(layout.type), hdf5::space_of(layout.shape),
       creation(layout));
}

template <class T>
void Hdf5File::write(std::string_view dataset, const std::vector<std::size_t>& shape, std::span<const T> values) {
  const std::string name = hdf5::absolute(dataset);
  const Hdf5Id made =
      make(impl_->file, impl_->path, name, hdf5::native_of<T>(), hdf5::space_of(shape), creation({.path = name}));
  const Hdf5Id space(H5Dget_space(made), H5Sclose);
  if (static_cast<std::size_t>(H5Sget_simple_extent_npoints(space)) != values.size()) {
    throw RunError(fmt::format("[hdf5] the shape must hold the values, got [{}] for {}, in dataset \"{}\" of {}",
                               fmt::join(shape, ", "), values.size(), name, impl_->path));
  }
  if (!values.empty() && H5Dwrite(made, hdf5::native_of<T>(), H5S_ALL, H5S_ALL, H5P_DEFAULT, values.data()) < 0) {
    fail(impl_->path, fmt::format("writing the dataset \"{}\"", name));
  }
}

template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const float>);
template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const double>);
template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const std::int8_t>);
template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const std::int32_t>);
template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const std::int64_t>);
template void Hdf5File::write(std::string_view, const std::vector<std::size_t>&, std::span<const std::uint64_t>);

void Hdf5File::write_text(std::string_view dataset, const std::vector<std::string>& values) {
  const std::string name = hdf5::absolute(dataset);
  std::size_t length = 1;
  for (const std::string& value : values) length = std::max(length, value.size());
  std::string bytes;
  for (const std::string& value : values) bytes += value + std::string(length - value.size(), '\0');
  const Hdf5Id type = hdf5::text_type(length);
  Hdf5Id properties(H5Pcreate(H5P_DATASET_CREATE), H5Pclose);
  H5Pset_alloc_time(properties, H5D_ALLOC_TIME_EARLY);
  H5Pset_obj_track_times(properties, false);
  const Hdf5Id made = make(impl_->file, impl_->path, name, type, hdf5::space_of({values.size()}), properties);
  if (!values.empty() && H5Dwrite(made, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, bytes.data()) < 0) {
    fail(impl_->path, fmt::format("writing the dataset \"{}\"", name));
  }
}

void Hdf5File::set_integer(std::string_view object, std::string_view attribute, std::int64_t value) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(object));
  set_attribute(at, impl_->path, attribute, H5T_NATIVE_INT64, &value);
}

void Hdf5File::set_natural(std::string_view object, std::string_view attribute, std::uint64_t value) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(object));
  set_attribute(at, impl_->path, attribute, H5T_NATIVE_UINT64, &value);
}

void Hdf5File::set_real(std::string_view object, std::string_view attribute, double value) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(object));
  set_attribute(at, impl_->path, attribute, H5T_NATIVE_DOUBLE, &value);
}

void Hdf5File::set_text(std::string_view object, std::string_view attribute, std::string_view value) {
  if (value.size() > longest_text_attribute) {
    throw RunError(fmt::format("[hdf5] a text attribute holds at most {} bytes, got {}, in \"{}\" of {}",
                               longest_text_attribute, value.size(), attribute, impl_->path));
  }
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(object));
  const std::string bytes = value.empty() ? std::string(1, '\0') : std::string(value);
  set_attribute(at, impl_->path, attribute, hdf5::text_type(bytes.size()), bytes.data());
}

void Hdf5File::set_fill_attribute(std::string_view dataset, double value) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(dataset));
  const Hdf5Id type(H5Dget_type(at), H5Tclose);
  double converted = value;  // wide enough for every numeric type, converted in place
  if (!type.valid() || H5Tconvert(H5T_NATIVE_DOUBLE, type, 1, &converted, nullptr, H5P_DEFAULT) < 0) {
    fail(impl_->path, fmt::format("making a fill value for \"{}\"", dataset));
  }
  set_attribute(at, impl_->path, "_FillValue", type, &converted);
}

void Hdf5File::make_scale(std::string_view dataset, std::string_view name) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(dataset));
  if (H5DSset_scale(at, std::string(name).c_str()) < 0) {
    fail(impl_->path, fmt::format("making \"{}\" a dimension scale", dataset));
  }
}

void Hdf5File::attach_scale(std::string_view dataset, std::size_t axis, std::string_view scale) {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(dataset));
  const Hdf5Id of = open_object(impl_->file, impl_->path, hdf5::absolute(scale));
  if (H5DSattach_scale(at, of, static_cast<unsigned>(axis)) < 0) {
    fail(impl_->path, fmt::format("attaching the scale \"{}\" to axis {} of \"{}\"", scale, axis, dataset));
  }
}

std::uint64_t Hdf5File::offset(std::string_view dataset) const {
  const Hdf5Id at = open_object(impl_->file, impl_->path, hdf5::absolute(dataset));
  const haddr_t address = H5Dget_offset(at);
  if (address == HADDR_UNDEF) fail(impl_->path, fmt::format("finding the place of \"{}\"", dataset));
  return address;
}

void Hdf5File::flush() {
  if (H5Fflush(impl_->file, H5F_SCOPE_LOCAL) < 0) fail(impl_->path, "flushing");
}

void Hdf5File::close() {
  hdf5::silence();
  if (!impl_->file.reset()) fail(impl_->path, "closing");
}

std::vector<std::byte> empty_hdf5_image() {
  const hdf5::Turn turn = hdf5::take_turn();
  hdf5::silence();
  const Hdf5Id access = hdf5::file_access();
  H5Pset_fapl_core(access, 1 << 16, false);  // in memory, never on disk
  Hdf5Id file(H5Fcreate("memory", H5F_ACC_TRUNC, H5P_DEFAULT, access), H5Fclose);
  std::vector<std::byte> image;
  if (file.valid() && H5Fflush(file, H5F_SCOPE_LOCAL) >= 0) {
    const ssize_t size = H5Fget_file_image(file, nullptr, 0);
    if (size > 0) {
      image.resize(static_cast<std::size_t>(size));
      if (H5Fget_file_image(file, image.data(), image.size()) != size) image.clear();
    }
  }
  if (image.empty()) throw RunError(fmt::format("[hdf5] an empty file must be creatable in memory{}", hdf5::reason()));
  return image;
}

}  // namespace ivory
