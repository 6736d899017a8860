#pragma once
#include "bench/federation.hpp"

namespace ivory::bench {

/// A round of the MNIST setting on the first GPU against its floor: bytes over the measured copy rate plus the measured time of
/// its matrix products; how busy the GPU was; and the same round on the CPU. Says so and measures nothing without a GPU.
void gpu(Report& report, int repetitions);

/// The convolutional layer on a GPU, every client with its own filters, against a library's grouped convolution (bench/cudnn.hpp).
void gpu_convolutions(Device& device, Report& report, int repetitions);

}  // namespace ivory::bench
