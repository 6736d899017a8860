// Stands in for kernels/cuda where Ivory is built without CUDA, so that no other file needs to know.
#include "ivory/device.hpp"
#include "ivory/error.hpp"

namespace ivory {
namespace {

constexpr const char* reason = "this program was built without CUDA";

}  // namespace

CudaDevices cuda_devices() { return {.count = 0, .reason = reason, .built = false}; }

std::unique_ptr<Device> make_cuda_device(int, ProductPrecision) {
  throw InputError(std::string("[device] a GPU needs a program built with CUDA, ") + reason +
                   "; build with -Dcuda=enabled (docs/install.md), or use --device cpu");
}

}  // namespace ivory
