#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

namespace ivory::cuda {

/// Bytes of scratch that sum_rows needs.
std::size_t sum_rows_scratch(std::size_t rows, std::size_t columns);
/// sums[r] = sum over c of values[r * columns + c]. One thread block per row: the order depends on `columns` alone.
void sum_rows(void* scratch, std::size_t scratch_bytes, const double* values, std::size_t rows, std::size_t columns,
              double* sums, cudaStream_t stream);

}  // namespace ivory::cuda
