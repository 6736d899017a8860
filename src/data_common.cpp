#include "src/data_common.hpp"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"

namespace ivory {
std::string written_at(const Options& options, std::string_view key) {
  return options.given(key) ? where(options.place(key)) : std::string();
}

std::uint64_t data_seed(const Scenario& scenario) {
  const auto own = static_cast<std::uint64_t>(scenario.data.integer("seed"));
  return own != 0 ? own : scenario.seed;
}

std::int32_t checked_label(std::int64_t label, const std::string& place) {
  if (label < 0 || label >= max_classes) {
    throw InputError(
        fmt::format("[data] a label is a class number from 0 to {}, got {}, {}", max_classes - 1, label, place));
  }
  return static_cast<std::int32_t>(label);
}

std::int32_t checked_label(std::int64_t label, const std::string& file, std::size_t row, const std::string& position) {
  if (label >= 0 && label < max_classes) return static_cast<std::int32_t>(label);  // no text for every example
  return checked_label(label, fmt::format("{} example {} ({})", file, row, position));
}

std::string label_beyond(std::int64_t label, std::int64_t classes, const std::string& place) {
  return fmt::format("[data] labels must be below classes = {}, got {}, {}; leave classes out to take it from the data",
                     classes, label, place);
}

void set_classes(DataSplit& data, std::int64_t given, const std::string& train_file, const std::string& test_file) {
  std::int32_t largest = 0;
  for (const Dataset* part : {&data.train, &data.test}) {
    for (std::size_t i = 0; i < part->size(); ++i) {
      largest = std::max(largest, part->labels[i]);
      if (given > 0 && part->labels[i] >= given) {
        throw InputError(label_beyond(part->labels[i], given,
                                      fmt::format("{} example {}", part == &data.train ? train_file : test_file, i)));
      }
    }
  }
  data.train.classes = data.test.classes = given > 0 ? static_cast<int>(given) : largest + 1;
}

std::size_t first_not_finite(const Dataset& data) {
  constexpr std::size_t block = 4096;
  for (std::size_t begin = 0; begin < data.x.size(); begin += block) {
    const std::size_t end = std::min(begin + block, data.x.size());
    // x - x is NaN for NaN and infinities and 0 otherwise; the sum keeps the loop free of branches.
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (std::size_t i = begin; i < end; ++i) sum += data.x[i] - data.x[i];
    if (sum == 0.0F) continue;
    for (std::size_t i = begin; i < end; ++i) {
      if (!std::isfinite(data.x[i])) return i;
    }
  }
  return data.x.size();
}

void check_finite(const Dataset& data, const std::string& what) {
  const std::size_t bad = first_not_finite(data);
  if (bad == data.x.size()) return;
  throw InputError(fmt::format("[data] inputs must be finite numbers, got {}, {} row {} column {}", data.x[bad], what,
                               bad / data.features, bad % data.features));
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

void check_growth(const std::vector<float>& x, std::size_t more, const std::string& file) {
  if (x.size() + more <= x.capacity()) return;
  check_memory(static_cast<double>(std::max(x.size() + more, 2 * x.capacity())), "the values of " + file);
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

Shape shape_of_example(std::span<const std::size_t> extents) {
  if (extents.size() == 3) return {1, extents[1], extents[2]};
  if (extents.size() == 4) return {extents[1], extents[2], extents[3]};
  std::size_t features = 1;
  for (std::size_t d = 1; d < extents.size(); ++d) features *= extents[d];
  return {features};
}

Dataset empty_like(const Dataset& data) {
  Dataset out;
  out.features = data.features;
  out.classes = data.classes;
  out.shape = data.shape;
  out.outputs = data.outputs;
  return out;
}

Dataset subset(const Dataset& data, std::span<const std::uint32_t> rows) {
  Dataset out = empty_like(data);
  for_columns(out, data, [rows](auto& to, const auto& from, std::size_t width) {
    to.reserve(rows.size() * width);
    for (const std::uint32_t row : rows) {
      const auto begin = from.begin() + static_cast<std::ptrdiff_t>(row * width);
      to.insert(to.end(), begin, begin + static_cast<std::ptrdiff_t>(width));
    }
  });
  return out;
}

void keep_first(Dataset& data, std::size_t examples) {
  for_columns(data, data, [examples](auto& column, const auto&, std::size_t width) {
    column.resize(examples * width);
    column.shrink_to_fit();
  });
}

Dataset take_out(Dataset& data, const std::vector<std::uint8_t>& marked) {
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < marked.size(); ++i) {
    if (marked[i] != 0) rows.push_back(static_cast<std::uint32_t>(i));
  }
  Dataset out = subset(data, rows);
  for_columns(data, data, [&marked](auto& column, const auto&, std::size_t width) {
    auto end = column.begin();
    for (std::size_t i = 0; i < marked.size(); ++i) {
      if (marked[i] != 0) continue;
      const auto begin = column.begin() + static_cast<std::ptrdiff_t>(i * width);
      end = end == begin ? begin + static_cast<std::ptrdiff_t>(width)
                         : std::copy(begin, begin + static_cast<std::ptrdiff_t>(width), end);
    }
    column.erase(end, column.end());
  });
  return out;
}

std::int32_t NameNumbers::operator()(const std::string& name) {
  return numbers_.try_emplace(name, static_cast<std::int32_t>(numbers_.size())).first->second;
}

void refuse_test_fraction(const Options& options, std::string_view beside) {
  // A resolved scenario spells out the default; it must read back.
  if (!options.given("test_fraction") || options.real("test_fraction") == default_test_fraction) return;
  throw InputError(
      fmt::format("[data] test_fraction is for data without a test set, got it beside {}{}; drop one of them", beside,
                  written_at(options, "test_fraction")));
}

void split_test(DataSplit& data, const Scenario& scenario) {
  const StreamReader reader(data_seed(scenario),
                            {.purpose = Purpose::data, .sample = static_cast<std::uint64_t>(DataDraw::test_split)});
  data.test = take_out(data.train, draw_fraction(data.train, scenario.data.real("test_fraction"), reader));
}

}  // namespace ivory
