// Grouped convolutions by cuDNN, a group per client: it has no batch of filters per client, and this is the nearest thing to it. A
// bench compares ours with them on a GPU; nothing else needs the library, which is opened where it is found.
#pragma once
#include <functional>
#include <string>

#include "ivory/convolution.hpp"

namespace ivory::bench {

/// "cuDNN 9.13.0", or why there is none.
struct GroupedLibrary {
  std::string name, reason;
};
GroupedLibrary grouped_library();

/// One pass of all clients' convolutions as one grouped convolution [examples x (clients * channels) x height x width] of float32
/// without TF32, with the algorithm that the library itself found fastest for it. The layout is not ours, and nothing is copied from
/// or to ours. A call only starts the work; null where there is no library, or it has no algorithm for the shape.
std::function<void()> grouped_convolution(const ConvolutionShape& shape, Convolution<float>::Pass pass,
                                          std::size_t clients, std::size_t examples);
/// Waits until all started work is done.
void wait_for_grouped();

}  // namespace ivory::bench
