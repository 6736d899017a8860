// Which parameters a log keeps of each Gaussian ([log] layers).
#pragma once
#include <cstddef>
#include <vector>

#include "ivory/parameters.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// Of the flat parameter vector.
struct ParameterRange {
  std::size_t begin = 0, size = 0;
};

/// The slices that [log] layers names: a layer "0" is all slices whose names begin with "0.", a slice is its own name. Increasing,
/// neighbours joined; all parameters where the list is empty. Throws InputError for a name that the network does not have.
std::vector<ParameterRange> logged_parameters(const Scenario& scenario, const ParameterLayout& layout);

std::size_t size_of(const std::vector<ParameterRange>& ranges);

}  // namespace ivory
