// Convolutions of a block as matrix products with the patches under the windows, for devices that have products alone. Patches
// are made for a few examples at a time; a product's shape depends on the layer and the batch size, not on the block.
#pragma once
#include <algorithm>
#include <cstdint>

#include "clients/images.hpp"
#include "ivory/elementwise.hpp"

namespace ivory {

inline namespace IVORY_TRANSLATION {

/// patches [(example, position) x (channel, window row, window column)], zero where a window leaves the image.
template <class Real>
struct Unfold {
  const Real* IVORY_RESTRICT images;
  Real* IVORY_RESTRICT patches;
  WindowPlaces at;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const auto r = static_cast<std::uint32_t>(row), c = static_cast<std::uint32_t>(column);
    const std::uint32_t positions = at.out_height * at.out_width, position = r % positions,
                        tap = c % (at.kernel * at.kernel);
    // Above the last row for those before the first: they wrap around.
    const std::uint32_t y = position / at.out_width * at.stride + tap / at.kernel - at.padding;
    const std::uint32_t x = position % at.out_width * at.stride + tap % at.kernel - at.padding;
    const std::size_t channel = std::size_t{r / positions} * at.channels + c / (at.kernel * at.kernel);
    const bool inside = y < at.height && x < at.width;
    patches[row * at.channels * at.kernel * at.kernel + column] =
        inside ? images[(channel * at.height + y) * at.width + x] : Real(0);
  }
};

/// The way back, row (example, channel, y) and column x of the images: the sum over the windows that cover the place.
template <class Real>
struct Fold {
  const Real* IVORY_RESTRICT patches;
  Real* IVORY_RESTRICT images;
  WindowPlaces at;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const auto r = static_cast<std::uint32_t>(row);
    const std::uint32_t channel = r / at.height % at.channels, taps = at.kernel * at.kernel;
    const std::size_t first = std::size_t{r / at.height / at.channels} * at.out_height * at.out_width;
    Real total = 0;
    for_each_window_over(at, r % at.height, static_cast<std::uint32_t>(column),
                         [&](std::uint32_t position, std::uint32_t tap) {
                           total += patches[((first + position) * at.channels + channel) * taps + tap];
                         });
    images[row * at.width + column] = total;
  }
};

/// Of arrays [examples x outputs x positions]: the same as [examples x positions x outputs], by row (example, position).
template <class Real>
struct OutputsLast {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  std::uint32_t outputs, positions;
  IVORY_HD void operator()(std::size_t row, std::size_t output) const {
    const auto r = static_cast<std::uint32_t>(row);
    to[row * outputs + output] = from[(std::size_t{r / positions} * outputs + output) * positions + r % positions];
  }
};

/// And back, with a bias (null: none), by row (example, output).
template <class Real>
struct PositionsLast {
  const Real* IVORY_RESTRICT from;
  const Real* bias;
  Real* IVORY_RESTRICT to;
  std::uint32_t outputs, positions;
  IVORY_HD void operator()(std::size_t row, std::size_t position) const {
    const auto r = static_cast<std::uint32_t>(row);
    const std::uint32_t output = r % outputs;
    const Real sum = from[(std::size_t{r / outputs} * positions + position) * outputs + output];
    to[row * positions + position] = bias != nullptr ? sum + bias[output] : sum;
  }
};

/// The passes of one convolution layer over a block, all rows of it.
template <class Real>
class ConvolutionByProducts {
 public:
  /// Scratch elements per client.
  static std::size_t room(const ConvolutionShape& s, std::size_t rows) {
    return at_a_time(s, rows) * s.positions() * (s.patch() + s.outputs);
  }

  ConvolutionByProducts(Device& device, const ConvolutionShape& s, const BatchShape& shape, Real* scratch,
                        std::size_t scratch_stride)
      : device_(device), s_(s), places_(s), shape_(shape), stride_(scratch_stride), patches_(scratch),
        by_position_(scratch + at_a_time(s, shape.rows) * s.positions() * s.patch()) {}

  void forward(const Real* input, const Real* weight, const Real* bias, Real* output) const {
    for_chunks([&](std::size_t first, std::size_t count) {
      unfold(input, first, count);
      MatrixProduct<Real> product = over_positions(count);
      product.transpose_b = true;
      product.n = s_.outputs, product.k = s_.patch();
      product.a = patches_, product.lda = s_.patch(), product.stride_a = stride_;
      product.b = weight, product.ldb = s_.patch(), product.stride_b = shape_.parameter_stride;
      product.c = by_position_, product.ldc = s_.outputs, product.stride_c = stride_;
      device_.multiply(product);
      for_each_client_place(device_, shape_.clients, count * s_.outputs, s_.positions(), [&](std::size_t b) {
        return Share{count * s_.outputs,
                     PositionsLast<Real>{by_position_ + b * stride_,
                                         bias != nullptr ? bias + b * shape_.parameter_stride : nullptr,
                                         output + (b * shape_.rows + first) * s_.results(), places_.narrow(s_.outputs),
                                         places_.narrow(s_.positions())}};
      });
    });
  }

  void by_input(const Real* output_gradient, const Real* weight, Real* input_gradient) const {
    for_chunks([&](std::size_t first, std::size_t count) {
      outputs_last(output_gradient, first, count);
      MatrixProduct<Real> product = over_positions(count);
      product.n = s_.patch(), product.k = s_.outputs;
      product.a = by_position_, product.lda = s_.outputs, product.stride_a = stride_;
      product.b = weight, product.ldb = s_.patch(), product.stride_b = shape_.parameter_stride;
      product.c = patches_, product.ldc = s_.patch(), product.stride_c = stride_;
      device_.multiply(product);
      const std::size_t lines = count * s_.channels * s_.height;
      for_each_client_place(device_, shape_.clients, lines, s_.width, [&](std::size_t b) {
        return Share{lines, Fold<Real>{patches_ + b * stride_, input_gradient + (b * shape_.rows + first) * s_.inputs(),
                                       places_}};
      });
    });
  }

  /// Client b's sum over its examples goes to weight_gradient + b * gradient_stride.
  void by_weight(const Real* input, const Real* output_gradient, Real* weight_gradient,
                 std::size_t gradient_stride) const {
    for_chunks([&](std::size_t first, std::size_t count) {
      add_by_weight(input, output_gradient, first, count, weight_gradient, gradient_stride, first > 0);
    });
  }

  /// The same of the examples in place `example` alone.
  void by_weight(const Real* input, const Real* output_gradient, std::size_t example, Real* weight_gradient,
                 std::size_t gradient_stride) const {
    add_by_weight(input, output_gradient, example, 1, weight_gradient, gradient_stride, false);
  }

 private:
  // Two MiB of float per client: enough for a product to be worth its launch.
  static std::size_t at_a_time(const ConvolutionShape& s, std::size_t rows) {
    constexpr std::size_t most = std::size_t{1} << 19;
    return std::clamp<std::size_t>(most / (s.positions() * (s.patch() + s.outputs)), 1, std::max<std::size_t>(rows, 1));
  }

  template <class Work>
  void for_chunks(const Work& work) const {
    const std::size_t most = at_a_time(s_, shape_.rows);
    for (std::size_t first = 0; first < shape_.rows; first += most) work(first, std::min(most, shape_.rows - first));
  }

  void add_by_weight(const Real* input, const Real* output_gradient, std::size_t first, std::size_t count, Real* to,
                     std::size_t gradient_stride, bool accumulate) const {
    unfold(input, first, count);
    outputs_last(output_gradient, first, count);
    MatrixProduct<Real> product;
    product.transpose_a = true, product.accumulate = accumulate;
    product.m = s_.outputs, product.n = s_.patch(), product.k = count * s_.positions();
    product.a = by_position_, product.lda = s_.outputs, product.stride_a = stride_;
    product.b = patches_, product.ldb = s_.patch(), product.stride_b = stride_;
    product.c = to, product.ldc = s_.patch(), product.stride_c = gradient_stride;
    product.count = shape_.clients;
    device_.multiply(product);
  }

  void unfold(const Real* input, std::size_t first, std::size_t count) const {
    const std::size_t lines = count * s_.positions();
    for_each_client_place(device_, shape_.clients, lines, s_.patch(), [&](std::size_t b) {
      return Share{lines,
                   Unfold<Real>{input + (b * shape_.rows + first) * s_.inputs(), patches_ + b * stride_, places_}};
    });
  }

  void outputs_last(const Real* gradient, std::size_t first, std::size_t count) const {
    const std::size_t lines = count * s_.positions();
    for_each_client_place(device_, shape_.clients, lines, s_.outputs, [&](std::size_t b) {
      return Share{lines,
                   OutputsLast<Real>{gradient + (b * shape_.rows + first) * s_.results(), by_position_ + b * stride_,
                                     places_.narrow(s_.outputs), places_.narrow(s_.positions())}};
    });
  }

  MatrixProduct<Real> over_positions(std::size_t count) const {
    MatrixProduct<Real> product;
    product.m = count * s_.positions();
    product.count = shape_.clients;
    return product;
  }

  Device& device_;
  const ConvolutionShape& s_;
  WindowPlaces places_;
  const BatchShape& shape_;
  std::size_t stride_;
  Real* patches_;      // [examples at a time x positions x patch]
  Real* by_position_;  // [examples at a time x positions x outputs]
};

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
