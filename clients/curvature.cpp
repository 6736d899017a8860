#include "clients/curvature.hpp"

#include <algorithm>

namespace ivory {

// Per seed vector u with sum u u' the Hessian in the outputs, the squares of J' u (methods.md 4.8).
template <class Real>
void add_curvature_diagonal(Device& device, const Network<Real>& network, const BatchShape& shape,
                            const Real* parameters, const Real* x, Workspace<Real>& workspace, Real* sums) {
  const Real* const outputs = network.forward(device, shape, parameters, x, workspace);
  for (std::size_t seed = 0; seed < network.curvature_seeds(); ++seed) {
    network.seed_curvature(device, shape, outputs, seed, workspace);
    network.add_squared_gradients(device, shape, parameters, x, workspace, sums);
  }
}

template <class Real>
CurvatureDiagonal<Real>::CurvatureDiagonal(Device& device, const Network<Real>& network, const Dataset& data,
                                           std::size_t rows)
    : device_(device), network_(network), data_(device, data), rows_(rows),
      workspace_(network.make_workspace(device, 1, rows, true)), x_(device, rows * network.inputs()),
      values_(device, rows * network.target_values()), sums_(device, network.layout().stride()), labels_(device, rows),
      examples_(device, device.shares_host_memory() ? 0 : rows) {}

template <class Real>
std::size_t CurvatureDiagonal<Real>::bytes(const Network<Real>& network, std::size_t rows) {
  return network.bytes_at_work(rows, true) + rows * (network.target_values() * sizeof(Real) + 2 * sizeof(std::int32_t));
}

template <class Real>
std::vector<Real> CurvatureDiagonal<Real>::compute(const Real* parameters, std::span<const std::uint32_t> examples) {
  const bool on_cpu = device_.shares_host_memory();
  if (!on_cpu) device_.upload(examples_.data(), examples.data(), examples.size_bytes());
  const int live = static_cast<int>(examples.size());
  const BatchShape shape{
      .clients = 1, .rows = rows_, .live = &live, .parameter_stride = network_.layout().stride(), .nominal = !on_cpu};
  data_.gather(device_, shape, x_.data(), labels_.data(), values_.data(), [&](std::size_t) {
    return on_cpu ? Gathered{examples.size(), examples.data()} : Gathered{rows_, examples_.data()};
  });
  device_.clear(sums_.data(), sums_.size() * sizeof(Real));
  add_curvature_diagonal(device_, network_, shape, parameters, x_.data(), workspace_, sums_.data());
  std::vector<Real> diagonal(network_.layout().size());
  device_.download(diagonal.data(), sums_.data(), diagonal.size() * sizeof(Real));
  return diagonal;
}

template class CurvatureDiagonal<float>;
template class CurvatureDiagonal<double>;
template void add_curvature_diagonal(Device&, const Network<float>&, const BatchShape&, const float*, const float*,
                                     Workspace<float>&, float*);
template void add_curvature_diagonal(Device&, const Network<double>&, const BatchShape&, const double*, const double*,
                                     Workspace<double>&, double*);

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
