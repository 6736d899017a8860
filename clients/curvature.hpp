// Curvature of a client's loss: the generalised Gauss-Newton matrix sum_i J_i' Lambda_i J_i, with J_i = d logits / d theta and
// Lambda_i the Hessian of example i's loss in its logits. For models that are linear in theta it is the Hessian itself
// (methods.md 2.5, 4.8). Nothing is dropped: it is that of the network that predicts.
#pragma once
#include <cstddef>
#include <cstdint>

#include "clients/network.hpp"

namespace ivory {

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
