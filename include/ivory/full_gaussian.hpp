// Gaussians N(m, S^-1) with a full precision S [P x P], row-major and symmetric, in double.
#pragma once
#include <algorithm>
#include <cmath>
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

/// Gives S eigenvalues above `floor`, by adding to its diagonal where they are not, and puts its Cholesky factor into `factor`
/// [P x P]. True where something had to be added.
inline bool raise_to_positive(Device& device, std::size_t size, double* precision, double* factor, double floor) {
  for (double added = 0;; added = added == 0 ? floor : 10 * added) {
    if (added > 0) add_to_diagonal(device, size, precision, added);
    device.copy(factor, precision, size * size * sizeof(double));
    add_to_diagonal(device, size, factor, -floor);
    // A matrix that is not finite stays so; its NaN is what the log and the evaluation show.
    if (!device.cholesky(factor, size) && !(added > 1e30 * floor)) continue;
    device.copy(factor, precision, size * size * sizeof(double));
    device.cholesky(factor, size);
    return added > 0;
  }
}

/// Puts the Cholesky factor L of S = L L' into `factor` [P x P]; NaN throughout where S is not positive definite (or not finite),
/// so that whatever is made of it shows that.
inline void factorise(Device& device, std::size_t size, const double* precision, double* factor) {
  device.copy(factor, precision, size * size * sizeof(double));
  if (device.cholesky(factor, size)) return;
  for_each(device, size * size, Fill<double>{factor, std::numeric_limits<double>::quiet_NaN()});
}

template <class Noise>
struct KeepNoise {
  double* z;
  IVORY_HD void operator()(std::size_t i, Noise noise) const { z[i] = static_cast<double>(noise); }
};
template <class Real>
struct AddStep {
  const double* IVORY_RESTRICT mean;
  const double* IVORY_RESTRICT step;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = static_cast<Real>(mean[i] + step[i]); }
};

/// to [P] := m + L^-T z with S = L L', whose covariance is S^-1 (methods.md D3). `work` [P] is left with the step.
template <class Noise, class Real>
void sample_full(Device& device, std::size_t size, const double* mean, const double* factor,
                 const NoiseSource<Noise>& noise, double* work, Real* to) {
  for_each_with_noise(device, size, noise, KeepNoise<Noise>{work});
  device.solve_triangular(factor, true, work, size, 1);
  for_each(device, size, AddStep<Real>{mean, work, to});
}

struct Squared {
  const double* values;
  IVORY_HD double operator()(std::size_t i) const { return values[i] * values[i]; }
};
struct LogOfDiagonal {
  const double* matrix;
  std::size_t size;
  IVORY_HD double operator()(std::size_t i) const { return math::log(matrix[i * size + i]); }
};
/// Columns `first`, first + 1 ... of the identity, in an array of zeros [P x columns].
struct UnitColumns {
  double* to;
  std::size_t columns, first;
  IVORY_HD void operator()(std::size_t c) const { to[(first + c) * columns + c] = 1.0; }
};

/// tr S^-1 = |L^-1|^2, a few columns of L^-1 at a time: another matrix would not always fit.
inline double trace_of_inverse(Device& device, std::size_t size, const double* factor) {
  const std::size_t width = std::min<std::size_t>(size, 64);
  Buffer<double> columns(device, size * width);
  double trace = 0;
  for (std::size_t first = 0; first < size; first += width) {
    const std::size_t here = std::min(width, size - first);
    device.clear(columns.data(), size * here * sizeof(double));
    for_each(device, here, UnitColumns{columns.data(), here, first});
    device.solve_triangular(factor, false, columns.data(), size, here);
    trace += sum(device, size * here, Squared{columns.data()});
  }
  return trace;
}

/// KL( N(m, S^-1) || N(0, I/s0) ) in nats with S = L L' and s0 = `prior` (methods.md section 12).
inline double kl_full(Device& device, std::size_t size, const double* mean, const double* factor, double prior) {
  const auto P = static_cast<double>(size);
  const double squares = trace_of_inverse(device, size, factor) + sum(device, size, Squared{mean});
  const double half_log_determinant = sum(device, size, LogOfDiagonal{factor, size});
  return 0.5 * (prior * squares - P - P * std::log(prior)) + half_log_determinant;
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
  factorise(device, size, precision, factor.data());
  device.clear(to, size * size * sizeof(double));
  add_to_diagonal(device, size, to, 1.0);
  device.solve_triangular(factor.data(), false, to, size, size);
  device.solve_triangular(factor.data(), true, to, size, size);
  for_each_client_place(device, 1, size, size, [&](std::size_t) {
    return Share{size, AddOuterProduct{mean, to, size}};
  });
}

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
