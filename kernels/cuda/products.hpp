// Strided-batched matrix products by cuBLASLt, one fixed algorithm per shape.
#pragma once
#include <cuda_runtime_api.h>

#include <memory>

#include "ivory/device.hpp"

namespace ivory::cuda {

/// The products of one lane. cuBLASLt is loaded when the first is made: a program that stays on the CPU never needs it.
class Products {
 public:
  /// Throws InputError where the library is not found.
  explicit Products(ProductPrecision precision);
  ~Products();

  /// Asynchronous in `stream`. Throws RunError where the library refuses a shape.
  void multiply(const MatrixProduct<float>& product, cudaStream_t stream);
  void multiply(const MatrixProduct<double>& product, cudaStream_t stream);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivory::cuda
