// Convolutions without a matrix of patches. An example's images are laid out with their padding; a window's place is then an
// offset, and sums over windows are products whose second factor is read where it lies (tiles.hpp). What is laid out is one
// example, or a few small ones, and stays in the second cache.
#if defined(IVORY_RENAME_EIGEN)
#define Eigen IVORY_RENAME_EIGEN
#endif
#define EIGEN_DONT_PARALLELIZE
#define EIGEN_NO_DEBUG
#include <Eigen/Core>

#include <cassert>
#include <cstdint>
#include <type_traits>
#include <utility>
#include <vector>

#include "kernels/cpu/isa.hpp"
#include "kernels/cpu/tiles.hpp"

namespace ivory::IVORY_ISA {
namespace {

/// work(b, example) for every live example of every client; `example` counts over the whole block.
template <class Real, class Work>
void for_each_example(const Convolution<Real>& c, const Work& work) {
  for (std::size_t b = 0; b < c.clients; ++b)
    for (std::size_t e = 0; e < c.live_rows(b); ++e) work(b, b * c.rows + e);
}

/// A window's place (y, x), and where its weight is.
struct Tap {
  Offset y, x;
  std::size_t weight;
};

/// result(i, y, x) = start[i] + sum over channels c and taps t of
///   weight[i * row_weights + c * channel_weights + t.weight] * source(c, step * y + t.y, step * x + t.x),
/// for `lines` times `columns` places; the source is 0 outside. The taps are all pairs of an interval of y and one of x.
struct Correlation {
  std::size_t channels, height, width, step;
  std::size_t rows, lines, columns;
  std::size_t row_weights, channel_weights;
  std::vector<Tap> taps;
};

/// How the source lies in scratch: plane (c, v, h) has every step-th row of channel c from top + v on, and of it every step-th
/// number from left + h on. `flat`: one plane for every x of a tap, as wide as the result, whose lines then are one long one. Else
/// planes are wider, and taps that lie a multiple of `step` apart read one plane at different places.
class Frame {
 public:
  Frame(const Correlation& r, std::size_t vector) {
    top = r.taps.front().y, left = r.taps.front().x;
    Offset bottom = top, right = left;
    for (const Tap& tap : r.taps) {
      top = std::min(top, tap.y), bottom = std::max(bottom, tap.y);
      left = std::min(left, tap.x), right = std::max(right, tap.x);
    }
    const auto high = static_cast<std::size_t>(bottom - top), wide = static_cast<std::size_t>(right - left);
    step = r.step;
    vertical = std::min(step, high + 1);
    rows = r.lines + high / step;
    const auto vectors = [vector](std::size_t n) { return (n + vector - 1) / vector; };
    // In vectors per channel; one laid out costs as much as four products.
    const auto cost = [&](std::size_t products, std::size_t planes, std::size_t plane_width) {
      return products * r.taps.size() * r.rows + 4 * planes * vertical * rows * vectors(plane_width);
    };
    const std::size_t few = std::min(step, wide + 1), many = wide + 1, wider = r.columns + wide / step;
    flat = cost(vectors(r.lines * r.columns), many, r.columns) < cost(r.lines * vectors(r.columns), few, wider);
    horizontal = flat ? many : few;
    pitch = flat ? r.columns : wider;
  }
  std::size_t plane(std::size_t channel, std::size_t v, std::size_t h) const {
    return ((channel * vertical + v) * horizontal + h) * rows * pitch;
  }
  /// Where a channel's first place for this tap is.
  Offset of(std::size_t channel, const Tap& tap) const {
    const auto y = static_cast<std::size_t>(tap.y - top), x = static_cast<std::size_t>(tap.x - left);
    const std::size_t h = flat ? x : x % step, shift = flat ? 0 : x / step;
    return static_cast<Offset>(plane(channel, y % step, h) + y / step * pitch + shift);
  }

  Offset top, left;
  std::size_t step, vertical, horizontal, rows, pitch;
  bool flat;
};

/// Which numbers of a line come from the source; the others are 0.
template <class Real>
struct Line {
  using Keep = std::conditional_t<sizeof(Real) == 4, std::int32_t, std::int64_t>;
  Offset low, high;
  std::vector<Keep> keep;
};

template <class Real, std::size_t width>
void copy_kept(const Real* from, const typename Line<Real>::Keep* keep, Real* to) {
#pragma omp simd
  for (std::size_t l = 0; l < width; ++l) to[l] = keep[l] != 0 ? from[l] : Real(0);
}

// Neighbours of a source row, by whole and half vectors: what they write past the line's end is overwritten by the next line.
template <class Real>
void copy_line(const Real* from, const Line<Real>& line, Real* to, std::size_t n) {
  constexpr std::size_t width = width_of<Real>;
  std::size_t j = 0;
  for (; j + width / 2 < n; j += width) copy_kept<Real, width>(from + j, line.keep.data() + j, to + j);
  if (j < n) copy_kept<Real, width / 2>(from + j, line.keep.data() + j, to + j);
}

// Every step-th number of a source row.
template <class Real>
void copy_line(const Real* from, Offset step, const Line<Real>& line, Real* to, Offset n) {
  std::fill(to, to + line.low, Real(0));
  std::fill(to + line.high, to + n, Real(0));
  if (step == 2) {  // which the compiler has shuffles for
#pragma omp simd
    for (Offset j = line.low; j < line.high; ++j) to[j] = from[2 * j];
  } else {
    for (Offset j = line.low; j < line.high; ++j) to[j] = from[step * j];
  }
}

/// A correlation's products, ready for one example after the other.
template <class Real>
class Correlator {
 public:
  explicit Correlator(Correlation correlation) : r_(std::move(correlation)), frame_(r_, width_of<Real>) {
    for (std::size_t c = 0; c < r_.channels; ++c) {
      for (const Tap& tap : r_.taps) {
        weight_at_.push_back(static_cast<Offset>(c * r_.channel_weights + tap.weight));
        source_at_.push_back(frame_.of(c, tap));
      }
    }
    const auto step = static_cast<Offset>(frame_.step), pitch = static_cast<Offset>(frame_.pitch);
    for (std::size_t h = 0; h < frame_.horizontal; ++h) {
      const auto below = [&, first = frame_.left + static_cast<Offset>(h)](std::size_t end) {
        const Offset distance = static_cast<Offset>(end) - first;
        return std::clamp<Offset>(distance <= 0 ? 0 : (distance + step - 1) / step, 0, pitch);
      };
      Line<Real>& line = lines_.emplace_back();
      line.low = below(0), line.high = below(r_.width);
      line.keep.resize(frame_.pitch + width_of<Real>);
      std::fill(line.keep.begin() + line.low, line.keep.begin() + line.high, 1);
    }
  }
  std::size_t scratch() const { return frame_.plane(r_.channels, 0, 0) + width_of<Real>; }

  /// Of one example; result(i, ...) begins at i * row_stride, its lines one after the other.
  void run(const Real* source, const Real* weight, const Real* start, Real* result, std::size_t row_stride,
           Real* scratch) const {
    lay_out(source, scratch);
    const std::size_t n = frame_.flat ? r_.lines * r_.columns : r_.columns;
    multiply(Product<Real>{.m = r_.rows,
                           .lines = frame_.flat ? 1 : r_.lines,
                           .n = n,
                           .k = weight_at_.size(),
                           .a = weight,
                           .a_at = weight_at_.data(),
                           .lda = r_.row_weights,
                           .b = scratch,
                           .b_at = source_at_.data(),
                           .line_b = frame_.pitch,
                           .c = result,
                           .ldc = row_stride,
                           .line_c = n,
                           .start = start});
  }

 private:
  void lay_out(const Real* source, Real* to) const {
    const auto step = static_cast<Offset>(frame_.step), height = static_cast<Offset>(r_.height),
               width = static_cast<Offset>(r_.width), pitch = static_cast<Offset>(frame_.pitch);
    for (std::size_t c = 0; c < r_.channels; ++c, source += height * width) {
      for (std::size_t v = 0; v < frame_.vertical; ++v) {
        for (std::size_t h = 0; h < frame_.horizontal; ++h) {
          Offset y = frame_.top + static_cast<Offset>(v);
          for (std::size_t row = 0; row < frame_.rows; ++row, y += step, to += pitch) {
            const Real* const from = source + y * width + frame_.left + static_cast<Offset>(h);
            if (y < 0 || y >= height) {
              std::fill(to, to + pitch, Real(0));
            } else if (step == 1) {
              copy_line(from, lines_[h], to, frame_.pitch);
            } else {
              copy_line(from, step, lines_[h], to, pitch);
            }
          }
        }
      }
    }
  }

  Correlation r_;
  Frame frame_;
  std::vector<Offset> weight_at_, source_at_;
  std::vector<Line<Real>> lines_;  // [horizontal]
};

// Window places as taps: of the window itself, or the other way round, as an input meets them.
std::vector<Tap> taps_of(const ConvolutionShape& s, bool turned) {
  std::vector<Tap> taps;
  const auto place = [&](std::size_t at) {
    const Offset from_padding = static_cast<Offset>(at) - static_cast<Offset>(s.padding);
    return turned ? -from_padding : from_padding;
  };
  for (std::size_t y = 0; y < s.kernel; ++y)
    for (std::size_t x = 0; x < s.kernel; ++x) taps.push_back({place(y), place(x), y * s.kernel + x});
  return taps;
}

template <class Real>
void correlate(const Convolution<Real>& c, Correlation r, const Real* source, const Real* bias) {
  const std::size_t source_size = r.channels * r.height * r.width, places = r.lines * r.columns,
                    result_size = r.rows * places;
  const Correlator<Real> correlator(std::move(r));
  assert(correlator.scratch() <= c.scratch_stride);
  for_each_example(c, [&](std::size_t b, std::size_t example) {
    const std::size_t weights = b * c.weight_stride;
    correlator.run(source + example * source_size, c.weight + weights, bias != nullptr ? bias + weights : nullptr,
                   c.result + example * result_size, places, c.scratch + b * c.scratch_stride);
  });
}

template <class Real>
void forward(const Convolution<Real>& c) {
  const ConvolutionShape& s = c.shape;
  const Correlation r{.channels = s.channels,
                      .height = s.height,
                      .width = s.width,
                      .step = s.stride,
                      .rows = s.outputs,
                      .lines = s.out_height(),
                      .columns = s.out_width(),
                      .row_weights = s.patch(),
                      .channel_weights = s.kernel * s.kernel,
                      .taps = taps_of(s, false)};
  correlate(c, r, c.input, c.bias);
}

// For a stride of 1: a correlation of the output gradient.
template <class Real>
void by_input_as_correlation(const Convolution<Real>& c) {
  const ConvolutionShape& s = c.shape;
  const Correlation r{.channels = s.outputs,
                      .height = s.out_height(),
                      .width = s.out_width(),
                      .step = 1,
                      .rows = s.channels,
                      .lines = s.height,
                      .columns = s.width,
                      .row_weights = s.kernel * s.kernel,
                      .channel_weights = s.patch(),
                      .taps = taps_of(s, true)};
  correlate<Real>(c, r, c.output_gradient, nullptr);
}

/// An example's images as [row x column x channel] with their padding: what a row of the window covers is one run of numbers.
struct Interleaved {
  explicit Interleaved(const ConvolutionShape& s)
      : run(s.kernel * s.channels), line(s.padded_width() * s.channels), size(s.padded_height() * line) {}
  std::size_t run, line, size;  // numbers under the window's row, of a line, in all
  /// Where row y of the image begins, and where the window at a position does.
  std::size_t row(const ConvolutionShape& s, std::size_t y) const {
    return (y + s.padding) * line + s.padding * s.channels;
  }
  std::size_t window(const ConvolutionShape& s, std::size_t position) const {
    return (position / s.out_width() * line + position % s.out_width() * s.channels) * s.stride;
  }
};

// Weights [outputs x channels x row x column] as [outputs x row x column x channels].
template <class Real>
void interleave(const ConvolutionShape& s, const Real* weights, Real* to) {
  const std::size_t taps = s.kernel * s.kernel;
  for (std::size_t at = 0; at < s.weights(); at += s.patch())
    transpose(weights + at, s.channels, taps, taps, to + at, s.channels);
}
template <class Real>
void separate(const ConvolutionShape& s, const Real* interleaved, Real* to) {
  const std::size_t taps = s.kernel * s.kernel;
  for (std::size_t at = 0; at < s.weights(); at += s.patch())
    transpose(interleaved + at, taps, s.channels, s.channels, to + at, taps);
}

// The gradient of each patch, added up where patches overlap.
template <class Real>
void by_input_as_sums(const Convolution<Real>& c) {
  const ConvolutionShape& s = c.shape;
  const Interleaved image(s);
  const std::size_t positions = s.positions(), most = s.patches_at_a_time;
  assert(s.weights() + most * s.patch() + image.size + width_of<Real> <= c.scratch_stride);
  std::vector<Offset> gradient_at, weight_at;
  for (std::size_t o = 0; o < s.outputs; ++o) {
    gradient_at.push_back(static_cast<Offset>(o * positions));
    weight_at.push_back(static_cast<Offset>(o * s.patch()));
  }
  for (std::size_t b = 0; b < c.clients; ++b)
    interleave(s, c.weight + b * c.weight_stride, c.scratch + b * c.scratch_stride);
  for_each_example(c, [&](std::size_t b, std::size_t example) {
    Real* const weights = c.scratch + b * c.scratch_stride;
    Real* const patches = weights + s.weights();
    Real* const sums = patches + most * s.patch();
    std::fill_n(sums, image.size, Real(0));
    for (std::size_t first = 0; first < positions; first += most) {
      const std::size_t count = std::min(most, positions - first);
      multiply(Product<Real>{.m = count,
                             .n = s.patch(),
                             .k = s.outputs,
                             .a = c.output_gradient + example * s.results() + first,
                             .a_at = gradient_at.data(),
                             .lda = 1,
                             .b = weights,
                             .b_at = weight_at.data(),
                             .c = patches,
                             .ldc = s.patch()});
      const Real* patch = patches;
      for (std::size_t i = first; i < first + count; ++i) {
        Real* to = sums + image.window(s, i);
        for (std::size_t y = 0; y < s.kernel; ++y, patch += image.run, to += image.line) {
#pragma omp simd
          for (std::size_t j = 0; j < image.run; ++j) to[j] += patch[j];
        }
      }
    }
    for (std::size_t y = 0; y < s.height; ++y)
      transpose(sums + image.row(s, y), s.width, s.channels, s.channels, c.result + example * s.inputs() + y * s.width,
                s.height * s.width);
  });
}

template <class Real>
void by_input(const Convolution<Real>& c) {
  const ConvolutionShape& s = c.shape;
  // A correlation multiplies with padding, too; adding up patches costs about as much as seven more outputs would.
  const bool mostly_inside = s.height * s.width * s.outputs <= s.positions() * (s.outputs + 7);
  if (s.stride == 1 && mostly_inside) {
    by_input_as_correlation(c);
  } else {
    by_input_as_sums(c);
  }
}

// The sum over positions of output gradient times patch: a product with vectors along the window's rows. Small images are taken
// several at a time, as one longer sum.
template <class Real>
void by_weight(const Convolution<Real>& c) {
  const ConvolutionShape& s = c.shape;
  const Interleaved image(s);
  const std::size_t positions = s.positions(), most = s.examples_at_a_time();
  assert(s.weights() + most * image.size + width_of<Real> <= c.scratch_stride);
  std::vector<Offset> gradient_at, window_at;
  for (std::size_t e = 0; e < most; ++e) {
    for (std::size_t i = 0; i < positions; ++i) {
      gradient_at.push_back(static_cast<Offset>(e * s.results() + i));
      window_at.push_back(static_cast<Offset>(e * image.size + image.window(s, i)));
    }
  }
  for (std::size_t b = 0; b < c.clients; ++b) {
    Real* const sums = c.scratch + b * c.scratch_stride;
    Real* const images = sums + s.weights();
    Real* const bias = c.bias_gradient != nullptr ? c.bias_gradient + b * c.gradient_stride : nullptr;
    std::fill_n(sums, s.weights() + most * image.size + width_of<Real>, Real(0));
    if (bias != nullptr) std::fill_n(bias, s.outputs, Real(0));
    const std::size_t live = c.live_rows(b);
    for (std::size_t e = 0; e < live; e += most) {
      const std::size_t count = std::min(most, live - e), first = b * c.rows + e;
      for (std::size_t i = 0; i < count; ++i)
        for (std::size_t y = 0; y < s.height; ++y)
          transpose(c.input + (first + i) * s.inputs() + y * s.width, s.channels, s.width, s.height * s.width,
                    images + i * image.size + image.row(s, y), s.channels);
      const Real* const gradient = c.output_gradient + first * s.results();
      multiply(Product<Real>{.m = s.outputs,
                             .lines = s.kernel,
                             .n = image.run,
                             .k = count * positions,
                             .a = gradient,
                             .a_at = gradient_at.data(),
                             .lda = positions,
                             .b = images,
                             .b_at = window_at.data(),
                             .line_b = image.line,
                             .c = sums,
                             .ldc = s.patch(),
                             .line_c = image.run,
                             .accumulate = true});
      for (std::size_t o = 0; bias != nullptr && o < count * s.outputs; ++o) {
        Real total = 0;
#pragma omp simd reduction(+ : total)
        for (std::size_t i = 0; i < positions; ++i) total += gradient[o * positions + i];
        bias[o % s.outputs] += total;
      }
    }
    separate(s, sums, c.result + b * c.gradient_stride);
  }
}

template <class Real>
void convolve_all(const Convolution<Real>& convolution) {
  using Pass = typename Convolution<Real>::Pass;
  switch (convolution.pass) {
    case Pass::forward:
      return forward(convolution);
    case Pass::by_input:
      return by_input(convolution);
    case Pass::by_weight:
      return by_weight(convolution);
  }
}

}  // namespace

void convolve(const Convolution<float>& convolution) { convolve_all(convolution); }
void convolve(const Convolution<double>& convolution) { convolve_all(convolution); }

}  // namespace ivory::IVORY_ISA
