// Which devices a run uses: what --device says, or the best there is.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ivory/device.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// Makes one lane of an accelerator.
using DeviceMaker = std::function<std::unique_ptr<Device>(ProductPrecision)>;

struct DeviceChoice {
  std::vector<DeviceMaker> lanes;  // empty: the CPU
  std::string why_cpu;             // what kept `auto` from a GPU; else empty
};

/// `wish` is auto (or nothing), cpu, cuda (the first GPU), or GPUs by number: cuda:0 or cuda:0,cuda:1 (also cuda:0,1); one named twice gets
/// two lanes. Throws InputError for any other word and, except for auto, where there is no such GPU.
DeviceChoice choose_devices(const std::string& wish);

/// [clients] products.
ProductPrecision product_precision(const Scenario& scenario);

}  // namespace ivory
