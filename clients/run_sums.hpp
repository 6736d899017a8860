// Sums over the places of a channel or of a group of channels, and what an example's sums per channel add to the gradient of a
// parameter per channel: normalising layers, biases of convolutions and pooling of whole images share them.
#pragma once
#include <type_traits>
#include <utility>

#include "ivory/elementwise.hpp"
#include "ivory/layer.hpp"

namespace ivory {

/// Lane l of a run adds up its entries l, l + 16, l + 32, ...; then the lanes are added in order. So sixteen additions go on at
/// the same time (a float's error grows with length / 16), and every vector width and device takes the same order.
inline constexpr std::size_t run_lanes = 16;

/// Numbers that sum_runs_per_client needs beside its own for `runs` runs.
constexpr std::size_t room_for_lanes(std::size_t runs, std::size_t length) {
  return length < run_lanes ? 0 : runs * run_lanes;
}

inline namespace IVORY_TRANSLATION {
namespace detail {

template <class F>
using RunValue = decltype(std::declval<const F&>()(std::size_t{0}, std::size_t{0}));

template <class F>
IVORY_HD void add_short_run(const F& f, std::size_t run, std::size_t length) {
  RunValue<F> total = 0;
  for (std::size_t k = 0; k < length; ++k) total += f(run, k);
  f.store(run, total);
}

template <class F>
IVORY_HD void runs_loop(std::size_t runs, std::size_t length, const F& f) {
  if (length < run_lanes) {
    for (std::size_t run = 0; run < runs; ++run) add_short_run(f, run, length);
    return;
  }
  const std::size_t whole = length / run_lanes * run_lanes;
  for (std::size_t run = 0; run < runs; ++run) {
    RunValue<F> lanes[run_lanes] = {};  // a vector register or two
    for (std::size_t k = 0; k < whole; k += run_lanes) {
#pragma omp simd
      for (std::size_t lane = 0; lane < run_lanes; ++lane) lanes[lane] += f(run, k + lane);
    }
    for (std::size_t lane = 0; whole + lane < length; ++lane) lanes[lane] += f(run, whole + lane);
    RunValue<F> total = 0;
    for (const RunValue<F> lane : lanes) total += lane;
    f.store(run, total);
  }
}
template <class F>
IVORY_AVX512 void runs_loop_avx512(std::size_t runs, std::size_t length, F f) {
  runs_loop(runs, length, f);
}
template <class F>
IVORY_BASELINE void runs_loop_baseline(std::size_t runs, std::size_t length, F f) {
  runs_loop(runs, length, f);
}

template <class F>
struct ShortRun {
  F f;
  std::size_t length;
  IVORY_HD void operator()(std::size_t run) const { add_short_run(f, run, length); }
};

template <class F>
struct LaneOfRun {
  F f;
  RunValue<F>* lanes;
  std::size_t length;
  IVORY_HD void operator()(std::size_t run, std::size_t lane) const {
    RunValue<F> total = 0;
    for (std::size_t k = lane; k < length; k += run_lanes) total += f(run, k);
    lanes[run * run_lanes + lane] = total;
  }
};

template <class F>
struct LanesOfRun {
  F f;
  const RunValue<F>* lanes;
  IVORY_HD void operator()(std::size_t run) const {
    RunValue<F> total = 0;
    for (std::size_t lane = 0; lane < run_lanes; ++lane) total += lanes[run * run_lanes + lane];
    f.store(run, total);
  }
};

}  // namespace detail

/// Per client and run: functor.store(run, the sum of functor(run, k) over k in [0, length)). `make(b)` returns
/// Share{runs, functor}, where runs is at most `most`. `lanes` is room_for_lanes(most, length) numbers of the device's memory,
/// client b's at b * stride. A functor may read the sums that earlier loops stored, not those of this one.
template <class Real, class Make>
void sum_runs_per_client(Device& device, std::size_t clients, std::size_t most, std::size_t length, Real* lanes,
                         std::size_t stride, const Make& make) {
  using F = std::remove_cv_t<decltype(make(std::size_t{0}).functor)>;
  if (device.shares_host_memory()) {
    for (std::size_t b = 0; b < clients; ++b) {
      const Share<F> share = make(b);
      if (use_avx512()) {
        detail::runs_loop_avx512(share.count, length, share.functor);
      } else {
        detail::runs_loop_baseline(share.count, length, share.functor);
      }
    }
    return;
  }
  if (length < run_lanes) {
    for_each_client(device, clients, most, [&](std::size_t b) {
      const Share<F> share = make(b);
      return Share<detail::ShortRun<F>>{share.count, {share.functor, length}};
    });
    return;
  }
  for_each_client_place(device, clients, most, run_lanes, [&](std::size_t b) {
    const Share<F> share = make(b);
    return Share<detail::LaneOfRun<F>>{share.count, {share.functor, lanes + b * stride, length}};
  });
  for_each_client(device, clients, most, [&](std::size_t b) {
    const Share<F> share = make(b);
    return Share<detail::LanesOfRun<F>>{share.count, {share.functor, lanes + b * stride}};
  });
}

/// Runs that lie one after the other, as they are.
template <class Real>
struct PlainRun {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT sum;
  std::size_t length;
  IVORY_HD Real operator()(std::size_t run, std::size_t k) const { return from[run * length + k]; }
  IVORY_HD void store(std::size_t run, Real total) const { sum[run] = total; }
};

template <class Real>
struct ChannelOfRows {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT sum;
  std::size_t channels;
  IVORY_HD Real operator()(std::size_t row, std::size_t channel) const { return from[row * channels + channel]; }
};

template <class Real>
struct AddSquaresOfRows {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  std::size_t rows, channels;
  IVORY_HD void operator()(std::size_t channel) const {
    Real total = 0;
    for (std::size_t row = 0; row < rows; ++row) {
      const Real x = from[row * channels + channel];
      total += x * x;
    }
    to[channel] += total;
  }
};

/// Of the gradients [rows x channels] of each client's rows, client b's at from + b * stride: their sum over rows, into
/// `gradient` + b * gradient_stride().
template <class Real>
void sum_channels_of_rows(Device& device, const BatchShape& shape, std::size_t channels, const Real* from,
                          std::size_t stride, Real* gradient) {
  sum_columns_per_client(device, shape.clients, shape.rows, channels, [&](std::size_t b) {
    return Share{shape.work_rows(b),
                 ChannelOfRows<Real>{from + b * stride, gradient + b * shape.gradient_stride(), channels}};
  });
}

/// The same with the squares of the gradients, added to what is there.
template <class Real>
void add_squared_channels_of_rows(Device& device, const BatchShape& shape, std::size_t channels, const Real* from,
                                  std::size_t stride, Real* sums) {
  for_each_client(device, shape.clients, channels, [&](std::size_t b) {
    return Share{channels, AddSquaresOfRows<Real>{from + b * stride, sums + b * shape.gradient_stride(),
                                                  shape.work_rows(b), channels}};
  });
}

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
