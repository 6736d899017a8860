// What layers over images share: a square window that goes over them, and its options.
#pragma once
#include <cstdint>
#include <string>

#include "ivory/convolution.hpp"
#include "ivory/error.hpp"
#include "ivory/layer.hpp"
#include "ivory/math.hpp"

namespace ivory {

/// Where windows lie, in 32 bits: a 64-bit division costs more than the rest of what a loop does with them.
struct WindowPlaces {
  explicit WindowPlaces(const ConvolutionShape& s)
      : channels(narrow(s.channels)), height(narrow(s.height)), width(narrow(s.width)), kernel(narrow(s.kernel)),
        stride(narrow(s.stride)), padding(narrow(s.padding)), out_height(narrow(s.out_height())),
        out_width(narrow(s.out_width())) {}
  static std::uint32_t narrow(std::size_t n) { return static_cast<std::uint32_t>(n); }
  std::uint32_t channels, height, width, kernel, stride, padding, out_height, out_width;
};

/// Calls f(position, tap) for every window that covers column x of row y of an image, in the order of its taps: the window's place
/// among out_height x out_width, and which of its kernel x kernel taps lies there.
template <class F>
IVORY_HD void for_each_window_over(const WindowPlaces& at, std::uint32_t y, std::uint32_t x, const F& f) {
  for (std::uint32_t i = 0; i < at.kernel; ++i) {
    const std::uint32_t down = y + at.padding - i;  // where the window begins; below 0 it wraps to above the last place
    const std::uint32_t v = down / at.stride;
    if (v >= at.out_height || v * at.stride != down) continue;
    for (std::uint32_t j = 0; j < at.kernel; ++j) {
      const std::uint32_t right = x + at.padding - j;
      const std::uint32_t h = right / at.stride;
      if (h >= at.out_width || h * at.stride != right) continue;
      f(v * at.out_width + h, i * at.kernel + j);
    }
  }
}

inline std::string extents(const Shape& shape) {
  std::string text;
  for (const std::size_t extent : shape) text += (text.empty() ? "[" : ", ") + std::to_string(extent);
  return text + "]";
}

/// The images and windows of a layer, with one output. Throws InputError where the inputs are no images, or smaller than a window.
inline ConvolutionShape window_over(const LayerInputs& inputs, const std::string& layer, std::size_t kernel,
                                    std::size_t stride, std::size_t padding) {
  const Shape& shape = inputs.input;
  if (shape.size() != 3) {
    throw InputError("[model] " + layer + " needs images of [channels, height, width], got " + extents(shape) +
                     "; put it before flatten and dense layers, and take data whose examples are images");
  }
  const ConvolutionShape window{shape[0], shape[1], shape[2], 1, kernel, stride, padding};
  if (kernel > window.padded_height() || kernel > window.padded_width()) {
    throw InputError("[model] " + layer + " needs images at least as large as its window, got " + extents(shape) +
                     " with a padding of " + std::to_string(padding) + " and a kernel of " + std::to_string(kernel) +
                     "; use a smaller kernel, more padding, or less pooling before it");
  }
  return window;
}

inline OptionSpec stride_option(std::int64_t value, std::int64_t least, const std::string& help) {
  return {.name = "stride",
          .default_value = value,
          .help = help,
          .unit = "pixels",
          .low = static_cast<double>(least),
          .high = 1 << 12};
}
inline OptionSpec padding_option(const std::string& help) {
  return {
      .name = "padding", .default_value = std::int64_t{0}, .help = help, .unit = "pixels", .low = 0, .high = 1 << 12};
}

}  // namespace ivory
