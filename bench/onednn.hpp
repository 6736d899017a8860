// The convolution library that ours is measured against, where it was found at configuration (oneDNN 2 or 3).
#pragma once
#include <functional>
#include <string>

#include "ivory/convolution.hpp"

namespace ivory::bench {

/// "oneDNN 2.6.3"; empty where there is none.
std::string convolution_library();

/// One pass of a convolution by the library, for so many examples of float32 on one thread, in the layout of its choice (nothing
/// is copied from or to ours); the algorithm is the direct one unless `any_algorithm`. Null where there is no library.
std::function<void()> library_convolution(const ConvolutionShape& shape, Convolution<float>::Pass pass,
                                          std::size_t examples, bool any_algorithm = false);

}  // namespace ivory::bench
