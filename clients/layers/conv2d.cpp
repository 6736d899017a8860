// Convolution of images as torch.nn.Conv2d: weight [out, in, kernel, kernel], bias [out], activations [channel x row x column].
#include <algorithm>
#include <cmath>
#include <vector>

#include "clients/convolution_by_products.hpp"
#include "clients/images.hpp"
#include "clients/run_sums.hpp"
#include "ivory/error.hpp"

namespace ivory {
namespace {

template <class Real>
struct AddSquare {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] += from[i] * from[i]; }
};

template <class Real>
class Conv2d final : public Layer<Real> {
 public:
  Conv2d(const ConvolutionShape& shape, bool bias) : s_(shape), bias_(bias) {}

  std::string name() const override { return "conv2d"; }
  std::size_t inputs() const override { return s_.inputs(); }
  std::size_t outputs() const override { return s_.results(); }
  Shape output_shape() const override { return {s_.outputs, s_.out_height(), s_.out_width()}; }

  void declare(ParameterLayout& layout, const std::string& prefix) override {
    weight_at_ = layout.add(prefix + ".weight", {s_.outputs, s_.channels, s_.kernel, s_.kernel});
    if (bias_) bias_at_ = layout.add(prefix + ".bias", {s_.outputs});
  }

  // torch.nn.Conv2d: weight and bias uniform in +-1/sqrt(numbers under the window).
  void initialise(StreamReader& random, Real* parameters) const override {
    const double bound = 1.0 / std::sqrt(static_cast<double>(s_.patch()));
    const auto draw = [&](std::size_t at, std::size_t n) {
      for (std::size_t i = 0; i < n; ++i)
        parameters[at + i] = static_cast<Real>((2.0 * random.uniform() - 1.0) * bound);
    };
    draw(weight_at_, s_.weights());
    if (bias_) draw(bias_at_, s_.outputs);
  }

  // Of the convolution, or of the sums over positions. Squares: an example's own weight gradient before it.
  LayerRoom room(std::size_t rows) const override {
    const std::size_t sums = rows * s_.outputs + room_for_lanes(rows * s_.outputs, s_.positions());
    const std::size_t scratch = std::max({s_.scratch(), ConvolutionByProducts<Real>::room(s_, rows), sums});
    return {.scratch = scratch, .squares = s_.weights() + scratch};
  }

  void forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    const std::size_t stride = room(shape.rows).scratch;
    Convolution<Real> own = pass(Pass::forward, shape, memory.scratch, stride);
    own.input = input, own.weight = parameters + weight_at_, own.result = output;
    own.bias = bias_ ? parameters + bias_at_ : nullptr;
    if (device.convolve(own)) return;
    products(device, shape, own).forward(own.input, own.weight, own.bias, own.result);
  }

  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, const Real*,
                const Real* output_gradient, Real* input_gradient, Real* parameter_gradient,
                const LayerMemory<Real>& memory) const override {
    const std::size_t stride = room(shape.rows).scratch;
    if (parameter_gradient != nullptr) {
      Convolution<Real> own = pass(Pass::by_weight, shape, memory.scratch, stride);
      own.input = input, own.output_gradient = output_gradient, own.result = parameter_gradient + weight_at_;
      own.gradient_stride = shape.gradient_stride();
      own.bias_gradient = bias_ ? parameter_gradient + bias_at_ : nullptr;
      if (!device.convolve(own)) {
        products(device, shape, own).by_weight(input, output_gradient, own.result, own.gradient_stride);
        if (bias_) {
          sum_positions(device, shape, output_gradient, memory.scratch, stride);
          sum_channels_of_rows(device, shape, s_.outputs, memory.scratch, stride, own.bias_gradient);
        }
      }
    }
    if (input_gradient == nullptr) return;
    Convolution<Real> own = pass(Pass::by_input, shape, memory.scratch, stride);
    own.output_gradient = output_gradient, own.weight = parameters + weight_at_, own.result = input_gradient;
    if (!device.convolve(own)) products(device, shape, own).by_input(output_gradient, own.weight, input_gradient);
  }

  void add_squared_gradients(Device& device, const BatchShape& shape, const Real*, const Real* input, const Real*,
                             const Real* output_gradient, Real* sums, const LayerMemory<Real>& memory) const override {
    const std::size_t stride = room(shape.rows).squares;
    Real* const own_gradient = memory.scratch;
    Real* const rest = own_gradient + s_.weights();
    std::vector<int> one(shape.clients);
    for (std::size_t e = 0; e < shape.rows; ++e) {
      for (std::size_t b = 0; b < shape.clients; ++b) one[b] = e < shape.work_rows(b) ? 1 : 0;
      Convolution<Real> own = pass(Pass::by_weight, shape, rest, stride);
      own.live = one.data();
      own.input = input + e * s_.inputs(), own.output_gradient = output_gradient + e * s_.results();
      own.result = own_gradient, own.gradient_stride = stride;
      if (!device.convolve(own)) {
        products(device, shape, own).by_weight(input, output_gradient, e, own_gradient, stride);
      }
      for_each_client(device, shape.clients, s_.weights(), [&](std::size_t b) {
        return Share{one[b] != 0 ? s_.weights() : 0,
                     AddSquare<Real>{own_gradient + b * stride, sums + b * shape.gradient_stride() + weight_at_}};
      });
    }
    if (!bias_) return;
    sum_positions(device, shape, output_gradient, rest, stride);
    add_squared_channels_of_rows(device, shape, s_.outputs, rest, stride, sums + bias_at_);
  }

 private:
  using Pass = typename Convolution<Real>::Pass;

  Convolution<Real> pass(Pass which, const BatchShape& shape, Real* scratch, std::size_t scratch_stride) const {
    Convolution<Real> own;
    own.shape = s_, own.pass = which;
    own.clients = shape.clients, own.rows = shape.rows, own.live = shape.work_limit();
    own.weight_stride = shape.parameter_stride;
    own.scratch = scratch, own.scratch_stride = scratch_stride;
    return own;
  }

  ConvolutionByProducts<Real> products(Device& device, const BatchShape& shape, const Convolution<Real>& own) const {
    return {device, s_, shape, own.scratch, own.scratch_stride};
  }

  // Each example's own gradient of the bias into sums [rows x outputs].
  void sum_positions(Device& device, const BatchShape& shape, const Real* output_gradient, Real* sums,
                     std::size_t stride) const {
    const std::size_t runs = shape.rows * s_.outputs;
    sum_runs_per_client(device, shape.clients, runs, s_.positions(), sums + runs, stride, [&](std::size_t b) {
      return Share{shape.work_rows(b) * s_.outputs,
                   PlainRun<Real>{output_gradient + b * shape.rows * s_.results(), sums + b * stride, s_.positions()}};
    });
  }

  ConvolutionShape s_;
  bool bias_;
  std::size_t weight_at_ = 0, bias_at_ = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  const auto option = [&](const char* name) { return static_cast<std::size_t>(options.integer(name)); };
  ConvolutionShape shape = window_over(inputs, "conv2d", option("kernel"), option("stride"), option("padding"));
  shape.outputs = option("channels");
  return std::make_unique<Conv2d<Real>>(shape, options.boolean("bias"));
}

}  // namespace

LayerPlugin conv2d_plugin() {
  return {.name = "conv2d",
          .help = "convolution of images, weight [out, in, kernel, kernel] and bias [out] as torch.nn.Conv2d",
          .options = {{.name = "channels",
                       .default_value = std::int64_t{16},
                       .help = "channels of the output",
                       .unit = "channels",
                       .low = 1,
                       .high = 1 << 16,
                       .required = true},
                      {.name = "kernel",
                       .default_value = std::int64_t{3},
                       .help = "height and width of the window",
                       .unit = "pixels",
                       .low = 1,
                       .high = 1 << 12,
                       .required = true},
                      stride_option(1, 1, "from one place of the window to the next"),
                      padding_option("zeros around the image, on every side"),
                      {.name = "bias", .default_value = true, .help = "add a bias per channel"}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
