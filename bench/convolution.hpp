#pragma once
#include "bench/federation.hpp"

namespace ivory::bench {

/// Convolutions on one thread, batch 64: ours, a matrix of patches with Eigen's products, and a convolution library; then a step
/// of the convolutional networks over the library's time for their convolutions.
void convolution(Report& report, int repetitions);

}  // namespace ivory::bench
