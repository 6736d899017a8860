// A network over a flat parameter vector, and the loss of its outputs: layers one after the other, some of which also take an
// earlier one's output. It has no mutable state: activations live in a Workspace, so one network serves all threads.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "clients/loss.hpp"
#include "ivory/buffer.hpp"
#include "ivory/layer.hpp"

namespace ivory {

/// Activations and scratch for a block of `clients` with up to `rows` examples each.
template <class Real>
struct Workspace {
  std::size_t clients = 0, rows = 0;
  std::vector<Buffer<Real>> activations;     // output of each layer, [clients x rows x features]
  std::vector<Buffer<Real>> saved;           // what each layer keeps from forward to backward
  std::vector<Buffer<Real>> skip_gradients;  // of each layer that takes a skip, [clients x rows x the skip's features]
  Buffer<Real> scratch;                      // for the layer at work
  Buffer<Real> gradient, next_gradient;      // of the activation at hand, [clients x rows x widest]
};

/// The skip of a layer that takes none.
inline constexpr std::size_t no_skip = static_cast<std::size_t>(-1);

template <class Real>
class Network {
 public:
  /// `layers` in order; names their parameters "0.weight", "2.weight", ... as torch.nn.Sequential does. skips[i] is the layer
  /// before i whose output layer i also takes, or no_skip; empty: no layer does.
  explicit Network(std::vector<std::unique_ptr<Layer<Real>>> layers, std::vector<std::size_t> skips = {},
                   const Loss& loss = {});

  const ParameterLayout& layout() const { return layout_; }
  std::size_t inputs() const { return layers_.front()->inputs(); }
  std::size_t outputs() const { return layers_.back()->outputs(); }
  /// Numbers that `predict` writes per example: the probability of each class, or the mean of each target.
  std::size_t predicted() const;
  /// Numbers per example in Targets::values: none for classes.
  std::size_t target_values() const { return loss_.kind == Loss::Kind::gaussian ? outputs() : 0; }
  std::span<const std::unique_ptr<Layer<Real>>> layers() const { return layers_; }
  /// Whether a layer takes random numbers in training (BatchShape::noise).
  bool draws() const;

  /// Initial parameters [stride], a pure function of the seed.
  std::vector<Real> initialise(std::uint64_t seed) const;

  /// `curvature`: with room for add_squared_gradients.
  Workspace<Real> make_workspace(Device& device, std::size_t clients, std::size_t rows, bool curvature = false) const;

  /// Outputs [clients x rows x outputs] of x [clients x rows x inputs]; they live in the workspace.
  const Real* forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                      Workspace<Real>& workspace) const;

  /// Gradient of each client's mean loss over its live rows, into `gradient` [clients x stride]; targets are [clients x rows].
  /// Each row's share of that mean is added to `row_losses` [clients x rows] (null: not wanted). `input_gradient` may be null.
  void gradient(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                const Targets<Real>& targets, Workspace<Real>& workspace, Real* gradient, double* row_losses,
                Real* input_gradient = nullptr) const;

  /// The row losses alone.
  void loss(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
            const Targets<Real>& targets, Workspace<Real>& workspace, double* row_losses) const;

  /// Goes back from d loss / d outputs, which the caller has put into workspace.gradient after a forward pass of the same
  /// arguments. Writes `gradient` [clients x gradient stride] and `input_gradient`, each unless null.
  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                Workspace<Real>& workspace, Real* gradient, Real* input_gradient = nullptr) const;

  /// The same, but adds to `sums` [clients x gradient stride] the squares of each live row's own gradient.
  void add_squared_gradients(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                             Workspace<Real>& workspace, Real* sums) const;

  /// Vectors u_c of a row with sum_c u_c u_c' = the Hessian of its loss in the network's outputs, which makes sum_c of the squared
  /// gradients from them the diagonal of the row's Gauss-Newton matrix.
  std::size_t curvature_seeds() const;
  /// Puts u_seed of every live row, and zeros for the others, into workspace.gradient; `outputs` is what `forward` returned.
  void seed_curvature(Device& device, const BatchShape& shape, const Real* outputs, std::size_t seed,
                      Workspace<Real>& workspace) const;
  /// The same with one random u per row whose u u' has the Hessian as its mean (the gradient at a target drawn from the model);
  /// row r of client b uses draws[b] (host) at r.
  void seed_sampled_curvature(Device& device, const BatchShape& shape, const Real* outputs, const Stream* draws,
                              Workspace<Real>& workspace) const;

  /// What each client's live rows of outputs predict, and log p(target): client b's rows go to prediction + b * prediction_stride
  /// and log_likelihood + b * likelihood_stride. All clients have the same targets.
  void predict(Device& device, const BatchShape& shape, const Real* outputs, const Targets<Real>& targets,
               Real* prediction, std::size_t prediction_stride, double* log_likelihood,
               std::size_t likelihood_stride) const;

  /// Device memory that one client's parameters, activations and scratch take for `rows` examples.
  std::size_t bytes_at_work(std::size_t rows, bool curvature = false) const;

 private:
  LayerMemory<Real> memory(std::size_t layer, Workspace<Real>& workspace) const;
  template <class ParameterStep>
  void go_back(Device& device, const BatchShape& shape, const Real* x, Workspace<Real>& workspace, Real* input_gradient,
               const ParameterStep& step) const;

  std::vector<std::unique_ptr<Layer<Real>>> layers_;
  std::vector<std::size_t> skips_;
  Loss loss_;
  ParameterLayout layout_;
};

/// The losses [clients] that a block's row losses [clients x rows] (host) add up to, in the order of the rows.
std::vector<double> losses_of_rows(std::span<const double> row_losses, std::size_t rows);

/// A layer of a network that is to be built.
struct LayerChoice {
  const LayerPlugin* plugin = nullptr;
  Options options;
  std::string name = {};   // by which later layers take its output; may be empty
  std::string from = {};   // the earlier layer whose output it takes, too; empty: none
  SourcePlace place = {};  // in the scenario, for messages
};

/// The network of these layers for examples of shape `input`. A last layer whose option `outputs` is 0 gets `outputs` of them.
/// Throws InputError where shapes do not fit, naming the layer by its number (that of its parameters) and what it was given.
template <class Real>
Network<Real> build_network(std::span<const LayerChoice> layers, const Shape& input, std::size_t outputs,
                            const Loss& loss = {});

/// inputs -> hidden[0] -> activation -> ... -> outputs, with the named activation between dense layers. Throws InputError for an
/// unknown activation.
template <class Real>
Network<Real> make_mlp(std::size_t inputs, std::span<const std::size_t> hidden, std::size_t outputs,
                       const std::string& activation, bool bias, const Loss& loss = {});

}  // namespace ivory
