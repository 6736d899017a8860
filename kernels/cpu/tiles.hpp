// Products whose factors are read where they lie, through lists of offsets; a tile of results stays in registers. Part of
// convolution_isa.cpp, which includes Eigen for this instruction set first: its packets are our vectors.
#pragma once
#include <algorithm>
#include <array>
#include <cstddef>

namespace ivory::IVORY_ISA {

using Offset = std::ptrdiff_t;

template <class Real>
using Vector = typename Eigen::internal::packet_traits<Real>::type;
template <class Real>
constexpr std::size_t width_of = Eigen::internal::packet_traits<Real>::size;

// 24 vectors of results leave 8 of 32 registers for the factors; 12 leave 4 of 16.
constexpr std::size_t tile_rows = width_of<float> >= 16 ? 8 : 4, tile_columns = 3;

/// c(i, line, j) = start[i] + sum over x < k of a[i * lda + a_at[x]] * b[line * line_b + b_at[x] + j], for i < m, line < lines and
/// j < n: one chain of fused multiply-adds in the order of x, whatever the vectors' width. `accumulate` starts from what is there
/// instead, a null `start` from 0. Vectors of b may be read beyond the last j, to the end of the last vector.
template <class Real>
struct Product {
  std::size_t m = 0, lines = 1, n = 0, k = 0;
  const Real* a = nullptr;
  const Offset* a_at = nullptr;
  std::size_t lda = 0;
  const Real* b = nullptr;
  const Offset* b_at = nullptr;
  std::size_t line_b = 0;
  Real* c = nullptr;
  std::size_t ldc = 0, line_c = 0;
  const Real* start = nullptr;
  bool accumulate = false;
};

/// Where one vector of each row of results comes from and goes to.
template <class Real>
struct TileColumn {
  const Real* b;
  Real* c;
  std::size_t valid;  // numbers of it, which may be more than a vector's
};

template <class Real>
Vector<Real> load_part(const Real* from, std::size_t count) {
  if (count >= width_of<Real>) return Eigen::internal::ploadu<Vector<Real>>(from);
  alignas(64) Real part[width_of<Real>] = {};
  std::copy_n(from, count, part);
  return Eigen::internal::pload<Vector<Real>>(part);
}

template <class Real>
void store_part(Real* to, Vector<Real> vector, std::size_t count) {
  if (count >= width_of<Real>) return Eigen::internal::pstoreu(to, vector);
  alignas(64) Real part[width_of<Real>];
  Eigen::internal::pstore(part, vector);
  std::copy_n(part, count, to);
}

/// Rows `row` to `row` + rows of the results, at `columns` vectors.
template <class Real, std::size_t rows, std::size_t columns>
__attribute__((noinline)) void multiply_tile(const Product<Real>& p, std::size_t row, const TileColumn<Real>* at) {
  using namespace Eigen::internal;
  Vector<Real> sum[rows][columns];
  for (std::size_t i = 0; i < rows; ++i) {
    for (std::size_t j = 0; j < columns; ++j) {
      sum[i][j] = p.accumulate ? load_part(at[j].c + (row + i) * p.ldc, at[j].valid)
                               : pset1<Vector<Real>>(p.start != nullptr ? p.start[row + i] : Real(0));
    }
  }
  std::array<const Real*, columns> b;
  for (std::size_t j = 0; j < columns; ++j) b[j] = at[j].b;
  const Real* const a = p.a + row * p.lda;
  const Offset *const a_at = p.a_at, *const b_at = p.b_at;
  const std::size_t lda = p.lda, k = p.k;
  for (std::size_t x = 0; x < k; ++x) {
    const Real* const factors = a + a_at[x];
    const Offset offset = b_at[x];
    Vector<Real> v[columns];
    for (std::size_t j = 0; j < columns; ++j) v[j] = ploadu<Vector<Real>>(b[j] + offset);
    for (std::size_t i = 0; i < rows; ++i) {
      const Vector<Real> factor = pset1<Vector<Real>>(factors[i * lda]);
      for (std::size_t j = 0; j < columns; ++j) sum[i][j] = pmadd(factor, v[j], sum[i][j]);
    }
  }
  for (std::size_t i = 0; i < rows; ++i)
    for (std::size_t j = 0; j < columns; ++j) store_part(at[j].c + (row + i) * p.ldc, sum[i][j], at[j].valid);
}

/// The same for numbers of rows and columns known at run time.
template <class Real, std::size_t most_rows = tile_rows, std::size_t most_columns = tile_columns>
void multiply_tile(std::size_t rows, std::size_t columns, const Product<Real>& p, std::size_t row,
                   const TileColumn<Real>* at) {
  if (rows < most_rows) {
    if constexpr (most_rows > 1) multiply_tile<Real, most_rows - 1, most_columns>(rows, columns, p, row, at);
  } else if (columns < most_columns) {
    if constexpr (most_columns > 1) multiply_tile<Real, most_rows, most_columns - 1>(rows, columns, p, row, at);
  } else {
    multiply_tile<Real, most_rows, most_columns>(p, row, at);
  }
}

template <class Real>
void multiply(const Product<Real>& p) {
  for (std::size_t row = 0; row < p.m; row += tile_rows) {  // their factors stay in the first cache
    const std::size_t rows = std::min(tile_rows, p.m - row);
    TileColumn<Real> at[tile_columns];
    std::size_t filled = 0;
    for (std::size_t line = 0; line < p.lines; ++line) {
      for (std::size_t j = 0; j < p.n; j += width_of<Real>) {
        at[filled++] = {p.b + line * p.line_b + j, p.c + line * p.line_c + j, p.n - j};
        if (filled < tile_columns) continue;
        multiply_tile(rows, filled, p, row, at);
        filled = 0;
      }
    }
    if (filled > 0) multiply_tile(rows, filled, p, row, at);
  }
}

/// to = the transpose of from [rows x columns].
template <class Real>
void transpose(const Real* from, std::size_t rows, std::size_t columns, std::size_t from_stride, Real* to,
               std::size_t to_stride) {
  using namespace Eigen::internal;
  constexpr std::size_t width = width_of<Real>;
  std::size_t r = 0;
  for (; r + width <= rows; r += width) {
    std::size_t c = 0;
    for (; c + width <= columns; c += width) {
      PacketBlock<Vector<Real>, static_cast<int>(width)> block;
      for (std::size_t i = 0; i < width; ++i) block.packet[i] = ploadu<Vector<Real>>(from + (r + i) * from_stride + c);
      ptranspose(block);
      for (std::size_t i = 0; i < width; ++i) pstoreu(to + (c + i) * to_stride + r, block.packet[i]);
    }
    for (; c < columns; ++c)
      for (std::size_t i = r; i < r + width; ++i) to[c * to_stride + i] = from[i * from_stride + c];
  }
  for (; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) to[c * to_stride + r] = from[r * from_stride + c];
}

}  // namespace ivory::IVORY_ISA
