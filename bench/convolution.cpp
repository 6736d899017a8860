#include "bench/convolution.hpp"

#include <omp.h>

#include <cstring>
#include <functional>

#include "bench/measure.hpp"
#include "bench/onednn.hpp"
#include "src/model.hpp"
#include "src/models.hpp"

namespace ivory::bench {
namespace {

using Pass = Convolution<float>::Pass;
constexpr std::size_t examples = 64;

double flops(const ConvolutionShape& s) { return 2.0 * static_cast<double>(examples * s.results() * s.patch()); }

// Arrays of a layer of its own, as the layers of a network have them.
struct Arrays {
  explicit Arrays(const ConvolutionShape& s)
      : input(examples * s.inputs(), 1e-3F), weight(s.weights(), 1e-3F), output(examples * s.results(), 1e-3F) {}
  float* result(Pass pass) {
    return pass == Pass::forward ? output.data() : pass == Pass::by_input ? input.data() : weight.data();
  }
  std::vector<float> input, weight, output;
};

class Own {
 public:
  explicit Own(const ConvolutionShape& s)
      : s_(s), arrays_(s), bias_(s.outputs), scratch_(s.scratch()), device_(make_cpu_device()) {}
  void run(Pass pass) {
    Convolution<float> own;
    own.shape = s_, own.pass = pass, own.rows = examples;
    own.input = arrays_.input.data(), own.weight = arrays_.weight.data(), own.output_gradient = arrays_.output.data();
    own.bias = bias_.data(), own.bias_gradient = bias_.data(), own.result = arrays_.result(pass);
    own.scratch = scratch_.data(), own.scratch_stride = scratch_.size();
    device_->convolve(own);
  }

 private:
  ConvolutionShape s_;
  Arrays arrays_;
  std::vector<float> bias_, scratch_;
  std::unique_ptr<Device> device_;
};

// The textbook way: one example's patches [patch x positions] in a matrix that stays in the cache, and Eigen's products.
class WithPatches {
 public:
  explicit WithPatches(const ConvolutionShape& s)
      : s_(s), arrays_(s), patches_(s.patch() * s.positions()), device_(make_cpu_device()) {}

  void run(Pass pass) {
    for (std::size_t e = 0; e < examples; ++e) {
      float* const input = arrays_.input.data() + e * s_.inputs();
      float* const output = arrays_.output.data() + e * s_.results();
      if (pass != Pass::by_input) unfold(input);
      MatrixProduct<float> p;
      if (pass == Pass::forward) {
        p.m = s_.outputs, p.n = s_.positions(), p.k = s_.patch();
        p.a = arrays_.weight.data(), p.b = patches_.data(), p.c = output;
        p.lda = s_.patch(), p.ldb = p.ldc = s_.positions();
      } else if (pass == Pass::by_input) {
        p.transpose_a = true;
        p.m = s_.patch(), p.n = s_.positions(), p.k = s_.outputs;
        p.a = arrays_.weight.data(), p.b = output, p.c = patches_.data();
        p.lda = s_.patch(), p.ldb = p.ldc = s_.positions();
      } else {
        p.transpose_b = true, p.accumulate = e > 0;
        p.m = s_.outputs, p.n = s_.patch(), p.k = s_.positions();
        p.a = output, p.b = patches_.data(), p.c = arrays_.weight.data();
        p.lda = p.ldb = s_.positions(), p.ldc = s_.patch();
      }
      device_->multiply(p);
      if (pass == Pass::by_input) fold(input);
    }
  }

 private:
  // work(patches' line, image line, first column, end, column of the image at 0) for every line of patches; `image line` is null
  // where the window's row lies in the padding.
  template <class Work>
  void for_each_line(float* image, const Work& work) {
    const auto stride = static_cast<std::ptrdiff_t>(s_.stride), padding = static_cast<std::ptrdiff_t>(s_.padding),
               width = static_cast<std::ptrdiff_t>(s_.width), height = static_cast<std::ptrdiff_t>(s_.height),
               columns = static_cast<std::ptrdiff_t>(s_.out_width());
    float* line = patches_.data();
    for (std::size_t c = 0; c < s_.channels; ++c)
      for (std::size_t a = 0; a < s_.kernel; ++a)
        for (std::size_t b = 0; b < s_.kernel; ++b) {
          const std::ptrdiff_t left = static_cast<std::ptrdiff_t>(b) - padding;
          const std::ptrdiff_t first = left >= 0 ? 0 : (stride - 1 - left) / stride;
          const std::ptrdiff_t end = std::max(first, std::min(columns, (width - left + stride - 1) / stride));
          for (std::size_t v = 0; v < s_.out_height(); ++v, line += columns) {
            const std::ptrdiff_t y = static_cast<std::ptrdiff_t>(v) * stride + static_cast<std::ptrdiff_t>(a) - padding;
            const bool inside = y >= 0 && y < height;
            work(line, inside ? image + (static_cast<std::ptrdiff_t>(c) * height + y) * width : nullptr, first, end,
                 left);
          }
        }
  }
  void unfold(float* image) {
    const auto stride = static_cast<std::ptrdiff_t>(s_.stride), columns = static_cast<std::ptrdiff_t>(s_.out_width());
    for_each_line(
        image, [&](float* to, const float* from, std::ptrdiff_t first, std::ptrdiff_t end, std::ptrdiff_t left) {
          if (from == nullptr) first = end = 0;
          std::fill(to, to + first, 0.0F);
          if (stride == 1) {
            std::memcpy(to + first, from + left + first, static_cast<std::size_t>(end - first) * sizeof(float));
          } else {
            for (std::ptrdiff_t h = first; h < end; ++h) to[h] = from[left + h * stride];
          }
          std::fill(to + end, to + columns, 0.0F);
        });
  }
  void fold(float* image) {
    std::fill_n(image, s_.inputs(), 0.0F);
    const auto stride = static_cast<std::ptrdiff_t>(s_.stride);
    for_each_line(image,
                  [&](const float* from, float* to, std::ptrdiff_t first, std::ptrdiff_t end, std::ptrdiff_t left) {
                    if (to == nullptr) return;
                    if (stride == 1) {
                      for (std::ptrdiff_t h = first; h < end; ++h) to[left + h] += from[h];
                    } else {
                      for (std::ptrdiff_t h = first; h < end; ++h) to[left + h * stride] += from[h];
                    }
                  });
  }

  ConvolutionShape s_;
  Arrays arrays_;
  std::vector<float> patches_;
  std::unique_ptr<Device> device_;
};

// Each shape and pass: GFLOP/s, and times over the library's.
void shapes(int repetitions) {
  fmt::print("{:<20} {:<10} {:>12} {:>20} {:>20} {:>20} {:>20}\n", "convolution", "pass", "library, ms",
             "library, GFLOP/s", "ours over it", "patches over it", "any algorithm over it");
  for (const auto& [where, shape] : convolution_shapes()) {
    for (const Pass pass : {Pass::forward, Pass::by_input, Pass::by_weight}) {
      Own own(shape);
      WithPatches with_patches(shape);
      const auto timings = interleave({{"ours", [&] { own.run(pass); }},
                                       {"patches", [&] { with_patches.run(pass); }},
                                       {"library", library_convolution(shape, pass, examples)},
                                       {"any algorithm", library_convolution(shape, pass, examples, true)}},
                                      repetitions, Clock::thread);
      const double library = timings[2].median;
      fmt::print("{:<20} {:<10} {:>12.3f} {:>20.0f} {:>20.2f} {:>20.2f} {:>20.2f}\n", where, name_of(pass),
                 library * 1e3, flops(shape) / library * 1e-9, timings[0].median / library, timings[1].median / library,
                 timings[3].median / library);
    }
  }
}

// A network in training with IVON: one step, and its convolutions alone.
class Network {
 public:
  explicit Network(const std::string& kind) : device_(make_cpu_device()) {
    Options options;
    options.set("kind", {kind, {}, true});
    for (const OptionSpec& spec : find_model(kind)->kind.options)
      options.set(spec.name, {spec.default_value, {}, false});
    const std::vector<LayerChoice> layers = layers_of(options);
    network_ = std::make_unique<ivory::Network<float>>(build_network<float>(layers, images_, 10));
    Shape shape = images_;
    for (std::size_t i = 0; i < layers.size(); ++i) {
      if (layers[i].plugin->name == "conv2d") {
        const auto option = [&](const char* name) { return static_cast<std::size_t>(layers[i].options.integer(name)); };
        shapes_.push_back(
            {shape[0], shape[1], shape[2], option("channels"), option("kernel"), option("stride"), option("padding")});
      }
      shape = network_->layers()[i]->output_shape();
    }
    optimizer_ = find_optimizer("ivon")->make_float(ivon_options());
    const std::size_t stride = network_->layout().stride();
    block_ = std::make_unique<TrainingBlock<float>>(*device_, 1, stride, optimizer_->vectors());
    workspace_ = network_->make_workspace(*device_, 1, examples);
    start_ = Buffer<float>(*device_, network_->initialise(1));
    auto& client = block_->clients[0];
    client.terms = {.start = start_.data()};
    client.learning_rate = 1e-3;
    client.examples = 500;
    data_ = random_data(examples, network_->inputs(), 10);
    losses_.resize(examples);
    client.noise = {.stream = make_stream(1, {.purpose = Purpose::data})};
    optimizer_->begin(*block_);
  }

  void step() {
    const BatchShape shape{.clients = 1, .rows = examples, .parameter_stride = block_->stride};
    network_->gradient(*device_, shape, block_->point.data(), data_.x.data(), data_.labels.data(), workspace_,
                       block_->gradient.data(), losses_.data());
    block_->clients[0].noise = {.stream = make_stream(1, {.purpose = Purpose::data, .step = ++steps_})};
    optimizer_->advance(*block_, 0);
  }
  // All passes of a step: forward, then back, where the first layer needs no input gradient.
  std::vector<std::pair<std::size_t, Pass>> passes() const {
    std::vector<std::pair<std::size_t, Pass>> all;
    for (std::size_t i = 0; i < shapes_.size(); ++i) all.emplace_back(i, Pass::forward);
    for (std::size_t i = shapes_.size(); i-- > 0;) {
      all.emplace_back(i, Pass::by_weight);
      if (i > 0) all.emplace_back(i, Pass::by_input);
    }
    return all;
  }
  const std::vector<ConvolutionShape>& shapes() const { return shapes_; }

 private:
  const Shape images_{3, 32, 32};
  std::unique_ptr<Device> device_;
  std::unique_ptr<ivory::Network<float>> network_;
  std::unique_ptr<Optimizer<float>> optimizer_;
  std::unique_ptr<TrainingBlock<float>> block_;
  Workspace<float> workspace_;
  Buffer<float> start_;
  Dataset data_;
  std::vector<double> losses_;
  std::vector<ConvolutionShape> shapes_;
  std::uint64_t steps_ = 0;
};

void step_of(Report& report, const std::string& kind, const std::string& key, int repetitions) {
  Network network(kind);
  std::vector<std::unique_ptr<Own>> own;
  std::vector<std::unique_ptr<WithPatches>> with_patches;
  std::vector<std::function<void()>> library, any_algorithm;
  for (const ConvolutionShape& shape : network.shapes()) {
    own.push_back(std::make_unique<Own>(shape));
    with_patches.push_back(std::make_unique<WithPatches>(shape));
  }
  for (const auto& [layer, pass] : network.passes()) {
    library.push_back(library_convolution(network.shapes()[layer], pass, examples));
    any_algorithm.push_back(library_convolution(network.shapes()[layer], pass, examples, true));
  }
  const auto all = [](const std::vector<std::function<void()>>& calls) {
    for (const auto& call : calls)
      if (call) call();
  };
  const auto timings = interleave({{"step", [&] { network.step(); }},
                                   {"ours",
                                    [&] {
                                      for (const auto& [i, pass] : network.passes()) own[i]->run(pass);
                                    }},
                                   {"patches",
                                    [&] {
                                      for (const auto& [i, pass] : network.passes()) with_patches[i]->run(pass);
                                    }},
                                   {"library", [&] { all(library); }},
                                   {"any algorithm", [&] { all(any_algorithm); }}},
                                  repetitions, Clock::thread);
  const auto spread = [](const Timing& t) { return fmt::format("{:.1f} to {:.1f}", t.fastest * 1e3, t.slowest * 1e3); };
  report.number(key + "_step_ms", timings[0].median * 1e3, "ms", "IVON, batch 64, one thread; " + spread(timings[0]));
  report.number(key + "_convolutions_ms", timings[1].median * 1e3, "ms", spread(timings[1]));
  report.number(key + "_patches_ms", timings[2].median * 1e3, "ms", "patches and Eigen; " + spread(timings[2]));
  if (convolution_library().empty()) return;
  report.number(key + "_library_ms", timings[3].median * 1e3, "ms", convolution_library() + "; " + spread(timings[3]));
  report.number(key + "_library_any_algorithm_ms", timings[4].median * 1e3, "ms", spread(timings[4]));
  report.number(key + "_step_over_library", timings[0].median / timings[3].median, "ratio", "target at most 1.5");
  report.number(key + "_convolutions_over_library", timings[1].median / timings[3].median, "ratio");
  report.number(key + "_patches_over_library", timings[2].median / timings[3].median, "ratio");
}

}  // namespace

const std::vector<NamedShape>& convolution_shapes() {
  static const std::vector<NamedShape> shapes = {
      {"cnn-acar, first", {3, 32, 32, 64, 5, 1, 0}},     {"cnn-acar, second", {64, 14, 14, 64, 5, 1, 0}},
      {"5x5, 3 to 6", {3, 32, 32, 6, 5, 1, 0}},          {"5x5, 6 to 16", {6, 14, 14, 16, 5, 1, 0}},
      {"resnet20, first", {3, 32, 32, 16, 3, 1, 1}},     {"resnet20, 16", {16, 32, 32, 16, 3, 1, 1}},
      {"resnet20, 16 to 32", {16, 32, 32, 32, 3, 2, 1}}, {"resnet20, 32", {32, 16, 16, 32, 3, 1, 1}},
      {"resnet20, 32 to 64", {32, 16, 16, 64, 3, 2, 1}}, {"resnet20, 64", {64, 8, 8, 64, 3, 1, 1}}};
  return shapes;
}

const char* name_of(Pass pass) {
  return pass == Pass::forward ? "forward" : pass == Pass::by_input ? "by input" : "by weight";
}

void convolution(Report& report, int repetitions) {
  const int threads = omp_get_max_threads();
  omp_set_num_threads(1);  // the library's
  if (convolution_library().empty()) {
    fmt::print("no figures of a convolution library: oneDNN was not found at configuration\n");
  } else {
    shapes(repetitions);
  }
  step_of(report, "cnn-acar", "cnn_acar", repetitions);
  step_of(report, "resnet20", "resnet20", repetitions);
  omp_set_num_threads(threads);
}

}  // namespace ivory::bench
