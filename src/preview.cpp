#include "src/preview.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "ivory/error.hpp"
#include "src/evaluation.hpp"
#include "src/log_layout.hpp"
#include "src/logged_scenario.hpp"
#include "src/partition.hpp"
#include "src/rank_correlation.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

constexpr std::size_t most_columns = 6;  // of clients, in tables

std::string weights_text(const std::vector<double>& weights) {
  std::vector<std::string> words;
  for (const double weight : weights) words.push_back(fmt::format("{:.4g}", weight));
  if (words.size() <= most_columns + 2) return fmt::format("{}", fmt::join(words, " "));
  words.resize(most_columns);
  return fmt::format("{} ...", fmt::join(words, " "));
}

std::string cell(double value, double factor, int decimals) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", factor * value, decimals);
}

void add_to(Metrics& total, const Metrics& own) {
  for (const MetricColumn& column : metric_columns) total.*column.value += own.*column.value;
}
void divide(Metrics& total, double by) {
  for (const MetricColumn& column : metric_columns) total.*column.value /= by;
}

Metrics last_metrics(const LogReader& log) {
  Metrics metrics;
  for (const MetricColumn& column : metric_columns) metrics.*column.value = log.column(column.name).back();
  return metrics;
}

void check_retrained(const LogHeader& header, const PreviewSource& source) {
  const auto refuse = [&](const std::string& rule, const std::string& got, const std::string& advice) {
    throw InputError(fmt::format("[preview] {}, got {}, in {}; {}", rule, got, header.file, advice));
  };
  if (!header.finished() || header.rounds == 0) {
    refuse("a retrained run must be finished", fmt::format("{} of {} rounds", header.rounds_complete, header.rounds),
           "let it go on (ivory run --resume)");
  }
  if (header.data_checksum != source.header.data_checksum || header.partition_hash != source.header.partition_hash) {
    refuse("a retrained run has the data and the partition of the log",
           fmt::format("data {}, partition {}", header.data_checksum, header.partition_hash),
           "run the log's scenario with other clients.weights and the same seeds of data and partition");
  }
  if (header.clients != source.header.clients) {
    refuse(fmt::format("a retrained run has the {} clients of the log", source.header.clients),
           fmt::format("{}", header.clients), "run the log's scenario with other clients.weights");
  }
}

}  // namespace

std::vector<Preview> make_previews(const PreviewSource& source, const std::vector<const PreviewRule*>& rules,
                                   const std::vector<std::vector<double>>& weights, const RuleSettings& settings,
                                   int threads, bool keep_models) {
  const Predictor predictor(*source.network, threads > 0 ? threads : omp_get_max_threads());
  const auto bins = static_cast<std::size_t>(source.scenario.evaluation.integer("bins"));
  const ClientExamples clients(source.scenario, source.partition, source.data.train);
  std::vector<Preview> previews;
  for (const PreviewRule* rule : rules) {
    for (const std::vector<double>& w : weights) {
      Merged<float> merged = merge(*rule, source, w, settings);
      Preview& preview = previews.emplace_back(Preview{.rule = rule, .weights = w});
      preview.clamped = merged.clamped;
      preview.objective = merged.objective;
      if (keep_models) {
        preview.mean = merged.mean;
        preview.precision = std::move(merged.precision);
      }
      merged.mean.resize(source.network->layout().stride(), 0.0F);
      const Dataset& test = source.data.test;
      preview.test = evaluate(predictor.predict(merged.mean.data(), test), test, bins).metrics;
      if (!source.evaluates_clients()) continue;
      const Predictions predictions = predictor.predict(merged.mean.data(), clients.data());
      for (const auto& own : clients.rows()) {
        preview.clients.push_back(metrics_of_rows(predictions, clients.data(), own, bins));
      }
    }
  }
  return previews;
}

std::vector<Retrained> read_retrained(const std::vector<std::string>& logs, const PreviewSource& source) {
  if (source.clients.size() != source.header.clients) {
    throw InputError(
        fmt::format("[preview] previews are compared with retrained models where all {} clients are merged, "
                    "got {}, in {}; leave --clients out, or choose a round in which all took part",
                    source.header.clients, source.clients.size(), source.header.file));
  }
  std::vector<Retrained> all;
  for (const std::string& path : logs) {
    const LogReader log(path);
    check_retrained(log.header(), source);
    std::vector<double> weights = logged_scenario(log.header()).clients.reals("weights");
    if (weights.empty()) weights.assign(source.header.clients, 1.0);
    if (weights.size() != source.header.clients) {
      throw InputError(
          fmt::format("[preview] clients.weights must have one number for each of {} clients, got {}, in {}",
                      source.header.clients, weights.size(), path));
    }
    // Clients are merged in the order that the user named them.
    std::vector<double> own;
    for (const std::uint32_t k : source.clients) own.push_back(weights[k]);
    auto known = std::find_if(all.begin(), all.end(), [&](const Retrained& r) { return r.weights == own; });
    const std::size_t row = log.client_evaluation_rounds().size();
    std::vector<Metrics> clients;
    if (row > 0 && source.evaluates_clients()) clients = log.client_metrics(row - 1);
    if (known == all.end()) {
      all.push_back({.weights = own, .logs = {path}, .test = last_metrics(log), .clients = std::move(clients)});
      continue;
    }
    known->logs.push_back(path);
    add_to(known->test, last_metrics(log));
    if (clients.empty()) known->clients.clear();
    for (std::size_t k = 0; k < known->clients.size(); ++k) add_to(known->clients[k], clients[k]);
  }
  for (Retrained& one : all) {
    const auto count = static_cast<double>(one.logs.size());
    divide(one.test, count);
    for (Metrics& metrics : one.clients) divide(metrics, count);
  }
  return all;
}

std::vector<RankAgreement> rank_agreement(const std::vector<Preview>& previews,
                                          const std::vector<Retrained>& retrained) {
  std::vector<RankAgreement> all;
  const std::size_t points = retrained.size();
  for (std::size_t first = 0; first + points <= previews.size() && points > 0; first += points) {
    RankAgreement& agreement = all.emplace_back(RankAgreement{.rule = previews[first].rule});
    const auto compare = [&](const auto& value) {
      std::vector<double> before, after;
      for (std::size_t i = 0; i < points; ++i) {
        before.push_back(value(previews[first + i]));
        after.push_back(value(retrained[i]));
      }
      return RankAgreement::Pair{spearman(before, after), kendall(before, after)};
    };
    agreement.accuracy = compare([](const auto& one) { return one.test.accuracy; });
    agreement.nll = compare([](const auto& one) { return one.test.nll; });
    std::size_t clients = previews[first].clients.size();
    for (const Retrained& one : retrained) clients = std::min(clients, one.clients.size());
    for (std::size_t k = 0; k < clients; ++k) {
      agreement.client_accuracy.push_back(compare([k](const auto& one) { return one.clients[k].accuracy; }));
      agreement.client_nll.push_back(compare([k](const auto& one) { return one.clients[k].nll; }));
    }
  }
  return all;
}

std::string preview_table(const std::vector<Preview>& previews, const PreviewSource& source) {
  const bool regression = source.data.test.outputs > 0;
  const std::size_t clients = previews.empty() ? 0 : previews.front().clients.size();
  const bool each = clients <= most_columns;
  TextTable table(2);
  std::vector<std::string> headings = {"rule", "weights"};
  const std::string main = regression ? "RMSE" : "acc. [%]";
  headings.emplace_back(regression ? "RMSE" : "accuracy [%]");
  headings.emplace_back("NLL [nat]");
  if (!regression) headings.emplace_back("ECE [%]");
  for (std::size_t k = 0; each && k < clients; ++k) headings.push_back(fmt::format("client {}: {}", k, main));
  if (!each) headings.insert(headings.end(), {"clients' mean: " + main, "worst: " + main});
  table.row(headings);
  const auto shown = [&](const Metrics& m) { return regression ? cell(m.rmse, 1, 4) : cell(m.accuracy, 100, 2); };
  for (const Preview& preview : previews) {
    std::vector<std::string> cells = {preview.rule->name, weights_text(preview.weights), shown(preview.test),
                                      cell(preview.test.nll, 1, 4)};
    if (!regression) cells.push_back(cell(preview.test.ece, 100, 2));
    for (std::size_t k = 0; each && k < clients; ++k) cells.push_back(shown(preview.clients[k]));
    if (!each) {
      Metrics mean{.accuracy = 0, .rmse = 0}, worst{.accuracy = 1, .rmse = 0};
      double count = 0;
      for (const Metrics& own : preview.clients) {
        if (std::isnan(regression ? own.rmse : own.accuracy)) continue;  // no examples
        count += 1;
        mean.accuracy += own.accuracy, mean.rmse += own.rmse;
        worst.accuracy = std::min(worst.accuracy, own.accuracy), worst.rmse = std::max(worst.rmse, own.rmse);
      }
      mean.accuracy /= count, mean.rmse /= count;
      cells.insert(cells.end(), {shown(mean), shown(worst)});
    }
    table.row(cells);
  }
  return table.text();
}

std::string agreement_table(const std::vector<RankAgreement>& agreement, const std::vector<Retrained>& retrained) {
  TextTable table(1);
  const std::size_t clients = agreement.empty() ? 0 : agreement.front().client_nll.size();
  const bool each = clients <= most_columns;
  std::vector<std::string> headings = {"rule", "accuracy", "tau", "NLL", "tau"};
  for (std::size_t k = 0; each && k < clients; ++k) headings.push_back(fmt::format("client {}: NLL", k));
  if (!each) headings.emplace_back("clients' mean: NLL");
  table.row(headings);
  for (const RankAgreement& one : agreement) {
    std::vector<std::string> cells = {one.rule->name, cell(one.accuracy.spearman, 1, 3),
                                      cell(one.accuracy.kendall, 1, 3), cell(one.nll.spearman, 1, 3),
                                      cell(one.nll.kendall, 1, 3)};
    double mean = 0;
    for (const auto& pair : one.client_nll) {
      if (each) cells.push_back(cell(pair.spearman, 1, 3));
      mean += pair.spearman / static_cast<double>(clients);
    }
    if (!each) cells.push_back(cell(mean, 1, 3));
    table.row(cells);
  }
  return fmt::format("rank correlation of previews with {} retrained models: Spearman's rho, and Kendall's tau-b\n{}",
                     retrained.size(), table.text());
}

}  // namespace ivory
