// A data set where a device can read it, and minibatches made from it there.
#pragma once
#include <cstdint>
#include <functional>

#include "clients/loss.hpp"
#include "ivory/buffer.hpp"
#include "ivory/dataset.hpp"
#include "ivory/layer.hpp"

namespace ivory {

class ResidentData;

/// One client's minibatch: how many of its rows are written (0: it stays as it is), and which rows of which data set they are.
struct Gathered {
  std::size_t rows;
  const std::uint32_t* examples;       // on the device
  const ResidentData* data = nullptr;  // null: the one that gathers; others have as many features and target values
};

/// The caller's own memory on the CPU (which must outlive this), a copy elsewhere.
class ResidentData {
 public:
  ResidentData(Device& device, const Dataset& data);

  /// What the rows from `first` on are compared with.
  Targets<float> targets(std::size_t first) const { return Targets<float>(labels_, values_).from(first, outputs_); }

  /// Minibatches of a block, each from its own data set: x [clients x rows x features], labels [clients x rows], and for regression the target values
  /// [clients x rows x outputs]; rows beyond the live ones become zeros.
  template <class Real>
  void gather(Device& device, const BatchShape& shape, Real* x, std::int32_t* labels, Real* values,
              const std::function<Gathered(std::size_t client)>& minibatch) const;

  /// The rows from `first` on, the same for every client of the block.
  template <class Real>
  void copy_rows(Device& device, std::size_t first, const BatchShape& shape, Real* x) const;

 private:
  Buffer<float> x_copy_, values_copy_;
  Buffer<std::int32_t> labels_copy_;
  const float* x_;
  const std::int32_t* labels_;
  const float* values_;  // null where there are none
  std::size_t features_, outputs_;
};

}  // namespace ivory
