// Images as one row of features, in the order channel, row, column (torch.nn.Flatten).
#include "ivory/elementwise.hpp"
#include "ivory/layer.hpp"

namespace ivory {
namespace {

template <class Real>
struct Copy {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = from[i]; }
};

template <class Real>
class Flatten final : public Layer<Real> {
 public:
  explicit Flatten(std::size_t features) : features_(features) {}
  std::string name() const override { return "flatten"; }
  std::size_t inputs() const override { return features_; }
  std::size_t outputs() const override { return features_; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>&) const override {
    copy(device, shape, input, output);
  }
  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*, const LayerMemory<Real>&) const override {
    if (input_gradient != nullptr) copy(device, shape, output_gradient, input_gradient);
  }

 private:
  void copy(Device& device, const BatchShape& shape, const Real* from, Real* to) const {
    const std::size_t stride = shape.rows * features_;
    for_each_client(device, shape.clients, stride, [&](std::size_t b) {
      return Share{shape.work_rows(b) * features_, Copy<Real>{from + b * stride, to + b * stride}};
    });
  }
  std::size_t features_;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options&, const LayerInputs& inputs) {
  return std::make_unique<Flatten<Real>>(inputs.features());
}

}  // namespace

LayerPlugin flatten_plugin() {
  return {.name = "flatten",
          .help = "images as one row of features, in the order channel, row, column",
          .options = {},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
