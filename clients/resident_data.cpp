#include "clients/resident_data.hpp"

#include "ivory/elementwise.hpp"

namespace ivory {
namespace {

/// Row r of a minibatch is row examples[r] of the data set; empty rows are zeros.
template <class Real>
struct GatherRows {
  const float* IVORY_RESTRICT from;
  const std::uint32_t* IVORY_RESTRICT examples;
  Real* IVORY_RESTRICT to;
  std::size_t columns, live;
  IVORY_HD void operator()(std::size_t r, std::size_t c) const {
    to[r * columns + c] =
        r < live ? static_cast<Real>(from[static_cast<std::size_t>(examples[r]) * columns + c]) : Real(0);
  }
};

struct GatherLabels {
  const std::int32_t* IVORY_RESTRICT from;
  const std::uint32_t* IVORY_RESTRICT examples;
  std::int32_t* IVORY_RESTRICT to;
  std::size_t live;
  IVORY_HD void operator()(std::size_t r) const { to[r] = r < live ? from[examples[r]] : 0; }
};

template <class Real>
struct CopyRows {
  const float* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  std::size_t features, live;
  IVORY_HD void operator()(std::size_t r, std::size_t c) const {
    to[r * features + c] = r < live ? static_cast<Real>(from[r * features + c]) : Real(0);
  }
};

}  // namespace

ResidentData::ResidentData(Device& device, const Dataset& data)
    : x_(data.x.data()), labels_(data.labels.data()), values_(data.outputs > 0 ? data.targets.data() : nullptr),
      features_(data.features), outputs_(data.outputs) {
  if (device.shares_host_memory()) return;
  x_copy_ = Buffer<float>(device, data.x);
  labels_copy_ = Buffer<std::int32_t>(device, data.labels);
  x_ = x_copy_.data();
  labels_ = labels_copy_.data();
  if (outputs_ == 0) return;
  values_copy_ = Buffer<float>(device, data.targets);
  values_ = values_copy_.data();
}

template <class Real>
void ResidentData::gather(Device& device, const BatchShape& shape, Real* x, std::int32_t* labels, Real* values,
                          const std::function<Gathered(std::size_t)>& minibatch) const {
  const auto gather_rows = [&](const float* ResidentData::*from, Real* to, std::size_t columns) {
    for_each_client_place(device, shape.clients, shape.rows, columns, [&](std::size_t b) {
      const Gathered batch = minibatch(b);
      const ResidentData& data = batch.data != nullptr ? *batch.data : *this;
      return Share{batch.rows, GatherRows<Real>{data.*from, batch.examples, to + b * shape.rows * columns, columns,
                                                shape.live_rows(b)}};
    });
  };
  gather_rows(&ResidentData::x_, x, features_);
  if (outputs_ > 0) gather_rows(&ResidentData::values_, values, outputs_);
  for_each_client(device, shape.clients, shape.rows, [&](std::size_t b) {
    const Gathered batch = minibatch(b);
    const ResidentData& data = batch.data != nullptr ? *batch.data : *this;
    return Share{batch.rows, GatherLabels{data.labels_, batch.examples, labels + b * shape.rows, shape.live_rows(b)}};
  });
}

template <class Real>
void ResidentData::copy_rows(Device& device, std::size_t first, const BatchShape& shape, Real* x) const {
  for_each_client_place(device, shape.clients, shape.rows, features_, [&](std::size_t b) {
    return Share{shape.work_rows(b),
                 CopyRows<Real>{x_ + first * features_, x + b * shape.rows * features_, features_, shape.live_rows(b)}};
  });
}

template void ResidentData::gather(Device&, const BatchShape&, float*, std::int32_t*, float*,
                                   const std::function<Gathered(std::size_t)>&) const;
template void ResidentData::gather(Device&, const BatchShape&, double*, std::int32_t*, double*,
                                   const std::function<Gathered(std::size_t)>&) const;
template void ResidentData::copy_rows(Device&, std::size_t, const BatchShape&, float*) const;
template void ResidentData::copy_rows(Device&, std::size_t, const BatchShape&, double*) const;

}  // namespace ivory
