// Detection of out-of-distribution inputs in a comparison: shown where some log has such data.
#pragma once
#include <string>
#include <vector>

#include "src/compare_groups.hpp"

namespace ivory {

bool has_detection(const std::vector<ArmGroup>& arms);

/// The block of the text; empty where no log has such data.
std::string detection_block(const std::vector<ArmGroup>& arms);

}  // namespace ivory
