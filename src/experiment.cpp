#include "src/experiment.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <optional>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/client_runner.hpp"
#include "src/data_sets.hpp"
#include "src/evaluation.hpp"
#include "src/memory_plan.hpp"
#include "src/model.hpp"
#include "src/partition.hpp"
#include "src/run_log.hpp"
#include "src/state_hash.hpp"

namespace ivory {
namespace {

using Clock = std::chrono::steady_clock;
using Examples = std::vector<std::vector<std::uint32_t>>;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// The participants of a round in increasing order: a keyed draw without replacement.
std::vector<std::uint32_t> sample_cohort(std::uint64_t seed, std::uint64_t round, std::size_t clients,
                                         double participation) {
  std::vector<std::uint32_t> cohort(clients);
  std::iota(cohort.begin(), cohort.end(), 0U);
  const auto wanted = static_cast<std::size_t>(std::max(1.0, std::round(participation * static_cast<double>(clients))));
  if (wanted >= clients) return cohort;
  StreamReader random(seed, {.purpose = Purpose::cohort, .round = round});
  random.shuffle(cohort.begin(), clients);
  cohort.resize(wanted);
  std::sort(cohort.begin(), cohort.end());
  return cohort;
}

// Pooled training: every example that some client holds, once, in one client.
Examples pooled(const Examples& clients) {
  std::vector<std::uint32_t> all;
  for (const auto& rows : clients) all.insert(all.end(), rows.begin(), rows.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return {std::move(all)};
}

// Everything a run needs before round 1; built once, then only read.
class Run {
 public:
  Run(const Scenario& scenario, const RunSettings& settings)
      : scenario_(scenario), threads_(settings.threads > 0 ? settings.threads : omp_get_max_threads()),
        data_(load_data(scenario)), partition_(make_partition(scenario, data_.train)),
        examples_(scenario.clients.boolean("pool") ? pooled(partition_.train) : partition_.train),
        network_(make_network(scenario, data_.train.features, static_cast<std::size_t>(data_.train.classes))),
        optimizer_(find_optimizer(scenario.optimizer_name)->make_float(scenario.optimizer)),
        algorithm_(find_algorithm(scenario.algorithm_name)->make_float(scenario.algorithm)),
        traits_(algorithm_->traits()), server_(make_server_device(settings)),
        state_(*server_, network_.layout().size(), network_.layout().stride(), examples_.size(),
               scenario.clients.real("participation") >= 1.0),
        predictor_(server_->shares_host_memory() ? Predictor(network_, threads_)
                                                 : Predictor(network_, *server_, threads_)) {
    const std::vector<float> start = initial_weights(scenario, network_);
    start_hash_ = hash_weights(start);
    state_.start.from_host(start);
    algorithm_->initialise(state_);
    for (const Dataset* data : {&data_.train, &data_.test, &data_.validation}) {
      if (data->size() > 0) predictor_.keep(*data);
    }
    make_runner(settings);
    fetch_posterior();
  }

  LogPlan log_plan() const {
    return {.scenario = &scenario_,
            .layout = &network_.layout(),
            .partition = &partition_,
            .train = &data_.train,
            .device = runner_->describe(),
            .data_checksum = data_.checksum,
            .start_hash = start_hash_,
            .data_description = data_.description,
            .classes = data_.train.classes,
            .has_posterior = traits_.gives_posterior,
            .clients_have_posterior = traits_.needs_posterior,
            .has_sites = algorithm_has_sites()};
  }

  // READ FIRST: one round, top to bottom.
  RoundRecord round(RunLog& log) {
    const auto start = Clock::now();
    const int number = static_cast<int>(state_.round) + 1;
    const auto cohort =
        sample_cohort(scenario_.seed, state_.round, examples_.size(), scenario_.clients.real("participation"));
    const bool log_sites = log.wants_sites(number);
    CohortReport cohort_report =
        runner_->run(state_, cohort, [&](const ServerState<float>& state, const ClientUpdate<float>& update) {
          if (log_sites) log_client(log, number, state, update);
        });
    const AbsorbReport absorbed = algorithm_->close_round(state_);
    state_.round += 1;
    fetch_posterior();

    RoundRecord record;
    record.round = number;
    record.seconds_training = seconds_since(start);
    fill(record, std::move(cohort_report), absorbed, cohort.size());
    const auto evaluation_start = Clock::now();
    evaluate(record);
    record.seconds_evaluation = seconds_since(evaluation_start);
    if (log.wants_posterior(number)) log.write_posterior(number, mean_, precision_);
    record.seconds = seconds_since(start);
    log.append(record);
    return record;
  }

 private:
  VisitPlan visit_plan() const {
    return {.seed = scenario_.seed,
            .epochs = scenario_.clients.integer("epochs"),
            .steps = scenario_.clients.integer("steps"),
            .batch = static_cast<std::size_t>(scenario_.clients.integer("batch")),
            .keep_state = scenario_.clients.boolean("keep_opt_state"),
            .same_draws = scenario_.clients.boolean("ref_same_seed")};
  }

  bool algorithm_has_sites() const { return traits_.needs_posterior && traits_.vectors_per_client >= 2; }

  static std::unique_ptr<Device> make_server_device(const RunSettings& settings) {
    return settings.devices.empty() ? make_cpu_device() : settings.devices.front()();
  }

  // The largest blocks that fit: what was counted may still be too much where others use the device, so smaller ones follow.
  void make_runner(const RunSettings& settings) {
    const LearningRate rate(scenario_.optimizer.real("lr"), scenario_.rounds, scenario_.clients);
    const VisitPlan plan = visit_plan().for_clients(examples_);
    for (std::size_t block = settings.devices.empty() ? 1 : first_block(settings, plan);; block = (block + 1) / 2) {
      Lanes lanes = settings.devices.empty() ? cpu_lanes(threads_) : Lanes{};
      lanes.block = block;
      for (const auto& make : settings.devices) lanes.devices.push_back(make());
      try {
        runner_ = std::make_unique<ClientRunner>(network_, *optimizer_, *algorithm_, data_.train, examples_, plan, rate,
                                                 *server_, std::move(lanes));
        return;
      } catch (const MemoryError&) {
        if (block == 1) throw;
      }
    }
  }

  // After the server's arrays are in place, so that they cannot lack room later.
  std::size_t first_block(const RunSettings& settings, const VisitPlan& plan) {
    const auto wanted = static_cast<std::size_t>(
        std::ceil(scenario_.clients.real("participation") * static_cast<double>(examples_.size())));
    const std::size_t most = settings.block > 0 ? settings.block : std::max<std::size_t>(wanted, 1);
    const MemoryPlan memory = plan_memory({.network = &network_,
                                           .optimizer = optimizer_.get(),
                                           .traits = traits_,
                                           .plan = plan,
                                           .clients = examples_.size(),
                                           .everyone_takes_part = state_.everyone_takes_part,
                                           .examples = data_.train.size()});
    return largest_block(memory, server_->free_memory(), settings.devices.size(), most);
  }

  // The server's Gaussian on the host, for hash and log.
  void fetch_posterior() {
    const auto fetch = [&](std::vector<float>& to, const Buffer<float>& from) {
      to.resize(from.empty() ? 0 : state_.parameters);
      if (!from.empty()) server_->download(to.data(), from.data(), to.size() * sizeof(float));
    };
    fetch(mean_, state_.mean);
    fetch(precision_, state_.precision);
  }

  void log_client(RunLog& log, int round, const ServerState<float>& state, const ClientUpdate<float>& update) const {
    std::vector<std::vector<float>> copies;  // of what lies in an accelerator's memory
    const auto view = [&](const float* data) -> std::span<const float> {
      if (data == nullptr || server_->shares_host_memory()) return {data, data != nullptr ? state.parameters : 0};
      auto& copy = copies.emplace_back(state.parameters);
      server_->download(copy.data(), data, copy.size() * sizeof(float));
      return copy;
    };
    copies.reserve(4);
    const bool sites = algorithm_has_sites();
    log.write_client(round,
                     {.client = update.client,
                      .mean = view(update.mean),
                      .precision = view(update.precision),
                      .site_mean = view(sites ? algorithm_->site_mean(state, update.client) : nullptr),
                      .site_precision = view(sites ? algorithm_->site_precision(state, update.client) : nullptr)});
  }

  void fill(RoundRecord& record, CohortReport&& cohort, const AbsorbReport& absorbed, std::size_t participants) const {
    const double bytes = static_cast<double>(state_.parameters) * sizeof(float) * static_cast<double>(participants);
    // Pooled training has no network; its one "client" stands for a data centre.
    const bool talks = !scenario_.clients.boolean("pool");
    record.bytes_down = talks ? bytes * traits_.vectors_down : 0.0;
    record.bytes_up = talks ? bytes * traits_.vectors_up : 0.0;
    record.train_loss = cohort.train_loss;
    record.participants = cohort.participants;
    record.refused = cohort.refused;
    record.clamped = absorbed.clamped;
    record.precision_gap_closed = cohort.precision_gap_closed;
    record.clients = std::move(cohort.clients);
    record.clients.resize(partition_.clients());
    record.state_hash = hash_posterior(mean_, precision_);
  }

  void evaluate(RoundRecord& record) {
    const Options& options = scenario_.evaluation;
    const bool last = record.round == scenario_.rounds;
    const auto due = [&](const char* key) { return last || record.round % options.integer(key) == 0; };
    const auto bins = static_cast<std::size_t>(options.integer("bins"));
    record.evaluated = due("every");
    const bool clients_due = options.text("clients") != "none" && due("clients_every");
    if (traits_.personal) {
      if (record.evaluated || clients_due) evaluate_personal(record, bins, clients_due);
      return;
    }
    const float* const mean = state_.mean.data();
    if (record.evaluated) {
      const Predictions predictions = predictor_.predict(mean, data_.test);
      record.mean = evaluation_of(predictions, data_.test, bins);
      if (data_.validation.size() > 0) {
        record.validation = evaluation_of(predictor_.predict(mean, data_.validation), data_.validation, bins).metrics;
      }
      evaluate_posterior(record, bins);
    }
    if (clients_due) evaluate_clients(record, bins);
  }

  void evaluate_clients(RoundRecord& record, std::size_t bins) {
    const float* const mean = state_.mean.data();
    const auto table = [&](const Predictions& predictions) {
      std::vector<Metrics> rows;
      for (const auto& own : client_examples()) rows.push_back(metrics_of_rows(predictions, data_.train, own, bins));
      return rows;
    };
    record.client_metrics = table(predictor_.predict(mean, data_.train));
    const auto samples = static_cast<int>(scenario_.evaluation.integer("samples"));
    if (!traits_.gives_posterior || samples == 0) return;
    record.client_metrics_bayes = table(predictor_.average_predictions(mean, state_.precision.data(), data_.train,
                                                                       samples, scenario_.seed, state_.round));
  }

  void evaluate_posterior(RoundRecord& record, std::size_t bins) {
    if (!traits_.gives_posterior) return;
    const Options& options = scenario_.evaluation;
    const float* const mean = state_.mean.data();
    const float* const precision = state_.precision.data();
    if (const auto samples = static_cast<int>(options.integer("samples")); samples > 0) {
      PosteriorAverage average =
          predictor_.posterior_average(mean, precision, data_.test, samples, bins, scenario_.seed, state_.round);
      record.bayes = std::move(average.evaluation);
      record.bayes_error = average.error;
    }
    const double tau = algorithm_->temperature(), prior = algorithm_->prior_precision();
    if (const auto samples = static_cast<int>(options.integer("elbo_samples")); samples > 0 && std::isfinite(tau)) {
      std::vector<float> weights(data_.train.size(), 0.0F);
      for (const auto& rows : examples_) {
        for (const std::uint32_t row : rows) weights[row] += 1.0F;
      }
      const NegativeElbo elbo = predictor_.negative_elbo(mean, precision, data_.train, weights, tau, prior, samples,
                                                         scenario_.seed, state_.round);
      record.negative_elbo = elbo.value;
      record.negative_elbo_error = elbo.error;
    }
  }

  // Every client has its own model: test metrics are means over clients, confusion and bins too.
  void evaluate_personal(RoundRecord& record, std::size_t bins, bool clients_due) {
    const auto clients = static_cast<std::uint32_t>(examples_.size());
    const auto sum_into = [](std::optional<Evaluation>& total, Evaluation&& own) {
      if (total) {
        add(*total, own);
      } else {
        total = std::move(own);
      }
    };
    std::optional<Evaluation> test, validation;
    for (std::uint32_t k = 0; k < clients; ++k) {
      const float* const own = algorithm_->personal_mean(state_, k);
      const auto evaluation_on = [&](const Dataset& data) {
        return evaluation_of(predictor_.predict(own, data), data, bins);
      };
      if (record.evaluated) {
        sum_into(test, evaluation_on(data_.test));
        if (data_.validation.size() > 0) sum_into(validation, evaluation_on(data_.validation));
      }
      if (clients_due) {
        record.client_metrics.push_back(evaluation_on(subset(data_.train, client_examples()[k])).metrics);
      }
    }
    for (std::optional<Evaluation>* total : {&test, &validation}) {
      if (*total) scale(**total, 1.0 / static_cast<double>(clients));
    }
    if (test) record.mean = std::move(*test);
    if (validation) record.validation = validation->metrics;
  }

  static Evaluation evaluation_of(const Predictions& predictions, const Dataset& data, std::size_t bins) {
    return evaluate_probabilities(predictions.probability.data(), data.labels.data(), data.size(),
                                  static_cast<std::size_t>(data.classes), bins, predictions.log_likelihood.data());
  }

  const Examples& client_examples() const {
    const std::string& choice = scenario_.evaluation.text("clients");
    const bool has_holdout = !partition_.holdout.empty();
    return choice == "holdout" || (choice == "auto" && has_holdout) ? partition_.holdout : partition_.train;
  }

  static Dataset subset(const Dataset& data, std::span<const std::uint32_t> rows) {
    Dataset out;
    out.features = data.features;
    out.classes = data.classes;
    for (const std::uint32_t row : rows) {
      out.x.insert(out.x.end(), data.row(row), data.row(row) + data.features);
      out.labels.push_back(data.labels[row]);
    }
    return out;
  }

  template <class Combine>
  static void combine(Evaluation& into, const Evaluation& from, const Combine& f) {
    const auto metrics = [&](Metrics& a, const Metrics& b) {
      f(a.accuracy, b.accuracy), f(a.nll, b.nll), f(a.ece, b.ece), f(a.brier, b.brier), f(a.entropy, b.entropy);
    };
    const auto column = [&](std::vector<double>& a, const std::vector<double>& b) {
      for (std::size_t i = 0; i < a.size(); ++i) f(a[i], b[i]);
    };
    metrics(into.metrics, from.metrics);
    for (std::size_t c = 0; c < into.classes.rows.size(); ++c) metrics(into.classes.rows[c], from.classes.rows[c]);
    column(into.classes.examples, from.classes.examples);
    column(into.confusion, from.confusion);
    column(into.bins.count, from.bins.count);
    column(into.bins.confidence, from.bins.confidence);
    column(into.bins.correct, from.bins.correct);
  }
  static void add(Evaluation& into, const Evaluation& from) {
    combine(into, from, [](double& a, double b) { a += b; });
  }
  static void scale(Evaluation& into, double factor) {
    combine(into, into, [factor](double& a, double) { a *= factor; });
  }

  const Scenario& scenario_;
  int threads_;
  DataSplit data_;
  Partition partition_;
  Examples examples_;  // of the clients that train: the partition's, or one pooled client
  Network<float> network_;
  std::unique_ptr<Optimizer<float>> optimizer_;
  std::unique_ptr<Algorithm<float>> algorithm_;
  AlgorithmTraits traits_;
  std::uint64_t start_hash_ = 0;
  std::unique_ptr<Device> server_;
  ServerState<float> state_;
  std::vector<float> mean_, precision_;  // the server's Gaussian, on the host
  Predictor predictor_;
  std::unique_ptr<ClientRunner> runner_;
};

}  // namespace

int run_experiment(const Scenario& scenario, const RunSettings& settings) {
  Run run(scenario, settings);
  RunLog log(settings.log_file, run.log_plan());
  int round = 0;
  while (round < scenario.rounds && !(settings.should_stop && settings.should_stop())) {
    const RoundRecord record = run.round(log);
    round = record.round;
    if (settings.on_round) settings.on_round(record);
  }
  log.close();
  return round;
}

RunIdentity identify(const Scenario& scenario) {
  const DataSplit data = load_data(scenario);
  const auto network = make_network(scenario, data.train.features, static_cast<std::size_t>(data.train.classes));
  return {.data_checksum = data.checksum, .start_hash = hash_weights(initial_weights(scenario, network))};
}

}  // namespace ivory
