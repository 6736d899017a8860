// A Laplace posterior after training, for methods that send weights alone: N(m, 1/(h + delta)) around the server's mean m, with h
// the Gauss-Newton diagonal of the summed loss over all clients' training examples (methods.md, section 12; Daxberger et al. 2021).
#pragma once
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "clients/network.hpp"
#include "ivory/dataset.hpp"

namespace ivory {

struct LaplacePosterior {
  double prior_precision = 0;    // delta
  std::vector<float> precision;  // [stride] h + delta; 1 in the padding
};

/// h [P] at `parameters` ([stride], on `server`): summed in double over `examples[k]`, client k's rows of `data`, in increasing
/// order of k. On the CPU `threads` share the work; the result depends on neither number.
std::vector<double> summed_curvature(Device& server, const Network<float>& network, const Dataset& data,
                                     std::span<const std::vector<std::uint32_t>> examples, const float* parameters,
                                     int threads);

/// The prior precision at which the evidence of the diagonal Laplace approximation is largest (MacKay 1992): the fixed point of
/// delta = gamma/|m|^2, gamma = sum_i h_i/(h_i + delta), to a relative 1e-10. Nothing where there is none: no curvature, a mean of
/// 0, or numbers that are not finite.
std::optional<double> evidence_prior_precision(std::span<const double> curvature, std::span<const float> mean);

/// The posterior; `prior_precision` 0 takes that of the largest evidence. Nothing where there is none, or where some precision
/// would not be a finite float above 0.
std::optional<LaplacePosterior> laplace_posterior(Device& server, const Network<float>& network, const Dataset& data,
                                                  std::span<const std::vector<std::uint32_t>> examples,
                                                  const float* parameters, double prior_precision, int threads);

}  // namespace ivory
