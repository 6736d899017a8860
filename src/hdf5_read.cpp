// Reading datasets and attributes.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <new>
#include <optional>

#include "ivory/error.hpp"
#include "src/hdf5_detail.hpp"

namespace ivory {
namespace hdf5 {

template <>
hid_t native_of<float>() {
  return H5T_NATIVE_FLOAT;
}
template <>
hid_t native_of<double>() {
  return H5T_NATIVE_DOUBLE;
}
template <>
hid_t native_of<std::int8_t>() {
  return H5T_NATIVE_INT8;
}
template <>
hid_t native_of<std::uint8_t>() {
  return H5T_NATIVE_UINT8;
}
template <>
hid_t native_of<std::int32_t>() {
  return H5T_NATIVE_INT32;
}
template <>
hid_t native_of<std::int64_t>() {
  return H5T_NATIVE_INT64;
}
template <>
hid_t native_of<std::uint64_t>() {
  return H5T_NATIVE_UINT64;
}

}  // namespace hdf5

namespace {

bool is_numeric(H5T_class_t kind) { return kind == H5T_INTEGER || kind == H5T_FLOAT || kind == H5T_ENUM; }

std::string kind_name(H5T_class_t kind) {
  switch (kind) {
    case H5T_STRING:
      return "text";
    case H5T_COMPOUND:
      return "records (compound)";
    case H5T_REFERENCE:
      return "references";
    case H5T_VLEN:
      return "variable-length lists";
    case H5T_ARRAY:
      return "arrays as elements";
    case H5T_OPAQUE:
      return "opaque bytes";
    case H5T_BITFIELD:
      return "bit fields";
    case H5T_TIME:
      return "time stamps";
    default:
      return "numbers";
  }
}

/// A dataset or an attribute: what is common to reading them.
struct Source {
  Hdf5Id id, type, space;
  std::vector<std::size_t> shape;
  std::string what;  // for messages: dataset "/x" of FILE
  bool attribute = false;

  H5T_class_t kind() const { return H5Tget_class(type); }
  bool read(hid_t memory_type, void* to, hid_t memory_space = H5S_ALL, hid_t file_space = H5S_ALL) const {
    if (attribute) return H5Aread(id, memory_type, to) >= 0;
    return H5Dread(id, memory_type, memory_space, file_space, H5P_DEFAULT, to) >= 0;
  }
};

std::vector<std::size_t> shape_of(hid_t space, const std::string& what) {
  if (H5Sget_simple_extent_type(space) == H5S_NULL) return {0};
  const int rank = H5Sget_simple_extent_ndims(space);
  if (rank < 0) throw InputError(fmt::format("[hdf5] {} is damaged{}", what, hdf5::reason()));
  std::vector<hsize_t> extents(static_cast<std::size_t>(rank));
  H5Sget_simple_extent_dims(space, extents.data(), nullptr);
  return {extents.begin(), extents.end()};
}

std::string list_names(const std::vector<std::string>& names) {
  if (names.empty()) return "nothing";
  constexpr std::size_t most = 12;
  std::string text;
  for (std::size_t i = 0; i < std::min(most, names.size()); ++i) {
    text += fmt::format("{}\"{}\"", i == 0 ? "" : ", ", names[i]);
  }
  if (names.size() > most) text += fmt::format(" and {} more", names.size() - most);
  return text;
}

std::string parent_of(const std::string& name) {
  const std::size_t slash = name.rfind('/');
  return slash == 0 ? "/" : name.substr(0, slash);
}

Source open_dataset(const Hdf5File& file, hid_t id, std::string_view dataset) {
  const std::string name = hdf5::absolute(dataset);
  if (!hdf5::exists(id, name, H5O_TYPE_DATASET)) {
    const std::string parent = parent_of(name);
    const std::string there = file.has_group(parent) ? list_names(file.datasets(parent)) : "no such group";
    throw InputError(fmt::format("[hdf5] there must be a dataset \"{}\", got none, in {}; {} holds {}", name,
                                 file.path(), parent, there));
  }
  Source source;
  source.what = fmt::format("dataset \"{}\" of {}", name, file.path());
  source.id = Hdf5Id(H5Dopen2(id, name.c_str(), H5P_DEFAULT), H5Dclose);
  if (source.id.valid()) source.type = Hdf5Id(H5Dget_type(source.id), H5Tclose);
  if (source.id.valid()) source.space = Hdf5Id(H5Dget_space(source.id), H5Sclose);
  if (!source.type.valid() || !source.space.valid()) {
    throw InputError(fmt::format("[hdf5] {} must be readable{}; the file is damaged", source.what, hdf5::reason()));
  }
  source.shape = shape_of(source.space, source.what);
  return source;
}

Source open_attribute(const Hdf5File& file, hid_t id, std::string_view object, std::string_view attribute) {
  const std::string name = hdf5::absolute(object);
  if (!file.has_attribute(name, attribute)) {
    throw InputError(
        fmt::format("[hdf5] \"{}\" must have an attribute \"{}\", got none, in {}", name, attribute, file.path()));
  }
  Source source;
  source.attribute = true;
  source.what = fmt::format("attribute \"{}\" of \"{}\" of {}", attribute, name, file.path());
  source.id =
      Hdf5Id(H5Aopen_by_name(id, name.c_str(), std::string(attribute).c_str(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  if (source.id.valid()) source.type = Hdf5Id(H5Aget_type(source.id), H5Tclose);
  if (source.id.valid()) source.space = Hdf5Id(H5Aget_space(source.id), H5Sclose);
  if (!source.type.valid() || !source.space.valid()) {
    throw InputError(fmt::format("[hdf5] {} must be readable{}; the file is damaged", source.what, hdf5::reason()));
  }
  source.shape = shape_of(source.space, source.what);
  return source;
}

/// A damaged or sparse file can claim any shape: more than the machine's memory is refused before it is asked for.
std::size_t checked_count(const std::vector<std::size_t>& shape, std::size_t bytes_each, const std::string& what) {
  const auto memory =
      static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  std::size_t count = 1;
  for (const std::size_t extent : shape) {
    if (extent != 0 && count > memory / bytes_each / extent) {
      throw InputError(fmt::format("[hdf5] {} must fit into memory, got shape [{}] against {} bytes", what,
                                   fmt::join(shape, ", "), memory));
    }
    count *= extent;
  }
  return count;
}

/// Damage can also claim a shape that fits into memory but not into the file, even compressed as far as it goes.
void check_stored(const Source& source, std::size_t count) {
  constexpr std::size_t worth_asking = std::size_t{1} << 26, most_compressed = 1100;
  const std::size_t bytes = count * H5Tget_size(source.type);
  if (source.attribute || bytes < worth_asking) return;
  const hsize_t stored = H5Dget_storage_size(source.id);
  if (stored > 0 && bytes / most_compressed > stored) {
    throw InputError(
        fmt::format("[hdf5] the values must be in the file, got shape [{}] and {} bytes, in {}; the file is damaged",
                    fmt::join(source.shape, ", "), stored, source.what));
  }
}

void need_numbers(const Source& source) {
  if (!is_numeric(source.kind())) {
    throw InputError(fmt::format("[hdf5] numbers are needed, got {}, in {}", kind_name(source.kind()), source.what));
  }
}

[[noreturn]] void fail_reading(const Source& source) {
  throw InputError(
      fmt::format("[hdf5] {} must be readable{}; the file is cut off or damaged", source.what, hdf5::reason()));
}

template <class T>
Hdf5Array<T> read_numbers(const Source& source) {
  need_numbers(source);
  Hdf5Array<T> out{source.shape, {}};
  const std::size_t count = checked_count(source.shape, sizeof(T), source.what);
  check_stored(source, count);
  out.values.resize(count);
  if (!out.values.empty() && !source.read(hdf5::native_of<T>(), out.values.data())) fail_reading(source);
  return out;
}

std::vector<std::string> read_variable_strings(const Source& source, std::size_t count) {
  Hdf5Id type = hdf5::text_type(1);
  H5Tset_size(type, H5T_VARIABLE);
  H5Tset_cset(type, H5Tget_cset(source.type));
  std::vector<char*> pointers(count, nullptr);
  if (!source.read(type, pointers.data())) fail_reading(source);
  std::vector<std::string> out;
  for (const char* text : pointers) out.emplace_back(text != nullptr ? text : "");
  H5Dvlen_reclaim(type, source.space, H5P_DEFAULT, pointers.data());
  return out;
}

std::vector<std::string> read_fixed_strings(const Source& source, std::size_t count) {
  const std::size_t length = H5Tget_size(source.type);
  if (length == 0) fail_reading(source);
  std::vector<std::size_t> with_length = source.shape;
  with_length.push_back(length);
  std::string bytes(checked_count(with_length, 1, source.what), '\0');
  if (!source.read(source.type, bytes.data())) fail_reading(source);
  const bool space_padded = H5Tget_strpad(source.type) == H5T_STR_SPACEPAD;
  std::vector<std::string> out;
  for (std::size_t i = 0; i < count; ++i) {
    std::string text = bytes.substr(i * length, length);
    text.resize(std::min(text.size(), text.find('\0')));
    if (space_padded) text.resize(text.find_last_not_of(' ') + 1);
    out.push_back(std::move(text));
  }
  return out;
}

std::vector<std::string> read_strings(const Source& source) {
  if (source.kind() != H5T_STRING) {
    throw InputError(fmt::format("[hdf5] text is needed, got {}, in {}", kind_name(source.kind()), source.what));
  }
  const std::size_t count = checked_count(source.shape, sizeof(char*), source.what);
  if (count == 0) return {};
  return H5Tis_variable_str(source.type) > 0 ? read_variable_strings(source, count) : read_fixed_strings(source, count);
}

template <class T>
T one_value(const Source& source) {
  const Hdf5Array<T> read = read_numbers<T>(source);
  if (read.values.size() != 1) {
    throw InputError(fmt::format("[hdf5] one value is needed, got {}, in {}", read.values.size(), source.what));
  }
  return read.values.front();
}

template <class T>
T one_integer(const Source& source) {
  if (source.kind() == H5T_FLOAT) {
    throw InputError(fmt::format("[hdf5] an integer is needed, got a real number, in {}", source.what));
  }
  return one_value<T>(source);
}

}  // namespace

std::vector<std::size_t> Hdf5File::shape(std::string_view dataset) const {
  return open_dataset(*this, impl_->file, dataset).shape;
}

bool Hdf5File::is_integer(std::string_view dataset) const {
  const H5T_class_t kind = open_dataset(*this, impl_->file, dataset).kind();
  return kind == H5T_INTEGER || kind == H5T_ENUM;
}

bool Hdf5File::is_text(std::string_view dataset) const {
  return open_dataset(*this, impl_->file, dataset).kind() == H5T_STRING;
}

template <class T>
Hdf5Array<T> Hdf5File::read(std::string_view dataset) const {
  return read_numbers<T>(open_dataset(*this, impl_->file, dataset));
}

namespace {

template <class T>
Hdf5Array<T> read_selected(const Source& source, const std::vector<std::size_t>& first,
                           const std::vector<std::size_t>& shape) {
  Hdf5Array<T> out{shape, {}};
  out.values.resize(checked_count(out.shape, sizeof(T), source.what));
  if (out.values.empty()) return out;
  const std::vector<hsize_t> start(first.begin(), first.end()), extent(shape.begin(), shape.end());
  const Hdf5Id memory = hdf5::space_of(out.shape);
  if (H5Sselect_hyperslab(source.space, H5S_SELECT_SET, start.data(), nullptr, extent.data(), nullptr) < 0 ||
      !source.read(hdf5::native_of<T>(), out.values.data(), memory, source.space)) {
    fail_reading(source);
  }
  return out;
}

}  // namespace

template <class T>
Hdf5Array<T> Hdf5File::read_rows(std::string_view dataset, std::size_t first, std::size_t count) const {
  const Source source = open_dataset(*this, impl_->file, dataset);
  need_numbers(source);
  if (source.shape.empty() || first > source.shape[0] || count > source.shape[0] - first) {
    throw InputError(fmt::format("[hdf5] rows {} to {} must exist, got shape [{}], in {}", first, first + count,
                                 fmt::join(source.shape, ", "), source.what));
  }
  std::vector<std::size_t> start(source.shape.size(), 0), shape = source.shape;
  start[0] = first;
  shape[0] = count;
  return read_selected<T>(source, start, shape);
}

template <class T>
Hdf5Array<T> Hdf5File::read_part(std::string_view dataset, const std::vector<std::size_t>& first,
                                 const std::vector<std::size_t>& count) const {
  const Source source = open_dataset(*this, impl_->file, dataset);
  need_numbers(source);
  bool inside = first.size() == source.shape.size() && count.size() == first.size() && !first.empty();
  for (std::size_t axis = 0; inside && axis < first.size(); ++axis) {
    inside = first[axis] <= source.shape[axis] && count[axis] <= source.shape[axis] - first[axis];
  }
  if (!inside) {
    throw InputError(fmt::format("[hdf5] a part must be inside of the dataset, got [{}] from [{}], shape [{}], in {}",
                                 fmt::join(count, ", "), fmt::join(first, ", "), fmt::join(source.shape, ", "),
                                 source.what));
  }
  return read_selected<T>(source, first, count);
}

template Hdf5Array<float> Hdf5File::read(std::string_view) const;
template Hdf5Array<double> Hdf5File::read(std::string_view) const;
template Hdf5Array<std::int8_t> Hdf5File::read(std::string_view) const;
template Hdf5Array<std::uint8_t> Hdf5File::read(std::string_view) const;
template Hdf5Array<std::int32_t> Hdf5File::read(std::string_view) const;
template Hdf5Array<std::int64_t> Hdf5File::read(std::string_view) const;
template Hdf5Array<std::uint64_t> Hdf5File::read(std::string_view) const;
template Hdf5Array<float> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<double> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<std::int8_t> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<std::uint8_t> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<std::int32_t> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<std::int64_t> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<std::uint64_t> Hdf5File::read_rows(std::string_view, std::size_t, std::size_t) const;
template Hdf5Array<float> Hdf5File::read_part(std::string_view, const std::vector<std::size_t>&,
                                              const std::vector<std::size_t>&) const;
template Hdf5Array<double> Hdf5File::read_part(std::string_view, const std::vector<std::size_t>&,
                                               const std::vector<std::size_t>&) const;

std::vector<std::string> Hdf5File::read_text(std::string_view dataset) const {
  return read_strings(open_dataset(*this, impl_->file, dataset));
}

std::int64_t Hdf5File::integer(std::string_view object, std::string_view attribute) const {
  return one_integer<std::int64_t>(open_attribute(*this, impl_->file, object, attribute));
}

std::uint64_t Hdf5File::natural(std::string_view object, std::string_view attribute) const {
  return one_integer<std::uint64_t>(open_attribute(*this, impl_->file, object, attribute));
}

double Hdf5File::real(std::string_view object, std::string_view attribute) const {
  return one_value<double>(open_attribute(*this, impl_->file, object, attribute));
}

std::vector<double> Hdf5File::reals(std::string_view object, std::string_view attribute) const {
  return read_numbers<double>(open_attribute(*this, impl_->file, object, attribute)).values;
}

std::string Hdf5File::text(std::string_view object, std::string_view attribute) const {
  const Source source = open_attribute(*this, impl_->file, object, attribute);
  std::vector<std::string> texts = read_strings(source);
  if (texts.size() != 1) {
    throw InputError(fmt::format("[hdf5] one value is needed, got {}, in {}", texts.size(), source.what));
  }
  return std::move(texts.front());
}

}  // namespace ivory
