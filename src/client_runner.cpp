#include "src/client_runner.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <new>

#include "ivory/error.hpp"

namespace ivory {

// A block's updates between training and the server.
template <class Real>
struct ClientRunner<Real>::Finished {
  bool on_cpu = true;
  Seat<Real>* seat = nullptr;              // whose results the updates are
  std::vector<Finished*>* home = nullptr;  // the list of free ones it belongs to
  // [block x ...] copies that the server can reach; empty where it reads the results where training wrote them.
  Buffer<Real> mean, precision, start_gradient, curvature, public_predictions;
  std::vector<ClientUpdate<Real>> updates;
  std::vector<OptimizerHealth> health;  // one per update, or empty

  bool in_place() const { return mean.empty(); }
};

template <class Real>
struct ClientRunner<Real>::Worker {
  Seat<Real>* seat = nullptr;
  // What it may fill next. A CPU thread hands over copies and goes on; an accelerator waits for the server, which reads where
  // training wrote, or on another device has copies.
  std::vector<Finished*>* free = nullptr;
  std::size_t next_block = 0;  // of a run that shares its lanes
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

std::size_t precision_size(const AlgorithmTraits& traits, const ParameterLayout& layout) {
  if (!traits.needs_posterior) return 0;
  return traits.full_covariance ? layout.size() * layout.size() : layout.stride();
}

template <class Real>
Places<Real> own_places(Lanes lanes, BlockSetup<Real> setup) {
  Places<Real> places;
  places.block = setup.rows = lanes.block;
  for (auto& device : lanes.devices) {
    places.own.push_back(std::make_unique<TrainingLane<Real>>(std::move(device), setup));
    places.seats.push_back(std::make_unique<Seat<Real>>(*places.own.back()));
  }
  return places;
}

template <class Real>
ClientRunner<Real>::ClientRunner(const Network<Real>& network, const Optimizer<Real>& optimizer,
                                 const Algorithm<Real>& algorithm, std::vector<std::vector<std::uint32_t>> examples,
                                 const VisitPlan& plan, Device& server, Places<Real> places)
    : network_(network), optimizer_(optimizer), algorithm_(algorithm), examples_(std::move(examples)), plan_(plan),
      server_(server), places_(std::move(places)), kept_(examples_.size()), kept_step_(examples_.size(), 0) {
  const std::size_t values = places_.block * network.layout().stride();
  const std::size_t precisions = places_.block * precision_size(algorithm.traits(), network.layout());
  free_.resize(places_.seats.size());
  for (const auto& seat : places_.seats) {
    auto worker = std::make_unique<Worker>();
    worker->seat = seat.get();
    const bool on_cpu = seat->lane().on_cpu();
    // The CPU's slots are for whichever thread comes; an accelerator has one, for its own memory.
    worker->free = &free_[on_cpu ? 0 : workers_.size()];
    for (int i = 0; i < (on_cpu ? 2 : 1); ++i) {
      auto slot = std::make_unique<Finished>();
      slot->on_cpu = on_cpu;
      slot->seat = seat.get();
      slot->home = worker->free;
      if (on_cpu || !seat->lane().is_near(server)) {
        slot->mean = Buffer<Real>(server, values);
        slot->precision = Buffer<Real>(server, precisions);
        if (plan_.start_gradients) slot->start_gradient = Buffer<Real>(server, values);
        if (plan_.curvature != Curvature::none) slot->curvature = Buffer<Real>(server, values);
        slot->public_predictions = Buffer<Real>(server, places_.block * predictions_size());
      }
      slots_.push_back(std::move(slot));
    }
    workers_.push_back(std::move(worker));
  }
}

// Of a client on the whole public pool.
template <class Real>
std::size_t ClientRunner<Real>::predictions_size() const {
  return plan_.public_pool == nullptr ? 0 : plan_.public_pool->size() * network_.outputs();
}

template <class Real>
ClientRunner<Real>::~ClientRunner() = default;

template <class Real>
std::string ClientRunner<Real>::describe() const {
  const TrainingLane<Real>& first = workers_.front()->seat->lane();
  if (first.on_cpu()) return first.describe();
  std::string names = first.describe();
  for (std::size_t i = 1; i < workers_.size(); ++i) names += "; " + workers_[i]->seat->lane().describe();
  return fmt::format("{}; blocks of {}", names, places_.block);
}

// `terms` are in the server's memory.
template <class Real>
Visit<Real> ClientRunner<Real>::visit_of(Seat<Real>& seat, const ServerState<Real>& state, std::uint32_t client,
                                         LocalTerms<Real> terms) {
  const std::size_t size = state.parameters;
  // Point methods have no posterior precision to send, but may have one of a site.
  const std::size_t precisions = algorithm_.traits().full_covariance ? size * size : state.stride;
  for (const Real** array : {&terms.start, &terms.anchor_mean, &terms.site_mean, &terms.common_mean}) {
    *array = seat.fetch(server_, *array, state.stride);
  }
  for (const Real** array : {&terms.anchor_precision, &terms.site_precision}) {
    *array = seat.fetch(server_, *array, precisions);
  }
  terms.public_labels = seat.fetch(server_, terms.public_labels, predictions_size());
  Visit<Real> visit{.task = {.client = client, .round = state.round, .terms = terms}, .examples = examples_[client]};
  if (!kept_[client].empty()) {
    visit.kept = &kept_[client];
    visit.kept_step = kept_step_[client];
  }
  return visit;
}

// Puts the updates where the server can read them.
template <class Real>
void ClientRunner<Real>::hand_over(Device& device, const TrainedVisits<Real>& trained, const ServerState<Real>& state,
                                   Clients clients, Finished& result) {
  const std::size_t stride = state.stride, predictions = predictions_size();
  const std::size_t precisions = precision_size(algorithm_.traits(), network_.layout());
  const auto sent = [&](Buffer<Real>& to, const Real* made, std::size_t size) -> const Real* {
    if (made == nullptr || result.in_place()) return made;
    device.transfer(server_, to.data(), device, made, clients.size() * size * sizeof(Real));
    return to.data();
  };
  const Real* const mean = sent(result.mean, trained.mean, stride);
  const Real* const precision = sent(result.precision, trained.precision, precisions);
  const Real* const start_gradient = sent(result.start_gradient, trained.start_gradient, stride);
  const Real* const curvature = sent(result.curvature, trained.curvature, stride);
  const Real* const public_predictions = sent(result.public_predictions, trained.public_predictions, predictions);
  if (!result.in_place()) device.synchronise();
  const auto of = [](const Real* array, std::size_t at) { return array == nullptr ? nullptr : array + at; };
  result.health.assign(trained.health.begin(), trained.health.end());
  result.updates.clear();
  for (std::size_t b = 0; b < clients.size(); ++b) {
    const VisitResult& visit = trained.results[b];
    result.updates.push_back({.client = clients[b],
                              .mean = of(mean, b * stride),
                              .precision = of(precision, b * precisions),
                              .start_gradient = of(start_gradient, b * stride),
                              .curvature = of(curvature, b * stride),
                              .public_predictions = of(public_predictions, b * predictions),
                              .examples = state.examples[clients[b]],
                              .steps = visit.steps,
                              .rate_sum = visit.rate_sum,
                              .train_loss = visit.train_loss,
                              .refused = trained.unusable[b] > 0 || !math::is_finite(visit.train_loss) ||
                                         !math::is_finite(visit.final_loss)});
  }
}

// Runs on any thread: training and, on the CPU, the clients' own dual steps touch these clients' state alone.
template <class Real>
void ClientRunner<Real>::visit(Worker& worker, ServerState<Real>& state, Clients clients, Finished& result,
                               const Observer& trained) {
  const auto bring = [&](Seat<Real>& seat) {
    std::vector<Visit<Real>> visits;
    for (const std::uint32_t client : clients) {
      visits.push_back(visit_of(seat, state, client, algorithm_.local_terms(state, client)));
    }
    return visits;
  };
  const auto take = [&](Device& device, const TrainedVisits<Real>& block) {
    hand_over(device, block, state, clients, result);
    if (optimizer_.kept_vectors(plan_.keep_state) == 0) return;
    for (std::size_t b = 0; b < clients.size(); ++b) {
      if (result.updates[b].refused) continue;
      kept_[clients[b]] = block.kept_state(b);
      kept_step_[clients[b]] = block.optimizer_step(b);
    }
  };
  worker.seat->train(bring, take);
  if (!result.in_place()) worker.seat->give_back();
  if (!result.on_cpu) return;
  for (const ClientUpdate<Real>& update : result.updates) {
    if (update.refused) continue;
    algorithm_.update_site(state, update);
    if (trained) trained(state, update);
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
  // Slots are in no list before the first round, and in one between rounds; here nobody else takes any.
  Finished& result = *slots_.front();
  LoneVisit<Real> out;
  try {
    worker.seat->train([&](Seat<Real>& seat) { return std::vector{visit_of(seat, state, client, terms)}; },
                       [&](Device& device, const TrainedVisits<Real>& block) {
                         hand_over(device, block, state, std::span(&client, 1), result);
                         out.unusable = block.unusable.front();
                       },
                       &watch);
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
  worker.seat->give_back();
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
  if (finished.in_place()) finished.seat->give_back();
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

// The next block for this lane to train; as many as there are, or more: none. Runs that share their lanes give each lane the same
// blocks, or two of them might wait for each other on different lanes.
template <class Real>
std::size_t ClientRunner<Real>::take_block(Worker& worker, Progress& progress) const {
  if (!places_.own.empty()) {
    return progress.next_to_start < progress.blocks.size() ? progress.next_to_start++ : progress.next_to_start;
  }
  const std::size_t block = worker.next_block;
  worker.next_block += workers_.size();
  return block;
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
      if (progress.failure) return worker.seat->leave();
      index = take_block(worker, progress);
      if (index >= progress.blocks.size()) return;
      slot = worker.free->back();
      worker.free->pop_back();
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
      worker.seat->leave();  // runs that share the lane go on
      return;
    }
  }
}

namespace {

std::string failure_of(const std::exception& error, std::span<const std::uint32_t> clients, std::uint64_t round) {
  const std::string who = clients.size() == 1 ? fmt::format("client {}", clients.front())
                                              : fmt::format("clients {} to {}", clients.front(), clients.back());
  return fmt::format("[client] local training failed in round {}, {}: {}", round + 1, who, error.what());
}

}  // namespace

template <class Real>
void ClientRunner<Real>::rethrow(const Progress& progress, std::uint64_t round) {
  if (!progress.failed_in_training) std::rethrow_exception(progress.failure);
  try {
    std::rethrow_exception(progress.failure);
  } catch (const std::bad_alloc&) {
    throw;
  } catch (const MemoryError& error) {
    throw MemoryError(failure_of(error, progress.blocks[progress.failed_at], round));
  } catch (const std::exception& error) {
    throw RunError(failure_of(error, progress.blocks[progress.failed_at], round));
  }
}

template <class Real>
CohortReport ClientRunner<Real>::run(ServerState<Real>& state, std::span<const std::uint32_t> cohort,
                                     const Observers& observers) {
  Progress progress;
  // Every lane gets a share: several devices divide a cohort that one of them could take at once.
  const std::size_t share = (cohort.size() + workers_.size() - 1) / workers_.size();
  const std::size_t block = std::clamp<std::size_t>(share, 1, places_.block);
  for (std::size_t first = 0; first < cohort.size(); first += block) {
    progress.blocks.push_back(cohort.subspan(first, std::min(block, cohort.size() - first)));
  }
  progress.ready.assign(progress.blocks.size(), nullptr);
  for (auto& list : free_) list.clear();
  for (const auto& slot : slots_) slot->home->push_back(slot.get());
  for (std::size_t w = 0; w < workers_.size(); ++w) workers_[w]->next_block = w;
  progress.report.clients.resize(examples_.size());
  algorithm_.open_round(state);
  server_.synchronise();  // other lanes read the server's arrays

  // Lanes that are shared wait for every run's thread on each of them; others do with fewer threads.
  int team = 0;
  const bool shared = places_.own.empty();
#pragma omp parallel num_threads(static_cast <int>(workers_.size()))
  {
#pragma omp single
    team = omp_get_num_threads();
    if (!shared || static_cast<std::size_t>(team) == workers_.size()) {
      work(*workers_[static_cast<std::size_t>(omp_get_thread_num())], progress, state, observers);
    }
  }
  if (shared && static_cast<std::size_t>(team) != workers_.size()) {
    throw RunError(
        fmt::format("[device] every lane must have a thread, got {} threads for {} lanes; set OMP_THREAD_LIMIT and "
                    "OMP_DYNAMIC so that there are as many",
                    team, workers_.size()));
  }
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

template Places<float> own_places(Lanes, BlockSetup<float>);
template Places<double> own_places(Lanes, BlockSetup<double>);
template class ClientRunner<float>;
template class ClientRunner<double>;

}  // namespace ivory
