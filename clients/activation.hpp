// What the elementwise activations share: y = f(x) and dL/dx = dL/dy * f'(x), with f' written in terms of the output y.
#pragma once
#include <string>

#include "ivory/elementwise.hpp"
#include "ivory/layer.hpp"

namespace ivory {

template <class Real, class Formula>
struct ActivationForward {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT output;
  IVORY_HD void operator()(std::size_t i) const { output[i] = Formula::value(input[i]); }
};

template <class Real, class Formula>
struct ActivationBackward {
  const Real* IVORY_RESTRICT output;
  const Real* IVORY_RESTRICT output_gradient;
  Real* IVORY_RESTRICT input_gradient;
  IVORY_HD void operator()(std::size_t i) const {
    input_gradient[i] = output_gradient[i] * Formula::slope_from_output(output[i]);
  }
};

/// `Formula` has static value(x) and slope_from_output(y), templates over the real type, and a static `name`.
template <class Real, class Formula>
class Activation final : public Layer<Real> {
 public:
  explicit Activation(const LayerInputs& inputs) : shape_(inputs.input), features_(inputs.features()) {}
  std::string name() const override { return Formula::name; }
  std::size_t inputs() const override { return features_; }
  std::size_t outputs() const override { return features_; }
  Shape output_shape() const override { return shape_; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>&) const override {
    const std::size_t stride = shape.rows * features_;
    for_each_client(device, shape.clients, stride, [&](std::size_t b) {
      const std::size_t at = b * stride;
      return Share{shape.work_rows(b) * features_, ActivationForward<Real, Formula>{input + at, output + at}};
    });
  }
  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real* output,
                const Real* output_gradient, Real* input_gradient, Real*, const LayerMemory<Real>&) const override {
    if (input_gradient == nullptr) return;
    const std::size_t stride = shape.rows * features_;
    for_each_client(device, shape.clients, stride, [&](std::size_t b) {
      const std::size_t at = b * stride;
      return Share{shape.work_rows(b) * features_,
                   ActivationBackward<Real, Formula>{output + at, output_gradient + at, input_gradient + at}};
    });
  }

 private:
  Shape shape_;
  std::size_t features_;
};

template <class Real, class Formula>
std::unique_ptr<Layer<Real>> make_activation(const Options&, const LayerInputs& inputs) {
  return std::make_unique<Activation<Real, Formula>>(inputs);
}

template <class Formula>
LayerPlugin activation_plugin(const char* help) {
  return {.name = Formula::name,
          .help = help,
          .options = {},
          .activation = true,
          .make_float = make_activation<float, Formula>,
          .make_double = make_activation<double, Formula>};
}

}  // namespace ivory
