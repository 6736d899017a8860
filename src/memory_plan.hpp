// How much memory a run takes, counted before it starts: what `ivory plan` prints and what decides the size of a block.
#pragma once
#include <cstddef>

#include "clients/trainer.hpp"
#include "ivory/algorithm.hpp"

namespace ivory {

template <class Real>
struct MemoryQuestion {
  const Network<Real>* network = nullptr;
  const Optimizer<Real>* optimizer = nullptr;
  AlgorithmTraits traits;
  VisitPlan plan;  // its batch already fitted to the clients
  std::size_t clients = 0;
  bool everyone_takes_part = true;
  std::size_t examples = 0;         // of the training set
  std::size_t all_examples = 0;     // and of the others that are evaluated
  std::uint64_t longest_visit = 0;  // steps
  std::size_t log = 0;              // bytes of main memory: rows on their way to the disk, previews
  bool laplace = false;             // the curvature over all training examples is taken at the end
  bool diagnostics = false;         // of every round, on the server's device
};

/// All in bytes of device memory.
struct MemoryPlan {
  std::size_t per_client = 0;     // of a block: what one more client in it takes
  std::size_t server = 0;         // the server's start, Gaussian and memory, its sums, and what measures its rounds
  std::size_t clients_state = 0;  // kept between rounds for all clients: sites, last updates, own weights
  std::size_t data = 0;           // one copy of the training set
  std::size_t tables = 0;         // of an accelerator's client: functors of its steps under way
  std::size_t evaluation = 0;     // of the accelerator that evaluates: its copies of the data, one network at work
  std::size_t lane = 0;           // of every lane of an accelerator, and of the server's: tables outside steps
  std::size_t waiting = 0;        // of a CPU thread: updates on their way to the server
  std::size_t log = 0;            // in main memory: matrices for hash and log, rows on their way to the disk, previews
  std::size_t matrix = 0;         // one precision matrix, of which the others have several; 0: none
  std::size_t checkpoint = 0;     // on disk: one of the two, when every client has taken part

  /// On accelerators that share one memory.
  std::size_t on_accelerator(std::size_t lanes, std::size_t block) const {
    return fixed(lanes) + lanes * block * (per_client + tables);
  }
  std::size_t fixed(std::size_t lanes) const {
    return server + clients_state + evaluation + lanes * data + (lanes + 1) * lane;
  }
  /// With one client per thread.
  std::size_t on_cpu(std::size_t threads) const {
    return server + clients_state + data + log + threads * (per_client + waiting);
  }
};

/// A launch has one row of thread blocks per client, and no GPU takes more rows.
inline constexpr std::size_t most_clients_in_a_block = 65535;

template <class Real>
MemoryPlan plan_memory(const MemoryQuestion<Real>& question);

/// The clients that a lane should take at once of each of `runs` runs: all of its share of a round, and no more than `wanted`
/// (0: no wish) of all runs together, but for one of each.
std::size_t most_in_a_block(std::size_t participants, std::size_t lanes, std::size_t wanted, std::size_t runs = 1);

/// The largest block of at most `most` clients such that `lanes` blocks, and the clients' state, fit into `free` bytes with a
/// reserve of a tenth. Throws MemoryError with the numbers where not even one client fits.
std::size_t largest_block(const MemoryPlan& plan, std::size_t free, std::size_t lanes, std::size_t most);

/// Bytes of main memory and swap that could be had now, as the system says; the largest number where it does not.
std::size_t available_memory();

/// Throws MemoryError with the numbers where a run on the CPU needs more than `available` beside its data, which it has by then.
void check_cpu_memory(const MemoryPlan& plan, std::size_t threads, std::size_t available);

}  // namespace ivory
