// Compiled while the build is configured: can this nvcc, with this host compiler, compile Ivory for the GPUs asked for?
#include <cublasLt.h>
#include <cuda_runtime.h>

#include <concepts>

#if CUDART_VERSION < 12000
#error "CUDA 12 or later is needed"
#endif

template <std::integral T>
__global__ void probe(T* value) {
  *value += 1;
}
template __global__ void probe<int>(int*);
