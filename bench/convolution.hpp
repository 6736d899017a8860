#pragma once
#include <vector>

#include "bench/federation.hpp"
#include "ivory/convolution.hpp"

namespace ivory::bench {

/// Those of the networks that are measured, with a name for the table.
struct NamedShape {
  const char* where;
  ConvolutionShape shape;
};
const std::vector<NamedShape>& convolution_shapes();
/// "by weight"
const char* name_of(Convolution<float>::Pass pass);

/// Convolutions on one thread, batch 64: ours, a matrix of patches with Eigen's products, and a convolution library; then a step
/// of the convolutional networks over the library's time for their convolutions.
void convolution(Report& report, int repetitions);

}  // namespace ivory::bench
