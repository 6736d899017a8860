// Cholesky factors and triangular solves by Eigen; compiled once per instruction set, like the products beside it.
#if defined(IVORY_RENAME_EIGEN)
#define Eigen IVORY_RENAME_EIGEN
#endif
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#include <Eigen/Cholesky>

#include "kernels/cpu/isa.hpp"

namespace ivory::IVORY_ISA {
namespace {

using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Index index(std::size_t n) { return static_cast<Eigen::Index>(n); }

}  // namespace

bool cholesky(double* matrix, std::size_t n) {
  Eigen::Map<Matrix> a(matrix, index(n), index(n));
  Eigen::Ref<Matrix> in_place(a);
  const Eigen::LLT<Eigen::Ref<Matrix>, Eigen::Lower> factor(in_place);
  // Eigen takes NaN for a pivot that is not negative.
  return factor.info() == Eigen::Success && a.diagonal().allFinite();
}

void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns) {
  const Eigen::Map<const Matrix> l(factor, index(n), index(n));
  Eigen::Map<Matrix> to(x, index(n), index(columns));
  if (transpose) {
    l.triangularView<Eigen::Lower>().transpose().solveInPlace(to);
  } else {
    l.triangularView<Eigen::Lower>().solveInPlace(to);
  }
}

}  // namespace ivory::IVORY_ISA
