// Functions compiled once per instruction set, each set in its own namespace; dispatch.cpp picks one at run time.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ivory/convolution.hpp"
#include "ivory/device.hpp"
#include "ivory/rng.hpp"
#include "ivory/simd.hpp"

#define IVORY_DECLARE_ISA(isa)                                                                                \
  namespace ivory::isa {                                                                                      \
  void fill_normals(const Stream& stream, std::uint64_t first_tile, std::size_t tiles, float* out);           \
  void multiply(const MatrixProduct<float>& product);                                                         \
  void multiply(const MatrixProduct<double>& product);                                                        \
  bool cholesky(double* matrix, std::size_t n);                                                               \
  void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns); \
  void convolve(const Convolution<float>& convolution);                                                       \
  void convolve(const Convolution<double>& convolution);                                                      \
  }

IVORY_DECLARE_ISA(baseline)
#if IVORY_HAS_AVX512_CLONES
IVORY_DECLARE_ISA(avx512)
#endif
