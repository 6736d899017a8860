// Checked CUDA calls: the failing expression is part of the message.
#pragma once
#include <cuda_runtime_api.h>

#include <string>

#include "ivory/error.hpp"

namespace ivory::cuda {

inline void check(cudaError_t status, const char* expression) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // errors that do not last are not reported a second time
  const std::string what =
      std::string("`") + expression + "` gave " + cudaGetErrorName(status) + " (" + cudaGetErrorString(status) + ")";
  if (status == cudaErrorMemoryAllocation) {
    throw MemoryError("[memory] the GPU must have room for what a run needs, " + what +
                      "; use smaller blocks (--block), or free the GPU's memory");
  }
  throw RunError("[cuda] a call must succeed, " + what);
}

}  // namespace ivory::cuda

#define IVORY_CUDA(expression) ::ivory::cuda::check((expression), #expression)
