// The network on the public pool (methods.md 4.9): gradients of soft-label losses, and the predictions that are sent.
#pragma once
#include <span>
#include <vector>

#include "clients/network.hpp"
#include "clients/resident_data.hpp"
#include "ivory/dataset.hpp"
#include "ivory/public_model.hpp"

namespace ivory {

/// weight * sum_i CE(labels_i, softmax f(x_i; theta)) over the examples outside of `left_out`.
template <class Real>
struct SoftLabels {
  const Real* labels = nullptr;  // [examples x classes], a row of zeros being no label; null: no client is here
  Real weight = 0;
  PoolShare left_out;
};

/// For a block of clients, all of which see the same examples. Nothing is dropped: predictions are compared with predictions. Both
/// calls may stand in a repeated step; their operations are the same ones for any contents. Used by one thread.
template <class Real>
class PublicPool {
 public:
  /// For networks trained with softmax cross-entropy. `pool` outlives this.
  PublicPool(Device& device, const Network<Real>& network, const Dataset& pool, std::size_t clients);

  std::size_t examples() const { return examples_; }
  std::size_t classes() const { return network_.outputs(); }

  /// gradient [clients x stride] += that of labels[b] at parameters [clients x stride].
  void add_gradients(const Real* parameters, std::span<const SoftLabels<Real>> labels, Real* gradient);

  /// probabilities [clients x examples x classes] := softmax f on the examples of shares[b], zeros on the others.
  void predict(const Real* parameters, std::span<const PoolShare> shares, Real* probabilities);

  /// Device memory that a client of a block takes, beside its parameters.
  static std::size_t bytes_per_client(const Network<Real>& network, std::size_t examples);
  /// Forward and backward passes that add_gradients makes.
  static std::size_t passes(std::size_t examples);

 private:
  BatchShape rows_from(std::size_t first);
  SoftmaxCrossEntropy<Real> formula() const { return {network_.outputs(), 0.0}; }

  Device& device_;
  const Network<Real>& network_;
  ResidentData data_;
  std::size_t examples_, rows_;  // rows_ of them at a time
  Workspace<Real> workspace_;
  Buffer<Real> x_, gradient_;  // [clients x rows x features], [clients x stride]
  std::vector<int> live_;      // [clients] of the rows at hand
};

/// The server's.
template <class Real>
class PoolModel final : public PublicModel<Real> {
 public:
  PoolModel(Device& device, const Network<Real>& network, const Dataset& pool)
      : device_(device), stride_(network.layout().stride()), pool_(device, network, pool, 1) {}

  std::size_t examples() const override { return pool_.examples(); }
  std::size_t classes() const override { return pool_.classes(); }
  void predict(const Real* parameters, Real* probabilities) override {
    const PoolShare everything{0, 1};
    pool_.predict(parameters, {&everything, 1}, probabilities);
  }
  void gradient(const Real* parameters, const Real* targets, Real* gradient) override {
    device_.clear(gradient, stride_ * sizeof(Real));
    const SoftLabels<Real> labels{.labels = targets, .weight = Real(1), .left_out = {}};
    pool_.add_gradients(parameters, {&labels, 1}, gradient);
  }

 private:
  Device& device_;
  std::size_t stride_;
  PublicPool<Real> pool_;
};

}  // namespace ivory
