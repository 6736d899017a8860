// Fully connected layer y = x W' + b in PyTorch's layout: weight [out, in], bias [out] (torch.nn.Linear).
#include <cmath>

#include "ivory/elementwise.hpp"
#include "ivory/error.hpp"
#include "ivory/layer.hpp"

namespace ivory {
namespace {

template <class Real>
struct FillRows {
  const Real* IVORY_RESTRICT row;
  Real* IVORY_RESTRICT to;
  std::size_t columns;
  IVORY_HD void operator()(std::size_t r, std::size_t c) const { to[r * columns + c] = row[c]; }
};

template <class Real>
struct AddRows {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT sum;
  std::size_t columns;
  IVORY_HD void operator()(std::size_t r, std::size_t c) const { sum[c] += from[r * columns + c]; }
};

template <class Real>
class Dense final : public Layer<Real> {
 public:
  Dense(std::size_t inputs, std::size_t outputs, bool bias) : inputs_(inputs), outputs_(outputs), bias_(bias) {}

  std::string name() const override { return "dense"; }
  std::size_t inputs() const override { return inputs_; }
  std::size_t outputs() const override { return outputs_; }

  void declare(ParameterLayout& layout, const std::string& prefix) override {
    weight_at_ = layout.add(prefix + ".weight", {outputs_, inputs_});
    if (bias_) bias_at_ = layout.add(prefix + ".bias", {outputs_});
  }

  // torch.nn.Linear: weight and bias uniform in +-1/sqrt(inputs).
  void initialise(StreamReader& random, Real* parameters) const override {
    const double bound = 1.0 / std::sqrt(static_cast<double>(inputs_));
    const auto draw = [&](std::size_t at, std::size_t n) {
      for (std::size_t i = 0; i < n; ++i)
        parameters[at + i] = static_cast<Real>((2.0 * random.uniform() - 1.0) * bound);
    };
    draw(weight_at_, outputs_ * inputs_);
    if (bias_) draw(bias_at_, outputs_);
  }

  void forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input,
               Real* output) const override {
    const std::size_t stride_out = shape.rows * outputs_;
    if (bias_) {
      for (std::size_t b = 0; b < shape.clients; ++b) {
        for_each_place(
            device, shape.live_rows(b), outputs_,
            FillRows<Real>{parameters + b * shape.parameter_stride + bias_at_, output + b * stride_out, outputs_});
      }
    }
    device.multiply(MatrixProduct<Real>{.transpose_b = true,
                                        .accumulate = bias_,
                                        .m = shape.rows,
                                        .n = outputs_,
                                        .k = inputs_,
                                        .a = input,
                                        .b = parameters + weight_at_,
                                        .c = output,
                                        .lda = inputs_,
                                        .ldb = inputs_,
                                        .ldc = outputs_,
                                        .stride_a = shape.rows * inputs_,
                                        .stride_b = shape.parameter_stride,
                                        .stride_c = stride_out,
                                        .count = shape.clients,
                                        .live = shape.live,
                                        .live_dimension = MatrixProduct<Real>::Live::m});
  }

  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input,
                const Real* /*output*/, const Real* output_gradient, Real* input_gradient,
                Real* parameter_gradient) const override {
    const std::size_t stride_in = shape.rows * inputs_, stride_out = shape.rows * outputs_;
    device.multiply(MatrixProduct<Real>{.transpose_a = true,
                                        .m = outputs_,
                                        .n = inputs_,
                                        .k = shape.rows,
                                        .a = output_gradient,
                                        .b = input,
                                        .c = parameter_gradient + weight_at_,
                                        .lda = outputs_,
                                        .ldb = inputs_,
                                        .ldc = inputs_,
                                        .stride_a = stride_out,
                                        .stride_b = stride_in,
                                        .stride_c = shape.parameter_stride,
                                        .count = shape.clients,
                                        .live = shape.live,
                                        .live_dimension = MatrixProduct<Real>::Live::k});
    if (bias_) {
      for (std::size_t b = 0; b < shape.clients; ++b) {
        Real* const sum = parameter_gradient + b * shape.parameter_stride + bias_at_;
        for_each(device, outputs_, Fill<Real>{sum, Real(0)});
        for_each_column_in_order(device, shape.live_rows(b), outputs_,
                                 AddRows<Real>{output_gradient + b * stride_out, sum, outputs_});
      }
    }
    if (input_gradient != nullptr) {
      device.multiply(MatrixProduct<Real>{.m = shape.rows,
                                          .n = inputs_,
                                          .k = outputs_,
                                          .a = output_gradient,
                                          .b = parameters + weight_at_,
                                          .c = input_gradient,
                                          .lda = outputs_,
                                          .ldb = inputs_,
                                          .ldc = inputs_,
                                          .stride_a = stride_out,
                                          .stride_b = shape.parameter_stride,
                                          .stride_c = stride_in,
                                          .count = shape.clients,
                                          .live = shape.live,
                                          .live_dimension = MatrixProduct<Real>::Live::m});
    }
  }

 private:
  std::size_t inputs_, outputs_;
  bool bias_;
  std::size_t weight_at_ = 0, bias_at_ = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, std::size_t inputs) {
  return std::make_unique<Dense<Real>>(inputs, static_cast<std::size_t>(options.integer("outputs")),
                                       options.boolean("bias"));
}

}  // namespace

LayerPlugin dense_plugin() {
  return {.name = "dense",
          .help = "fully connected, weight [out, in] and bias [out] as torch.nn.Linear",
          .options = {{.name = "outputs",
                       .default_value = std::int64_t{10},
                       .help = "width of the output",
                       .unit = "features",
                       .low = 1,
                       .high = 1 << 24,
                       .required = true},
                      {.name = "bias", .default_value = true, .help = "add a bias vector"}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
