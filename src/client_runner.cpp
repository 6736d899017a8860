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

struct ClientRunner::Worker {
  std::unique_ptr<Device> device;
  std::unique_ptr<Trainer<float>> trainer;
};

// An update between training and the server.
struct ClientRunner::Finished {
  Buffer<float> mean, precision;
  ClientUpdate<float> update;
};

// Who is where in the round under way. Guarded by `mutex`, except that the one thread with `absorbing` set runs the algorithm.
struct ClientRunner::Progress {
  std::mutex mutex;
  std::condition_variable slot_freed;
  std::span<const std::uint32_t> cohort;
  std::size_t next_to_start = 0;   // index into cohort
  std::size_t next_to_absorb = 0;  // index into cohort
  std::uint32_t next_client = 0;   // first client the server has not absorbed
  std::vector<Finished*> ready;    // per cohort member; null until trained
  std::vector<Finished*> free;
  bool absorbing = false;
  std::exception_ptr failure;
  bool failed_in_training = false;  // else in the server's sums or the log
  std::size_t failed_at = 0;        // index into cohort
  CohortReport report;
  double loss_sum = 0, weight = 0, gap_sum = 0;
};

namespace {

struct NotUsable {
  const float* value;
  bool positive;  // a precision must be above 0
  double operator()(std::size_t i) const {
    return math::is_finite(value[i]) && (!positive || value[i] > 0.0F) ? 0.0 : 1.0;
  }
};

}  // namespace

ClientRunner::ClientRunner(const Network<float>& network, const Optimizer<float>& optimizer,
                           const Algorithm<float>& algorithm, const Dataset& data,
                           std::vector<std::vector<std::uint32_t>> examples, const VisitPlan& plan,
                           const LearningRate& learning_rate, int threads)
    : network_(network), optimizer_(optimizer), algorithm_(algorithm), data_(data), examples_(std::move(examples)),
      plan_(plan), kept_(examples_.size()), kept_step_(examples_.size(), 0) {
  std::size_t largest = 1;
  for (const auto& rows : examples_) largest = std::max(largest, rows.size());
  plan_.batch = std::min(plan_.batch, largest);  // working memory follows the clients; nothing else depends on it
  const std::size_t stride = network.layout().stride();
  const bool posterior = algorithm.traits().needs_posterior;
  for (int t = 0; t < threads; ++t) {
    auto worker = std::make_unique<Worker>();
    worker->device = make_cpu_device();
    worker->trainer = std::make_unique<Trainer<float>>(*worker->device, network, optimizer, data, plan_, learning_rate);
    for (int i = 0; i < 2; ++i) {
      auto slot = std::make_unique<Finished>();
      slot->mean = Buffer<float>(*worker->device, stride);
      if (posterior) slot->precision = Buffer<float>(*worker->device, stride);
      slots_.push_back(std::move(slot));
    }
    workers_.push_back(std::move(worker));
  }
}

ClientRunner::~ClientRunner() {
  slots_.clear();  // their memory belongs to the workers' devices
}

// Runs on any thread: training and the client's own dual step touch this client's state alone.
void ClientRunner::visit(Worker& worker, ServerState<float>& state, std::uint32_t client, Finished& result) {
  const auto& examples = examples_[client];
  const auto n = static_cast<double>(examples.size());
  Visit<float> visit{
      .task = {.client = client, .round = state.round, .terms = algorithm_.local_terms(state, client, n)},
      .examples = examples};
  if (!kept_[client].empty()) {
    visit.kept = &kept_[client];
    visit.kept_step = kept_step_[client];
  }
  Trainer<float>& trainer = *worker.trainer;
  const VisitResult trained = trainer.train({&visit, 1}).front();

  const std::size_t parameters = network_.layout().size();
  double unusable = 0;
  if (algorithm_.traits().needs_posterior) {
    trainer.precision(0, result.precision.data());
    unusable += sum(*worker.device, parameters, NotUsable{result.precision.data(), true});
  }
  unusable += sum(*worker.device, parameters, NotUsable{trainer.mean(0), false});
  worker.device->copy(result.mean.data(), trainer.mean(0), network_.layout().stride() * sizeof(float));
  result.update = {
      .client = client,
      .mean = result.mean.data(),
      .precision = result.precision.data(),
      .examples = n,
      .steps = trained.steps,
      .train_loss = trained.train_loss,
      .refused = unusable > 0 || !math::is_finite(trained.train_loss) || !math::is_finite(trained.final_loss)};
  if (result.update.refused) return;
  algorithm_.update_site(state, result.update);
  if (optimizer_.kept_vectors(plan_.keep_state) > 0) {
    kept_[client] = trainer.kept_state(0);
    kept_step_[client] = trainer.optimizer_step(0);
  }
}

// Hands finished updates to the server as long as the next one in order is there. One thread at a time.
void ClientRunner::absorb_ready(Progress& progress, ServerState<float>& state, const Observer& observer) {
  std::unique_lock lock(progress.mutex);
  if (progress.absorbing || progress.failure) return;
  progress.absorbing = true;
  while (progress.next_to_absorb < progress.cohort.size() && progress.ready[progress.next_to_absorb] != nullptr) {
    Finished* const finished = progress.ready[progress.next_to_absorb];
    lock.unlock();
    const ClientUpdate<float>& update = finished->update;
    for (; progress.next_client < update.client; ++progress.next_client) {
      algorithm_.absorb(state, progress.next_client, nullptr);
    }
    algorithm_.absorb(state, update.client, update.refused ? nullptr : &update);
    ++progress.next_client;
    auto& report = progress.report;
    report.clients[update.client] = {.status = update.refused ? ClientStatus::refused : ClientStatus::trained,
                                     .train_loss = update.train_loss,
                                     .steps = update.steps};
    if (update.refused) {
      ++report.refused;
    } else {
      state.visited[update.client] = 1;
      progress.loss_sum += update.examples * update.train_loss;
      progress.weight += update.examples;
      progress.gap_sum += optimizer_.precision_gap_closed(update.steps);
      ++report.participants;
      if (observer) observer(state, update);
    }
    lock.lock();
    ++progress.next_to_absorb;
    progress.free.push_back(finished);
    progress.slot_freed.notify_all();
  }
  progress.absorbing = false;
}

CohortReport ClientRunner::run(ServerState<float>& state, std::span<const std::uint32_t> cohort,
                               const Observer& observer) {
  Progress progress;
  progress.cohort = cohort;
  progress.ready.assign(cohort.size(), nullptr);
  for (const auto& slot : slots_) progress.free.push_back(slot.get());
  progress.report.clients.resize(examples_.size());
  algorithm_.open_round(state);

  const auto work = [&](Worker& worker) {
    for (;;) {
      std::size_t index = 0;
      Finished* slot = nullptr;
      {
        std::unique_lock lock(progress.mutex);
        progress.slot_freed.wait(lock, [&] { return !progress.free.empty() || progress.failure; });
        if (progress.failure || progress.next_to_start == cohort.size()) return;
        slot = progress.free.back();
        progress.free.pop_back();
        index = progress.next_to_start++;
      }
      bool training = true;
      try {
        visit(worker, state, cohort[index], *slot);
        training = false;
        {
          const std::lock_guard lock(progress.mutex);
          progress.ready[index] = slot;
        }
        absorb_ready(progress, state, observer);
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
  };
#pragma omp parallel num_threads(static_cast <int>(workers_.size()))
  work(*workers_[static_cast<std::size_t>(omp_get_thread_num())]);

  if (progress.failure) {
    if (!progress.failed_in_training) std::rethrow_exception(progress.failure);
    try {
      std::rethrow_exception(progress.failure);
    } catch (const std::bad_alloc&) {
      throw;
    } catch (const std::exception& error) {
      throw RunError(fmt::format("[client] local training failed in round {}, client {}: {}", state.round + 1,
                                 cohort[progress.failed_at], error.what()));
    }
  }
  for (; progress.next_client < examples_.size(); ++progress.next_client) {
    algorithm_.absorb(state, progress.next_client, nullptr);
  }
  CohortReport report = std::move(progress.report);
  if (progress.weight > 0) report.train_loss = progress.loss_sum / progress.weight;
  if (report.participants > 0) report.precision_gap_closed = progress.gap_sum / report.participants;
  return report;
}

}  // namespace ivory
