#include "bench/cudnn.hpp"

#if defined(IVORY_HAS_CUDNN)
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <fmt/format.h>

#include <array>
#include <memory>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/shared_library.hpp"

namespace ivory::bench {
namespace {

using Pass = Convolution<float>::Pass;

void succeed(cudnnStatus_t status, const char* what) {
  if (status == CUDNN_STATUS_SUCCESS) return;
  throw RunError(fmt::format("[bench] {} must succeed, it gave status {}", what, static_cast<int>(status)));
}

struct Library {
  Library() {
    library.load(version, "cudnnGetVersion");
    library.load(create, "cudnnCreate");
    library.load(create_tensor, "cudnnCreateTensorDescriptor");
    library.load(set_tensor, "cudnnSetTensor4dDescriptor");
    library.load(create_filter, "cudnnCreateFilterDescriptor");
    library.load(set_filter, "cudnnSetFilter4dDescriptor");
    library.load(create_convolution, "cudnnCreateConvolutionDescriptor");
    library.load(set_convolution, "cudnnSetConvolution2dDescriptor");
    library.load(set_groups, "cudnnSetConvolutionGroupCount");
    library.load(set_math, "cudnnSetConvolutionMathType");
    library.load(find_forward, "cudnnFindConvolutionForwardAlgorithm");
    library.load(find_by_input, "cudnnFindConvolutionBackwardDataAlgorithm");
    library.load(find_by_weight, "cudnnFindConvolutionBackwardFilterAlgorithm");
    library.load(forward, "cudnnConvolutionForward");
    library.load(by_input, "cudnnConvolutionBackwardData");
    library.load(by_weight, "cudnnConvolutionBackwardFilter");
    succeed(create(&handle), "cudnnCreate");
  }

  cuda::SharedLibrary library{IVORY_SONAME("cudnn", CUDNN_MAJOR), "grouped convolutions"};
  decltype(cudnnGetVersion)* version = nullptr;
  decltype(cudnnCreate)* create = nullptr;
  decltype(cudnnCreateTensorDescriptor)* create_tensor = nullptr;
  decltype(cudnnSetTensor4dDescriptor)* set_tensor = nullptr;
  decltype(cudnnCreateFilterDescriptor)* create_filter = nullptr;
  decltype(cudnnSetFilter4dDescriptor)* set_filter = nullptr;
  decltype(cudnnCreateConvolutionDescriptor)* create_convolution = nullptr;
  decltype(cudnnSetConvolution2dDescriptor)* set_convolution = nullptr;
  decltype(cudnnSetConvolutionGroupCount)* set_groups = nullptr;
  decltype(cudnnSetConvolutionMathType)* set_math = nullptr;
  decltype(cudnnFindConvolutionForwardAlgorithm)* find_forward = nullptr;
  decltype(cudnnFindConvolutionBackwardDataAlgorithm)* find_by_input = nullptr;
  decltype(cudnnFindConvolutionBackwardFilterAlgorithm)* find_by_weight = nullptr;
  decltype(cudnnConvolutionForward)* forward = nullptr;
  decltype(cudnnConvolutionBackwardData)* by_input = nullptr;
  decltype(cudnnConvolutionBackwardFilter)* by_weight = nullptr;
  cudnnHandle_t handle = nullptr;
};

// Kept until the program ends, with its handle.
Library& library() {
  static Library opened;
  return opened;
}

class Room {
 public:
  explicit Room(std::size_t bytes) {
    if (bytes == 0) return;
    IVORY_CUDA(cudaMalloc(&data_, bytes));
    IVORY_CUDA(cudaMemset(data_, 0, bytes));
  }
  ~Room() { (void)cudaFree(data_); }
  Room(const Room&) = delete;
  Room& operator=(const Room&) = delete;
  float* data() const { return static_cast<float*>(data_); }

 private:
  void* data_ = nullptr;
};

// The descriptors live as long as the process; there are a few dozen of them.
class Grouped {
 public:
  Grouped(const ConvolutionShape& s, std::size_t clients, std::size_t examples)
      : x_(clients * examples * s.inputs() * sizeof(float)), y_(clients * examples * s.results() * sizeof(float)),
        w_(clients * s.weights() * sizeof(float)) {
    const auto n = [](std::size_t extent) { return static_cast<int>(extent); };
    succeed(l_.create_tensor(&input_), "cudnnCreateTensorDescriptor");
    succeed(l_.create_tensor(&output_), "cudnnCreateTensorDescriptor");
    succeed(l_.create_filter(&filter_), "cudnnCreateFilterDescriptor");
    succeed(l_.create_convolution(&convolution_), "cudnnCreateConvolutionDescriptor");
    succeed(l_.set_tensor(input_, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n(examples), n(clients * s.channels),
                          n(s.height), n(s.width)),
            "cudnnSetTensor4dDescriptor");
    succeed(l_.set_tensor(output_, CUDNN_TENSOR_NCHW, CUDNN_DATA_FLOAT, n(examples), n(clients * s.outputs),
                          n(s.out_height()), n(s.out_width())),
            "cudnnSetTensor4dDescriptor");
    succeed(l_.set_filter(filter_, CUDNN_DATA_FLOAT, CUDNN_TENSOR_NCHW, n(clients * s.outputs), n(s.channels),
                          n(s.kernel), n(s.kernel)),
            "cudnnSetFilter4dDescriptor");
    succeed(l_.set_convolution(convolution_, n(s.padding), n(s.padding), n(s.stride), n(s.stride), 1, 1,
                               CUDNN_CROSS_CORRELATION, CUDNN_DATA_FLOAT),
            "cudnnSetConvolution2dDescriptor");
    succeed(l_.set_groups(convolution_, n(clients)), "cudnnSetConvolutionGroupCount");
    succeed(l_.set_math(convolution_, CUDNN_FMA_MATH), "cudnnSetConvolutionMathType");
  }

  // False where the library has no algorithm for the shape.
  bool choose(Pass pass) {
    pass_ = pass;
    std::size_t bytes = 0;
    const auto fastest = [&](auto& found, auto& algorithm, const auto& find) {
      int count = 0;
      if (find(&count) != CUDNN_STATUS_SUCCESS || count == 0) return false;
      if (found[0].status != CUDNN_STATUS_SUCCESS) return false;
      algorithm = found[0].algo;
      bytes = found[0].memory;
      return true;
    };
    constexpr int most = 8;
    bool good = false;
    if (pass == Pass::forward) {
      std::array<cudnnConvolutionFwdAlgoPerf_t, most> found;
      good = fastest(found, forward_, [&](int* count) {
        return l_.find_forward(l_.handle, input_, filter_, convolution_, output_, most, count, found.data());
      });
    } else if (pass == Pass::by_input) {
      std::array<cudnnConvolutionBwdDataAlgoPerf_t, most> found;
      good = fastest(found, by_input_, [&](int* count) {
        return l_.find_by_input(l_.handle, filter_, output_, convolution_, input_, most, count, found.data());
      });
    } else {
      std::array<cudnnConvolutionBwdFilterAlgoPerf_t, most> found;
      good = fastest(found, by_weight_, [&](int* count) {
        return l_.find_by_weight(l_.handle, input_, output_, convolution_, filter_, most, count, found.data());
      });
    }
    if (!good) return false;
    work_ = std::make_unique<Room>(bytes);
    work_bytes_ = bytes;
    return true;
  }

  void run() const {
    const float one = 1.0F, zero = 0.0F;
    switch (pass_) {
      case Pass::forward:
        return succeed(l_.forward(l_.handle, &one, input_, x_.data(), filter_, w_.data(), convolution_, forward_,
                                  work_->data(), work_bytes_, &zero, output_, y_.data()),
                       "cudnnConvolutionForward");
      case Pass::by_input:
        return succeed(l_.by_input(l_.handle, &one, filter_, w_.data(), output_, y_.data(), convolution_, by_input_,
                                   work_->data(), work_bytes_, &zero, input_, x_.data()),
                       "cudnnConvolutionBackwardData");
      case Pass::by_weight:
        return succeed(l_.by_weight(l_.handle, &one, input_, x_.data(), output_, y_.data(), convolution_, by_weight_,
                                    work_->data(), work_bytes_, &zero, filter_, w_.data()),
                       "cudnnConvolutionBackwardFilter");
    }
  }

 private:
  Library& l_ = library();
  Room x_, y_, w_;
  std::unique_ptr<Room> work_;
  std::size_t work_bytes_ = 0;
  Pass pass_ = Pass::forward;
  cudnnTensorDescriptor_t input_ = nullptr, output_ = nullptr;
  cudnnFilterDescriptor_t filter_ = nullptr;
  cudnnConvolutionDescriptor_t convolution_ = nullptr;
  cudnnConvolutionFwdAlgo_t forward_{};
  cudnnConvolutionBwdDataAlgo_t by_input_{};
  cudnnConvolutionBwdFilterAlgo_t by_weight_{};
};

}  // namespace

GroupedLibrary grouped_library() {
  try {
    const auto version = static_cast<int>(library().version());
    return {fmt::format("cuDNN {}.{}.{}", version / 10000, version / 100 % 100, version % 100), ""};
  } catch (const std::exception& error) {
    return {"", error.what()};
  }
}

std::function<void()> grouped_convolution(const ConvolutionShape& shape, Pass pass, std::size_t clients,
                                          std::size_t examples) {
  if (grouped_library().name.empty()) return {};
  auto grouped = std::make_shared<Grouped>(shape, clients, examples);
  if (!grouped->choose(pass)) return {};
  return [grouped] { grouped->run(); };
}

void wait_for_grouped() { IVORY_CUDA(cudaDeviceSynchronize()); }

}  // namespace ivory::bench
#else

namespace ivory::bench {

GroupedLibrary grouped_library() { return {"", "this program was built without it"}; }
std::function<void()> grouped_convolution(const ConvolutionShape&, Convolution<float>::Pass, std::size_t, std::size_t) {
  return {};
}
void wait_for_grouped() {}

}  // namespace ivory::bench
#endif
