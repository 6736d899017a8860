// Matrix products by Eigen. Compiled once per instruction set; Eigen's namespace is renamed with it, so that the linker can
// never take one set's inline functions for the other's.
#if defined(IVORY_RENAME_EIGEN)
#define Eigen IVORY_RENAME_EIGEN
#endif
#define EIGEN_DONT_PARALLELIZE  // one thread per client; Eigen's own threading would change the bits of a product
#define EIGEN_NO_DEBUG
#include <Eigen/Core>

#include "kernels/cpu/isa.hpp"

namespace ivory::IVORY_ISA {
namespace {

template <class Real>
using RowMajor = Eigen::Matrix<Real, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
template <class Real>
using In = Eigen::Map<const RowMajor<Real>, 0, Eigen::OuterStride<>>;
template <class Real>
using Out = Eigen::Map<RowMajor<Real>, 0, Eigen::OuterStride<>>;

template <class Result, class Product>
void put(Result& c, const Product& product, bool accumulate) {
  if (accumulate) {
    c.noalias() += product;
  } else {
    c.noalias() = product;
  }
}

template <class Real>
void multiply_all(const MatrixProduct<Real>& p) {
  for (std::size_t b = 0; b < p.count; ++b) {
    std::size_t m = p.m, k = p.k;
    if (p.live != nullptr) {
      const auto live = static_cast<std::size_t>(p.live[b]);
      (p.live_dimension == MatrixProduct<Real>::Live::m ? m : k) = live;
    }
    if (m == 0) continue;
    const auto index = [](std::size_t x) { return static_cast<Eigen::Index>(x); };
    Out<Real> c(p.c + b * p.stride_c, index(m), index(p.n), Eigen::OuterStride<>(index(p.ldc)));
    if (k == 0) {
      if (!p.accumulate) c.setZero();
      continue;
    }
    const In<Real> a(p.a + b * p.stride_a, index(p.transpose_a ? k : m), index(p.transpose_a ? m : k),
                     Eigen::OuterStride<>(index(p.lda)));
    const In<Real> other(p.b + b * p.stride_b, index(p.transpose_b ? p.n : k), index(p.transpose_b ? k : p.n),
                         Eigen::OuterStride<>(index(p.ldb)));
    if (p.transpose_a && p.transpose_b) {
      put(c, a.transpose() * other.transpose(), p.accumulate);
    } else if (p.transpose_a) {
      put(c, a.transpose() * other, p.accumulate);
    } else if (p.transpose_b) {
      put(c, a * other.transpose(), p.accumulate);
    } else {
      put(c, a * other, p.accumulate);
    }
  }
}

}  // namespace

void multiply(const MatrixProduct<float>& product) { multiply_all(product); }
void multiply(const MatrixProduct<double>& product) { multiply_all(product); }

}  // namespace ivory::IVORY_ISA
