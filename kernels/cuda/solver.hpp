// Cholesky factors by cuSOLVER and triangular solves by cuBLAS, in double.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

namespace ivory::cuda {

/// The solver of one lane; its libraries are loaded when it is made.
class Solver {
 public:
  /// Throws InputError where a library is not found.
  explicit Solver(cudaStream_t stream);
  ~Solver();

  /// As Device::cholesky. `work` of work_bytes(n) is on the device. Waits.
  bool cholesky(double* matrix, std::size_t n, void* work);
  std::size_t work_bytes(std::size_t n) const;
  /// As Device::solve_triangular. Asynchronous.
  void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivory::cuda
