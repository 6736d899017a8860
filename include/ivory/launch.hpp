// How a functor reaches a device with memory of its own: as a row of a table in that memory, one row per client of a block. The
// table of a replayed step (Device::repeat) has one version per step, chosen by a counter that lives on the device, because a
// recorded launch freezes its arguments.
#pragma once
#include <cstddef>
#include <cstdint>

#include "ivory/math.hpp"

namespace ivory {

/// A table as kernels see it: version (*step % versions), or the only one where `step` is null.
struct TableView {
  const std::byte* base = nullptr;
  const std::uint32_t* step = nullptr;
  std::uint32_t versions = 1;
  std::size_t version_bytes = 0;

  template <class Row>
  IVORY_HD const Row* rows() const {
    const std::size_t version = step != nullptr ? *step % versions : 0;
    return reinterpret_cast<const Row*>(base + version * version_bytes);
  }
};

/// One launch over `clients` rows; `most` is the largest count any row may have, in every step; `columns` belongs to loops over
/// places.
struct Launch {
  TableView table;
  std::size_t clients = 1, most = 0, columns = 1;
  void* stream = nullptr;
};

/// The compiled forms of one loop over one functor type. `on_gpu` is null where the file was not compiled for GPUs; `on_host`
/// runs the very same thread function, one thread after the other.
struct Kernel {
  void (*on_host)(const Launch&) = nullptr;
  void (*on_gpu)(const Launch&) = nullptr;
};

class Accelerator {
 public:
  virtual ~Accelerator() = default;
  /// Host room for a table of `bytes`, which the next `launch` sends. Aligned to 16 bytes.
  virtual void* open_table(std::size_t bytes) = 0;
  /// Runs the kernel after everything asked for before. `launch.table` and `launch.stream` are filled in here.
  virtual void launch(const Kernel& kernel, Launch launch) = 0;
  /// Sums of the rows of values [rows x columns] (device) into `sums` [rows] (host), in an order that depends on `columns` alone.
  virtual void sum_rows(const double* values, std::size_t rows, std::size_t columns, double* sums) = 0;
};

}  // namespace ivory
