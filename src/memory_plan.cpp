#include "src/memory_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "ivory/error.hpp"
#include "src/diagnostics.hpp"
#include "src/evaluation.hpp"

namespace ivory {
namespace {

constexpr auto no_limit = static_cast<std::size_t>(-1);

// A number in a file; no_limit where there is none ("max", or no such file).
std::size_t number_in(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::size_t number = no_limit;
  return file >> number ? number : no_limit;
}

// What a batch system leaves this process: the tightest memory limit of its control group and those above (cgroup v2).
std::size_t room_in_control_groups() {
  std::ifstream file("/proc/self/cgroup");
  std::size_t room = no_limit;
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::/")) continue;
    const std::filesystem::path root = "/sys/fs/cgroup";
    for (std::filesystem::path group = root / line.substr(4);; group = group.parent_path()) {
      room = std::min(room, number_in(group / "memory.max"));  // what is in use there may be cache, and give way
      if (group == root || !group.has_relative_path()) break;
    }
  }
  return room;
}

// What makes a run with full covariances large, and what does not.
std::string about_matrices(const MemoryPlan& plan) {
  if (plan.matrix == 0) return "";
  return fmt::format(
      "; each precision matrix takes {} bytes, which server.posterior = \"diagonal\" (with "
      "clients.optimizer.name = \"ivon\") does without",
      plan.matrix);
}

}  // namespace

template <class Real>
MemoryPlan plan_memory(const MemoryQuestion<Real>& question) {
  const std::size_t vector = question.network->layout().stride() * sizeof(Real);
  const std::size_t matrix = question.network->layout().size() * question.network->layout().size() * sizeof(Real);
  const AlgorithmTraits& traits = question.traits;
  const auto kept = static_cast<std::size_t>(question.everyone_takes_part ? traits.vectors_per_client
                                                                          : traits.vectors_per_client_partial);
  const auto kept_matrices = static_cast<std::size_t>(
      question.everyone_takes_part ? traits.matrices_per_client : traits.matrices_per_client_partial);
  const std::size_t precision = !traits.needs_posterior ? 0 : (traits.full_covariance ? matrix : vector);
  // Of one example: inputs, label, target values.
  const std::size_t example =
      (question.network->inputs() + question.network->target_values()) * sizeof(float) + sizeof(std::int32_t);
  const std::size_t pool = question.plan.public_pool == nullptr ? 0 : question.plan.public_pool->size();
  const std::size_t predictions = pool * question.network->outputs() * sizeof(Real);
  MemoryPlan plan;
  plan.matrix = traits.full_covariance ? matrix : 0;
  plan.per_client = Trainer<Real>::bytes_per_client(*question.network, *question.optimizer, question.plan) + precision;
  // The start beside what the server keeps; sums are in double.
  plan.server = static_cast<std::size_t>(1 + traits.vectors_server) * vector +
                static_cast<std::size_t>(traits.sums_server) * vector / sizeof(Real) * sizeof(double) +
                static_cast<std::size_t>(traits.matrices_server) * matrix;
  if (question.diagnostics) plan.server += RoundDiagnostics<Real>::bytes(question.network->layout().stride());
  if (pool > 0) plan.server += PublicPool<Real>::bytes_per_client(*question.network, pool) + 2 * predictions;
  plan.clients_state = question.clients * (kept * vector + kept_matrices * matrix);
  // Per step and client the rows of some three launches per layer and sixteen others, the optimizer's being the largest.
  const std::size_t passes = 1 + PublicPool<Real>::passes(pool);
  const std::size_t step_tables = passes * (16 + 3 * question.network->layers().size()) * 96 + 512;
  plan.tables =
      (static_cast<std::size_t>(std::min<std::uint64_t>(question.longest_visit, most_steps_drawn)) + 8) * step_tables;
  plan.evaluation = question.all_examples * example + question.network->bytes_at_work(chunk_rows) +
                    question.all_examples * (question.network->predicted() * sizeof(float) + sizeof(double));
  if (question.laplace) {
    plan.evaluation +=
        question.examples * example + CurvatureDiagonal<Real>::bytes(*question.network, chunk_rows) + vector;
  }
  plan.lane = std::size_t{1} << 20;
  plan.waiting =
      2 * ((1 + (traits.needs_start_gradient ? 1 : 0) + (traits.needs_curvature != Curvature::none ? 1 : 0)) * vector +
           precision + predictions);
  plan.data = (question.examples + pool) * example;
  // What src/run_state.hpp writes. A client's site and its optimizer's state are arrays of their own, with heads.
  constexpr std::size_t heads = 704, heads_of_client = 52;
  plan.checkpoint =
      static_cast<std::size_t>(1 + traits.vectors_server) * vector + (traits.full_covariance ? matrix : 0) +
      2 * predictions + plan.clients_state +
      question.clients * (question.optimizer->kept_vectors(question.plan.keep_state) * vector + heads_of_client) +
      heads;
  // The server's, and that of the client under way.
  plan.log = question.log + (traits.full_covariance ? 2 * matrix : 0);
  return plan;
}
template MemoryPlan plan_memory(const MemoryQuestion<float>&);
template MemoryPlan plan_memory(const MemoryQuestion<double>&);

std::size_t most_in_a_block(std::size_t participants, std::size_t lanes, std::size_t wanted, std::size_t runs) {
  const std::size_t share = (participants + lanes - 1) / lanes;
  const std::size_t most = std::min(wanted > 0 ? wanted : most_clients_in_a_block, most_clients_in_a_block);
  return std::min(share, std::max<std::size_t>(most / runs, 1));
}

std::size_t largest_block(const MemoryPlan& plan, std::size_t free, std::size_t lanes, std::size_t most) {
  const std::size_t usable = free / 10 * 9, fixed = plan.fixed(lanes), each = plan.per_client + plan.tables;
  const std::size_t room = usable > fixed ? (usable - fixed) / lanes : 0;
  const std::size_t block = std::min(most, room / each);
  if (block == 0) {
    throw MemoryError(fmt::format(
        "[memory] a device must hold the server's state, the clients' sites, the data and one client per lane in "
        "training: {} + {} "
        "+ {} + {} bytes, got {} free bytes of which nine tenths are used; use a smaller model, fewer "
        "clients, or the CPU{}",
        plan.server, plan.clients_state, fixed - plan.server - plan.clients_state, lanes * each, free,
        about_matrices(plan)));
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
  return std::min(known ? total : no_limit, room_in_control_groups());
}

void check_cpu_memory(const MemoryPlan& plan, std::size_t threads, std::size_t available) {
  const std::size_t needed = plan.on_cpu(threads) - plan.data;
  if (needed <= available) return;
  throw MemoryError(
      fmt::format("[memory] a run must fit into memory: {} bytes for the clients' state between rounds, {} for the "
                  "server, {} for each of "
                  "{} threads, together {}, got {} available; use fewer threads, fewer clients or a smaller model{}",
                  plan.clients_state, plan.server + plan.log, plan.per_client + plan.waiting, threads, needed,
                  available, about_matrices(plan)));
}

}  // namespace ivory
