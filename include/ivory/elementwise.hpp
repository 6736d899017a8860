// Running functors over indices on a device, for one array or for a block of clients at once. A functor is a small trivially
// copyable struct with named fields and an IVORY_HD operator(); pointers in it that never overlap carry IVORY_RESTRICT.
#pragma once
#include <algorithm>
#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

#include "ivory/buffer.hpp"
#include "ivory/device.hpp"
#include "ivory/launch.hpp"
#include "ivory/loops.hpp"
#include "ivory/rng.hpp"
#if defined(__CUDACC__)
#include "ivory/launch_cuda.hpp"
#endif

namespace ivory {
inline namespace IVORY_TRANSLATION {
namespace detail {

/// The compiled forms of `Loop` over rows of this type.
template <class Loop, class Row>
Kernel kernel() {
#if defined(__CUDACC__)
  return {.on_host = &launch_host<Loop, Row>, .on_gpu = &launch_cuda<Loop, Row>};
#else
  return {.on_host = &launch_host<Loop, Row>, .on_gpu = nullptr};
#endif
}
// The functor is deduced, because nvcc cannot spell a row type that it met as the result of a lambda.
template <class Loop, class F>
Kernel kernel_for(const Share<F>* /*rows*/) {
  return kernel<Loop, Share<F>>();
}
template <class Loop, class Real, class F>
Kernel kernel_for(const NoisyShare<Real, F>* /*rows*/) {
  return kernel<Loop, NoisyShare<Real, F>>();
}

/// Runs `Loop` over one row per client; `make(b)` returns client b's row. On the CPU no table is made.
template <class Loop, class Make>
void run_block(Device& device, std::size_t clients, std::size_t most, std::size_t columns, const Make& make) {
  using Row = std::invoke_result_t<const Make&, std::size_t>;
  static_assert(std::is_trivially_copyable_v<Row>);
  Accelerator* const accelerator = device.accelerator();
  if (accelerator == nullptr) {
    for (std::size_t b = 0; b < clients; ++b) Loop::on_cpu(make(b), columns);
    return;
  }
  if (clients == 0) return;
  auto* const rows = static_cast<Row*>(accelerator->open_table(clients * sizeof(Row)));
  for (std::size_t b = 0; b < clients; ++b) new (rows + b) Row(make(b));
  accelerator->launch(kernel_for<Loop>(rows), {.table = {}, .clients = clients, .most = most, .columns = columns});
}

}  // namespace detail

/// Calls f(i) once for every i in [0, count), in no fixed order.
template <class F>
void for_each(Device& device, std::size_t count, const F& f) {
  detail::run_block<loops::Each>(device, 1, count, 1, [&](std::size_t) { return Share<F>{count, f}; });
}

/// The same for every client b of a block: `make(b)` returns Share{count, functor}, where count is at most `most`.
template <class Make>
void for_each_client(Device& device, std::size_t clients, std::size_t most, const Make& make) {
  detail::run_block<loops::Each>(device, clients, most, 1, make);
}

/// Calls f(i, z_i) once for every i in [0, count); z_i is element i of the noise.
template <class Real, class F>
void for_each_with_noise(Device& device, std::size_t count, const NoiseSource<Real>& noise, const F& f) {
  detail::run_block<loops::EachWithNoise>(device, 1, count, 1, [&](std::size_t) {
    return NoisyShare<Real, F>{count, f, noise};
  });
}

/// The same for every client b of a block: `make(b)` returns NoisyShare{count, functor, noise}.
template <class Make>
void for_each_client_with_noise(Device& device, std::size_t clients, std::size_t most, const Make& make) {
  detail::run_block<loops::EachWithNoise>(device, clients, most, 1, make);
}

/// Calls f(row, column) once for every place of a [rows x columns] array per client, in no fixed order; `make(b)` returns
/// Share{rows, functor}, where rows is at most `most`.
template <class Make>
void for_each_client_place(Device& device, std::size_t clients, std::size_t most, std::size_t columns,
                           const Make& make) {
  detail::run_block<loops::Places>(device, clients, most, columns, make);
}

/// Per client functor.sum[c] = the sum of functor(row, c) over its rows in increasing order; `make(b)` as above.
template <class Make>
void sum_columns_per_client(Device& device, std::size_t clients, std::size_t most, std::size_t columns,
                            const Make& make) {
  detail::run_block<loops::ColumnSums>(device, clients, most, columns, make);
}

template <class Real>
struct Fill {
  Real* to;
  Real value;
  IVORY_HD void operator()(std::size_t i) const { to[i] = value; }
};

namespace detail {

/// Thread t of `threads` adds up f(t), f(t + threads), ... in double.
template <class F>
struct PartialSum {
  F f;
  std::size_t count, threads;
  double* partial;
  IVORY_HD void operator()(std::size_t t) const {
    double total = 0;
    for (std::size_t i = t; i < count; i += threads) total += static_cast<double>(f(i));
    partial[t] = total;
  }
};

inline constexpr std::size_t sum_threads = 4096;  // of an accelerator, for each sum

/// On the CPU: chunks of 1024, then the chunks one after the other.
template <class F>
double sum_in_chunks(std::size_t count, const F& f) {
  double total = 0;
  for (std::size_t begin = 0; begin < count; begin += 1024) {
    const std::size_t end = std::min<std::size_t>(begin + 1024, count);
    double part = 0.0;
    for (std::size_t i = begin; i < end; ++i) part += static_cast<double>(f(i));
    total += part;
  }
  return total;
}

}  // namespace detail

/// Per client b the sum of make(b).functor over [0, make(b).count), in double and in a fixed order that depends on the count
/// alone (on the CPU chunks of 1024, then the chunks one after the other). Waits for the result.
template <class Make>
std::vector<double> sum_per_client(Device& device, std::size_t clients, const Make& make) {
  std::vector<double> sums(clients);
  Accelerator* const accelerator = device.accelerator();
  if (accelerator == nullptr) {
    for (std::size_t b = 0; b < clients; ++b) {
      const auto share = make(b);
      sums[b] = detail::sum_in_chunks(share.count, share.functor);
    }
    return sums;
  }
  constexpr std::size_t threads = detail::sum_threads;
  Buffer<double> partial(device, clients * threads);
  for_each_client(device, clients, threads, [&](std::size_t b) {
    const auto share = make(b);
    using F = std::remove_cv_t<decltype(share.functor)>;
    return Share<detail::PartialSum<F>>{threads, {share.functor, share.count, threads, partial.data() + b * threads}};
  });
  accelerator->sum_rows(partial.data(), clients, threads, sums.data());
  return sums;
}

/// The same for one array: the sum over i in [0, count) of f(i).
template <class F>
double sum(Device& device, std::size_t count, const F& f) {
  return sum_per_client(device, 1, [&](std::size_t) { return Share<F>{count, f}; }).front();
}

/// Sums asked for one after the other and waited for together, each with the bits of `sum`. What the functors point to must stay as
/// it is until then only in the order of the device's work.
class SumsToCome {
 public:
  /// An accelerator waits when `at_a_time` of them are under way.
  SumsToCome(Device& device, std::size_t at_a_time)
      : device_(device), most_(at_a_time),
        partial_(device, device.shares_host_memory() ? 0 : at_a_time * detail::sum_threads) {}

  static std::size_t bytes(std::size_t at_a_time) { return at_a_time * detail::sum_threads * sizeof(double); }

  template <class F>
  void add(std::size_t count, const F& f) {
    if (device_.shares_host_memory()) {
      sums_.push_back(detail::sum_in_chunks(count, f));
      return;
    }
    if (under_way_ == most_) wait();
    double* const partial = partial_.data() + under_way_ * detail::sum_threads;
    for_each(device_, detail::sum_threads, detail::PartialSum<F>{f, count, detail::sum_threads, partial});
    ++under_way_;
  }

  /// All since the last call, in the order in which they were asked for.
  std::vector<double> take() {
    wait();
    return std::exchange(sums_, {});
  }

 private:
  void wait() {
    if (under_way_ == 0) return;
    const std::size_t before = sums_.size();
    sums_.resize(before + under_way_);
    device_.accelerator()->sum_rows(partial_.data(), under_way_, detail::sum_threads, sums_.data() + before);
    under_way_ = 0;
  }

  Device& device_;
  std::size_t most_, under_way_ = 0;
  Buffer<double> partial_;  // [at_a_time x threads]
  std::vector<double> sums_;
};

}  // namespace IVORY_TRANSLATION
}  // namespace ivory
