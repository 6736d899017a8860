// Curvature of a client's loss: the generalised Gauss-Newton matrix sum_i J_i' Lambda_i J_i, with J_i = d logits / d theta and
// Lambda_i the Hessian of example i's loss in its logits. For models that are linear in theta it is the Hessian itself
// (methods.md 2.5, 4.8). Nothing is dropped: it is that of the network that predicts.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "clients/network.hpp"
#include "clients/resident_data.hpp"

namespace ivory {

/// Adds to `sums` [clients x gradient stride] the diagonal of each client's Gauss-Newton matrix, summed over its live rows of x
/// [clients x rows x inputs]: one backward pass per seed of the loss. The workspace was made with room for curvature.
template <class Real>
void add_curvature_diagonal(Device& device, const Network<Real>& network, const BatchShape& shape,
                            const Real* parameters, const Real* x, Workspace<Real>& workspace, Real* sums);

/// The diagonal at one parameter vector over some examples of a data set. Used by one thread.
template <class Real>
class CurvatureDiagonal {
 public:
  /// For at most `rows` examples at a time; `data` outlives this.
  CurvatureDiagonal(Device& device, const Network<Real>& network, const Dataset& data, std::size_t rows);

  /// Summed over `examples` (rows of the data, at most `rows`), at `parameters` [stride] on the device: [P], on the host.
  std::vector<Real> compute(const Real* parameters, std::span<const std::uint32_t> examples);

  /// Device memory beside the copy of the data that an accelerator has.
  static std::size_t bytes(const Network<Real>& network, std::size_t rows);

 private:
  Device& device_;
  const Network<Real>& network_;
  ResidentData data_;
  std::size_t rows_;
  Workspace<Real> workspace_;
  Buffer<Real> x_, values_, sums_;  // [rows x inputs], [rows x target values], [stride]
  Buffer<std::int32_t> labels_;     // [rows]
  Buffer<std::uint32_t> examples_;  // [rows], where the device has memory of its own
};

/// Full matrices, for one client at a time. Used by one thread.
template <class Real>
class CurvatureMatrix {
 public:
  /// Goes over `rows_at_a_time` examples in one pass.
  CurvatureMatrix(Device& device, const Network<Real>& network, std::size_t rows_at_a_time = 32);

  /// matrix [P x P] := the Gauss-Newton matrix summed over x [rows x inputs], of the network with `parameters` [stride].
  void compute(const Real* parameters, const Real* x, std::size_t rows, Real* matrix);

  static std::size_t bytes(const Network<Real>& network, std::size_t rows_at_a_time = 32);

 private:
  Device& device_;
  const Network<Real>& network_;
  Workspace<Real> workspace_;  // every example is a client with one row
  Buffer<Real> x_, jacobian_;  // [rows_at_a_time x inputs], [rows_at_a_time x P]
};

}  // namespace ivory
