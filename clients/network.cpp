#include "clients/network.hpp"

#include <algorithm>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"

namespace ivory {

namespace {

template <class Real>
struct AddGradient {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] += from[i]; }
};

}  // namespace

template <class Real>
Network<Real>::Network(std::vector<std::unique_ptr<Layer<Real>>> layers, std::vector<std::size_t> skips,
                       const Loss& loss)
    : layers_(std::move(layers)), skips_(std::move(skips)), loss_(loss) {
  skips_.resize(layers_.size(), no_skip);
  for (std::size_t i = 0; i < layers_.size(); ++i) layers_[i]->declare(layout_, std::to_string(i));
}

template <class Real>
bool Network<Real>::draws() const {
  return std::any_of(layers_.begin(), layers_.end(), [](const auto& layer) { return layer->draws(); });
}

template <class Real>
std::vector<Real> Network<Real>::initialise(std::uint64_t seed) const {
  std::vector<Real> parameters(layout_.stride());
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    // One stream per layer: a deeper layer's start does not depend on the sizes of those before it.
    StreamReader random(seed, {.purpose = Purpose::initialisation, .step = i});
    layers_[i]->initialise(random, parameters.data());
  }
  return parameters;
}

template <class Real>
Workspace<Real> Network<Real>::make_workspace(Device& device, std::size_t clients, std::size_t rows,
                                              bool curvature) const {
  Workspace<Real> workspace;
  workspace.clients = clients;
  workspace.rows = rows;
  std::size_t widest = inputs(), scratch = 0;
  for (const auto& layer : layers_) {
    const std::size_t i = workspace.activations.size();
    const LayerRoom room = layer->room(rows);
    workspace.activations.emplace_back(device, clients * rows * layer->outputs());
    workspace.saved.emplace_back(device, clients * room.saved);
    const std::size_t skipped = skips_[i] == no_skip ? 0 : layers_[skips_[i]]->outputs();
    workspace.skip_gradients.emplace_back(device, clients * rows * skipped);
    scratch = std::max({scratch, room.scratch, curvature ? room.squares : 0});
    widest = std::max(widest, layer->outputs());
  }
  workspace.scratch = Buffer<Real>(device, clients * scratch);
  workspace.gradient = Buffer<Real>(device, clients * rows * widest);
  workspace.next_gradient = Buffer<Real>(device, clients * rows * widest);
  return workspace;
}

template <class Real>
LayerMemory<Real> Network<Real>::memory(std::size_t layer, Workspace<Real>& workspace) const {
  const std::size_t skip = skips_[layer];
  return {.saved = workspace.saved[layer].data(),
          .scratch = workspace.scratch.data(),
          .skip = skip == no_skip ? nullptr : workspace.activations[skip].data(),
          .skip_gradient = workspace.skip_gradients[layer].data()};
}

template <class Real>
const Real* Network<Real>::forward(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                                   Workspace<Real>& workspace) const {
  const Real* input = x;
  BatchShape own = shape;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    Real* const output = workspace.activations[i].data();
    own.layer = static_cast<std::uint32_t>(i);
    layers_[i]->forward(device, own, parameters, input, output, memory(i, workspace));
    input = output;
  }
  return input;
}

template <class Real>
void Network<Real>::loss(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                         const Targets<Real>& targets, Workspace<Real>& workspace, double* row_losses) const {
  const Real* const f = forward(device, shape, parameters, x, workspace);
  const std::size_t n = outputs();
  with_formula<Real>(loss_, n, [&]<class Formula>(const Formula& formula) {
    for_each_client(device, shape.clients, shape.rows, [&](std::size_t b) {
      const std::size_t live = shape.live_rows(b), at = b * shape.rows;
      return Share{shape.work_rows(b), TrainRows<Real, Formula>{
                                           formula, f + at * n, targets.from(at, n), workspace.gradient.data() + at * n,
                                           row_losses != nullptr ? row_losses + at : nullptr,
                                           Real(1) / static_cast<Real>(std::max<std::size_t>(live, 1)), live}};
    });
  });
}

template <class Real>
std::size_t Network<Real>::predicted() const {
  return with_formula<Real>(loss_, outputs(), [](const auto& formula) { return formula.predicted(); });
}

template <class Real>
std::size_t Network<Real>::curvature_seeds() const {
  return with_formula<Real>(loss_, outputs(), [](const auto& formula) { return formula.seeds(); });
}

template <class Real>
void Network<Real>::seed_curvature(Device& device, const BatchShape& shape, const Real* f, std::size_t seed,
                                   Workspace<Real>& workspace) const {
  const std::size_t n = outputs();
  with_formula<Real>(loss_, n, [&]<class Formula>(const Formula& formula) {
    for_each_client(device, shape.clients, shape.rows, [&](std::size_t b) {
      const std::size_t at = b * shape.rows * n;
      return Share{shape.work_rows(b), CurvatureSeed<Real, Formula>{formula, f + at, workspace.gradient.data() + at,
                                                                    seed, shape.live_rows(b)}};
    });
  });
}

template <class Real>
void Network<Real>::seed_sampled_curvature(Device& device, const BatchShape& shape, const Real* f, const Stream* draws,
                                           Workspace<Real>& workspace) const {
  const std::size_t n = outputs();
  with_formula<Real>(loss_, n, [&]<class Formula>(const Formula& formula) {
    for_each_client(device, shape.clients, shape.rows, [&](std::size_t b) {
      const std::size_t at = b * shape.rows * n;
      return Share{shape.work_rows(b),
                   SampledCurvatureSeed<Real, Formula>{formula, f + at, workspace.gradient.data() + at, draws[b],
                                                       shape.live_rows(b)}};
    });
  });
}

template <class Real>
template <class ParameterStep>
void Network<Real>::go_back(Device& device, const BatchShape& shape, const Real* x, Workspace<Real>& workspace,
                            Real* input_gradient, const ParameterStep& step) const {
  Real* output_gradient = workspace.gradient.data();
  Real* spare = workspace.next_gradient.data();
  BatchShape own = shape;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    const std::size_t features = layers_[i]->outputs(), stride = shape.rows * features;
    for (std::size_t later = i + 1; later < layers_.size(); ++later) {  // those that also took this layer's output
      if (skips_[later] != i) continue;
      for_each_client(device, shape.clients, stride, [&](std::size_t b) {
        return Share{
            shape.work_rows(b) * features,
            AddGradient<Real>{workspace.skip_gradients[later].data() + b * stride, output_gradient + b * stride}};
      });
    }
    own.layer = static_cast<std::uint32_t>(i);
    const Real* const input = i == 0 ? x : workspace.activations[i - 1].data();
    Real* const wanted = i == 0 ? input_gradient : spare;
    step(*layers_[i], own, input, workspace.activations[i].data(), output_gradient, wanted, memory(i, workspace));
    std::swap(output_gradient, spare);
  }
}

template <class Real>
void Network<Real>::backward(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                             Workspace<Real>& workspace, Real* gradient, Real* input_gradient) const {
  go_back(device, shape, x, workspace, input_gradient,
          [&](const Layer<Real>& layer, const BatchShape& own, const Real* input, const Real* output,
              const Real* output_gradient, Real* wanted, const LayerMemory<Real>& room) {
            layer.backward(device, own, parameters, input, output, output_gradient, wanted, gradient, room);
          });
}

template <class Real>
void Network<Real>::add_squared_gradients(Device& device, const BatchShape& shape, const Real* parameters,
                                          const Real* x, Workspace<Real>& workspace, Real* sums) const {
  go_back(device, shape, x, workspace, nullptr,
          [&](const Layer<Real>& layer, const BatchShape& own, const Real* input, const Real* output,
              const Real* output_gradient, Real* wanted, const LayerMemory<Real>& room) {
            layer.add_squared_gradients(device, own, parameters, input, output, output_gradient, sums, room);
            layer.backward(device, own, parameters, input, output, output_gradient, wanted, nullptr, room);
          });
}

template <class Real>
void Network<Real>::gradient(Device& device, const BatchShape& shape, const Real* parameters, const Real* x,
                             const Targets<Real>& targets, Workspace<Real>& workspace, Real* gradient,
                             double* row_losses, Real* input_gradient) const {
  loss(device, shape, parameters, x, targets, workspace, row_losses);
  backward(device, shape, parameters, x, workspace, gradient, input_gradient);
}

template <class Real>
void Network<Real>::predict(Device& device, const BatchShape& shape, const Real* f, const Targets<Real>& targets,
                            Real* prediction, std::size_t prediction_stride, double* log_likelihood,
                            std::size_t likelihood_stride) const {
  const std::size_t n = outputs();
  with_formula<Real>(loss_, n, [&]<class Formula>(const Formula& formula) {
    for_each_client(device, shape.clients, shape.rows, [&](std::size_t b) {
      return Share{shape.live_rows(b), PredictRows<Real, Formula>{formula, f + b * shape.rows * n, targets,
                                                                  prediction + b * prediction_stride,
                                                                  log_likelihood + b * likelihood_stride}};
    });
  });
}

template <class Real>
std::size_t Network<Real>::bytes_at_work(std::size_t rows, bool curvature) const {
  std::size_t outputs = 0, widest = inputs(), kept = 0, scratch = 0;
  for (std::size_t i = 0; i < layers_.size(); ++i) {
    const LayerRoom room = layers_[i]->room(rows);
    outputs += layers_[i]->outputs();
    kept += room.saved + (skips_[i] == no_skip ? 0 : rows * layers_[skips_[i]]->outputs());
    scratch = std::max({scratch, room.scratch, curvature ? room.squares : 0});
    widest = std::max(widest, layers_[i]->outputs());
  }
  return (layout_.stride() + rows * (inputs() + outputs + 2 * widest) + kept + scratch) * sizeof(Real);
}

std::vector<double> losses_of_rows(std::span<const double> row_losses, std::size_t rows) {
  std::vector<double> losses(row_losses.size() / rows, 0.0);
  for (std::size_t i = 0; i < losses.size() * rows; ++i) losses[i / rows] += row_losses[i];
  return losses;
}

namespace {

std::string text(const Shape& shape) {
  std::string out;
  for (const std::size_t extent : shape) out += (out.empty() ? "" : ", ") + std::to_string(extent);
  return "[" + out + "]";
}

std::string at(const SourcePlace& place) {
  const std::string where = to_string(place);
  return where.empty() ? "" : (place.line == 0 ? ", in " : ", at ") + where;
}

std::string text(std::size_t number, const LayerChoice& layer) {
  return "layer " + std::to_string(number) + " (" + layer.plugin->name +
         (layer.name.empty() ? "" : ", \"" + layer.name + "\"") + ")";
}

template <class Real>
std::unique_ptr<Layer<Real>> make(const LayerChoice& choice, const LayerInputs& inputs) {
  if constexpr (std::is_same_v<Real, float>) {
    return choice.plugin->make_float(choice.options, inputs);
  } else {
    return choice.plugin->make_double(choice.options, inputs);
  }
}

// The layer before `number` that has the name which it takes its skip from.
std::size_t skip_of(std::span<const LayerChoice> layers, std::size_t number) {
  const LayerChoice& taker = layers[number];
  for (std::size_t i = 0; taker.plugin->takes_skip && i < number; ++i) {
    if (!taker.from.empty() && layers[i].name == taker.from) return i;
  }
  if (!taker.plugin->takes_skip) return no_skip;
  throw InputError("[model] " + text(number, taker) + " must take an earlier layer's output, got from = \"" +
                   taker.from + "\"" + at(taker.place) + "; give that layer a name");
}

LayerChoice choose(const std::string& name, const GivenTable& given) {
  const LayerPlugin* plugin = find_layer(name);
  if (plugin == nullptr)
    throw InputError("[model] activation must name a layer, got '" + name + "'; see ivory list layers");
  return {.plugin = plugin, .options = resolve_options(plugin->options, given, "model", {})};
}

}  // namespace

template <class Real>
Network<Real> build_network(std::span<const LayerChoice> choices, const Shape& input, std::size_t outputs,
                            const Loss& loss) {
  std::vector<std::unique_ptr<Layer<Real>>> layers;
  std::vector<std::size_t> skips;
  Shape shape = input;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    LayerChoice choice = choices[i];
    skips.push_back(skip_of(choices, i));
    const LayerInputs inputs(shape, skips.back() == no_skip ? Shape{} : layers[skips.back()]->output_shape());
    if (i + 1 == choices.size() && choice.options.has("outputs") && choice.options.integer("outputs") == 0) {
      choice.options.set("outputs", {static_cast<std::int64_t>(outputs), choice.place, false});
    }
    try {
      layers.push_back(make<Real>(choice, inputs));
    } catch (const InputError& error) {
      const std::string message = error.what();
      const std::size_t tag = message.starts_with("[model] ") ? 8 : 0;
      throw InputError("[model] " + text(i, choice) + " cannot be built on " + text(shape) + at(choice.place) + ": " +
                       message.substr(tag));
    }
    shape = layers.back()->output_shape();
  }
  if (layers.empty() || layers.back()->outputs() != outputs) {
    const std::size_t last = choices.size() - 1;
    throw InputError(
        "[model] the last layer must have as many outputs as the data have classes or targets, " +
        std::to_string(outputs) + ", got " +
        (layers.empty() ? "no layer" : text(shape) + " of " + text(last, choices[last]) + at(choices[last].place)) +
        "; end with a dense layer and leave its outputs out");
  }
  return Network<Real>(std::move(layers), std::move(skips), loss);
}

template <class Real>
Network<Real> make_mlp(std::size_t inputs, std::span<const std::size_t> hidden, std::size_t outputs,
                       const std::string& activation, bool bias, const Loss& loss) {
  std::vector<LayerChoice> layers;
  const auto dense = [&](std::size_t width) {
    layers.push_back(choose("dense", {{"outputs", {static_cast<std::int64_t>(width), {}}}, {"bias", {bias, {}}}}));
  };
  for (const std::size_t width : hidden) {
    dense(width);
    layers.push_back(choose(activation, {}));
  }
  dense(outputs);
  return build_network<Real>(layers, {inputs}, outputs, loss);
}

template class Network<float>;
template class Network<double>;
template Network<float> build_network(std::span<const LayerChoice>, const Shape&, std::size_t, const Loss&);
template Network<double> build_network(std::span<const LayerChoice>, const Shape&, std::size_t, const Loss&);
template Network<float> make_mlp(std::size_t, std::span<const std::size_t>, std::size_t, const std::string&, bool,
                                 const Loss&);
template Network<double> make_mlp(std::size_t, std::span<const std::size_t>, std::size_t, const std::string&, bool,
                                  const Loss&);

}  // namespace ivory
