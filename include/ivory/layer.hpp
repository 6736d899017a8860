// A layer of a network, for a block of B clients at once: parameters are [B x stride] (one flat vector per client), activations
// [B x rows x features], row-major. It has no state: backward gets the activations again.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/device.hpp"
#include "ivory/options.hpp"
#include "ivory/parameters.hpp"

namespace ivory {

/// The minibatches of a block: `clients` of them, `rows` the nominal size, `live[b]` (host, null: all) the examples client b has
/// in this step. Rows beyond live[b] never influence a result. Where `nominal` is set (accelerators: one product for the whole
/// block) every operation takes all rows, and those beyond live[b] have zeros in the input and in the loss's gradient.
struct BatchShape {
  std::size_t clients = 1;
  std::size_t rows = 0;
  const int* live = nullptr;
  std::size_t parameter_stride = 0;  // 0: one parameter vector serves the whole block
  bool nominal = false;
  std::size_t own_gradient_stride = 0;  // of parameter gradients, where it is not parameter_stride
  const Stream* noise =
      nullptr;  // [clients] (host) random numbers of this training pass; null: evaluation, nothing is dropped
  std::uint32_t layer = 0;  // position in the network: part of the key of a layer's random numbers

  std::size_t live_rows(std::size_t b) const { return live != nullptr ? static_cast<std::size_t>(live[b]) : rows; }
  /// The rows an operation goes over, and the same as MatrixProduct::live wants it.
  std::size_t work_rows(std::size_t b) const { return nominal ? rows : live_rows(b); }
  const int* work_limit() const { return nominal ? nullptr : live; }
  std::size_t gradient_stride() const { return own_gradient_stride != 0 ? own_gradient_stride : parameter_stride; }
};

/// Device memory that a layer asks for beside its input and output, in elements per client for `rows` examples.
struct LayerRoom {
  std::size_t saved = 0;    // kept from forward to backward
  std::size_t scratch = 0;  // free to use inside one call
  std::size_t squares = 0;  // scratch that add_squared_gradients needs, where that is more
};

/// What a layer is handed beside its input and output. Arrays are [clients x the room asked for]. `skip` is the output of an
/// earlier layer ("add" alone has one), [clients x rows x its features]; backward writes `skip_gradient`, d loss / d skip.
template <class Real>
struct LayerMemory {
  Real* saved = nullptr;
  Real* scratch = nullptr;
  const Real* skip = nullptr;
  Real* skip_gradient = nullptr;
};

template <class Real>
class Layer {
 public:
  virtual ~Layer() = default;
  virtual std::string name() const = 0;  // "dense"
  virtual std::size_t inputs() const = 0;
  virtual std::size_t outputs() const = 0;
  virtual std::size_t skip_inputs() const { return 0; }  // features of the earlier output that it also takes
  virtual bool draws() const { return false; }           // takes random numbers in training (BatchShape::noise)
  /// The extents of one output; their product is outputs().
  virtual Shape output_shape() const { return {outputs()}; }

  /// Adds this layer's slices as `prefix`.weight and so on; remembers their offsets.
  virtual void declare(ParameterLayout&, const std::string& /*prefix*/) {}
  /// PyTorch's default initialisation into one flat vector.
  virtual void initialise(StreamReader&, Real* /*parameters, host*/) const {}
  virtual LayerRoom room(std::size_t /*rows*/) const { return {}; }

  virtual void forward(Device&, const BatchShape&, const Real* parameters, const Real* input, Real* output,
                       const LayerMemory<Real>& memory = {}) const = 0;
  /// Writes d loss / d input (unless null) and this layer's slices of d loss / d parameters (unless null), client b's at
  /// b * gradient_stride().
  virtual void backward(Device&, const BatchShape&, const Real* parameters, const Real* input, const Real* output,
                        const Real* output_gradient, Real* input_gradient, Real* parameter_gradient,
                        const LayerMemory<Real>& memory = {}) const = 0;
  /// Adds to this layer's slices of `sums`, client b's at b * gradient_stride(), the sum over its live rows of the SQUARE of each
  /// row's own parameter gradient. A layer without parameters has nothing to add.
  virtual void add_squared_gradients(Device&, const BatchShape&, const Real* /*parameters*/, const Real* /*input*/,
                                     const Real* /*output*/, const Real* /*output_gradient*/, Real* /*sums*/,
                                     const LayerMemory<Real>& /*memory*/ = {}) const {}
};

/// The extents of what a layer is given. `skip` is empty unless the layer takes one.
struct LayerInputs {
  LayerInputs(Shape input_, Shape skip_ = {}) : input(std::move(input_)), skip(std::move(skip_)) {}
  LayerInputs(std::size_t features) : input{features} {}
  std::size_t features() const {
    std::size_t product = 1;
    for (const std::size_t extent : input) product *= extent;
    return product;
  }
  Shape input, skip;
};

/// A layer as the scenario names it; `make` builds it for its inputs. `make` throws InputError where they do not fit.
struct LayerPlugin {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
  bool activation = false;  // elementwise, without options: may stand between the dense layers of an mlp
  bool takes_skip = false;
  std::unique_ptr<Layer<float>> (*make_float)(const Options&, const LayerInputs& inputs) = nullptr;
  std::unique_ptr<Layer<double>> (*make_double)(const Options&, const LayerInputs& inputs) = nullptr;
};

}  // namespace ivory
