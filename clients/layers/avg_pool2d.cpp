// The mean of the numbers under each window, as torch.nn.AvgPool2d; of the whole image, as torch.nn.AdaptiveAvgPool2d(1).
#include "clients/pooling.hpp"
#include "clients/run_sums.hpp"

namespace ivory {
namespace {

// How many places of the window at a position count.
struct CountedPlaces {
  WindowPlaces at;
  bool with_padding;
  IVORY_HD std::uint32_t operator()(std::uint32_t position) const {
    if (with_padding) return at.kernel * at.kernel;
    return inside(position / at.out_width * at.stride, at.height) *
           inside(position % at.out_width * at.stride, at.width);
  }
  // Of the window's rows or columns, which begin at a padded place.
  IVORY_HD std::uint32_t inside(std::uint32_t begin, std::uint32_t extent) const {
    const std::uint32_t end = begin + at.kernel, last = extent + at.padding;
    return (end < last ? end : last) - (begin > at.padding ? begin : at.padding);
  }
};

// By row (example, channel, v) and column h of the output.
template <class Real>
struct Mean {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT output;
  WindowPlaces at;
  CountedPlaces counted;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const auto r = static_cast<std::uint32_t>(row), c = static_cast<std::uint32_t>(column);
    const std::uint32_t v = r % at.out_height;
    const std::size_t image = std::size_t{r / at.out_height} * at.height;
    Real total = 0;
    for (std::uint32_t i = 0; i < at.kernel; ++i) {
      const std::uint32_t y = v * at.stride + i - at.padding;  // wraps to above the last place
      for (std::uint32_t j = 0; j < at.kernel; ++j) {
        const std::uint32_t x = c * at.stride + j - at.padding;
        if (y < at.height && x < at.width) total += input[(image + y) * at.width + x];
      }
    }
    output[row * at.out_width + column] = total / static_cast<Real>(counted(v * at.out_width + c));
  }
};

template <class Real>
struct ShareOfMean {
  CountedPlaces counted;
  IVORY_HD Real operator()(std::size_t position, std::uint32_t, Real gradient) const {
    const auto p = static_cast<std::uint32_t>(position) % (counted.at.out_height * counted.at.out_width);
    return gradient / static_cast<Real>(counted(p));
  }
};

template <class Real>
struct MeanOfImage {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT output;
  std::size_t places;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const { return input[run * places + k]; }
  IVORY_HD void store(std::size_t run, Real total) const { output[run] = total / static_cast<Real>(places); }
};

template <class Real>
struct SpreadOverImage {
  const Real* IVORY_RESTRICT output_gradient;
  Real* IVORY_RESTRICT input_gradient;
  std::size_t places;
  IVORY_HD void operator()(std::size_t run, std::size_t k) const {
    input_gradient[run * places + k] = output_gradient[run] / static_cast<Real>(places);
  }
};

template <class Real>
class AvgPool2d final : public Layer<Real> {
 public:
  AvgPool2d(const ConvolutionShape& shape, bool with_padding) : s_(shape), with_padding_(with_padding) {}

  std::string name() const override { return "avg_pool2d"; }
  std::size_t inputs() const override { return s_.inputs(); }
  std::size_t outputs() const override { return s_.channels * s_.positions(); }
  Shape output_shape() const override { return {s_.channels, s_.out_height(), s_.out_width()}; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>&) const override {
    const std::size_t lines = s_.channels * s_.out_height(), in = shape.rows * inputs(), out = shape.rows * outputs();
    for_each_client_place(device, shape.clients, shape.rows * lines, s_.out_width(), [&](std::size_t b) {
      return Share{shape.work_rows(b) * lines,
                   Mean<Real>{input + b * in, output + b * out, WindowPlaces(s_), {WindowPlaces(s_), with_padding_}}};
    });
  }

  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*, const LayerMemory<Real>&) const override {
    if (input_gradient == nullptr) return;
    pool_gradient(device, shape, s_, output_gradient, input_gradient, [&](std::size_t) {
      return ShareOfMean<Real>{{WindowPlaces(s_), with_padding_}};
    });
  }

 private:
  ConvolutionShape s_;
  bool with_padding_;
};

template <class Real>
class GlobalAvgPool2d final : public Layer<Real> {
 public:
  explicit GlobalAvgPool2d(const Shape& input) : channels_(input[0]), places_(input[1] * input[2]) {}

  std::string name() const override { return "avg_pool2d"; }
  std::size_t inputs() const override { return channels_ * places_; }
  std::size_t outputs() const override { return channels_; }
  Shape output_shape() const override { return {channels_, 1, 1}; }
  LayerRoom room(std::size_t rows) const override { return {.scratch = room_for_lanes(rows * channels_, places_)}; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    const std::size_t runs = shape.rows * channels_;
    sum_runs_per_client(device, shape.clients, runs, places_, memory.scratch, room(shape.rows).scratch,
                        [&](std::size_t b) {
                          return Share{shape.work_rows(b) * channels_,
                                       MeanOfImage<Real>{input + b * runs * places_, output + b * runs, places_}};
                        });
  }

  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*, const LayerMemory<Real>&) const override {
    if (input_gradient == nullptr) return;
    const std::size_t runs = shape.rows * channels_;
    for_each_client_place(device, shape.clients, runs, places_, [&](std::size_t b) {
      return Share{shape.work_rows(b) * channels_,
                   SpreadOverImage<Real>{output_gradient + b * runs, input_gradient + b * runs * places_, places_}};
    });
  }

 private:
  std::size_t channels_, places_;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  const auto kernel = static_cast<std::size_t>(options.integer("kernel"));
  if (kernel > 0) {
    return std::make_unique<AvgPool2d<Real>>(pooling_window(options, inputs, "avg_pool2d", kernel),
                                             options.boolean("count_include_pad"));
  }
  if (options.integer("stride") != 0 || options.integer("padding") != 0) {
    throw InputError("[model] avg_pool2d needs no stride and no padding where its kernel is 0, the whole image, got " +
                     std::to_string(options.integer("stride")) + " and " + std::to_string(options.integer("padding")) +
                     "; leave them out, or name a kernel");
  }
  window_over(inputs, "avg_pool2d", 1, 1, 0);
  return std::make_unique<GlobalAvgPool2d<Real>>(inputs.input);
}

}  // namespace

LayerPlugin avg_pool2d_plugin() {
  return {.name = "avg_pool2d",
          .help = "the mean of the numbers under each window, as torch.nn.AvgPool2d, or of the whole image",
          .options = {{.name = "kernel",
                       .default_value = std::int64_t{2},
                       .help = "height and width of the window; 0: those of the image",
                       .unit = "pixels",
                       .low = 0,
                       .high = 1 << 12,
                       .required = true},
                      stride_option(0, 0, "from one place of the window to the next; 0: as the kernel"),
                      padding_option("zeros around the image, on every side"),
                      {.name = "count_include_pad",
                       .default_value = true,
                       .help = "the zeros around the image count in the mean"}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
