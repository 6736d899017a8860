#include "src/memory_plan.hpp"

#include <fmt/format.h>

#include <algorithm>

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

}  // namespace ivory
