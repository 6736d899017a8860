#include "clients/public_pool.hpp"

#include <algorithm>

#include "ivory/elementwise.hpp"

namespace ivory {
namespace {

// A large pool goes through the network in pieces: its activations take no more memory than these rows.
constexpr std::size_t most_rows = 128;

/// gradient [rows x classes] := d loss / d outputs; rows without a label, and those from `live` on, get zeros.
template <class Real>
struct SoftLabelRows {
  SoftmaxCrossEntropy<Real> formula;
  const Real* f;
  const Real* labels;  // of row 0 and those after it
  Real* gradient;
  Real weight;
  PoolShare left_out;
  std::size_t first, live;  // row 0 is example `first`

  IVORY_HD void operator()(std::size_t r) const {
    const std::size_t n = formula.outputs;
    if (r < live && !left_out.holds(first + r)) {
      return formula.train_soft(f + r * n, labels + r * n, weight, gradient + r * n);
    }
    for (std::size_t c = 0; c < n; ++c) gradient[r * n + c] = Real(0);
  }
};

template <class Real>
struct ProbabilityRows {
  SoftmaxCrossEntropy<Real> formula;
  const Real* f;
  Real* probabilities;
  PoolShare share;
  std::size_t first;

  IVORY_HD void operator()(std::size_t r) const {
    const std::size_t n = formula.outputs;
    if (share.holds(first + r)) return formula.probabilities(f + r * n, probabilities + r * n);
    for (std::size_t c = 0; c < n; ++c) probabilities[r * n + c] = Real(0);
  }
};

template <class Real>
struct AddTo {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] += from[i]; }
};

std::size_t rows_at_a_time(std::size_t examples) { return std::min(examples, most_rows); }

}  // namespace

template <class Real>
PublicPool<Real>::PublicPool(Device& device, const Network<Real>& network, const Dataset& pool, std::size_t clients)
    : device_(device), network_(network), data_(device, pool), examples_(pool.size()), rows_(rows_at_a_time(examples_)),
      workspace_(network.make_workspace(device, clients, rows_)), x_(device, clients * rows_ * network.inputs()),
      gradient_(device, clients * network.layout().stride()), live_(clients, 0) {}

template <class Real>
std::size_t PublicPool<Real>::bytes_per_client(const Network<Real>& network, std::size_t examples) {
  return network.bytes_at_work(rows_at_a_time(examples));  // its parameters' share is the gradient
}

template <class Real>
std::size_t PublicPool<Real>::passes(std::size_t examples) {
  return (examples + most_rows - 1) / most_rows;
}

template <class Real>
BatchShape PublicPool<Real>::rows_from(std::size_t first) {
  const BatchShape shape{.clients = live_.size(),
                         .rows = rows_,
                         .live = live_.data(),
                         .parameter_stride = network_.layout().stride(),
                         .nominal = !device_.shares_host_memory()};
  data_.copy_rows(device_, first, shape, x_.data());
  return shape;
}

template <class Real>
void PublicPool<Real>::add_gradients(const Real* parameters, std::span<const SoftLabels<Real>> labels, Real* gradient) {
  const std::size_t n = classes(), stride = network_.layout().stride();
  for (std::size_t first = 0; first < examples_; first += rows_) {
    const int here = static_cast<int>(std::min(rows_, examples_ - first));
    for (std::size_t b = 0; b < live_.size(); ++b) live_[b] = labels[b].labels != nullptr ? here : 0;
    const BatchShape now = rows_from(first);
    const Real* const f = network_.forward(device_, now, parameters, x_.data(), workspace_);
    for_each_client(device_, now.clients, rows_, [&](std::size_t b) {
      const SoftLabels<Real>& own = labels[b];
      const Real* const rows = own.labels != nullptr ? own.labels + first * n : nullptr;
      const std::size_t at = b * rows_ * n;
      return Share{now.work_rows(b), SoftLabelRows<Real>{formula(), f + at, rows, workspace_.gradient.data() + at,
                                                         own.weight, own.left_out, first, now.live_rows(b)}};
    });
    network_.backward(device_, now, parameters, x_.data(), workspace_, gradient_.data());
    for_each_client(device_, now.clients, stride, [&](std::size_t b) {
      return Share{now.live_rows(b) > 0 ? stride : 0,
                   AddTo<Real>{gradient_.data() + b * stride, gradient + b * stride}};
    });
  }
}

template <class Real>
void PublicPool<Real>::predict(const Real* parameters, std::span<const PoolShare> shares, Real* probabilities) {
  const std::size_t n = classes();
  for (std::size_t first = 0; first < examples_; first += rows_) {
    const int here = static_cast<int>(std::min(rows_, examples_ - first));
    for (std::size_t b = 0; b < live_.size(); ++b) live_[b] = b < shares.size() ? here : 0;
    const BatchShape now = rows_from(first);
    const Real* const f = network_.forward(device_, now, parameters, x_.data(), workspace_);
    for_each_client(device_, now.clients, rows_, [&](std::size_t b) {
      const PoolShare share = b < shares.size() ? shares[b] : PoolShare{};
      return Share{now.live_rows(b), ProbabilityRows<Real>{formula(), f + b * rows_ * n,
                                                           probabilities + (b * examples_ + first) * n, share, first}};
    });
  }
}

template class PublicPool<float>;
template class PublicPool<double>;

}  // namespace ivory
