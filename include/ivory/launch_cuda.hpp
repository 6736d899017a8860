// The launcher of elementwise loops, for files that nvcc compiles. Plain launches of our own: Thrust in a header that every
// feature includes costs four times their compile time.
#pragma once
#include <cuda_runtime_api.h>

#include "ivory/loops.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {
namespace detail {

inline constexpr unsigned block_threads = 256;
// Units per thread: enough to spread the reading of the functor, few enough to fill a GPU with one client's parameters.
inline constexpr std::size_t units_per_thread = 2;

template <class Loop, class Row>
__global__ void __launch_bounds__(block_threads) run_rows(TableView table, std::size_t columns) {
  const Row row = table.rows<Row>()[blockIdx.y];  // a copy: its fields stay in registers over the loop
  Loop::on_thread(row, columns, static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x,
                  static_cast<std::size_t>(gridDim.x) * blockDim.x);
}

template <class Loop, class Row>
void launch_cuda(const Launch& launch) {
  const std::size_t units = Loop::units(launch.most, launch.columns);
  const std::size_t per_block = block_threads * units_per_thread;
  const auto blocks = static_cast<unsigned>(std::max<std::size_t>((units + per_block - 1) / per_block, 1));
  run_rows<Loop, Row><<<dim3(blocks, static_cast<unsigned>(launch.clients)), block_threads, 0,
                        static_cast<cudaStream_t>(launch.stream)>>>(launch.table, launch.columns);
}

}  // namespace detail
}  // namespace IVORY_TRANSLATION
}  // namespace ivory
