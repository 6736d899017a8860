// What a scenario becomes before anything runs: data, division among clients, network, optimizer, algorithm.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "clients/trainer.hpp"
#include "ivory/algorithm.hpp"
#include "ivory/scenario.hpp"
#include "src/log_selection.hpp"
#include "src/memory_plan.hpp"

namespace ivory {

/// What the clients that stay train on; the others have none, and keep their places. One client with all of it where the clients
/// are pooled.
std::vector<std::vector<std::uint32_t>> trained_examples(const Scenario& scenario, const Partition& partition);

/// The public pool that clients make of their own inputs ([server] share_inputs); no examples where they share none. Throws
/// InputError where a client has too few.
Dataset shared_pool(const Scenario& scenario, const Dataset& train,
                    const std::vector<std::vector<std::uint32_t>>& examples);

/// In float, or in double for full covariances.
template <class Real>
struct RunParts {
  /// Throws InputError.
  explicit RunParts(const Scenario& scenario);
  RunParts(const RunParts&) = delete;  // the plan knows where the data are
  RunParts& operator=(const RunParts&) = delete;

  DataSplit data;
  Partition partition;
  // What each client trains on: the partition's lists, empty for those that are left out, or one pooled client.
  std::vector<std::vector<std::uint32_t>> examples;
  std::vector<std::uint32_t> clients;  // that train, increasing: all but [clients] without
  Network<float> network;              // that is evaluated
  Network<Real> training_network;      // the same, that is trained
  std::vector<ParameterRange> logged;  // of the network's parameters
  std::unique_ptr<Optimizer<Real>> optimizer;
  std::unique_ptr<Algorithm<Real>> algorithm;
  AlgorithmTraits traits;
  std::vector<std::uint32_t> all_examples;  // that some client trains on, each once, increasing
  VisitPlan visit_plan;                     // its batch fitted to the clients
  LearningRate learning_rate;
  std::vector<double> weights_given;  // [clients] weights, or empty
  bool everyone_takes_part;
  std::size_t participants;  // of a round
  std::size_t log_bytes;     // of main memory: rows on their way to the disk, previews
  bool laplace;              // a Laplace posterior is wanted, and there is no other

  std::vector<double> client_weights() const;  // [clients] weights; all 1 where the scenario has none
  std::vector<double> client_sizes() const;    // N_k, times the client's weight
  std::uint64_t longest_visit() const;         // steps
  MemoryPlan memory() const;
  bool has_ood() const { return data.ood.size() > 0 && data.test.outputs == 0; }
  /// Numbers in the message to a participant, and in the one that client k sends.
  double values_down() const;
  double values_up(std::size_t client) const;
};

/// Whether a run of the scenario has full covariances, and so is one of RunParts<double>.
bool runs_in_double(const Scenario& scenario);

}  // namespace ivory
