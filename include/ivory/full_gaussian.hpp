// Gaussians N(m, S^-1) with a full precision S [P x P], row-major and symmetric, in double.
#pragma once
#include <cstddef>
#include <limits>

#include "ivory/buffer.hpp"
#include "ivory/elementwise.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

struct AddToDiagonal {
  double* matrix;
  std::size_t size;
  double value;
  IVORY_HD void operator()(std::size_t i) const { matrix[i * size + i] += value; }
};
inline void add_to_diagonal(Device& device, std::size_t size, double* matrix, double value) {
  for_each(device, size, AddToDiagonal{matrix, size, value});
}

struct SymmetricPart {
  const double* IVORY_RESTRICT from;
  double* IVORY_RESTRICT to;
  std::size_t size;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    to[row * size + column] = 0.5 * (from[row * size + column] + from[column * size + row]);
  }
};
inline void symmetrise(Device& device, std::size_t size, const double* from, double* to) {
  for_each_client_place(device, 1, size, size, [&](std::size_t) { return Share{size, SymmetricPart{from, to, size}}; });
}

/// y := A x.
inline void apply_matrix(Device& device, std::size_t size, const double* a, const double* x, double* y) {
  MatrixProduct<double> product;
  product.m = product.k = size, product.n = 1;
  product.a = a, product.b = x, product.c = y;
  product.lda = size, product.ldb = product.ldc = 1;
  device.multiply(product);
}

/// Makes S positive definite with eigenvalues of about `floor` or more, by adding to its diagonal where it is not, and puts its
/// Cholesky factor into `factor` [P x P]. True where something had to be added.
inline bool raise_to_positive(Device& device, std::size_t size, double* precision, double* factor, double floor) {
  for (double added = 0;; added = added == 0 ? floor : 10 * added) {
    if (added > 0) add_to_diagonal(device, size, precision, added);
    device.copy(factor, precision, size * size * sizeof(double));
    // A matrix that is not finite stays so; its NaN is what the log and the evaluation show.
    if (device.cholesky(factor, size) || added > 1e30 * floor) return added > 0;
  }
}

struct AddOuterProduct {
  const double* IVORY_RESTRICT mean;
  double* IVORY_RESTRICT to;
  std::size_t size;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    to[row * size + column] += mean[row] * mean[column];
  }
};

/// to [P x P] := E[theta theta'] = S^-1 + m m'.
inline void second_moment(Device& device, std::size_t size, const double* mean, const double* precision, double* to) {
  Buffer<double> factor(device, size * size);
  device.copy(factor.data(), precision, size * size * sizeof(double));
  device.clear(to, size * size * sizeof(double));
  add_to_diagonal(device, size, to,
                  device.cholesky(factor.data(), size) ? 1.0 : std::numeric_limits<double>::quiet_NaN());
  device.solve_triangular(factor.data(), false, to, size, size);
  device.solve_triangular(factor.data(), true, to, size, size);
  for_each_client_place(device, 1, size, size, [&](std::size_t) {
    return Share{size, AddOuterProduct{mean, to, size}};
  });
}

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
