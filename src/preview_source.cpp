#include "src/preview_source.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <optional>

#include "clients/public_pool.hpp"
#include "ivory/error.hpp"
#include "src/content_hash.hpp"
#include "src/logged_scenario.hpp"
#include "src/model.hpp"
#include "src/partition.hpp"
#include "src/preview_rules.hpp"
#include "src/resume_check.hpp"
#include "src/run_parts.hpp"
#include "src/state_hash.hpp"

namespace ivory {
namespace {

// What a log must share with the first one, and with the data that are there now.
void check_same(const std::string& what, const std::string& expected, const std::string& got, const std::string& file,
                const std::string& advice) {
  if (expected == got) return;
  throw InputError(fmt::format("[preview] the {} must be that of the log, {}, got {}, in {}; {}", what, expected, got,
                               file, advice));
}

struct StartOfRun {
  std::vector<float> start;            // initial weights [P]
  std::vector<float> mean, precision;  // the server's before round 1; `precision` empty for methods without one
};

// Loads the data and divides them as the run did, and takes from the run's parts what previews need.
template <class Real>
StartOfRun take_parts(PreviewSource& source) {
  RunParts<Real> parts(source.scenario);
  const std::string& file = source.header.file;
  check_log_data("preview", source.header, parts.data.checksum);
  check_same("partition (hash)", source.header.partition_hash, hexadecimal(parts.partition.hash), file,
             "use the version of ivory that wrote the log, or run again");
  check_log_clients("preview", source.header, parts.partition.clients());
  const std::vector<float> start = initial_weights(source.scenario, parts.network);
  if (!source.header.start_hash.empty()) {
    check_same("start (hash of the weights)", source.header.start_hash, hexadecimal(hash_weights(start)), file,
               "put the file of model.init back, or run again");
  }
  check_log_parameters("preview", source.header, parts.network.layout().size());
  const auto device = make_cpu_device();
  const std::size_t size = parts.network.layout().size();
  ServerState<Real> state(*device, size, parts.network.layout().stride(), parts.client_sizes(),
                          parts.everyone_takes_part);
  std::unique_ptr<PoolModel<Real>> pool;
  if (parts.traits.uses_public_pool) {
    pool = std::make_unique<PoolModel<Real>>(*device, parts.training_network, parts.data.public_pool);
    state.public_model = pool.get();
  }
  state.start.from_host(std::vector<Real>(start.begin(), start.end()));
  parts.algorithm->initialise(state);
  const auto head = [&](const Buffer<Real>& from) {
    const std::vector<Real> all = from.to_host();
    return std::vector<float>(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min(size, all.size())));
  };
  StartOfRun begin{.start = {start.begin(), start.begin() + static_cast<std::ptrdiff_t>(size)},
                   .mean = head(state.mean),
                   .precision = {}};
  if (!parts.traits.full_covariance) begin.precision = head(state.precision);
  source.traits = parts.traits;
  source.step = parts.algorithm->natural_step();
  source.prior_precision = parts.algorithm->prior_precision();
  source.network = std::make_unique<Network<float>>(std::move(parts.network));
  source.layout = &source.network->layout();
  source.method = method_text(source.header.algorithm, source.header.optimizer);
  source.place = file;
  source.data = std::move(parts.data);
  source.partition = std::move(parts.partition);
  return begin;
}

std::size_t row_of_round(const LogReader& log, int round) {
  const std::vector<int> rounds = log.site_rounds();
  if (rounds.empty()) {
    const std::string sites = logged_scenario(log.header()).log.text("sites");
    throw InputError(fmt::format(
        "[preview] the log must hold the clients' posteriors of a finished round, got log.sites = \"{}\" and {} "
        "finished rounds, in {}; run again with --set log.sites=every log.posterior_every=1",
        sites, log.header().rounds_complete, log.header().file));
  }
  const auto found = std::find(rounds.begin(), rounds.end(), round);
  if (round > 0 && found == rounds.end()) {
    throw InputError(
        fmt::format("[preview] the clients' posteriors must be in the log for round {}, got rounds {}, in "
                    "{}; choose one of them (--round), or run with log.sites = \"every\" and "
                    "log.posterior_every = 1",
                    round, fmt::join(rounds, ", "), log.header().file));
  }
  return round > 0 ? static_cast<std::size_t>(found - rounds.begin()) : rounds.size() - 1;
}

// All clients of one row; without a mean for those that were absent or whose update was refused.
std::vector<MergedPosterior> read_row(const LogReader& log, std::size_t row) {
  const std::size_t size = log.header().parameters;
  std::vector<MergedPosterior> clients(log.header().clients);
  const auto take = [&](const char* name, std::vector<float> MergedPosterior::*into) {
    const std::vector<float> all = log.client_vectors(name, row);
    for (std::size_t k = 0; k < clients.size(); ++k) {
      const auto first = all.begin() + static_cast<std::ptrdiff_t>(k * size);
      const auto end = first + static_cast<std::ptrdiff_t>(size);
      if (std::all_of(first, end, [](float value) { return std::isfinite(value); }))
        (clients[k].*into).assign(first, end);
    }
  };
  take("mean", &MergedPosterior::mean);
  take("precision", &MergedPosterior::precision);
  take("site_mean", &MergedPosterior::site_mean);
  take("site_precision", &MergedPosterior::site_precision);
  return clients;
}

void choose_clients(PreviewSource& source, const std::vector<std::uint32_t>& wanted,
                    const std::vector<MergedPosterior>& logged) {
  source.clients = wanted;
  if (wanted.empty()) {
    for (std::uint32_t k = 0; k < logged.size(); ++k) {
      if (!logged[k].mean.empty()) source.clients.push_back(k);
    }
  }
  for (std::size_t i = 0; i < source.clients.size(); ++i) {
    const std::uint32_t k = source.clients[i];
    if (k >= logged.size()) {
      throw InputError(fmt::format("[preview] clients are numbered 0 to {}, got {}, in --clients; correct it",
                                   logged.size() - 1, k));
    }
    if (std::count(source.clients.begin(), source.clients.end(), k) > 1) {
      throw InputError(
          fmt::format("[preview] a client is named once, got {} again, in --clients; give it a larger weight", k));
    }
    if (logged[k].mean.empty()) {
      throw InputError(
          fmt::format("[preview] a merged client must have taken part in round {} with a finite update, got "
                      "client {}, in {}; choose others (--clients) or another round (--round)",
                      source.round, k, source.header.file));
    }
  }
  if (source.clients.empty()) {
    throw InputError(
        fmt::format("[preview] some client must have taken part in round {}, got none, in {}; choose another "
                    "round (--round)",
                    source.round, source.header.file));
  }
}

// The components of `log`: `question.late_rounds` rounds up to `round`, the last one first.
void add_components(PreviewSource& source, const LogReader& log, const PreviewQuestion& question, bool first_log) {
  const std::size_t last = row_of_round(log, first_log ? question.round : source.round);
  const auto late = static_cast<std::size_t>(question.late_rounds);
  if (late > last + 1) {
    throw InputError(
        fmt::format("[preview] {} late rounds must be in the log up to round {}, got {}, in {}; run with log.sites = "
                    "\"every\" and log.posterior_every = 1, or lower --late-rounds",
                    late, log.site_rounds()[last], last + 1, log.header().file));
  }
  for (std::size_t back = 0; back < late; ++back) {
    std::vector<MergedPosterior> logged = read_row(log, last - back);
    if (first_log && back == 0) {
      source.round = log.site_rounds()[last];
      choose_clients(source, question.clients, logged);
      source.tasks.resize(source.clients.size());
    }
    for (std::size_t t = 0; t < source.clients.size(); ++t) {
      MergedPosterior& own = logged[source.clients[t]];
      if (!own.mean.empty() && !source.tasks[t].empty() &&
          own.precision.empty() != source.tasks[t].front().precision.empty()) {
        throw InputError(
            fmt::format("[preview] the components of a client must all have a finite precision, or none, got client {} "
                        "with and without, in {}; name other logs, or fewer --late-rounds",
                        source.clients[t], log.header().file));
      }
      if (!own.mean.empty()) source.tasks[t].push_back(std::move(own));  // absent: a component less
    }
  }
}

void find_base(PreviewSource& source, const LogReader& log, const std::string& base, StartOfRun begin) {
  if (base == "start" || (base == "before" && source.traits.personal)) {
    source.base = {std::move(begin.start), {}, {}, {}};
    source.base_text = "start weights";
    return;
  }
  if (base == "prior") {
    if (!std::isfinite(source.prior_precision)) {
      throw InputError(
          fmt::format("[preview] --base prior needs a method with a prior, got algorithm \"{}\", in {}; take "
                      "--base start or before",
                      source.header.algorithm, source.header.file));
    }
    source.base.mean.assign(source.header.parameters, 0.0F);
    source.base.precision.assign(source.header.parameters, static_cast<float>(source.prior_precision));
    source.base_text = "prior";
    return;
  }
  if (source.round == 1) {
    source.base = {std::move(begin.mean), std::move(begin.precision), {}, {}};
    source.base_text = "server before round 1";
    return;
  }
  const std::vector<int> rounds = log.posterior_rounds();
  const auto found = std::find(rounds.begin(), rounds.end(), source.round - 1);
  if (found == rounds.end()) {
    source.base_text = fmt::format("the server after round {} is not in the log, which has it after rounds {}",
                                   source.round - 1, fmt::join(rounds, ", "));
    return;
  }
  const auto row = static_cast<std::size_t>(found - rounds.begin());
  source.base.mean = log.posterior_mean(row);
  if (source.traits.gives_posterior && !source.traits.full_covariance) {
    source.base.precision = log.posterior_precision(row);
  }
  source.base_text = fmt::format("server after round {}", source.round - 1);
}

}  // namespace

std::vector<double> PreviewSource::merged_examples() const {
  std::vector<double> examples;
  for (const std::uint32_t k : clients) examples.push_back(static_cast<double>(partition.train[k].size()));
  return examples;
}

PreviewSource load_preview_source(const PreviewQuestion& question) {
  PreviewSource source;
  const LogReader first(question.logs.front());
  source.header = first.header();
  row_of_round(first, question.round);  // what is not there is refused before anything is loaded
  source.scenario = logged_scenario(source.header);
  StartOfRun begin = runs_in_double(source.scenario) ? take_parts<double>(source) : take_parts<float>(source);
  add_components(source, first, question, true);
  find_base(source, first, question.base, std::move(begin));
  for (std::size_t i = 1; i < question.logs.size(); ++i) {
    const LogReader log(question.logs[i]);
    const LogHeader& header = log.header();
    check_same("algorithm", source.header.algorithm, header.algorithm, header.file, "name logs of one arm");
    check_same("data (checksum)", source.header.data_checksum, header.data_checksum, header.file,
               "name seeds of one scenario with data.seed set");
    check_same("partition (hash)", source.header.partition_hash, header.partition_hash, header.file,
               "name seeds of one scenario with partition.seed set, so that they have the same clients");
    check_log_clients("preview", header, source.header.clients);
    check_same("number of parameters", fmt::format("{}", source.header.parameters),
               fmt::format("{}", header.parameters), header.file, "name logs of one network");
    add_components(source, log, question, false);
  }
  return source;
}

}  // namespace ivory
