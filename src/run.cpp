#include "src/run.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <numeric>
#include <string_view>

#include "ivory/error.hpp"
#include "src/log_plan.hpp"
#include "src/model.hpp"
#include "src/resume_check.hpp"
#include "src/run_state.hpp"
#include "src/state_hash.hpp"

namespace ivory {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The participants of a round in increasing order: a keyed draw without replacement from the clients that train. One that is left
// out is drawn with the others and passed over, so that the others are drawn as they would be with it.
std::vector<std::uint32_t> sample_cohort(std::uint64_t seed, std::uint64_t round,
                                         const std::vector<std::uint32_t>& clients, std::size_t all,
                                         std::size_t wanted) {
  if (wanted >= clients.size()) return clients;
  std::vector<std::uint32_t> cohort(all);
  std::iota(cohort.begin(), cohort.end(), 0U);
  StreamReader random(seed, {.purpose = Purpose::cohort, .round = round});
  random.shuffle(cohort.begin(), all);
  std::erase_if(cohort, [&](std::uint32_t k) { return !std::binary_search(clients.begin(), clients.end(), k); });
  cohort.resize(wanted);
  std::sort(cohort.begin(), cohort.end());
  return cohort;
}

// That share the accelerators.
std::size_t runs_of(const RunSettings& settings) {
  return settings.group != nullptr ? settings.group->group().runs() : 1;
}

template <class Real>
std::vector<float> in_float(const std::vector<Real>& values) {
  return {values.begin(), values.end()};
}

}  // namespace

template <class Real>
Run<Real>::Run(const Scenario& scenario, const RunSettings& settings)
    : scenario_(scenario), threads_(settings.threads > 0 ? settings.threads : omp_get_max_threads()),
      shared_parts_(std::make_shared<const RunParts<Real>>(scenario)), parts_(*shared_parts_),
      previews_(scenario, parts_), server_(make_server_device(settings)), block_(block_that_fits(settings)),
      state_(*server_, parts_.network.layout().size(), parts_.network.layout().stride(), parts_.client_sizes(),
             parts_.everyone_takes_part) {
  state_.clients = parts_.clients.size();
  const std::vector<float> start = initial_weights(scenario, parts_.network);
  start_hash_ = hash_weights(start);
  if (parts_.traits.uses_public_pool) {
    public_model_ = std::make_unique<PoolModel<Real>>(*server_, parts_.training_network, parts_.data.public_pool);
    state_.public_model = public_model_.get();
  }
  state_.start.from_host(std::vector<Real>(start.begin(), start.end()));
  parts_.algorithm->initialise(state_);
  if (scenario.log.boolean("diagnostics")) diagnostics_.emplace(state_, parts_.traits);
  evaluator_.emplace(scenario, parts_, state_, *server_, threads_, runs_of(settings));
  make_runner(settings);
  fetch_posterior();
}

template <class Real>
LogPlan Run<Real>::log_plan() const {
  LogPlan plan = plan_log(scenario_, parts_);
  plan.device = runner_->describe();
  plan.start_hash = start_hash_;
  return plan;
}

template <class Real>
void Run<Real>::save(Checkpoints& checkpoints) {
  CheckpointWriter writer = checkpoints.next();
  Checkpoints::write_header(writer, state_.round, device_kind(runner_->describe()));
  visit_state(state_, StateWriter(writer));
  runner_->visit_kept(StateWriter(writer));
  writer.finish();
}

template <class Real>
bool Run<Real>::restore(Checkpoints& checkpoints, std::uint64_t rounds,
                        const std::function<std::uint64_t(int)>& logged) {
  auto found = checkpoints.newest(rounds, device_kind(runner_->describe()));
  if (!found) return false;
  state_.round = found->round;
  visit_state(state_, StateReader(found->reader, *server_));
  state_.begun = std::find(state_.visited.begin(), state_.visited.end(), 1) != state_.visited.end();
  runner_->visit_kept(StateReader(found->reader, *server_));
  fetch_posterior();
  const int round = static_cast<int>(state_.round);
  if (state_hash() != logged(round)) {
    found->reader.fail(fmt::format("the state of round {} is not the one that the log has", round));
  }
  return true;
}

template <class Real>
RoundRecord Run<Real>::round(RunLog& log) {
  return named_after_round([&] { return run_round(log); });
}

template <class Real>
RoundRecord Run<Real>::repeat_round() {
  return named_after_round([&] { return train_round({}); });
}

// A failure on an accelerator shows where somebody waits for it.
template <class Real>
RoundRecord Run<Real>::named_after_round(const std::function<RoundRecord()>& work) {
  const std::uint64_t number = state_.round + 1;
  const auto named = [&](const RunError& error) {
    const std::string what = error.what();
    if (server_->shares_host_memory() || what.find("in round") != std::string::npos) return what;
    return fmt::format("[server] a round failed on {}, in round {}: {}", server_->describe(), number, what);
  };
  try {
    return work();
  } catch (const MemoryError& error) {
    throw MemoryError(named(error));
  } catch (const RunError& error) {
    throw RunError(named(error));
  }
}

// READ FIRST: one round, top to bottom: this function, and the training below it.
template <class Real>
RoundRecord Run<Real>::run_round(RunLog& log) {
  const auto start = Clock::now();
  const int number = static_cast<int>(state_.round) + 1;
  const bool log_sites = log.wants_sites(number);
  const bool is_new = number > log.rounds_complete();  // else it is computed again, for its state alone
  const bool preview = is_new && previews_.wanted() && log.wants_posterior(number), diagnosed = is_new && diagnostics_;
  if (preview) previews_.open(mean_, precision_);
  if (diagnosed) diagnostics_->open(state_);
  const auto measure = [&](const ServerState<Real>& state, const ClientUpdate<Real>& update) {
    if (diagnosed) diagnostics_->measure(state, update);
  };
  const auto keep = [&](const ServerState<Real>& state, const ClientUpdate<Real>& update) {
    if (log_sites) log_client(log, number, state, update);
    if (preview) previews_.add(state, *server_, update);
    if (diagnosed) diagnostics_->add(state, update);
  };
  RoundRecord record = train_round({.trained = measure, .absorbed = keep});
  if (diagnosed) {
    const OptimizerHealth trained = record.diagnostics.optimizer;
    record.diagnostics = diagnostics_->close(state_, *parts_.algorithm);
    record.diagnostics.optimizer = trained;
  }
  const auto evaluation_start = Clock::now();
  if (is_new) evaluator_->evaluate(record);
  if (preview) evaluate_previews(record);
  record.seconds_evaluation = seconds_since(evaluation_start);
  if (log.wants_posterior(number)) write_posterior(log, number);
  record.seconds = seconds_since(start);
  log.append(record);
  return record;
}

template <class Real>
RoundRecord Run<Real>::train_round(const Observers& observers) {
  const auto start = Clock::now();
  const auto cohort =
      sample_cohort(scenario_.seed, state_.round, parts_.clients, parts_.examples.size(), parts_.participants);
  CohortReport cohort_report = runner_->run(state_, cohort, observers);
  const AbsorbReport absorbed = parts_.algorithm->close_round(state_);
  state_.end_round(cohort_report.participants > 0);
  fetch_posterior();

  RoundRecord record;
  record.round = static_cast<int>(state_.round);
  record.seconds_training = seconds_since(start);
  fill(record, std::move(cohort_report), absorbed, cohort);
  return record;
}

template <class Real>
void Run<Real>::evaluate_previews(RoundRecord& record) {
  for (const Merged<float>& model : previews_.close()) {
    record.previews.push_back({.test = evaluator_->test_metrics(model.mean), .clamped = model.clamped});
  }
}

template <class Real>
void Run<Real>::write_posterior(RunLog& log, int round) const {
  std::span<const double> matrix;
  if constexpr (std::is_same_v<Real, double>) {
    if (logs_matrix()) matrix = precision_;
  }
  const std::vector<float> laplace = evaluator_->laplace_precision();
  log.write_posterior(round, in_float(mean_), laplace.empty() ? in_float(diagonal_of(precision_)) : laplace, matrix);
}

// The first thing to be made that takes memory: what cannot fit is refused here.
template <class Real>
std::unique_ptr<Device> Run<Real>::make_server_device(const RunSettings& settings) const {
  if (!settings.devices.empty()) return settings.devices.front()(ProductPrecision::float32);
  if (product_precision(scenario_) != ProductPrecision::float32) {
    throw InputError(
        fmt::format("[clients] products must be \"float32\" on the CPU, got \"{}\", at {}; use a GPU "
                    "(--device cuda), or leave it out",
                    scenario_.clients.text("products"), to_string(scenario_.clients.place("products"))));
  }
  check_cpu_memory(parts_.memory(), static_cast<std::size_t>(threads_), available_memory());
  return make_cpu_device();
}

// On accelerators what cannot fit is refused here, with its numbers.
template <class Real>
std::size_t Run<Real>::block_that_fits(const RunSettings& settings) const {
  if (settings.devices.empty()) return 1;
  const std::size_t free =
      settings.group != nullptr ? settings.group->group().memory_of_a_run() : server_->free_memory();
  const std::size_t lanes = settings.devices.size();
  return largest_block(parts_.memory(), free, lanes,
                       most_in_a_block(parts_.participants, lanes, settings.block, runs_of(settings)));
}

// What was counted may still be too much where others use the device, so smaller blocks follow.
template <class Real>
void Run<Real>::make_runner(const RunSettings& settings) {
  const ProductPrecision products = product_precision(scenario_);
  const MemoryPlan memory = parts_.memory();
  if (settings.devices.empty()) return train_at(own_places(cpu_lanes(threads_), block_setup(parts_, block_)));
  for (std::size_t block = block_;; block = (block + 1) / 2) {
    try {
      if (settings.group != nullptr) {
        train_at(settings.group->join(shared_parts_, block, settings.devices, products));
      } else {
        Lanes lanes{.devices = {}, .block = block};
        for (const auto& make : settings.devices) lanes.devices.push_back(make(products));
        train_at(own_places(std::move(lanes), block_setup(parts_, block)));
      }
      // The sites come later, client by client; their room is taken now and stays with the device.
      Buffer<float>(*server_, memory.clients_state / sizeof(float));
      return;
    } catch (const MemoryError&) {
      if (block == 1 || settings.group != nullptr) throw;
      runner_.reset();
    }
  }
}

template <class Real>
void Run<Real>::train_at(Places<Real> places) {
  runner_ = std::make_unique<ClientRunner<Real>>(parts_.training_network, *parts_.optimizer, *parts_.algorithm,
                                                 parts_.examples, parts_.visit_plan, *server_, std::move(places));
}

// The server's Gaussian on the host, for hash and log.
template <class Real>
void Run<Real>::fetch_posterior() {
  const auto fetch = [&](std::vector<Real>& to, const Buffer<Real>& from, std::size_t size) {
    to.resize(from.empty() ? 0 : size);
    if (!from.empty()) server_->download(to.data(), from.data(), to.size() * sizeof(Real));
  };
  const std::size_t size = state_.parameters;
  fetch(mean_, state_.mean, size);
  fetch(precision_, state_.precision, parts_.traits.full_covariance ? size * size : size);
  evaluator_->take_mean(mean_);
}

// Of a precision: itself, or a matrix's diagonal.
template <class Real>
std::vector<Real> Run<Real>::diagonal_of(const std::vector<Real>& precision) const {
  const std::size_t size = state_.parameters;
  if (precision.size() <= size) return precision;
  std::vector<Real> diagonal(size);
  for (std::size_t i = 0; i < size; ++i) diagonal[i] = precision[i * size + i];
  return diagonal;
}
template <class Real>
void Run<Real>::log_client(RunLog& log, int round, const ServerState<Real>& state,
                           const ClientUpdate<Real>& update) const {
  std::vector<std::vector<float>> copies;  // of what is not in main memory, or not in float
  const auto view = [&](const Real* data, bool precision = false) -> std::span<const float> {
    if (data == nullptr) return {};
    const std::size_t size = state.parameters;
    if constexpr (std::is_same_v<Real, float>) {
      if (server_->shares_host_memory()) return {data, size};
    }
    std::vector<Real> copy(precision && parts_.traits.full_covariance ? size * size : size);
    server_->download(copy.data(), data, copy.size() * sizeof(Real));
    return copies.emplace_back(in_float(diagonal_of(copy)));
  };
  copies.reserve(4);
  log.write_client(round, {.client = update.client,
                           .mean = view(update.mean),
                           .precision = view(update.precision, true),
                           .site_mean = view(parts_.algorithm->site_mean(state, update.client)),
                           .site_precision = view(parts_.algorithm->site_precision(state, update.client), true)});
}

template <class Real>
void Run<Real>::fill(RoundRecord& record, CohortReport&& cohort, const AbsorbReport& absorbed,
                     std::span<const std::uint32_t> participants) const {
  // Pooled training has no network; its one "client" stands for a data centre.
  const bool talks = !scenario_.clients.boolean("pool");
  record.bytes_down = record.bytes_up = 0;
  for (const std::uint32_t client : participants) {
    record.bytes_down += talks ? sizeof(Real) * parts_.values_down() : 0.0;
    record.bytes_up += talks ? sizeof(Real) * parts_.values_up(client) : 0.0;
  }
  record.train_loss = cohort.train_loss;
  record.participants = cohort.participants;
  record.refused = cohort.refused;
  record.clamped = absorbed.clamped;
  record.precision_gap_closed = cohort.precision_gap_closed;
  record.diagnostics.optimizer = cohort.health;
  record.clients = std::move(cohort.clients);
  record.clients.resize(parts_.partition.clients());
  record.state_hash = state_hash();
}

template <class Real>
std::uint64_t Run<Real>::state_hash() const {
  return hash_posterior<Real>(mean_, precision_);
}

template <class Real>
void Run<Real>::set_posterior(std::uint64_t round, bool begun, std::span<const Real> mean,
                              std::span<const Real> precision) {
  server_->upload(state_.mean.data(), mean.data(), mean.size_bytes());
  if (!precision.empty()) server_->upload(state_.precision.data(), precision.data(), precision.size_bytes());
  state_.round = round;
  state_.begun = begun;
  fetch_posterior();
}

template class Run<float>;
template class Run<double>;

}  // namespace ivory
