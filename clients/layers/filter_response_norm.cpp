// Filter response normalisation with the thresholded linear unit (Singh & Krishnan 2020): per example and channel, over the places,
//   z = x / sqrt(mean(x^2) + eps),   y = max(gamma z + beta, tau),
// with learned gamma, beta and tau per channel. No mean is taken off, and no other channel or example takes part.
#include <algorithm>
#include <array>

#include "clients/run_sums.hpp"
#include "ivory/error.hpp"

namespace ivory {
namespace {

// Run r is channel r % channels of example r / channels.

template <class Real>
struct ChannelScale {
  const Real* IVORY_RESTRICT input;
  Real* IVORY_RESTRICT scale;  // 1 / sqrt(mean(x^2) + eps)
  std::size_t places;
  Real eps;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const {
    const Real x = input[run * places + k];
    return x * x;
  }
  IVORY_HD void store(std::size_t run, Real total) const {
    scale[run] = Real(1) / math::sqrt(total / static_cast<Real>(places) + eps);
  }
};

/// What a place's gradients need; `above` is gamma z + beta.
template <class Real>
struct Response {
  const Real* IVORY_RESTRICT input;
  const Real* IVORY_RESTRICT scale;
  const Real* IVORY_RESTRICT gamma;
  const Real* IVORY_RESTRICT beta;
  const Real* IVORY_RESTRICT tau;
  std::size_t places;
  std::uint32_t channels;  // 32 bits: a 64-bit division costs more than the rest

  IVORY_HD std::uint32_t channel(std::size_t run) const { return static_cast<std::uint32_t>(run) % channels; }
  IVORY_HD Real normal(std::size_t run, std::size_t k) const { return input[run * places + k] * scale[run]; }
  IVORY_HD Real above(std::size_t run, std::size_t k) const {
    return normal(run, k) * gamma[channel(run)] + beta[channel(run)];
  }
  // Where both are equal the threshold counts.
  IVORY_HD bool passes(std::size_t run, std::size_t k) const { return above(run, k) > tau[channel(run)]; }
};

template <class Real>
struct Respond {
  Response<Real> response;
  Real* IVORY_RESTRICT output;
  IVORY_HD void operator()(std::size_t run, std::size_t k) const {
    const Real y = response.above(run, k), tau = response.tau[response.channel(run)];
    output[run * response.places + k] = y > tau ? y : (y == y ? tau : y);  // NaN stays NaN
  }
};

enum class Sum { gamma, beta, tau };

/// Each example's own gradient of one of the three parameters.
template <class Real, Sum which>
struct GradientOfChannel {
  Response<Real> response;
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT sum;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const {
    const Real g = gradient[run * response.places + k];
    const bool passes = response.passes(run, k);
    if (which == Sum::tau) return passes ? Real(0) : g;
    const Real through = passes ? g : Real(0);
    return which == Sum::beta ? through : through * response.normal(run, k);
  }
  IVORY_HD void store(std::size_t run, Real total) const { sum[run] = total; }
};

// dx = gamma scale (dz - z mean(dz z)) with dz the gradient of what passes the threshold.
template <class Real>
struct GradientOfInput {
  Response<Real> response;
  const Real* IVORY_RESTRICT gradient;
  const Real* IVORY_RESTRICT gamma_gradient;
  Real* IVORY_RESTRICT input_gradient;
  IVORY_HD void operator()(std::size_t run, std::size_t k) const {
    const std::size_t i = run * response.places + k;
    const Real through = response.passes(run, k) ? gradient[i] : Real(0);
    const Real slope = gamma_gradient[run] / static_cast<Real>(response.places);
    input_gradient[i] =
        response.gamma[response.channel(run)] * response.scale[run] * (through - response.normal(run, k) * slope);
  }
};

template <class Real>
class FilterResponseNorm final : public Layer<Real> {
 public:
  FilterResponseNorm(Shape input, double eps)
      : shape_(std::move(input)), channels_(shape_.front()), eps_(static_cast<Real>(eps)) {
    for (std::size_t d = 1; d < shape_.size(); ++d) places_ *= shape_[d];
  }

  std::string name() const override { return "filter_response_norm"; }
  std::size_t inputs() const override { return channels_ * places_; }
  std::size_t outputs() const override { return channels_ * places_; }
  Shape output_shape() const override { return shape_; }

  void declare(ParameterLayout& layout, const std::string& prefix) override {
    gamma_at_ = layout.add(prefix + ".gamma", {channels_});
    beta_at_ = layout.add(prefix + ".beta", {channels_});
    tau_at_ = layout.add(prefix + ".tau", {channels_});
  }

  void initialise(StreamReader&, Real* parameters) const override {
    std::fill_n(parameters + gamma_at_, channels_, Real(1));
    std::fill_n(parameters + beta_at_, channels_, Real(0));
    std::fill_n(parameters + tau_at_, channels_, Real(0));
  }

  // Saved: each channel's scale. Scratch: each example's gradients of gamma, beta and tau, and lanes.
  LayerRoom room(std::size_t rows) const override {
    const std::size_t runs = rows * channels_, scratch = 3 * runs + room_for_lanes(runs, places_);
    return {.saved = runs, .scratch = scratch, .squares = scratch};
  }

  void forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, Real* output,
               const LayerMemory<Real>& memory) const override {
    const Pass pass{*this, shape, memory, parameters, input};
    sum_runs_per_client(device, shape.clients, pass.runs, places_, pass.lanes(), pass.stride, [&](std::size_t b) {
      return Share{pass.work_runs(b),
                   ChannelScale<Real>{input + b * pass.runs * places_, pass.scale(b), places_, eps_}};
    });
    for_each_client_place(device, shape.clients, pass.runs, places_, [&](std::size_t b) {
      return Share{pass.work_runs(b), Respond<Real>{pass.response(b), output + b * pass.runs * places_}};
    });
  }

  void backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* input, const Real*,
                const Real* output_gradient, Real* input_gradient, Real* parameter_gradient,
                const LayerMemory<Real>& memory) const override {
    const Pass pass{*this, shape, memory, parameters, input};
    add_up<Sum::gamma>(device, pass, output_gradient);
    if (parameter_gradient != nullptr) {
      add_up<Sum::beta>(device, pass, output_gradient);
      add_up<Sum::tau>(device, pass, output_gradient);
      for (const auto& [which, at] : slices()) {
        sum_channels_of_rows(device, shape, channels_, pass.sums(which), pass.stride, parameter_gradient + at);
      }
    }
    if (input_gradient == nullptr) return;
    for_each_client_place(device, shape.clients, pass.runs, places_, [&](std::size_t b) {
      const std::size_t at = b * pass.runs * places_;
      return Share{pass.work_runs(b),
                   GradientOfInput<Real>{pass.response(b), output_gradient + at,
                                         pass.sums(Sum::gamma) + b * pass.stride, input_gradient + at}};
    });
  }

  void add_squared_gradients(Device& device, const BatchShape& shape, const Real* parameters, const Real* input,
                             const Real*, const Real* output_gradient, Real* sums,
                             const LayerMemory<Real>& memory) const override {
    const Pass pass{*this, shape, memory, parameters, input};
    add_up<Sum::gamma>(device, pass, output_gradient);
    add_up<Sum::beta>(device, pass, output_gradient);
    add_up<Sum::tau>(device, pass, output_gradient);
    for (const auto& [which, at] : slices()) {
      add_squared_channels_of_rows(device, shape, channels_, pass.sums(which), pass.stride, sums + at);
    }
  }

 private:
  /// Where things lie in one pass.
  struct Pass {
    const FilterResponseNorm& layer;
    const BatchShape& shape;
    const LayerMemory<Real>& memory;
    const Real* parameters;
    const Real* input;
    std::size_t runs = shape.rows * layer.channels_, stride = layer.room(shape.rows).scratch;

    std::size_t work_runs(std::size_t b) const { return shape.work_rows(b) * layer.channels_; }
    Real* scale(std::size_t b) const { return memory.saved + b * runs; }
    Real* sums(Sum which) const { return memory.scratch + static_cast<std::size_t>(which) * runs; }
    Real* lanes() const { return memory.scratch + 3 * runs; }
    Response<Real> response(std::size_t b) const {
      const Real* const own = parameters + b * shape.parameter_stride;
      return {input + b * runs * layer.places_,
              scale(b),
              own + layer.gamma_at_,
              own + layer.beta_at_,
              own + layer.tau_at_,
              layer.places_,
              static_cast<std::uint32_t>(layer.channels_)};
    }
  };

  template <Sum which>
  void add_up(Device& device, const Pass& pass, const Real* output_gradient) const {
    sum_runs_per_client(device, pass.shape.clients, pass.runs, places_, pass.lanes(), pass.stride, [&](std::size_t b) {
      return Share{pass.work_runs(b),
                   GradientOfChannel<Real, which>{pass.response(b), output_gradient + b * pass.runs * places_,
                                                  pass.sums(which) + b * pass.stride}};
    });
  }

  std::array<std::pair<Sum, std::size_t>, 3> slices() const {
    return {{{Sum::gamma, gamma_at_}, {Sum::beta, beta_at_}, {Sum::tau, tau_at_}}};
  }

  Shape shape_;
  std::size_t channels_, places_ = 1;
  Real eps_;
  std::size_t gamma_at_ = 0, beta_at_ = 0, tau_at_ = 0;
};

template <class Real>
std::unique_ptr<Layer<Real>> make(const Options& options, const LayerInputs& inputs) {
  if (inputs.input.size() < 2) {
    throw InputError(
        "[model] filter_response_norm needs channels with several places, [channels, height, width], got " +
        std::to_string(inputs.features()) + " features; use group_norm there");
  }
  return std::make_unique<FilterResponseNorm<Real>>(inputs.input, options.real("eps"));
}

}  // namespace

LayerPlugin filter_response_norm_plugin() {
  return {.name = "filter_response_norm",
          .help =
              "each example's channels to mean square 1, then max(gamma x + beta, tau) per channel; an activation of "
              "its own",
          .options = {{.name = "eps",
                       .default_value = 1e-6,
                       .help = "added to the mean square",
                       .unit = "1",
                       .low = 0,
                       .high = 1,
                       .low_open = true}},
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
