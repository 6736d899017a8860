#include "src/memory_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <sstream>
#include <string>

#include "ivory/error.hpp"

namespace ivory {

MemoryPlan plan_memory(const MemoryQuestion& question) {
  const std::size_t vector = question.network->layout().stride() * sizeof(float);
  const AlgorithmTraits& traits = question.traits;
  const auto kept = static_cast<std::size_t>(question.everyone_takes_part ? traits.vectors_per_client
                                                                          : traits.vectors_per_client_partial);
  const std::size_t features = question.network->inputs();
  MemoryPlan plan;
  plan.per_client = Trainer<float>::bytes_per_client(*question.network, *question.optimizer, question.plan) +
                    (traits.needs_posterior ? vector : 0);  // the precision that is sent
  // start and mean, and with a posterior the precision; one sum in double for each of mean and precision.
  plan.server = (traits.gives_posterior ? 3 + 4 : 2 + 2) * vector;
  plan.clients_state = question.clients * kept * vector;
  plan.waiting = 2 * (traits.needs_posterior ? 2 : 1) * vector;
  plan.data = question.examples * (features * sizeof(float) + sizeof(std::int32_t));
  return plan;
}

std::size_t largest_block(const MemoryPlan& plan, std::size_t free, std::size_t lanes, std::size_t most) {
  const std::size_t usable = free / 10 * 9, fixed = plan.server + plan.clients_state + lanes * plan.data;
  const std::size_t room = usable > fixed ? (usable - fixed) / std::max<std::size_t>(lanes, 1) : 0;
  const std::size_t block = std::min(most, room / plan.per_client);
  if (block == 0) {
    throw MemoryError(
        fmt::format("[memory] a device must hold the server's state, the clients' sites, the data and one client in "
                    "training: {} + {} "
                    "+ {} + {} bytes, got {} free bytes of which nine tenths are used; use a smaller model, fewer "
                    "clients, or the CPU",
                    plan.server, plan.clients_state, lanes * plan.data, plan.per_client, free));
  }
  return block;
}

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::size_t total = 0;
  bool known = false;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    std::size_t kilobytes = 0;
    words >> name >> kilobytes;
    if (name != "MemAvailable:" && name != "SwapFree:") continue;
    total += kilobytes * 1024;
    known = known || name == "MemAvailable:";
  }
  return known ? total : static_cast<std::size_t>(-1);
}

void check_cpu_memory(const MemoryPlan& plan, std::size_t threads, std::size_t available) {
  const std::size_t needed = plan.on_cpu(threads) - plan.data;
  if (needed <= available) return;
  throw MemoryError(
      fmt::format("[memory] a run must fit into memory: {} bytes for the clients' state between rounds, {} for the "
                  "server, {} for each of "
                  "{} threads, together {}, got {} available; use fewer threads, fewer clients or a smaller model",
                  plan.clients_state, plan.server, plan.per_client + plan.waiting, threads, needed, available));
}

}  // namespace ivory
