// A sequential network over a flat parameter vector. It has no mutable state: activations live in a Workspace, so one network
// serves all threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ivory/buffer.hpp"
#include "ivory/layer.hpp"

namespace ivory {

/// Activations and scratch for a block of `clients` with up to `rows` examples each.
template <class Real>
struct Workspace {
  std::size_t clients = 0, rows = 0;
  std::vector<Buffer<Real>> activations;  // output of each layer, [clients x rows x features]
  Buffer<Real> gradient, next_gradient;   // of the activation at hand, [clients x rows x widest]
  Buffer<double> log_likelihood;          // [clients x rows]
};

template <class Real>
class Network {
 public:
  /// `layers` in order; names their parameters "0.weight", "2.weight", ... as torch.nn.Sequential does.
  explicit Network(std::vector<std::unique_ptr<Layer<Real>>> layers);

  const ParameterLayout& layout() const { return layout_; }
  std::size_t inputs() const { return layers_.front()->inputs(); }
  std::size_t classes() const { return layers_.back()->outputs(); }
  std::span<const std::unique_ptr<Layer<Real>>> layers() const { return layers_; }

  /// Initial parameters [stride], a pure function of the seed.
  std::vector<Real> initialise(std::uint64_t seed) const;

  Workspace<Real> make_workspace(Device& device, std::size_t clients, std::size_t rows) const;

  /// Logits [clients x rows x classes] of x [clients x rows x inputs]; they live in the workspace.
  const Real* forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                      Workspace<Real>& workspace) const;

  /// Mean cross-entropy of each client's live rows into `loss` [clients] (host) and its gradient into `gradient`
  /// [clients x stride]. A client without live rows gets zeros. `input_gradient` may be null.
  void loss_and_gradient(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                         const std::int32_t* labels, Workspace<Real>& workspace, Real* gradient, double* loss,
                         Real* input_gradient = nullptr) const;

  /// The loss alone.
  void loss(Device& device, const BatchShape& shape, const Real* parameters, const Real* x, const std::int32_t* labels,
            Workspace<Real>& workspace, double* loss) const;

 private:
  /// Loss of the logits in the workspace, whose `gradient` gets the loss's gradient by them.
  void loss_of_logits(Device& device, const BatchShape& shape, const Real* logits, const std::int32_t* labels,
                      Workspace<Real>& workspace, double* loss) const;

  std::vector<std::unique_ptr<Layer<Real>>> layers_;
  ParameterLayout layout_;
};

/// inputs -> hidden[0] -> activation -> ... -> classes, with the named activation between dense layers. Throws InputError for an
/// unknown activation.
template <class Real>
Network<Real> make_mlp(std::size_t inputs, std::span<const std::size_t> hidden, std::size_t classes,
                       const std::string& activation, bool bias);

}  // namespace ivory
