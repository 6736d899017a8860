// The narrow waist: a device knows memory, matrix products and running a functor over n indices (elementwise.hpp), and on the CPU
// convolutions, which lose too much as products there. It names no layer, optimizer or algorithm. One Device object is one lane of
// work: it is used by one host thread at a time.
#pragma once
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "ivory/convolution.hpp"

namespace ivory {

class Accelerator;  // launch.hpp

/// C[b] = op(A[b]) * op(B[b]) (+ C[b] when `accumulate`) for b in [0, count), all matrices row-major.
/// op(A) is [m x k], op(B) is [k x n], C is [m x n]; leading dimensions are row lengths in memory.
/// `live` (host, length `count`, may be null) limits for each b the dimension named by `live_dimension` to its first live[b]
/// entries, so that a product's shape depends on its client alone and never on its neighbours in the block.
template <class Real>
struct MatrixProduct {
  enum class Live { m, k };

  bool transpose_a = false, transpose_b = false, accumulate = false;
  std::size_t m = 0, n = 0, k = 0;
  const Real* a = nullptr;
  const Real* b = nullptr;
  Real* c = nullptr;
  std::size_t lda = 0, ldb = 0, ldc = 0;
  std::size_t stride_a = 0, stride_b = 0, stride_c = 0;  // elements from one b to the next
  std::size_t count = 1;
  const int* live = nullptr;
  Live live_dimension = Live::m;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string describe() const = 0;
  /// How kernels reach a device with memory of its own; null on the CPU, where host pointers are device pointers.
  virtual Accelerator* accelerator() { return nullptr; }
  bool shares_host_memory() { return accelerator() == nullptr; }

  /// At least 64-byte aligned. Throws MemoryError with the number of bytes when there is no memory.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void upload(void* device_to, const void* host_from, std::size_t bytes) = 0;
  virtual void download(void* host_to, const void* device_from, std::size_t bytes) = 0;
  virtual void clear(void* memory, std::size_t bytes) = 0;               // all bytes zero
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;  // within the device
  /// True when kernels of this device may read the other's memory at full speed: they are lanes of one device.
  virtual bool shares_memory_with(const Device& /*other*/) const { return true; }
  /// Copies from one device's memory to another's in this lane; one of them is this device.
  virtual void transfer(Device& /*to_device*/, void* to, Device& /*from_device*/, const void* from, std::size_t bytes) {
    copy(to, from, bytes);
  }

  virtual void multiply(const MatrixProduct<float>& product) = 0;
  virtual void multiply(const MatrixProduct<double>& product) = 0;

  /// Runs a convolution where the device has them; false: it has none, and products must do.
  virtual bool convolve(const Convolution<float>& /*convolution*/) { return false; }
  virtual bool convolve(const Convolution<double>& /*convolution*/) { return false; }

  /// Puts the lower Cholesky factor L of a symmetric matrix [n x n], row-major, into its lower triangle; above the diagonal
  /// anything may be left. False where the matrix is not positive definite (or not finite). Waits; not for repeated steps.
  virtual bool cholesky(double* matrix, std::size_t n) = 0;
  /// x := L^-1 x, or L^-T x where `transpose`; x is [n x columns], row-major. Not for repeated steps.
  virtual void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n,
                                std::size_t columns) = 0;

  /// Calls step(t) for t in [0, count), whose operations must be the same ones in the same order for every t: only the functors'
  /// contents may differ. An accelerator may record them once and replay them; so a step never allocates, uploads or downloads.
  virtual void repeat(std::uint64_t count, const std::function<void(std::uint64_t)>& step) {
    for (std::uint64_t t = 0; t < count; ++t) step(t);
  }

  /// Waits until all work is done; work of an accelerator is asynchronous, and its failures show here or at a download.
  virtual void synchronise() {}
  /// From now on (or no longer) the lane measures how long it works; benchmarks use it.
  virtual void measure_work(bool /*on*/) {}
  /// Seconds spent in this lane's work since measure_work(true), without the gaps in which it waited for the host; 0 where the
  /// device cannot tell. Waits until all work is done.
  virtual double seconds_at_work() { return 0; }
  /// Bytes that could be allocated now; the largest number where the device does not say.
  virtual std::size_t free_memory() const { return static_cast<std::size_t>(-1); }
};

/// How an accelerator's float32 products are calculated; the others are faster and less exact, and taken only when asked for.
enum class ProductPrecision { float32, tf32, bfloat16 };

/// The NVIDIA GPUs that can be used; `reason` says what was found where there is none.
struct CudaDevices {
  int count = 0;
  std::string reason;
  bool built = true;  // false: this program has no CUDA in it
};
CudaDevices cuda_devices();

std::unique_ptr<Device> make_cpu_device();
/// One lane of GPU `index`. Throws InputError where there is no such GPU, its capability is too low, or a library is missing.
std::unique_ptr<Device> make_cuda_device(int index, ProductPrecision precision);

}  // namespace ivory
