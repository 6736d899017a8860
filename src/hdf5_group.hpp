// Groups of the small HDF5 files that verbs write beside logs (docs/log-format.md).
#pragma once
#include <string>
#include <vector>

#include "src/hdf5_file.hpp"

namespace ivory {

/// A group whose datasets have units, a meaning and dimension scales, which are in the same group.
class Hdf5Group {
 public:
  Hdf5Group(Hdf5File& file, std::string group) : file_(file), group_(std::move(group)) { file_.make_group(group_); }

  template <class T>
  void scale(const std::string& name, const std::string& meaning, const std::vector<T>& values) {
    file_.write<T>(path(name), {values.size()}, values);
    describe(name, "1", meaning);
    file_.make_scale(path(name), name);
  }
  void count_scale(const std::string& name, const std::string& meaning, std::size_t count) {
    std::vector<std::int64_t> numbers(count);
    for (std::size_t i = 0; i < count; ++i) numbers[i] = static_cast<std::int64_t>(i);
    scale(name, meaning, numbers);
  }
  template <class T>
  void data(const std::string& name, const std::vector<std::string>& scales, const std::string& units,
            const std::string& meaning, const std::vector<T>& values) {
    std::vector<std::size_t> shape;
    for (const std::string& scale : scales) shape.push_back(file_.shape(path(scale)).front());
    file_.write<T>(path(name), shape, values);
    describe(name, units, meaning);
    for (std::size_t axis = 0; axis < scales.size(); ++axis) file_.attach_scale(path(name), axis, path(scales[axis]));
  }
  void texts(const std::string& name, const std::string& scale, const std::string& meaning,
             const std::vector<std::string>& values) {
    file_.write_text(path(name), values);
    describe(name, "1", meaning);
    file_.attach_scale(path(name), 0, path(scale));
  }

 private:
  std::string path(const std::string& name) const { return group_ + "/" + name; }
  void describe(const std::string& name, const std::string& units, const std::string& meaning) {
    file_.set_text(path(name), "units", units);
    file_.set_text(path(name), "long_name", meaning);
  }
  Hdf5File& file_;
  std::string group_;
};

/// Throws InputError, beginning with [tag], unless there is nothing at `path`, or an HDF5 file with this attribute: what a verb
/// writes replaces its own kind of file alone. `what` is in the plural.
void check_own_file(const std::string& tag, const std::string& what, const std::string& path,
                    const std::string& attribute);

}  // namespace ivory
