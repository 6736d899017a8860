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
struct SumRows {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT sum;
  std::size_t columns;
  IVORY_HD Real operator()(std::size_t r, std::size_t c) const { return from[r * columns + c]; }
};

template <class Real>
struct Square {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = from[i] * from[i]; }
};

template <class Real>
struct AddTo {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] += from[i]; }
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

  // Squares of input and gradient, and their sum over rows.
  LayerRoom room(std::size_t rows) const override { return {.squares = rows * (inputs_ + outputs_) + outputs_}; }

  void forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, Real* output,
               const LayerMemory<Real>&) const override {
    const std::size_t stride = shape.rows * outputs_;
    if (bias_) {
      for_each_client_place(device, shape.clients, shape.rows, outputs_, [&](std::size_t b) {
        return Share{shape.work_rows(b),
                     FillRows<Real>{parameters + b * shape.parameter_stride + bias_at_, output + b * stride, outputs_}};
      });
    }
    MatrixProduct<Real> product = over_rows(shape);
    product.transpose_b = true, product.accumulate = bias_;
    product.n = outputs_, product.k = inputs_;
    product.a = input, product.b = parameters + weight_at_, product.c = output;
    product.lda = inputs_, product.ldb = inputs_, product.ldc = outputs_;
    product.stride_a = shape.rows * inputs_, product.stride_b = shape.parameter_stride, product.stride_c = stride;
    device.multiply(product);
  }

  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input,
                const Real* /*output*/, const Real* output_gradient, Real* input_gradient, Real* parameter_gradient,
                const LayerMemory<Real>&) const override {
    const std::size_t stride_in = shape.rows * inputs_, stride_out = shape.rows * outputs_;
    if (parameter_gradient != nullptr) {
      device.multiply(outer_products(shape, output_gradient, stride_out, input, stride_in, parameter_gradient));
      if (bias_) {
        sum_columns_per_client(device, shape.clients, shape.rows, outputs_, [&](std::size_t b) {
          return Share{shape.work_rows(b),
                       SumRows<Real>{output_gradient + b * stride_out,
                                     parameter_gradient + b * shape.gradient_stride() + bias_at_, outputs_}};
        });
      }
    }
    if (input_gradient != nullptr) {
      MatrixProduct<Real> by_input = over_rows(shape);
      by_input.n = inputs_, by_input.k = outputs_;
      by_input.a = output_gradient, by_input.b = parameters + weight_at_, by_input.c = input_gradient;
      by_input.lda = outputs_, by_input.ldb = inputs_, by_input.ldc = inputs_;
      by_input.stride_a = stride_out, by_input.stride_b = shape.parameter_stride, by_input.stride_c = stride_in;
      device.multiply(by_input);
    }
  }

  // A row's weight gradient is g x'; the squares of its entries are g^2 (x^2)'.
  void add_squared_gradients(Device& device, const BatchShape& shape, const Real*, const Real* input, const Real*,
                             const Real* output_gradient, Real* sums, const LayerMemory<Real>& memory) const override {
    const std::size_t stride = room(shape.rows).squares;
    Real* const inputs_squared = memory.scratch;
    Real* const gradients_squared = inputs_squared + shape.rows * inputs_;
    Real* const bias_sums = gradients_squared + shape.rows * outputs_;
    const auto square = [&](const Real* from, Real* to, std::size_t features) {
      for_each_client(device, shape.clients, shape.rows * features, [&](std::size_t b) {
        return Share{shape.work_rows(b) * features, Square<Real>{from + b * shape.rows * features, to + b * stride}};
      });
    };
    square(input, inputs_squared, inputs_);
    square(output_gradient, gradients_squared, outputs_);
    MatrixProduct<Real> product = outer_products(shape, gradients_squared, stride, inputs_squared, stride, sums);
    product.accumulate = true;
    device.multiply(product);
    if (!bias_) return;
    sum_columns_per_client(device, shape.clients, shape.rows, outputs_, [&](std::size_t b) {
      return Share{shape.work_rows(b), SumRows<Real>{gradients_squared + b * stride, bias_sums + b * stride, outputs_}};
    });
    for_each_client(device, shape.clients, outputs_, [&](std::size_t b) {
      return Share{outputs_, AddTo<Real>{bias_sums + b * stride, sums + b * shape.gradient_stride() + bias_at_}};
    });
  }

 private:
  // Into the weights' slice of `to`: the sum over rows r of a_r b_r', with a of the outputs' and b of the inputs' width.
  MatrixProduct<Real> outer_products(const BatchShape& shape, const Real* a, std::size_t stride_a, const Real* b,
                                     std::size_t stride_b, Real* to) const {
    MatrixProduct<Real> product = over_rows(shape);
    product.transpose_a = true;
    product.m = outputs_, product.n = inputs_, product.k = shape.rows;
    product.a = a, product.b = b, product.c = to + weight_at_;
    product.lda = outputs_, product.ldb = inputs_, product.ldc = inputs_;
    product.stride_a = stride_a, product.stride_b = stride_b, product.stride_c = shape.gradient_stride();
    product.live_dimension = MatrixProduct<Real>::Live::k;
    return product;
  }

  // What the three products share: one per client, over the rows of its minibatch.
  static MatrixProduct<Real> over_rows(const BatchShape& shape) {
    MatrixProduct<Real> product;
    product.m = shape.rows;
    product.count = shape.clients;
    product.live = shape.work_limit();
    return product;
  }

  std::size_t inputs_, outputs_;
  bool bias_;
  std::size_t weight_at_ = 0, bias_at_ = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  const auto outputs = static_cast<std::size_t>(options.integer("outputs"));
  if (outputs == 0) {
    throw InputError("[model] dense needs outputs >= 1 where it is not the last layer, got 0; write its width");
  }
  return std::make_unique<Dense<Real>>(inputs.features(), outputs, options.boolean("bias"));
}

}  // namespace

LayerPlugin dense_plugin() {
  return {.name = "dense",
          .help = "fully connected, weight [out, in] and bias [out] as torch.nn.Linear",
          .options = {{.name = "outputs",
                       .default_value = std::int64_t{0},
                       .help = "width of the output; 0, in the last layer: as many as the data have classes",
                       .unit = "features",
                       .low = 0,
                       .high = 1 << 24},
                      {.name = "bias", .default_value = true, .help = "add a bias vector"}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
