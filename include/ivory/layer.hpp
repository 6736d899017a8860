// A layer of a sequential network, for a block of B clients at once: parameters are [B x stride] (one flat vector per client),
// activations [B x rows x features], row-major. It has no state: backward gets the activations again.
#pragma once
#include <cstddef>
#include <memory>
#include <string>
#include <vector>

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
  std::size_t parameter_stride = 0;
  bool nominal = false;

  std::size_t live_rows(std::size_t b) const { return live != nullptr ? static_cast<std::size_t>(live[b]) : rows; }
  /// The rows an operation goes over, and the same as MatrixProduct::live wants it.
  std::size_t work_rows(std::size_t b) const { return nominal ? rows : live_rows(b); }
  const int* work_limit() const { return nominal ? nullptr : live; }
};

template <class Real>
class Layer {
 public:
  virtual ~Layer() = default;
  virtual std::string name() const = 0;  // "dense"
  virtual std::size_t inputs() const = 0;
  virtual std::size_t outputs() const = 0;

  /// Adds this layer's slices as `prefix`.weight and so on; remembers their offsets.
  virtual void declare(ParameterLayout&, const std::string& /*prefix*/) {}
  /// PyTorch's default initialisation into one flat vector.
  virtual void initialise(StreamReader&, Real* /*parameters, host*/) const {}

  virtual void forward(Device&, const BatchShape&, const Real* parameters, const Real* input, Real* output) const = 0;
  /// Writes d loss / d input (unless null) and this layer's slices of d loss / d parameters.
  virtual void backward(Device&, const BatchShape&, const Real* parameters, const Real* input, const Real* output,
                        const Real* output_gradient, Real* input_gradient, Real* parameter_gradient) const = 0;
};

/// A layer as the scenario names it; `make` builds it for a number of inputs. `make` throws InputError where they do not fit.
struct LayerPlugin {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
  bool activation = false;  // elementwise, without options: may stand between the dense layers of an mlp
  std::unique_ptr<Layer<float>> (*make_float)(const Options&, std::size_t inputs) = nullptr;
  std::unique_ptr<Layer<double>> (*make_double)(const Options&, std::size_t inputs) = nullptr;
};

}  // namespace ivory
