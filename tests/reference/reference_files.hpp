// The golden reference files: where they lie, reading them, and their measure of agreement. Every size, seed and hyperparameter
// comes from the files, so that another folder of the same structure can be tested with IVORY_REFERENCE_DIR.
#pragma once
#include <fmt/core.h>
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <vector>
#include "tests/support/boost_test.hpp"

#include "src/hdf5_file.hpp"

namespace ivory::test {

inline std::string reference_folder() {
  const char* const given = std::getenv("IVORY_REFERENCE_DIR");
  return given != nullptr && *given != '\0' ? given : IVORY_TEST_REFERENCE_DIR;
}

/// What is not tested is said, in the log and on the screen, never passed over.
inline void skipped(const std::string& what, const std::string& why) {
  fmt::print("SKIPPED: {}: {}\n", what, why);
  BOOST_TEST_MESSAGE("SKIPPED: " << what << ": " << why);
}

/// False, for what is compared group by group and counted.
inline bool not_compared(const std::string& what, const std::string& why) {
  skipped(what, why);
  return false;
}

/// The file, or nothing (said visibly) where another folder lacks it. Our own folder has every file.
inline std::optional<Hdf5File> open_reference(const std::string& name) {
  const std::string path = reference_folder() + "/" + name;
  if (!std::filesystem::exists(path) && std::getenv("IVORY_REFERENCE_DIR") != nullptr) {
    skipped(name, "not in " + reference_folder());
    return std::nullopt;
  }
  return Hdf5File::open(path);
}

inline bool flag(const Hdf5File& file, const std::string& group, const std::string& name) {
  return file.integer(group, name) != 0;
}

/// A group that holds one configuration: every group but the shared problem.
inline std::vector<std::string> configurations(const Hdf5File& file) {
  std::vector<std::string> names = file.groups("/");
  names.erase(std::remove(names.begin(), names.end(), "problem"), names.end());
  return names;
}

/// float64: |x - ref| <= 1e-10 max(|ref|, 1e-3 max |ref| of the array); two independent implementations differ by at most
/// 7e-13 in this measure, and 1e-6 would hide a wrong step order. float32: |x - ref| <= 1e-4 max |ref| (observed: 3e-6).
template <class Real>
double disagreement(const std::vector<Real>& values, const std::vector<double>& reference) {
  if (values.size() != reference.size()) return std::numeric_limits<double>::infinity();
  double largest = 0.0;
  for (const double r : reference) largest = std::max(largest, std::fabs(r));
  double worst = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double difference = std::fabs(static_cast<double>(values[i]) - reference[i]);
    const double allowed =
        std::is_same_v<Real, float> ? 1e-4 * largest : 1e-10 * std::max(std::fabs(reference[i]), 1e-3 * largest);
    const double ratio = difference == 0.0 ? 0.0 : difference / allowed;
    if (!(ratio <= worst)) worst = ratio;  // NaN is the worst
    if (std::isnan(worst)) return std::numeric_limits<double>::infinity();
  }
  return worst;
}

/// Fails unless `values` agree with the dataset within the tolerance of their type.
template <class Real>
void check_against(const std::vector<Real>& values, const Hdf5File& file, const std::string& dataset) {
  const double worst = disagreement(values, file.read<double>(dataset).values);
  BOOST_TEST(worst <= 1.0, file.path() << ": " << dataset << ": " << worst << " times the tolerance");
}
template <class Real>
void check_value(Real value, double reference, const std::string& what) {
  const double worst = disagreement(std::vector<Real>{value}, {reference});
  BOOST_TEST(worst <= 1.0,
             what << ": " << value << " instead of " << reference << ", " << worst << " times the tolerance");
}

template <class Value>
void append(std::vector<Value>& to, const std::vector<Value>& values) {
  to.insert(to.end(), values.begin(), values.end());
}

}  // namespace ivory::test
