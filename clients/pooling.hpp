// What pooling layers share: each channel of each example is an image of its own, row (example, channel, y) of a loop over places.
// A layer's `Part` says what of a window's output gradient goes to one of its taps.
#pragma once
#include "clients/images.hpp"
#include "ivory/elementwise.hpp"

namespace ivory {
inline namespace IVORY_TRANSLATION {

/// Gathers, by row (example, channel, y) and column x of the input.
template <class Real, class Part>
struct PoolGradient {
  const Real* IVORY_RESTRICT output_gradient;
  Real* IVORY_RESTRICT input_gradient;
  Part part;
  WindowPlaces at;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const auto r = static_cast<std::uint32_t>(row);
    const std::size_t first = std::size_t{r / at.height} * at.out_height * at.out_width;
    Real total = 0;
    for_each_window_over(at, r % at.height, static_cast<std::uint32_t>(column),
                         [&](std::uint32_t position, std::uint32_t tap) {
                           total += part(first + position, tap, output_gradient[first + position]);
                         });
    input_gradient[row * at.width + column] = total;
  }
};

/// Scatters, by row (example, channel, v) and column h of the output: the same for windows side by side that cover the image.
template <class Real, class Part, std::uint32_t kernel>
struct PoolGradientOfTiles {
  const Real* IVORY_RESTRICT output_gradient;
  Real* IVORY_RESTRICT input_gradient;
  Part part;
  std::size_t out_width;
  static constexpr bool repeatable = true;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const std::size_t position = row * out_width + column;
    const Real gradient = output_gradient[position];
    for (std::uint32_t i = 0; i < kernel; ++i) {
      for (std::uint32_t j = 0; j < kernel; ++j) {
        input_gradient[((row * kernel + i) * out_width + column) * kernel + j] =
            part(position, i * kernel + j, gradient);
      }
    }
  }
};

/// Windows of `kernel` pixels side by side that cover the whole image.
inline bool are_tiles(const ConvolutionShape& s, std::size_t kernel) {
  return s.kernel == kernel && s.stride == kernel && s.padding == 0 && s.height % kernel == 0 && s.width % kernel == 0;
}

/// Runs the input gradient of a block; `part(b)` is client b's Part.
template <class Real, class MakePart>
void pool_gradient(Device& device, const BatchShape& shape, const ConvolutionShape& s, const Real* output_gradient,
                   Real* input_gradient, const MakePart& part) {
  using Part = std::remove_cv_t<decltype(part(std::size_t{0}))>;
  const std::size_t in = shape.rows * s.inputs(), out = shape.rows * s.channels * s.positions();
  if (are_tiles(s, 2)) {  // the usual ones, which the compiler makes vector code of
    const std::size_t lines = s.channels * s.out_height();
    for_each_client_place(device, shape.clients, shape.rows * lines, s.out_width(), [&](std::size_t b) {
      return Share{shape.work_rows(b) * lines,
                   PoolGradientOfTiles<Real, Part, 2>{output_gradient + b * out, input_gradient + b * in, part(b),
                                                      s.out_width()}};
    });
    return;
  }
  const std::size_t lines = s.channels * s.height;
  for_each_client_place(device, shape.clients, shape.rows * lines, s.width, [&](std::size_t b) {
    return Share{
        shape.work_rows(b) * lines,
        PoolGradient<Real, Part>{output_gradient + b * out, input_gradient + b * in, part(b), WindowPlaces(s)}};
  });
}

/// The window of a pooling layer; a stride of 0 is the kernel. Throws InputError where it does not fit.
inline ConvolutionShape pooling_window(const Options& options, const LayerInputs& inputs, const std::string& layer,
                                       std::size_t kernel) {
  const auto stride = static_cast<std::size_t>(options.integer("stride")),
             padding = static_cast<std::size_t>(options.integer("padding"));
  if (2 * padding > kernel) {
    throw InputError("[model] " + layer + " needs a padding of at most half its kernel, got " +
                     std::to_string(padding) + " for a kernel of " + std::to_string(kernel) +
                     "; a window would lie outside the image");
  }
  return window_over(inputs, layer, kernel, stride == 0 ? kernel : stride, padding);
}

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
