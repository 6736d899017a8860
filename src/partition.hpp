// Dividing the training examples among clients.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// The values of [partition] kind, each with its options (`ivory list partitions`).
std::span<const Kind> partition_kinds();
/// Keys of [partition] that every kind has: holdout, seed.
const std::vector<OptionSpec>& common_partition_options();

/// A pure function of the scenario and the training set. Throws InputError where the settings cannot be met, with the reason.
Partition make_partition(const Scenario& scenario, const Dataset& train);

/// The clients of [clients] without, increasing. Throws InputError for one that the partition does not have.
std::vector<std::uint32_t> left_out_clients(const Scenario& scenario, const Partition& partition);

/// Examples that each client is evaluated on, by [evaluation] clients: those held out where there are some ("auto", "holdout"),
/// else those it trains on; where it is "none", nobody asks.
const std::vector<std::vector<std::uint32_t>>& evaluated_examples(const Scenario& scenario, const Partition& partition);

/// Client x class counts as text, one row per client (clients are grouped when there are more than `max_rows`).
std::string heat_map(const Partition& partition, const Dataset& train, std::size_t max_rows = 40);

}  // namespace ivory
