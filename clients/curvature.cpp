#include "clients/curvature.hpp"

#include <algorithm>

namespace ivory {

template <class Real>
CurvatureMatrix<Real>::CurvatureMatrix(Device& device, const Network<Real>& network, std::size_t rows_at_a_time)
    : device_(device), network_(network), workspace_(network.make_workspace(device, rows_at_a_time, 1)),
      x_(device, device.shares_host_memory() ? 0 : rows_at_a_time * network.inputs()),
      jacobian_(device, rows_at_a_time * network.layout().size()) {}

template <class Real>
std::size_t CurvatureMatrix<Real>::bytes(const Network<Real>& network, std::size_t rows_at_a_time) {
  return rows_at_a_time * (network.bytes_at_work(1) + network.layout().size() * sizeof(Real));
}

// Row r of the Jacobian for seed c is the gradient of <u_c, logits_r>; the products of all rows with themselves add up.
template <class Real>
void CurvatureMatrix<Real>::compute(const Real* parameters, const Real* x, std::size_t rows, Real* matrix) {
  const std::size_t size = network_.layout().size(), inputs = network_.inputs(), most = workspace_.clients;
  device_.clear(matrix, size * size * sizeof(Real));
  for (std::size_t first = 0; first < rows; first += most) {
    const std::size_t here = std::min(most, rows - first);
    const bool nominal = !device_.shares_host_memory();
    std::vector<int> live(most, 0);
    std::fill_n(live.begin(), here, 1);
    const BatchShape shape{.clients = nominal ? most : here,
                           .rows = 1,
                           .live = live.data(),
                           .parameter_stride = 0,
                           .nominal = nominal,
                           .own_gradient_stride = size};
    const Real* chunk = x + first * inputs;
    if (nominal) {
      device_.clear(x_.data(), x_.size() * sizeof(Real));
      device_.copy(x_.data(), chunk, here * inputs * sizeof(Real));
      chunk = x_.data();
    }
    const Real* const logits = network_.forward(device_, shape, parameters, chunk, workspace_);
    for (std::size_t seed = 0; seed < network_.curvature_seeds(); ++seed) {
      network_.seed_curvature(device_, shape, logits, seed, workspace_);
      network_.backward(device_, shape, parameters, chunk, workspace_, jacobian_.data());
      MatrixProduct<Real> product;
      product.transpose_a = true, product.accumulate = true;
      product.m = product.n = size, product.k = shape.clients;
      product.a = product.b = jacobian_.data(), product.c = matrix;
      product.lda = product.ldb = product.ldc = size;
      device_.multiply(product);
    }
  }
}

template class CurvatureMatrix<float>;
template class CurvatureMatrix<double>;

}  // namespace ivory
