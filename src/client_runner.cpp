#include "src/client_runner.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <new>

#include "ivory/error.hpp"

namespace ivory {

// A block's updates between training and the server.
template <class Real>
struct ClientRunner<Real>::Finished {
  bool on_cpu = true;
  std::vector<Finished*>* home = nullptr;  // the list of free ones it belongs to
  Buffer<Real> precision;                  // [block x stride]
  // The same; empty where the server reads them where training wrote them. The last one is [block x pool x classes].
  Buffer<Real> mean, start_gradient, curvature, public_predictions;
  std::vector<ClientUpdate<Real>> updates;
  std::vector<OptimizerHealth> health;  // one per update, or empty
};

template <class Real>
struct ClientRunner<Real>::Worker {
  std::unique_ptr<Device> device;
  std::unique_ptr<Trainer<Real>> trainer;
  // Where the updates are when training ends. On the CPU a copy is handed over, so that the thread can go on; an accelerator
  // waits for the server, which reads where training wrote; another device's memory has copies that the server can reach.
  bool near_server = true;
  Buffer<Real> precision;                         // [block x stride], with posteriors, when not near the server
  std::vector<Buffer<Real>> fetched;              // the server's arrays that a far device needs for a visit
  std::map<const Real*, std::size_t> fetched_of;  // the server's address -> index into `fetched`
  std::vector<Finished*>* free = nullptr;         // what it may fill next

  const Real* fetch(Device& server, const Real* array, std::size_t size) {
    if (array == nullptr || near_server) return array;
    const auto [place, added] = fetched_of.try_emplace(array, fetched_of.size());
    if (place->second == fetched.size()) fetched.emplace_back();
    // The last visit may have had a shorter array in this place.
    if (fetched[place->second].size() < size) fetched[place->second] = Buffer<Real>(*device, size);
    Real* const copy = fetched[place->second].data();
    if (added) device->transfer(*device, copy, server, array, size * sizeof(Real));
    return copy;
  }
};

// Who is where in the round under way. Guarded by `mutex`, except that the one thread with `absorbing` set runs the algorithm.
template <class Real>
struct ClientRunner<Real>::Progress {
  std::mutex mutex;
  std::condition_variable slot_freed;
  std::vector<Clients> blocks;     // consecutive members of the cohort
  std::size_t next_to_start = 0;   // index into blocks
  std::size_t next_to_absorb = 0;  // index into blocks
  std::uint32_t next_client = 0;   // first client the server has not absorbed
  std::vector<Finished*> ready;    // per block; null until trained
  bool absorbing = false;
  std::exception_ptr failure;
  bool failed_in_training = false;  // else in the server's sums or the log
  std::size_t failed_at = 0;        // index into blocks
  CohortReport report;
  double loss_sum = 0, weight = 0, gap_sum = 0;
  OptimizerHealth health_sum = {0.0, {{0.0, 0.0, 0.0}}, 0.0};
  int healths = 0;
};

namespace {

void add_to(OptimizerHealth& sum, const OptimizerHealth& one, double weight) {
  sum.hessian_at_start += weight * one.hessian_at_start;
  sum.clip_rate += weight * one.clip_rate;
  for (std::size_t q = 0; q < quantile_levels.size(); ++q) {
    sum.effective_step.values[q] += weight * one.effective_step.values[q];
  }
}

}  // namespace

Lanes cpu_lanes(int threads) {
  Lanes lanes;
  for (int t = 0; t < threads; ++t) lanes.devices.push_back(make_cpu_device());
  return lanes;
}

template <class Real>
ClientRunner<Real>::ClientRunner(const Network<Real>& network, const Optimizer<Real>& optimizer,
                                 const Algorithm<Real>& algorithm, const Dataset& data,
                                 std::vector<std::vector<std::uint32_t>> examples, const VisitPlan& plan,
                                 const LearningRate& learning_rate, Device& server, Lanes lanes)
    : network_(network), optimizer_(optimizer), algorithm_(algorithm), examples_(std::move(examples)),
      plan_(plan.for_clients(examples_)), server_(server), block_(lanes.block), kept_(examples_.size()),
      kept_step_(examples_.size(), 0) {
  const std::size_t stride = network.layout().stride();
  const bool posterior = algorithm.traits().needs_posterior;
  free_.resize(lanes.devices.size());
  for (auto& device : lanes.devices) {
    auto worker = std::make_unique<Worker>();
    worker->device = std::move(device);
    Device& own = *worker->device;
    const bool on_cpu = own.shares_host_memory();
    worker->near_server = own.shares_memory_with(server);
    worker->trainer = std::make_unique<Trainer<Real>>(own, network, optimizer, data, plan_, learning_rate, block_);
    if (!worker->near_server && posterior) worker->precision = Buffer<Real>(own, block_ * precision_size(stride));
    Device& holder = worker->near_server ? own : server;
    // The CPU's slots are for whichever thread comes; an accelerator has one, for its own memory.
    worker->free = &free_[on_cpu ? 0 : workers_.size()];
    for (int i = 0; i < (on_cpu ? 2 : 1); ++i) {
      auto slot = std::make_unique<Finished>();
      slot->on_cpu = on_cpu;
      slot->home = worker->free;
      if (on_cpu || !worker->near_server) {
        slot->mean = Buffer<Real>(holder, block_ * stride);
        if (plan_.start_gradients) slot->start_gradient = Buffer<Real>(holder, block_ * stride);
        if (plan_.curvature != Curvature::none) slot->curvature = Buffer<Real>(holder, block_ * stride);
        slot->public_predictions = Buffer<Real>(holder, block_ * predictions_size());
      }
      if (posterior) slot->precision = Buffer<Real>(holder, block_ * precision_size(stride));
      slots_.push_back(std::move(slot));
    }
    workers_.push_back(std::move(worker));
  }
}

template <class Real>
std::size_t ClientRunner<Real>::precision_size(std::size_t stride) const {
  const std::size_t size = network_.layout().size();
  return algorithm_.traits().full_covariance ? size * size : stride;
}

// Of a client on the whole public pool.
template <class Real>
std::size_t ClientRunner<Real>::predictions_size() const {
  return plan_.public_pool == nullptr ? 0 : plan_.public_pool->size() * network_.outputs();
}

template <class Real>
ClientRunner<Real>::~ClientRunner() {
  slots_.clear();  // their memory belongs to the workers' devices
}

template <class Real>
std::string ClientRunner<Real>::describe() const {
  const std::string first = workers_.front()->device->describe();
  if (workers_.front()->device->shares_host_memory()) return first;
  std::string names = first;
  for (std::size_t i = 1; i < workers_.size(); ++i) names += "; " + workers_[i]->device->describe();
  return fmt::format("{}; blocks of {}", names, block_);
}

// `terms` are in the server's memory.
template <class Real>
Visit<Real> ClientRunner<Real>::visit_of(Worker& worker, const ServerState<Real>& state, std::uint32_t client,
                                         LocalTerms<Real> terms) {
  for (const Real** array : {&terms.start, &terms.anchor_mean, &terms.anchor_precision, &terms.site_mean,
                             &terms.site_precision, &terms.common_mean}) {
    const bool precision = array == &terms.anchor_precision || array == &terms.site_precision;
    *array = worker.fetch(server_, *array, precision ? precision_size(state.stride) : state.stride);
  }
  terms.public_labels = worker.fetch(server_, terms.public_labels, predictions_size());
  Visit<Real> visit{.task = {.client = client, .round = state.round, .terms = terms}, .examples = examples_[client]};
  if (!kept_[client].empty()) {
    visit.kept = &kept_[client];
    visit.kept_step = kept_step_[client];
  }
  return visit;
}

template <class Real>
std::vector<double> ClientRunner<Real>::train(Worker& worker, ServerState<Real>& state,
                                              std::span<const Visit<Real>> visits, Finished& result,
                                              StepWatch<Real>* watch) {
  Device& device = *worker.device;
  Trainer<Real>& trainer = *worker.trainer;
  const std::size_t stride = state.stride, count = visits.size();
  const std::vector<VisitResult> trained = trainer.train(visits, {}, watch);

  const bool posterior = algorithm_.traits().needs_posterior;
  Real* const precisions = !posterior ? nullptr : (worker.near_server ? result.precision : worker.precision).data();
  if (posterior) trainer.precisions(precisions);
  const std::vector<double> unusable = trainer.unusable(count, precisions);
  const std::size_t bytes = count * stride * sizeof(Real);
  const bool curvature = plan_.curvature != Curvature::none;
  const std::size_t predictions = predictions_size(), prediction_bytes = count * predictions * sizeof(Real);
  if (!worker.near_server) {
    device.transfer(server_, result.mean.data(), device, trainer.mean(0), bytes);
    if (posterior) {
      device.transfer(server_, result.precision.data(), device, precisions,
                      count * precision_size(stride) * sizeof(Real));
    }
    if (plan_.start_gradients)
      device.transfer(server_, result.start_gradient.data(), device, trainer.start_gradient(0), bytes);
    if (curvature) device.transfer(server_, result.curvature.data(), device, trainer.curvature(0), bytes);
    if (predictions > 0) {
      device.transfer(server_, result.public_predictions.data(), device, trainer.public_predictions(0),
                      prediction_bytes);
    }
    device.synchronise();
  } else if (device.shares_host_memory()) {
    device.copy(result.mean.data(), trainer.mean(0), bytes);
    if (plan_.start_gradients) device.copy(result.start_gradient.data(), trainer.start_gradient(0), bytes);
    if (curvature) device.copy(result.curvature.data(), trainer.curvature(0), bytes);
    if (predictions > 0) {
      device.copy(result.public_predictions.data(), trainer.public_predictions(0), prediction_bytes);
    }
  }
  const auto sent = [&](const Buffer<Real>& handed_over, const Real* made, std::size_t at) -> const Real* {
    if (made == nullptr) return nullptr;
    return (handed_over.empty() ? made : handed_over.data()) + at;
  };
  result.updates.clear();
  for (std::size_t b = 0; b < count; ++b) {
    const std::uint32_t client = visits[b].task.client;
    result.updates.push_back(
        {.client = client,
         .mean = sent(result.mean, trainer.mean(0), b * stride),
         .precision = sent(result.precision, precisions, b * precision_size(stride)),
         .start_gradient = sent(result.start_gradient, trainer.start_gradient(0), b * stride),
         .curvature = sent(result.curvature, trainer.curvature(0), b * stride),
         .public_predictions = sent(result.public_predictions, trainer.public_predictions(0), b * predictions),
         .examples = state.examples[client],
         .steps = trained[b].steps,
         .rate_sum = trained[b].rate_sum,
         .train_loss = trained[b].train_loss,
         .refused =
             unusable[b] > 0 || !math::is_finite(trained[b].train_loss) || !math::is_finite(trained[b].final_loss)});
  }
  return unusable;
}

// Runs on any thread: training and, on the CPU, the clients' own dual steps touch these clients' state alone.
template <class Real>
void ClientRunner<Real>::visit(Worker& worker, ServerState<Real>& state, Clients clients, Finished& result,
                               const Observer& trained) {
  std::vector<Visit<Real>> visits;
  worker.fetched_of.clear();
  for (const std::uint32_t client : clients) {
    visits.push_back(visit_of(worker, state, client, algorithm_.local_terms(state, client)));
  }
  train(worker, state, visits, result, nullptr);
  result.health = worker.trainer->health(clients.size());
  for (std::size_t b = 0; b < clients.size(); ++b) {
    const ClientUpdate<Real>& update = result.updates[b];
    if (update.refused) continue;
    if (worker.device->shares_host_memory()) {
      algorithm_.update_site(state, update);
      if (trained) trained(state, update);
    }
    if (optimizer_.kept_vectors(plan_.keep_state) > 0) {
      kept_[update.client] = worker.trainer->kept_state(b);
      kept_step_[update.client] = worker.trainer->optimizer_step(b);
    }
  }
}

template <class Real>
LoneVisit<Real> ClientRunner<Real>::visit_alone(ServerState<Real>& state, std::uint32_t client,
                                                std::span<const Real> site_mean, std::span<const Real> site_precision,
                                                StepWatch<Real>& watch) {
  Worker& worker = *workers_.front();
  algorithm_.open_round(state);
  LocalTerms<Real> terms = algorithm_.local_terms(state, client);
  Buffer<Real> mean, precision;
  const auto replace = [&](const Real*& term, Buffer<Real>& buffer, std::span<const Real> values) {
    if (values.empty()) return;
    buffer = Buffer<Real>(server_, state.stride);
    server_.upload(buffer.data(), values.data(), values.size_bytes());
    term = buffer.data();
  };
  replace(terms.site_mean, mean, site_mean);
  replace(terms.site_precision, precision, site_precision);
  server_.synchronise();  // the lane reads the server's arrays
  worker.fetched_of.clear();
  const Visit<Real> visit = visit_of(worker, state, client, terms);
  // Slots are in no list before the first round, and in one between rounds; here nobody else takes any.
  Finished& result = *slots_.front();
  LoneVisit<Real> out;
  try {
    out.unusable = train(worker, state, std::span(&visit, 1), result, &watch).front();
  } catch (const RunError& error) {
    throw RunError(fmt::format("[client] local training failed in round {}, client {}: {}", state.round + 1, client,
                               error.what()));
  }
  const ClientUpdate<Real>& update = result.updates.front();
  const auto fetch = [&](std::vector<Real>& to, const Real* from, std::size_t size) {
    if (from == nullptr) return;
    to.resize(size);
    server_.download(to.data(), from, size * sizeof(Real));
  };
  const std::size_t size = state.parameters;
  fetch(out.mean, update.mean, size);
  fetch(out.precision, update.precision, algorithm_.traits().full_covariance ? size * size : size);
  out.train_loss = update.train_loss;
  out.steps = update.steps;
  out.refused = update.refused;
  return out;
}

// Up to client `end`. Those without examples are left out of the run: to the algorithm they are not even absent.
template <class Real>
void ClientRunner<Real>::absorb_absent(Progress& progress, ServerState<Real>& state, std::uint32_t end) {
  for (; progress.next_client < end; ++progress.next_client) {
    if (!examples_[progress.next_client].empty()) algorithm_.absorb(state, progress.next_client, nullptr);
  }
}

// One block, in client order. The server's device is used by one thread at a time, so here accelerators take the dual steps.
template <class Real>
void ClientRunner<Real>::absorb(Progress& progress, ServerState<Real>& state, Finished& finished,
                                const Observers& observers) {
  const bool sites_are_due = !finished.on_cpu;
  for (std::size_t b = 0; b < finished.updates.size(); ++b) {
    const ClientUpdate<Real>& update = finished.updates[b];
    absorb_absent(progress, state, update.client);
    if (sites_are_due && !update.refused) {
      algorithm_.update_site(state, update);
      if (observers.trained) observers.trained(state, update);
    }
    algorithm_.absorb(state, update.client, update.refused ? nullptr : &update);
    ++progress.next_client;
    auto& report = progress.report;
    report.clients[update.client] = {.status = update.refused ? ClientStatus::refused : ClientStatus::trained,
                                     .train_loss = update.train_loss,
                                     .steps = update.steps};
    if (update.refused) {
      ++report.refused;
      continue;
    }
    state.visited[update.client] = 1;
    progress.loss_sum += update.examples * update.train_loss;
    progress.weight += update.examples;
    progress.gap_sum += optimizer_.precision_gap_closed(update.steps);
    if (!finished.health.empty()) {
      add_to(progress.health_sum, finished.health[b], 1.0);
      ++progress.healths;
    }
    ++report.participants;
    if (observers.absorbed) observers.absorbed(state, update);
  }
  server_.synchronise();  // before the next visit writes where these updates are
}

// Hands finished blocks to the server as long as the next one in order is there. One thread at a time.
template <class Real>
void ClientRunner<Real>::absorb_ready(Progress& progress, ServerState<Real>& state, const Observers& observers) {
  std::unique_lock lock(progress.mutex);
  if (progress.absorbing || progress.failure) return;
  progress.absorbing = true;
  while (progress.next_to_absorb < progress.blocks.size() && progress.ready[progress.next_to_absorb] != nullptr) {
    Finished* const finished = progress.ready[progress.next_to_absorb];
    lock.unlock();
    absorb(progress, state, *finished, observers);
    lock.lock();
    ++progress.next_to_absorb;
    finished->home->push_back(finished);
    progress.slot_freed.notify_all();
  }
  progress.absorbing = false;
}

template <class Real>
void ClientRunner<Real>::work(Worker& worker, Progress& progress, ServerState<Real>& state,
                              const Observers& observers) {
  for (;;) {
    std::size_t index = 0;
    Finished* slot = nullptr;
    {
      std::unique_lock lock(progress.mutex);
      progress.slot_freed.wait(lock, [&] { return !worker.free->empty() || progress.failure; });
      if (progress.failure || progress.next_to_start == progress.blocks.size()) return;
      slot = worker.free->back();
      worker.free->pop_back();
      index = progress.next_to_start++;
    }
    bool training = true;
    try {
      visit(worker, state, progress.blocks[index], *slot, observers.trained);
      training = false;
      {
        const std::lock_guard lock(progress.mutex);
        progress.ready[index] = slot;
      }
      absorb_ready(progress, state, observers);
    } catch (...) {
      // A thread that failed while absorbing leaves `absorbing` set: nobody goes on where the sums are half done.
      const std::lock_guard lock(progress.mutex);
      if (!progress.failure || index < progress.failed_at) {
        progress.failure = std::current_exception();
        progress.failed_in_training = training;
        progress.failed_at = index;
      }
      progress.slot_freed.notify_all();
      return;
    }
  }
}

template <class Real>
void ClientRunner<Real>::rethrow(const Progress& progress, std::uint64_t round) {
  if (!progress.failed_in_training) std::rethrow_exception(progress.failure);
  try {
    std::rethrow_exception(progress.failure);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const std::exception& error) {
    const Clients clients = progress.blocks[progress.failed_at];
    const std::string who = clients.size() == 1 ? fmt::format("client {}", clients.front())
                                                : fmt::format("clients {} to {}", clients.front(), clients.back());
    throw RunError(fmt::format("[client] local training failed in round {}, {}: {}", round + 1, who, error.what()));
  }
}

template <class Real>
CohortReport ClientRunner<Real>::run(ServerState<Real>& state, std::span<const std::uint32_t> cohort,
                                     const Observers& observers) {
  Progress progress;
  // Every lane gets a share: several devices divide a cohort that one of them could take at once.
  const std::size_t share = (cohort.size() + workers_.size() - 1) / workers_.size();
  const std::size_t block = std::clamp<std::size_t>(share, 1, block_);
  for (std::size_t first = 0; first < cohort.size(); first += block) {
    progress.blocks.push_back(cohort.subspan(first, std::min(block, cohort.size() - first)));
  }
  progress.ready.assign(progress.blocks.size(), nullptr);
  for (auto& list : free_) list.clear();
  for (const auto& slot : slots_) slot->home->push_back(slot.get());
  progress.report.clients.resize(examples_.size());
  algorithm_.open_round(state);
  server_.synchronise();  // other lanes read the server's arrays

#pragma omp parallel num_threads(static_cast <int>(workers_.size()))
  work(*workers_[static_cast<std::size_t>(omp_get_thread_num())], progress, state, observers);

  if (progress.failure) rethrow(progress, state.round);
  absorb_absent(progress, state, static_cast<std::uint32_t>(examples_.size()));
  CohortReport report = std::move(progress.report);
  if (progress.weight > 0) report.train_loss = progress.loss_sum / progress.weight;
  if (report.participants > 0) report.precision_gap_closed = progress.gap_sum / report.participants;
  if (progress.healths > 0) {
    report.health = {0.0, {{0.0, 0.0, 0.0}}, 0.0};
    add_to(report.health, progress.health_sum, 1.0 / progress.healths);
  }
  return report;
}

template class ClientRunner<float>;
template class ClientRunner<double>;

}  // namespace ivory
