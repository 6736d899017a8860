// A convolution, for devices that have them: torch.nn.Conv2d with square windows, without groups and dilation.
#pragma once
#include <algorithm>
#include <cstddef>

namespace ivory {

/// Images [channels x height x width] with zeros around them, weights [outputs x channels x kernel x kernel].
struct ConvolutionShape {
  std::size_t channels = 1, height = 1, width = 1;
  std::size_t outputs = 1, kernel = 1, stride = 1, padding = 0;

  std::size_t padded_height() const { return height + 2 * padding; }
  std::size_t padded_width() const { return width + 2 * padding; }
  std::size_t out_height() const { return (padded_height() - kernel) / stride + 1; }
  std::size_t out_width() const { return (padded_width() - kernel) / stride + 1; }
  std::size_t positions() const { return out_height() * out_width(); }  // of the window
  std::size_t patch() const { return channels * kernel * kernel; }      // numbers under the window
  std::size_t weights() const { return outputs * patch(); }
  std::size_t inputs() const { return channels * height * width; }  // of an example
  std::size_t results() const { return outputs * positions(); }     // of an example

  // What Device::convolve takes at a time: so many patches, and so many examples of one sum.
  static constexpr std::size_t patches_at_a_time = 32;
  std::size_t examples_at_a_time() const { return std::clamp<std::size_t>(256 / positions(), 1, 16); }

  /// Elements of scratch memory that Device::convolve needs per client: the images of one or a few examples.
  std::size_t scratch() const {
    constexpr std::size_t vector = 16;
    const std::size_t steps = std::min(stride, kernel), reach = (kernel - 1) / stride;
    const std::size_t forward =
        channels * steps * (out_height() + reach) * std::max(kernel * out_width(), steps * (out_width() + reach));
    const std::size_t by_input = stride == 1 ? outputs * (height + kernel - 1) * kernel * width : 0;
    const std::size_t images = channels * padded_height() * padded_width();
    const std::size_t by_sums = weights() + patches_at_a_time * patch() + images;
    const std::size_t by_weight = weights() + examples_at_a_time() * images;
    return std::max({forward, by_input, by_sums, by_weight}) + vector;
  }
};

/// One pass over a block of clients. Client b has live[b] examples of `rows` (null: all). Arrays of examples are [clients x rows x
/// inputs] or [clients x rows x results]; client b's weights and bias are weight_stride and their gradients gradient_stride
/// elements after those of client b - 1, its scratch memory scratch_stride.
template <class Real>
struct Convolution {
  enum class Pass { forward, by_input, by_weight };

  ConvolutionShape shape;
  Pass pass = Pass::forward;
  std::size_t clients = 1, rows = 0;
  const int* live = nullptr;              // host
  const Real* input = nullptr;            // forward, by_weight
  const Real* weight = nullptr;           // forward, by_input
  const Real* bias = nullptr;             // forward; null: none
  const Real* output_gradient = nullptr;  // by_input, by_weight
  Real* result = nullptr;                 // output, input gradient or weight gradient; overwritten
  Real* bias_gradient = nullptr;          // by_weight, overwritten; null: not wanted
  std::size_t weight_stride = 0, gradient_stride = 0;
  Real* scratch = nullptr;
  std::size_t scratch_stride = 0;

  std::size_t live_rows(std::size_t b) const { return live != nullptr ? static_cast<std::size_t>(live[b]) : rows; }
};

}  // namespace ivory
