// The largest number under each window, as torch.nn.MaxPool2d: padding never wins, of equal numbers the first does, NaN always.
#include <limits>

#include "clients/pooling.hpp"

namespace ivory {
namespace {

// Writes the maximum and which tap it was, by row (example, channel, v) and column h of the output. `fixed`: the kernel and stride
// of windows that lie inside the image, or 0.
template <class Real, std::uint32_t fixed>
struct Largest {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT output;
  Real* IVORY_RESTRICT taken;  // a small whole number
  WindowPlaces at;
  static constexpr bool repeatable = true;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    Real best = -std::numeric_limits<Real>::infinity(), tap = Real(-1);
    if constexpr (fixed > 0) {
      for (std::uint32_t i = 0; i < fixed; ++i) {
        const Real* const line = input + ((row * fixed + i) * at.out_width + column) * fixed;
        for (std::uint32_t j = 0; j < fixed; ++j) take(line[j], i * fixed + j, best, tap);
      }
    } else {
      const auto r = static_cast<std::uint32_t>(row), c = static_cast<std::uint32_t>(column);
      const std::size_t image = std::size_t{r / at.out_height} * at.height;
      for (std::uint32_t i = 0; i < at.kernel; ++i) {
        const std::uint32_t y = r % at.out_height * at.stride + i - at.padding;  // wraps to above the last place
        for (std::uint32_t j = 0; j < at.kernel; ++j) {
          const std::uint32_t x = c * at.stride + j - at.padding;
          if (y < at.height && x < at.width) take(input[(image + y) * at.width + x], i * at.kernel + j, best, tap);
        }
      }
    }
    output[row * at.out_width + column] = best;
    taken[row * at.out_width + column] = tap;
  }
  IVORY_HD static void take(Real x, std::uint32_t here, Real& best, Real& tap) {
    const bool better = x > best || x != x || tap < Real(0);
    best = better ? x : best;
    tap = better ? static_cast<Real>(here) : tap;
  }
};

template <class Real>
struct WasTaken {
  const Real* IVORY_RESTRICT taken;
  IVORY_HD Real operator()(std::size_t position, std::uint32_t tap, Real gradient) const {
    return taken[position] == static_cast<Real>(tap) ? gradient : Real(0);
  }
};

template <class Real>
class MaxPool2d final : public Layer<Real> {
 public:
  explicit MaxPool2d(const ConvolutionShape& shape) : s_(shape) {}

  std::string name() const override { return "max_pool2d"; }
  std::size_t inputs() const override { return s_.inputs(); }
  std::size_t outputs() const override { return s_.channels * s_.positions(); }
  Shape output_shape() const override { return {s_.channels, s_.out_height(), s_.out_width()}; }
  LayerRoom room(std::size_t rows) const override { return {.saved = rows * outputs()}; }  // the taps taken

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    if (are_tiles(s_, 2)) {
      take_largest<2>(device, shape, input, output, memory);
    } else {
      take_largest<0>(device, shape, input, output, memory);
    }
  }

  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*,
                const LayerMemory<Real>& memory) const override {
    if (input_gradient == nullptr) return;
    pool_gradient(device, shape, s_, output_gradient, input_gradient,
                  [&](std::size_t b) { return WasTaken<Real>{memory.saved + b * shape.rows * outputs()}; });
  }

 private:
  template <std::uint32_t fixed>
  void take_largest(Device& device, const BatchShape& shape, const Real* input, Real* output,
                    const LayerMemory<Real>& memory) const {
    const std::size_t lines = s_.channels * s_.out_height(), in = shape.rows * inputs(), out = shape.rows * outputs();
    for_each_client_place(device, shape.clients, shape.rows * lines, s_.out_width(), [&](std::size_t b) {
      return Share{shape.work_rows(b) * lines,
                   Largest<Real, fixed>{input + b * in, output + b * out, memory.saved + b * out, WindowPlaces(s_)}};
    });
  }

  ConvolutionShape s_;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  return std::make_unique<MaxPool2d<Real>>(
      pooling_window(options, inputs, "max_pool2d", static_cast<std::size_t>(options.integer("kernel"))));
}

}  // namespace

LayerPlugin max_pool2d_plugin() {
  return {.name = "max_pool2d",
          .help = "the largest number under each window, as torch.nn.MaxPool2d",
          .options = {{.name = "kernel",
                       .default_value = std::int64_t{2},
                       .help = "height and width of the window",
                       .unit = "pixels",
                       .low = 1,
                       .high = 1 << 11,
                       .required = true},
                      stride_option(0, 0, "from one place of the window to the next; 0: as the kernel"),
                      padding_option("places around the image, on every side, that never win")},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
