#include "bench/onednn.hpp"

#if defined(IVORY_HAS_ONEDNN)
#include <fmt/format.h>

#include <algorithm>
#include <dnnl.hpp>
#include <memory>
#include <unordered_map>

namespace ivory::bench {
namespace {

using Pass = Convolution<float>::Pass;

// Version 3 builds a primitive's description from its parameters; version 2 wants a struct in between.
#if DNNL_VERSION_MAJOR >= 3
template <class Primitive, class... Hint>
struct Describe {
  template <class... Parameters>
  static typename Primitive::primitive_desc with(const dnnl::engine& engine, const Hint&... hint,
                                                 Parameters&&... parameters) {
    return {engine, parameters..., hint...};
  }
};
#else
template <class Primitive, class... Hint>
struct Describe {
  template <class... Parameters>
  static typename Primitive::primitive_desc with(const dnnl::engine& engine, const Hint&... hint,
                                                 Parameters&&... parameters) {
    return {typename Primitive::desc(parameters...), engine, hint...};
  }
};
#endif

struct Prepared {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  dnnl::stream stream{engine};
  dnnl::primitive primitive;
  std::unordered_map<int, dnnl::memory> arguments;

  void add(int name, const dnnl::memory::desc& layout) {
    dnnl::memory memory(layout, engine);
    std::fill_n(static_cast<float*>(memory.get_data_handle()), layout.get_size() / sizeof(float), 1e-3F);
    arguments.emplace(name, std::move(memory));
  }
};

}  // namespace

std::string convolution_library() {
  const dnnl_version_t* const version = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

std::function<void()> library_convolution(const ConvolutionShape& s, Pass pass, std::size_t examples,
                                          bool any_algorithm) {
  using dnnl::memory;
  const auto n = [](std::size_t extent) { return static_cast<memory::dim>(extent); };
  const auto layout = [](const memory::dims& extents, memory::format_tag tag = memory::format_tag::any) {
    return memory::desc(extents, memory::data_type::f32, tag);
  };
  const memory::desc source = layout({n(examples), n(s.channels), n(s.height), n(s.width)}),
                     weight = layout({n(s.outputs), n(s.channels), n(s.kernel), n(s.kernel)}),
                     bias = layout({n(s.outputs)}, memory::format_tag::x),
                     result = layout({n(examples), n(s.outputs), n(s.out_height()), n(s.out_width())});
  const memory::dims strides(2, n(s.stride)), padding(2, n(s.padding));
  const auto algorithm = any_algorithm ? dnnl::algorithm::convolution_auto : dnnl::algorithm::convolution_direct;

  const auto prepared = std::make_shared<Prepared>();
  const dnnl::engine& engine = prepared->engine;
  const auto forward = Describe<dnnl::convolution_forward>::with(
      engine, dnnl::prop_kind::forward_training, algorithm, source, weight, bias, result, strides, padding, padding);
  using Hint = dnnl::convolution_forward::primitive_desc;
  if (pass == Pass::forward) {
    prepared->primitive = dnnl::convolution_forward(forward);
    prepared->add(DNNL_ARG_SRC, forward.src_desc());
    prepared->add(DNNL_ARG_WEIGHTS, forward.weights_desc());
    prepared->add(DNNL_ARG_BIAS, forward.bias_desc());
    prepared->add(DNNL_ARG_DST, forward.dst_desc());
  } else if (pass == Pass::by_input) {
    const auto description = Describe<dnnl::convolution_backward_data, Hint>::with(
        engine, forward, algorithm, source, weight, result, strides, padding, padding);
    prepared->primitive = dnnl::convolution_backward_data(description);
    prepared->add(DNNL_ARG_DIFF_SRC, description.diff_src_desc());
    prepared->add(DNNL_ARG_WEIGHTS, description.weights_desc());
    prepared->add(DNNL_ARG_DIFF_DST, description.diff_dst_desc());
  } else {
    const auto description = Describe<dnnl::convolution_backward_weights, Hint>::with(
        engine, forward, algorithm, source, weight, bias, result, strides, padding, padding);
    prepared->primitive = dnnl::convolution_backward_weights(description);
    prepared->add(DNNL_ARG_SRC, description.src_desc());
    prepared->add(DNNL_ARG_DIFF_WEIGHTS, description.diff_weights_desc());
    prepared->add(DNNL_ARG_DIFF_BIAS, description.diff_bias_desc());
    prepared->add(DNNL_ARG_DIFF_DST, description.diff_dst_desc());
  }
  return [prepared] {
    prepared->primitive.execute(prepared->stream, prepared->arguments);
    prepared->stream.wait();
  };
}

}  // namespace ivory::bench
#else
namespace ivory::bench {

std::string convolution_library() { return ""; }
std::function<void()> library_convolution(const ConvolutionShape&, Convolution<float>::Pass, std::size_t, bool) {
  return nullptr;
}

}  // namespace ivory::bench
#endif
