#include "src/data_common.hpp"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>
#include <map>
#include <system_error>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

namespace fs = std::filesystem;

struct PublicSource {
  std::string_view folder, text;
};
// "emnist" and "fashion" before "mnist", which they contain.
constexpr PublicSource public_sources[] = {
    {"fashion", "Fashion-MNIST: https://github.com/zalandoresearch/fashion-mnist"},
    {"emnist", "EMNIST: https://www.nist.gov/itl/products-and-services/emnist-dataset"},
    {"mnist", "MNIST: https://ossci-datasets.s3.amazonaws.com/mnist/"},
    {"digits", "digits: shipped in data/digits; its source is https://archive.ics.uci.edu/dataset/80"},
};

std::string public_source(std::string name) {
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
  std::string all;
  for (const PublicSource& source : public_sources) {
    if (name.find(source.folder) != std::string::npos) return std::string(source.text);
    all += (all.empty() ? "" : ", ") + std::string(source.text);
  }
  return all;
}

bool is_file(const fs::path& path) {
  std::error_code none;
  return fs::is_regular_file(path, none);
}

std::string full_path(const fs::path& path) {
  std::error_code none;
  const fs::path full = fs::absolute(path, none);
  return (none ? path : full).lexically_normal().string();
}

// Places may coincide: the source tree is often the working directory.
void add_once(std::vector<std::string>& lines, std::string line) {
  if (std::find(lines.begin(), lines.end(), line) == lines.end()) lines.push_back(std::move(line));
}

}  // namespace

std::string written_at(const Options& options, std::string_view key) {
  return options.given(key) ? where(options.place(key)) : std::string();
}

std::uint64_t data_seed(const Scenario& scenario) {
  const auto own = static_cast<std::uint64_t>(scenario.data.integer("seed"));
  return own != 0 ? own : scenario.seed;
}

std::vector<fs::path> search_places(const Scenario& scenario, const fs::path& path) {
  if (path.is_absolute()) return {fs::path()};
  std::vector<fs::path> places = {fs::path(scenario.file).parent_path()};
  if (const char* folder = std::getenv("IVORY_DATA_DIR"); folder != nullptr && *folder != '\0')
    places.emplace_back(folder);
  places.emplace_back("data");
  places.emplace_back(".");  // what --set names is seen from here
#ifdef IVORY_SOURCE_DIR
  places.push_back(fs::path(IVORY_SOURCE_DIR) / "data");
#endif
  return places;
}

fs::path find_data_file(const Scenario& scenario, std::string_view key) {
  const fs::path path = scenario.data.text(key);
  std::vector<std::string> looked;
  for (const fs::path& place : search_places(scenario, path)) {
    if (is_file(place / path)) return place / path;
    add_once(looked, full_path(place / path));
  }
  throw MissingFileError(fmt::format(
      "[data] {} must name an existing file, got \"{}\"{}; looked for\n  {}\n"
      "put the file in one of these places, or set IVORY_DATA_DIR to its folder; data/README.md says what it holds",
      key, path.string(), written_at(scenario.data, key), fmt::join(looked, "\n  ")));
}

std::vector<fs::path> find_data_files(const Scenario& scenario, std::string_view key,
                                      std::span<const std::string> files) {
  const fs::path directory = scenario.data.text(key);
  std::vector<std::string> looked;
  for (const fs::path& place : search_places(scenario, directory)) {
    std::vector<fs::path> found;
    std::vector<std::string> missing;
    for (const std::string& file : files) {
      const fs::path plain = place / directory / file;
      const fs::path packed = place / directory / (file + ".gz");
      if (is_file(plain) || is_file(packed)) {
        found.push_back(is_file(plain) ? plain : packed);
      } else {
        missing.push_back(file);
      }
    }
    if (missing.empty()) return found;
    std::error_code none;
    const bool exists = fs::is_directory(place / directory, none);
    add_once(looked, full_path(place / directory) +
                         (exists ? fmt::format(": no {}", fmt::join(missing, ", ")) : std::string(": no such folder")));
  }
  throw MissingFileError(
      fmt::format("[data] {} must be a folder with {} (each plain or .gz), got \"{}\"{}; looked in\n  {}\n"
                  "public download: {}; data/README.md says how to get each",
                  key, fmt::join(files, ", "), directory.string(), written_at(scenario.data, key),
                  fmt::join(looked, "\n  "), public_source(directory.string())));
}

std::int32_t checked_label(std::int64_t label, const std::string& file, std::size_t row, const std::string& position) {
  if (label < 0 || label >= max_classes) {
    throw InputError(fmt::format("[data] a label is a class number from 0 to {}, got {}, {} example {} ({})",
                                 max_classes - 1, label, file, row, position));
  }
  return static_cast<std::int32_t>(label);
}

void set_classes(DataSplit& data, std::int64_t given, const std::string& train_file, const std::string& test_file) {
  std::int32_t largest = 0;
  for (const Dataset* part : {&data.train, &data.test}) {
    for (std::size_t i = 0; i < part->size(); ++i) {
      largest = std::max(largest, part->labels[i]);
      if (given > 0 && part->labels[i] >= given) {
        throw InputError(
            fmt::format("[data] labels must be below classes = {}, got {}, {} example {}; leave classes out to "
                        "take it from the data",
                        given, part->labels[i], part == &data.train ? train_file : test_file, i));
      }
    }
  }
  data.train.classes = data.test.classes = given > 0 ? static_cast<int>(given) : largest + 1;
}

void check_finite(const Dataset& data, const std::string& what) {
  constexpr std::size_t block = 4096;
  for (std::size_t begin = 0; begin < data.x.size(); begin += block) {
    const std::size_t end = std::min(begin + block, data.x.size());
    // x - x is NaN for NaN and infinities and 0 otherwise; the sum keeps the loop free of branches.
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = begin; i < end; ++i) sum += data.x[i] - data.x[i];
    if (sum == 0.0F) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(data.x[i])) {
        throw InputError(fmt::format("[data] inputs must be finite numbers, got {}, {} row {} column {}", data.x[i],
                                     what, i / data.features, i % data.features));
      }
    }
  }
}

void check_memory(double values, const std::string& what) {
  const double machine = static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
  const double bytes = values * static_cast<double>(sizeof(float));
  if (machine > 0 && bytes > machine) {
    throw InputError(
        fmt::format("[memory] a run must fit into memory, got {:.3g} GB on a machine with {:.3g} GB for {}",
                    bytes * 1e-9, machine * 1e-9, what));
  }
}

std::vector<std::uint8_t> draw_fraction(const Dataset& data, double fraction, StreamReader reader) {
  const std::size_t n = data.size();
  std::vector<std::uint8_t> marked(n, 0);
  if (n < 2) return marked;
  const auto wanted =
      std::clamp<std::size_t>(static_cast<std::size_t>(std::llround(fraction * static_cast<double>(n))), 1, n - 1);
  std::map<std::int32_t, std::size_t> left;
  for (const std::int32_t client : data.client) ++left[client];

  std::vector<std::uint32_t> order(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
  reader.shuffle(order.begin(), n);
  std::size_t taken = 0;
  for (std::size_t i = 0; i < n && taken < wanted; ++i) {
    if (!data.client.empty()) {
      std::size_t& rest = left[data.client[order[i]]];
      if (rest == 1) continue;
      --rest;
    }
    marked[order[i]] = 1;
    ++taken;
  }
  return marked;
}

Dataset take_out(Dataset& data, const std::vector<std::uint8_t>& marked) {
  Dataset out;
  out.features = data.features;
  out.classes = data.classes;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < marked.size(); ++i) {
    const auto row = data.x.begin() + static_cast<std::ptrdiff_t>(i * data.features);
    const auto row_end = row + static_cast<std::ptrdiff_t>(data.features);
    if (marked[i] != 0) {
      out.x.insert(out.x.end(), row, row_end);
      out.labels.push_back(data.labels[i]);
      if (!data.client.empty()) out.client.push_back(data.client[i]);
      continue;
    }
    if (kept != i) {
      std::copy(row, row_end, data.x.begin() + static_cast<std::ptrdiff_t>(kept * data.features));
      data.labels[kept] = data.labels[i];
      if (!data.client.empty()) data.client[kept] = data.client[i];
    }
    ++kept;
  }
  data.x.resize(kept * data.features);
  data.labels.resize(kept);
  if (!data.client.empty()) data.client.resize(kept);
  return out;
}

}  // namespace ivory
