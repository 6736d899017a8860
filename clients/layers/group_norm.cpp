// Group normalisation (Wu & He 2018) as torch.nn.GroupNorm: per example and group of channels, over the group's channels and all
// their places, y = (x - mean) / sqrt(variance + eps) * weight[channel] + bias[channel] with the variance of divisor n.
#include <algorithm>

#include "clients/run_sums.hpp"
#include "ivory/error.hpp"

namespace ivory {
namespace {

// A group's channels lie one after the other, so each example is [groups x length] for the statistics and [channels x places] for
// the parameters; run r of the first kind is group r % groups of example r / groups.

template <class Real>
struct GroupMean {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT mean;
  std::size_t length;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const { return input[run * length + k]; }
  IVORY_HD void store(std::size_t run, Real total) const { mean[run] = total / static_cast<Real>(length); }
};

template <class Real>
struct GroupScale {
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT scale;  // 1 / sqrt(variance + eps)
  std::size_t length;
  Real eps;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const {
    const Real deviation = input[run * length + k] - mean[run];
    return deviation * deviation;
  }
  IVORY_HD void store(std::size_t run, Real total) const {
    scale[run] = Real(1) / math::sqrt(total / static_cast<Real>(length) + eps);
  }
};

template <class Real>
struct Normalise {
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT scale;
  const Real* IVORY_RESTRICT weight;
  const Real* IVORY_RESTRICT bias;
  Real* IVORY_RESTRICT output;
  std::size_t places;
  std::uint32_t channels, channels_of_group;  // 32 bits: a 64-bit division costs more than the rest
  IVORY_HD void operator()(std::size_t run, std::size_t k) const {
    const std::uint32_t group = static_cast<std::uint32_t>(run) / channels_of_group;
    const std::uint32_t channel = static_cast<std::uint32_t>(run) % channels;
    const std::size_t i = run * places + k;
    output[i] = (input[i] - mean[group]) * (scale[group] * weight[channel]) + bias[channel];
  }
};

template <class Real>
struct GradientOfWeight {
  const Real* IVORY_RESTRICT gradient;
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT scale;
  Real* IVORY_RESTRICT sum;
  std::size_t places;
  std::uint32_t channels_of_group;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const {
    const std::uint32_t group = static_cast<std::uint32_t>(run) / channels_of_group;
    const std::size_t i = run * places + k;
    return gradient[i] * ((input[i] - mean[group]) * scale[group]);
  }
  IVORY_HD void store(std::size_t run, Real total) const { sum[run] = total; }
};

// With z = (x - mean) scale and n entries in the group: dx = scale (dy w - offset - z slope), where offset = sum(dy w) / n and
// slope = sum(dy w z) / n.
template <class Real>
struct GroupTerms {
  const Real* IVORY_RESTRICT bias_gradient;
  const Real* IVORY_RESTRICT weight_gradient;
  const Real* IVORY_RESTRICT weight;
  Real* IVORY_RESTRICT offset;
  Real* IVORY_RESTRICT slope;
  std::uint32_t groups, channels_of_group;
  Real length;
  IVORY_HD void operator()(std::size_t run) const {
    const std::uint32_t group = static_cast<std::uint32_t>(run) % groups;
    Real by_bias = 0, by_weight = 0;
    for (std::uint32_t c = 0; c < channels_of_group; ++c) {
      const Real w = weight[group * channels_of_group + c];
      by_bias += w * bias_gradient[run * channels_of_group + c];
      by_weight += w * weight_gradient[run * channels_of_group + c];
    }
    offset[run] = by_bias / length;
    slope[run] = by_weight / length;
  }
};

template <class Real>
struct GradientOfInput {
  const Real* IVORY_RESTRICT gradient;
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT scale;
  const Real* IVORY_RESTRICT weight;
  const Real* IVORY_RESTRICT offset;
  const Real* IVORY_RESTRICT slope;
  Real* IVORY_RESTRICT input_gradient;
  std::size_t places;
  std::uint32_t channels, channels_of_group;
  IVORY_HD void operator()(std::size_t run, std::size_t k) const {
    const std::uint32_t group = static_cast<std::uint32_t>(run) / channels_of_group;
    const std::uint32_t channel = static_cast<std::uint32_t>(run) % channels;
    const std::size_t i = run * places + k;
    const Real z = (input[i] - mean[group]) * scale[group];
    input_gradient[i] = scale[group] * (gradient[i] * weight[channel] - offset[group] - z * slope[group]);
  }
};

template <class Real>
class GroupNorm final : public Layer<Real> {
 public:
  GroupNorm(Shape input, std::size_t groups, double eps)
      : shape_(std::move(input)), channels_(shape_.front()), groups_(groups), eps_(static_cast<Real>(eps)) {
    for (std::size_t d = 1; d < shape_.size(); ++d) places_ *= shape_[d];
  }

  std::string name() const override { return "group_norm"; }
  std::size_t inputs() const override { return channels_ * places_; }
  std::size_t outputs() const override { return channels_ * places_; }
  Shape output_shape() const override { return shape_; }

  void declare(ParameterLayout& layout, const std::string& prefix) override {
    weight_at_ = layout.add(prefix + ".weight", {channels_});
    bias_at_ = layout.add(prefix + ".bias", {channels_});
  }

  void initialise(StreamReader&, Real* parameters) const override {
    std::fill_n(parameters + weight_at_, channels_, Real(1));
    std::fill_n(parameters + bias_at_, channels_, Real(0));
  }

  // Saved: mean and scale of each group. Scratch: the gradients of weight and bias of each example's channels, offset and slope of
  // each group, and lanes.
  LayerRoom room(std::size_t rows) const override {
    const std::size_t scratch = 2 * rows * (channels_ + groups_) + std::max(room_for_lanes(rows * groups_, length()),
                                                                            room_for_lanes(rows * channels_, places_));
    return {.saved = 2 * rows * groups_, .scratch = scratch, .squares = scratch};
  }

  void forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    const Parts parts(*this, shape, memory);
    const std::size_t stride = shape.rows * inputs();
    sum_runs_per_client(
        device, shape.clients, shape.rows * groups_, length(), parts.lanes, parts.stride, [&](std::size_t b) {
          return Share{shape.work_rows(b) * groups_, GroupMean<Real>{input + b * stride, parts.mean(b), length()}};
        });
    sum_runs_per_client(
        device, shape.clients, shape.rows * groups_, length(), parts.lanes, parts.stride, [&](std::size_t b) {
          return Share{shape.work_rows(b) * groups_,
                       GroupScale<Real>{input + b * stride, parts.mean(b), parts.scale(b), length(), eps_}};
        });
    for_each_client_place(device, shape.clients, shape.rows * channels_, places_, [&](std::size_t b) {
      const Real* const own = parameters + b * shape.parameter_stride;
      return Share{shape.work_rows(b) * channels_,
                   Normalise<Real>{input + b * stride, parts.mean(b), parts.scale(b), own + weight_at_, own + bias_at_,
                                   output + b * stride, places_, narrow(channels_), channels_of_group()}};
    });
  }

  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, const Real*,
                const Real* output_gradient, Real* input_gradient, Real* parameter_gradient,
                const LayerMemory<Real>& memory) const override {
    const Parts parts(*this, shape, memory);
    add_up_channels(device, shape, input, output_gradient, parts);
    if (parameter_gradient != nullptr) {
      sum_channels_of_rows(device, shape, channels_, parts.weight_gradients, parts.stride,
                           parameter_gradient + weight_at_);
      sum_channels_of_rows(device, shape, channels_, parts.bias_gradients, parts.stride, parameter_gradient + bias_at_);
    }
    if (input_gradient == nullptr) return;
    const std::size_t stride = shape.rows * inputs();
    for_each_client(device, shape.clients, shape.rows * groups_, [&](std::size_t b) {
      return Share{shape.work_rows(b) * groups_,
                   GroupTerms<Real>{parts.bias_gradients + b * parts.stride, parts.weight_gradients + b * parts.stride,
                                    parameters + b * shape.parameter_stride + weight_at_, parts.offset(b),
                                    parts.slope(b), narrow(groups_), channels_of_group(), static_cast<Real>(length())}};
    });
    for_each_client_place(device, shape.clients, shape.rows * channels_, places_, [&](std::size_t b) {
      return Share{
          shape.work_rows(b) * channels_,
          GradientOfInput<Real>{output_gradient + b * stride, input + b * stride, parts.mean(b), parts.scale(b),
                                parameters + b * shape.parameter_stride + weight_at_, parts.offset(b), parts.slope(b),
                                input_gradient + b * stride, places_, narrow(channels_), channels_of_group()}};
    });
  }

  void add_squared_gradients(Device& device, const BatchShape& shape, const Real*, const Real* input, const Real*,
                             const Real* output_gradient, Real* sums, const LayerMemory<Real>& memory) const override {
    const Parts parts(*this, shape, memory);
    add_up_channels(device, shape, input, output_gradient, parts);
    add_squared_channels_of_rows(device, shape, channels_, parts.weight_gradients, parts.stride, sums + weight_at_);
    add_squared_channels_of_rows(device, shape, channels_, parts.bias_gradients, parts.stride, sums + bias_at_);
  }

 private:
  // Where things lie in the memory of a pass; `stride` is that of the scratch memory.
  struct Parts {
    Parts(const GroupNorm& layer, const BatchShape& shape, const LayerMemory<Real>& memory)
        : saved(memory.saved), stride(layer.room(shape.rows).scratch), of_groups(shape.rows * layer.groups_),
          bias_gradients(memory.scratch), weight_gradients(bias_gradients + shape.rows * layer.channels_),
          terms(weight_gradients + shape.rows * layer.channels_), lanes(terms + 2 * of_groups) {}
    Real* mean(std::size_t b) const { return saved + 2 * b * of_groups; }
    Real* scale(std::size_t b) const { return mean(b) + of_groups; }
    Real* offset(std::size_t b) const { return terms + b * stride; }
    Real* slope(std::size_t b) const { return offset(b) + of_groups; }
    Real* saved;
    std::size_t stride, of_groups;
    Real *bias_gradients, *weight_gradients, *terms, *lanes;
  };

  // Each example's own gradients of weight and bias, [rows x channels].
  void add_up_channels(Device& device, const BatchShape& shape, const Real* input, const Real* output_gradient,
                       const Parts& parts) const {
    const std::size_t stride = shape.rows * inputs(), runs = shape.rows * channels_;
    sum_runs_per_client(device, shape.clients, runs, places_, parts.lanes, parts.stride, [&](std::size_t b) {
      return Share{shape.work_rows(b) * channels_,
                   PlainRun<Real>{output_gradient + b * stride, parts.bias_gradients + b * parts.stride, places_}};
    });
    sum_runs_per_client(device, shape.clients, runs, places_, parts.lanes, parts.stride, [&](std::size_t b) {
      return Share{
          shape.work_rows(b) * channels_,
          GradientOfWeight<Real>{output_gradient + b * stride, input + b * stride, parts.mean(b), parts.scale(b),
                                 parts.weight_gradients + b * parts.stride, places_, channels_of_group()}};
    });
  }

  static std::uint32_t narrow(std::size_t n) { return static_cast<std::uint32_t>(n); }
  std::uint32_t channels_of_group() const { return narrow(channels_ / groups_); }
  std::size_t length() const { return channels_ / groups_ * places_; }

  Shape shape_;
  std::size_t channels_, groups_, places_ = 1;
  Real eps_;
  std::size_t weight_at_ = 0, bias_at_ = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  const auto groups = static_cast<std::size_t>(options.integer("groups"));
  const std::size_t channels = inputs.input.front();
  if (channels % groups != 0) {
    throw InputError("[model] group_norm needs groups that divide the channels, got " + std::to_string(groups) +
                     " groups for " + std::to_string(channels) + " channels; use a divisor of " +
                     std::to_string(channels));
  }
  if (groups == inputs.features()) {
    throw InputError("[model] group_norm needs groups of more than one number, which would be their own mean, got " +
                     std::to_string(groups) + " groups for " + std::to_string(channels) + " numbers; use fewer groups");
  }
  return std::make_unique<GroupNorm<Real>>(inputs.input, groups, options.real("eps"));
}

}  // namespace

LayerPlugin group_norm_plugin() {
  return {.name = "group_norm",
          .help =
              "each example's groups of channels to mean 0 and variance 1, then weight [channels] and bias "
              "[channels], as "
              "torch.nn.GroupNorm",
          .options = {{.name = "groups",
                       .default_value = std::int64_t{2},
                       .help = "groups of neighbouring channels; 1: all channels together",
                       .unit = "groups",
                       .low = 1,
                       .high = 1 << 20,
                       .required = true},
                      {.name = "eps",
                       .default_value = 1e-5,
                       .help = "added to the variance",
                       .unit = "1",
                       .low = 0,
                       .high = 1,
                       .low_open = true}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
