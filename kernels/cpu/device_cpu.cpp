// The CPU as a device, and the run-time choice between instruction sets.
#include <cstdlib>
#include <cstring>
#include <new>
#include <string>
#include <string_view>

#include "ivory/device.hpp"
#include "ivory/elementwise.hpp"
#include "ivory/error.hpp"
#include "kernels/cpu/isa.hpp"

namespace ivory {

bool use_avx512() {
#if IVORY_HAS_AVX512_CLONES
  static const bool chosen = [] {
    const char* wish = std::getenv("IVORY_SIMD");
    if (wish != nullptr && std::string_view(wish) == "baseline") return false;
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("avx512cd");
  }();
  return chosen;
#else
  return false;
#endif
}

#if IVORY_HAS_AVX512_CLONES
#define IVORY_DISPATCH(call) (use_avx512() ? avx512::call : baseline::call)
#else
#define IVORY_DISPATCH(call) baseline::call
#endif

void fill_normals(const Stream& stream, std::uint64_t first_tile, std::size_t tiles, float* out) {
  IVORY_DISPATCH(fill_normals(stream, first_tile, tiles, out));
}

namespace {

constexpr std::align_val_t alignment{64};

class CpuDevice final : public Device {
 public:
  std::string describe() const override { return use_avx512() ? "cpu (avx512)" : "cpu (baseline)"; }

  void* allocate(std::size_t bytes) override {
    void* memory = ::operator new(bytes, alignment, std::nothrow);
    if (memory == nullptr) {
      throw MemoryError("[memory] the system must give the memory a run needs, it refused " + std::to_string(bytes) +
                        " bytes; use fewer threads or a smaller model");
    }
    return memory;
  }
  void release(void* memory) noexcept override { ::operator delete(memory, alignment); }
  void upload(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void download(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void clear(void* memory, std::size_t bytes) override { std::memset(memory, 0, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { std::memcpy(to, from, bytes); }
  void multiply(const MatrixProduct<float>& product) override { IVORY_DISPATCH(multiply(product)); }
  void multiply(const MatrixProduct<double>& product) override { IVORY_DISPATCH(multiply(product)); }
  bool convolve(const Convolution<float>& convolution) override {
    IVORY_DISPATCH(convolve(convolution));
    return true;
  }
  bool convolve(const Convolution<double>& convolution) override {
    IVORY_DISPATCH(convolve(convolution));
    return true;
  }
  bool cholesky(double* matrix, std::size_t n) override { return IVORY_DISPATCH(cholesky(matrix, n)); }
  void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns) override {
    IVORY_DISPATCH(solve_triangular(factor, transpose, x, n, columns));
  }
};

}  // namespace

std::unique_ptr<Device> make_cpu_device() { return std::make_unique<CpuDevice>(); }

}  // namespace ivory
