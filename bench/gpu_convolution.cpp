#include "bench/convolution.hpp"
#include "bench/cudnn.hpp"
#include "bench/gpu.hpp"
#include "bench/measure.hpp"
#include "ivory/registry.hpp"

namespace ivory::bench {
namespace {

using Pass = Convolution<float>::Pass;
constexpr std::size_t clients = 100, examples = 64;
constexpr int calls = 10;  // per wait

// The layer as a network has it: patches by loops, products of all clients in one.
class Own {
 public:
  Own(Device& device, const ConvolutionShape& s) : device_(device) {
    Options options;
    const LayerPlugin* const plugin = find_layer("conv2d");
    for (const OptionSpec& spec : plugin->options) options.set(spec.name, {spec.default_value, {}, false});
    const auto set = [&](const char* name, std::size_t value) {
      options.set(name, {static_cast<std::int64_t>(value), {}, true});
    };
    set("channels", s.outputs), set("kernel", s.kernel), set("stride", s.stride), set("padding", s.padding);
    options.set("bias", {false, {}, true});
    layer_ = plugin->make_float(options, LayerInputs(Shape{s.channels, s.height, s.width}));
    ParameterLayout layout;
    layer_->declare(layout, "0");
    shape_ = {.clients = clients, .rows = examples, .parameter_stride = layout.stride(), .nominal = true};
    parameters_ = Buffer<float>(device, clients * layout.stride());
    gradient_ = Buffer<float>(device, clients * layout.stride());
    input_ = Buffer<float>(device, clients * examples * s.inputs());
    output_ = Buffer<float>(device, clients * examples * s.results());
    scratch_ = Buffer<float>(device, clients * layer_->room(examples).scratch);
  }
  void run(Pass pass) {
    const LayerMemory<float> memory{.scratch = scratch_.data()};
    if (pass == Pass::forward) {
      return layer_->forward(device_, shape_, parameters_.data(), input_.data(), output_.data(), memory);
    }
    layer_->backward(device_, shape_, parameters_.data(), input_.data(), output_.data(), output_.data(),
                     pass == Pass::by_input ? input_.data() : nullptr,
                     pass == Pass::by_weight ? gradient_.data() : nullptr, memory);
  }

 private:
  Device& device_;
  std::unique_ptr<Layer<float>> layer_;
  BatchShape shape_;
  Buffer<float> parameters_, gradient_, input_, output_, scratch_;
};

}  // namespace

void gpu_convolutions(Device& device, Report& report, int repetitions) {
  const GroupedLibrary library = grouped_library();
  fmt::print("{} clients with filters of their own, {} examples each; {}\n", clients, examples,
             library.name.empty() ? "no grouped convolutions: " + library.reason : library.name);
  fmt::print("{:<20} {:<10} {:>12} {:>14} {:>20}\n", "convolution", "pass", "ours, ms", "ours, TFLOP/s",
             "ours over grouped");
  double ours = 0, theirs = 0;
  for (const auto& [where, shape] : convolution_shapes()) {
    for (const Pass pass : {Pass::forward, Pass::by_input, Pass::by_weight}) {
      Own own(device, shape);
      const auto grouped = grouped_convolution(shape, pass, clients, examples);
      std::vector<Part> parts = {{"ours",
                                  [&] {
                                    for (int i = 0; i < calls; ++i) own.run(pass);
                                    device.synchronise();
                                  },
                                  calls}};
      if (grouped) {
        parts.push_back({"grouped",
                         [&] {
                           for (int i = 0; i < calls; ++i) grouped();
                           wait_for_grouped();
                         },
                         calls});
      }
      const auto timings = interleave(parts, repetitions);
      const double seconds = timings[0].per_unit();
      const double rate =
          2.0 * static_cast<double>(clients * examples * shape.results() * shape.patch()) / seconds * 1e-12;
      fmt::print("{:<20} {:<10} {:>12.3f} {:>14.2f} {:>20}\n", where, name_of(pass), seconds * 1e3, rate,
                 grouped ? fmt::format("{:.2f}", seconds / timings[1].per_unit()) : "");
      if (!grouped) continue;
      ours += seconds;
      theirs += timings[1].per_unit();
    }
  }
  if (theirs > 0) {
    report.number("gpu_convolutions_over_grouped", ours / theirs, "ratio", library.name + ", all shapes and passes");
  }
}

}  // namespace ivory::bench
