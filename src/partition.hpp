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

/// What is worth saying where holdouts were asked for and clients got none, since their share rounds to no example; empty where
/// every client has some.
std::string holdout_warning(const Scenario& scenario, const Partition& partition);

/// The examples that each client is evaluated on, by [evaluation] clients: those held out where there are some ("auto", "holdout"),
/// else those it trains on; where it is "none", nobody asks. Held-out examples are test data, so they have their true labels;
/// what a client trains on has the labels that it trains on.
class ClientExamples {
 public:
  /// `train` outlives this.
  ClientExamples(const Scenario& scenario, const Partition& partition, const Dataset& train);
  ClientExamples(const ClientExamples&) = delete;
  ClientExamples& operator=(const ClientExamples&) = delete;

  const Dataset& data() const { return own_.size() > 0 ? own_ : train_; }
  const std::vector<std::vector<std::uint32_t>>& rows() const { return rows_; }  // of data(), for each client

 private:
  const Dataset& train_;
  Dataset own_;  // the held-out examples, where label noise changed the labels of the training set
  std::vector<std::vector<std::uint32_t>> rows_;
};

/// Client x class counts as text, one row per client (clients are grouped when there are more than `max_rows`).
std::string heat_map(const Partition& partition, const Dataset& train, std::size_t max_rows = 40);

}  // namespace ivory
