// Dropout (Srivastava et al. 2014) as torch.nn.Dropout: in training each number is 0 with probability p and otherwise divided by
// 1 - p; in evaluation it is itself.
#include <cmath>

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

// One Philox block decides about four numbers, 16 apart (rng.hpp). The mask depends on stream, layer and place alone, so backward
// makes it again.
template <class Real>
struct Mask {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  std::size_t count;
  Stream noise;
  std::uint64_t first_block;
  std::uint32_t threshold;  // words below it drop
  Real scale;
  IVORY_HD void operator()(std::size_t unit) const {
    const Words words = noise.block(first_block + unit);
    const std::size_t i = unit / tile_lanes * tile_size + unit % tile_lanes;
    keep(i, words.a);
    keep(i + tile_lanes, words.b);
    keep(i + 2 * tile_lanes, words.c);
    keep(i + 3 * tile_lanes, words.d);
  }
  // A product, so that NaN stays NaN where it is dropped.
  IVORY_HD void keep(std::size_t i, std::uint32_t word) const {
    if (i < count) to[i] = from[i] * (word < threshold ? Real(0) : scale);
  }
};

template <class Real>
class Dropout final : public Layer<Real> {
 public:
  Dropout(const LayerInputs& inputs, double p)
      : shape_(inputs.input), features_(inputs.features()), threshold_(static_cast<std::uint32_t>(p * 0x1p32)),
        scale_(static_cast<Real>(1.0 / (1.0 - p))) {}

  std::string name() const override { return "dropout"; }
  std::size_t inputs() const override { return features_; }
  std::size_t outputs() const override { return features_; }
  Shape output_shape() const override { return shape_; }
  bool draws() const override { return threshold_ > 0; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>&) const override {
    apply(device, shape, input, output);
  }
  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*, const LayerMemory<Real>&) const override {
    if (input_gradient != nullptr) apply(device, shape, output_gradient, input_gradient);
  }

 private:
  void apply(Device& device, const BatchShape& shape, const Real* from, Real* to) const {
    const std::size_t stride = shape.rows * features_;
    if (shape.noise == nullptr || !draws()) {
      for_each_client(device, shape.clients, stride, [&](std::size_t b) {
        return Share{shape.work_rows(b) * features_, Copy<Real>{from + b * stride, to + b * stride}};
      });
      return;
    }
    const auto blocks = [](std::size_t count) { return round_up_to_tile(count) / 4; };
    for_each_client(device, shape.clients, blocks(stride), [&](std::size_t b) {
      const std::size_t count = shape.work_rows(b) * features_;
      return Share{blocks(count), Mask<Real>{from + b * stride, to + b * stride, count, shape.noise[b],
                                             std::uint64_t{shape.layer} << 40, threshold_, scale_}};
    });
  }

  Shape shape_;
  std::size_t features_;
  std::uint32_t threshold_;
  Real scale_;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  return std::make_unique<Dropout<Real>>(inputs, options.real("p"));
}

}  // namespace

LayerPlugin dropout_plugin() {
  return {.name = "dropout",
          .help = "in training each number is 0 with probability p, else divided by 1 - p; as torch.nn.Dropout",
          .options = {{.name = "p",
                       .default_value = 0.5,
                       .help = "probability of 0",
                       .unit = "1",
                       .low = 0,
                       .high = 1,
                       .high_open = true}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
