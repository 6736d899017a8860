// Residual addition (He et al. 2016): output = input + shortcut(skip), where skip is an earlier layer's output. The shortcut "pad" is
// option A of that paper, without parameters: every s-th place of the skip, and zeros for the channels that it lacks.
#include "ivory/elementwise.hpp"
#include "ivory/error.hpp"
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
struct Sum {
  const Real* IVORY_RESTRICT a;
  const Real* IVORY_RESTRICT b;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = a[i] + b[i]; }
};

/// Where the skip's image lies in the output's: its channel c is the output's c + first, its place (y s, x s) the output's (y, x).
struct Placement {
  std::uint32_t channels, height, width;                 // of the output
  std::uint32_t skip_channels, skip_height, skip_width;  // of the skip
  std::uint32_t first, s;
};

// Line l of the output is (example, channel, y); places of a line are loop columns.
template <class Real>
struct AddPadded {
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT skip;
  Real* IVORY_RESTRICT output;
  Placement at;
  IVORY_HD void operator()(std::size_t line, std::size_t x) const {
    const auto l = static_cast<std::uint32_t>(line);
    const std::uint32_t y = l % at.height, image = l / at.height;
    const std::uint32_t example = image / at.channels, channel = image % at.channels - at.first;  // wraps below first
    const std::size_t i = line * at.width + x;
    const bool padded = channel >= at.skip_channels;
    const std::size_t skip_line =
        padded ? 0 : (std::size_t{example} * at.skip_channels + channel) * at.skip_height + std::size_t{y} * at.s;
    output[i] = padded ? input[i] : input[i] + skip[skip_line * at.skip_width + x * at.s];
  }
};

// The same for the lines of the skip.
template <class Real>
struct GradientOfPadded {
  const Real* IVORY_RESTRICT output_gradient;
  Real* IVORY_RESTRICT skip_gradient;
  Placement at;
  IVORY_HD void operator()(std::size_t line, std::size_t place) const {
    const auto l = static_cast<std::uint32_t>(line), x = static_cast<std::uint32_t>(place);
    const std::uint32_t y = l % at.skip_height, image = l / at.skip_height;
    const std::uint32_t example = image / at.skip_channels, channel = image % at.skip_channels + at.first;
    const std::size_t output_line = (std::size_t{example} * at.channels + channel) * at.height + y / at.s;
    const bool taken = y % at.s == 0 && x % at.s == 0;
    skip_gradient[line * at.skip_width + place] = taken ? output_gradient[output_line * at.width + x / at.s] : Real(0);
  }
};

template <class Real>
class Add final : public Layer<Real> {
 public:
  Add(const LayerInputs& inputs, bool pad, const Placement& at)
      : shape_(inputs.input), features_(inputs.features()), skip_features_(LayerInputs(inputs.skip).features()),
        pad_(pad), at_(at) {}

  std::string name() const override { return "add"; }
  std::size_t inputs() const override { return features_; }
  std::size_t outputs() const override { return features_; }
  std::size_t skip_inputs() const override { return skip_features_; }
  Shape output_shape() const override { return shape_; }

  void forward(Device& device, const BatchShape& shape, const Real*, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    const std::size_t stride = shape.rows * features_, skip_stride = shape.rows * skip_features_;
    if (!pad_) {
      for_each_client(device, shape.clients, stride, [&](std::size_t b) {
        return Share{shape.work_rows(b) * features_,
                     Sum<Real>{input + b * stride, memory.skip + b * stride, output + b * stride}};
      });
      return;
    }
    const std::size_t lines = features_ / at_.width;
    for_each_client_place(device, shape.clients, shape.rows * lines, at_.width, [&](std::size_t b) {
      return Share{shape.work_rows(b) * lines,
                   AddPadded<Real>{input + b * stride, memory.skip + b * skip_stride, output + b * stride, at_}};
    });
  }

  void backward(Device& device, const BatchShape& shape, const Real*, const Real*, const Real*,
                const Real* output_gradient, Real* input_gradient, Real*,
                const LayerMemory<Real>& memory) const override {
    const std::size_t stride = shape.rows * features_, skip_stride = shape.rows * skip_features_;
    const auto copy = [&](Real* to) {
      for_each_client(device, shape.clients, stride, [&](std::size_t b) {
        return Share{shape.work_rows(b) * features_, Copy<Real>{output_gradient + b * stride, to + b * stride}};
      });
    };
    if (input_gradient != nullptr) copy(input_gradient);
    if (!pad_) {
      copy(memory.skip_gradient);
      return;
    }
    const std::size_t lines = skip_features_ / at_.skip_width;
    for_each_client_place(device, shape.clients, shape.rows * lines, at_.skip_width, [&](std::size_t b) {
      return Share{shape.work_rows(b) * lines,
                   GradientOfPadded<Real>{output_gradient + b * stride, memory.skip_gradient + b * skip_stride, at_}};
    });
  }

 private:
  Shape shape_;
  std::size_t features_, skip_features_;
  bool pad_;
  Placement at_;
};

std::string text(const Shape& shape) {
  std::string out;
  for (const std::size_t extent : shape) out += (out.empty() ? "[" : ", ") + std::to_string(extent);
  return out + "]";
}

[[noreturn]] void refuse(const LayerInputs& inputs, const std::string& rule, const std::string& advice) {
  throw InputError("[model] add " + rule + ", got " + text(inputs.input) + " and a skip of " + text(inputs.skip) +
                   "; " + advice);
}

// The stride that takes `from` places to `to`, counting from the first: ceil(from / s) = to. 0 where there is none.
std::size_t stride_between(std::size_t from, std::size_t to) {
  for (std::size_t s = 1; s <= from; ++s) {
    if ((from + s - 1) / s == to) return s;
  }
  return 0;
}

Placement placement(const LayerInputs& inputs) {
  const Shape &in = inputs.input, &skip = inputs.skip;
  const std::string rule =
      "with shortcut = \"pad\" needs a skip of at most as many channels and of s times the height and width";
  if (in.size() != 3 || skip.size() != 3 || skip[0] > in[0]) refuse(inputs, rule, "choose another layer in `from`");
  const std::size_t s = stride_between(skip[1], in[1]);
  if (s == 0 || (skip[2] + s - 1) / s != in[2]) refuse(inputs, rule, "choose another layer in `from`");
  const auto narrow = [](std::size_t n) { return static_cast<std::uint32_t>(n); };
  return {narrow(in[0]),
          narrow(in[1]),
          narrow(in[2]),
          narrow(skip[0]),
          narrow(skip[1]),
          narrow(skip[2]),
          narrow((in[0] - skip[0]) / 2),  // as many new channels before as after
          narrow(s)};
}

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  const bool pad = options.text("shortcut") == "pad";
  if (!pad && inputs.input != inputs.skip) {
    refuse(inputs, "with shortcut = \"identity\" needs equal shapes",
           "shortcut = \"pad\" takes places and adds channels");
  }
  return std::make_unique<Add<Real>>(inputs, pad, pad ? placement(inputs) : Placement{});
}

}  // namespace

LayerPlugin add_plugin() {
  return {
      .name = "add",
      .help = "input plus an earlier layer's output (`from`), the addition of residual networks",
      .options = {{.name = "shortcut",
                   .default_value = std::string("identity"),
                   .help = "what the earlier output goes through; identity: nothing, the shapes are equal; pad: places "
                           "by a stride, then as many zero channels before as after",
                   .choices = {"identity", "pad"}}},
      .takes_skip = true,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
