// Sums of rows by Thrust's engine, CUB: alone in its file, because its headers take long to compile.
#include <thrust/iterator/counting_iterator.h>
#include <thrust/iterator/transform_iterator.h>

#include <cub/device/device_segmented_reduce.cuh>

#include "kernels/cuda/check.hpp"
#include "kernels/cuda/reduce.hpp"

namespace ivory::cuda {
namespace {

struct RowStart {
  std::size_t columns;
  __host__ __device__ std::size_t operator()(std::size_t row) const { return row * columns; }
};

cudaError_t reduce(void* scratch, std::size_t& bytes, const double* values, std::size_t rows, std::size_t columns,
                   double* sums, cudaStream_t stream) {
  const auto starts = thrust::make_transform_iterator(thrust::counting_iterator<std::size_t>(0), RowStart{columns});
  return cub::DeviceSegmentedReduce::Sum(scratch, bytes, values, sums, static_cast<int>(rows), starts, starts + 1,
                                         stream);
}

}  // namespace

std::size_t sum_rows_scratch(std::size_t rows, std::size_t columns) {
  std::size_t bytes = 0;
  IVORY_CUDA(reduce(nullptr, bytes, nullptr, rows, columns, nullptr, nullptr));
  return bytes > 0 ? bytes : 1;
}

void sum_rows(void* scratch, std::size_t scratch_bytes, const double* values, std::size_t rows, std::size_t columns,
              double* sums, cudaStream_t stream) {
  IVORY_CUDA(reduce(scratch, scratch_bytes, values, rows, columns, sums, stream));
}

}  // namespace ivory::cuda
