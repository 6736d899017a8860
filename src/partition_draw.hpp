// The ways to divide examples among clients, behind make_partition.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// One list of indices into the training set per client (or per class), in no particular order.
using IndexLists = std::vector<std::vector<std::uint32_t>>;

struct PartitionTask {
  const Options& options;  // [partition]
  const Options& clients;  // [clients]
  const Dataset& train;
  std::size_t count;  // [clients] count
  std::uint64_t seed;
};

/// Uses of random numbers in [partition]; the `sample` coordinate of their streams.
enum class PartitionDraw : std::uint64_t { order = 1, sizes = 2, labels = 3, classes = 4 };

/// Each throws InputError, with the reason, for settings that cannot be met.
IndexLists divide_equally(const PartitionTask& task);
IndexLists divide_by_dirichlet(const PartitionTask& task);
IndexLists divide_by_classes(const PartitionTask& task);
IndexLists divide_by_groups(const PartitionTask& task);
IndexLists divide_naturally(const PartitionTask& task);

/// The examples of every class, shuffled by key.
IndexLists shuffled_classes(const PartitionTask& task);

/// Whole numbers that add up to `total` and are proportional to `shares` (>= 0, not all 0): every total * share / sum
/// is rounded to the nearest, and where the sum is off by some, so many of the closest calls go the other way (this is
/// the method of largest remainders). Ties go to the lower index.
std::vector<std::uint32_t> round_to_total(std::span<const double> shares, std::size_t total);

/// `each` distinct classes out of `classes` for every client; over all clients the classes come up equally often, give
/// or take one. Needs each <= classes.
std::vector<std::vector<int>> deal_classes(std::size_t clients, std::size_t each, const std::vector<int>& classes,
                                           std::uint64_t seed);

}  // namespace ivory
