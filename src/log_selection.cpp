#include "src/log_selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

bool belongs(const std::string& slice, const std::string& name) {
  return slice == name || slice.starts_with(name + ".");
}

// Layers and slices, as a user may write them.
std::vector<std::string> names_of(const ParameterLayout& layout) {
  std::vector<std::string> names;
  for (const ParameterSlice& slice : layout.slices()) {
    const std::string layer = slice.name.substr(0, slice.name.rfind('.'));
    if (std::find(names.begin(), names.end(), layer) == names.end()) names.push_back(layer);
  }
  for (const ParameterSlice& slice : layout.slices()) names.push_back(slice.name);
  return names;
}

}  // namespace

std::vector<ParameterRange> logged_parameters(const Scenario& scenario, const ParameterLayout& layout) {
  const std::vector<std::string>& wanted = scenario.log.texts("layers");
  for (const std::string& name : wanted) {
    const auto& slices = layout.slices();
    if (std::any_of(slices.begin(), slices.end(), [&](const auto& slice) { return belongs(slice.name, name); }))
      continue;
    throw InputError(fmt::format("[scenario] log.layers must name layers or slices of the network, got \"{}\"{}{}",
                                 name, where(scenario.log.place("layers")), suggestion(name, names_of(layout))));
  }
  std::vector<ParameterRange> ranges;
  for (const ParameterSlice& slice : layout.slices()) {
    const bool kept = wanted.empty() || std::any_of(wanted.begin(), wanted.end(),
                                                    [&](const std::string& name) { return belongs(slice.name, name); });
    if (!kept) continue;
    if (!ranges.empty() && ranges.back().begin + ranges.back().size == slice.offset) {
      ranges.back().size += slice.size;
    } else {
      ranges.push_back({slice.offset, slice.size});
    }
  }
  return ranges;
}

std::size_t size_of(const std::vector<ParameterRange>& ranges) {
  std::size_t size = 0;
  for (const ParameterRange& range : ranges) size += range.size;
  return size;
}

}  // namespace ivory
