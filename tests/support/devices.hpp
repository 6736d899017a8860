// The accelerators of a test program: IVORY_TEST_DEVICE says which family. Without a GPU the family cuda is empty, and the test
// is skipped, visibly and counted.
#pragma once
#include <cstdlib>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "src/devices.hpp"
#include "tests/support/emulated_device.hpp"

namespace ivory::test {

inline std::string device_family() {
  const char* const family = std::getenv("IVORY_TEST_DEVICE");
  return family != nullptr ? family : "emulated";
}

/// Where scenarios/ is: of the tree it was built in, or of a folder that the test was carried to.
inline std::string source_dir() {
  const char* const carried = std::getenv("IVORY_SOURCE_DIR");
  return carried != nullptr ? carried : IVORY_SOURCE_DIR;
}

/// Makers of lanes on `devices` different accelerators (on one GPU where there are fewer), `lanes` in all, in turn.
inline std::vector<DeviceMaker> lane_makers(std::size_t lanes, std::size_t devices = 1) {
  std::vector<DeviceMaker> makers;
  if (device_family() == "cuda") {
    const auto count = static_cast<std::size_t>(cuda_devices().count);
    for (std::size_t i = 0; i < lanes; ++i) {
      const int index = static_cast<int>(i % devices % std::max<std::size_t>(count, 1));
      makers.emplace_back([index](ProductPrecision precision) { return make_cuda_device(index, precision); });
    }
    return makers;
  }
  std::vector<std::shared_ptr<EmulatedMemory>> memories(devices);
  for (auto& memory : memories) memory = make_emulated_memory();
  for (std::size_t i = 0; i < lanes; ++i) {
    makers.emplace_back([memory = memories[i % devices]](ProductPrecision) { return make_emulated_device(memory); });
  }
  return makers;
}

}  // namespace ivory::test
