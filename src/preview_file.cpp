// The file of previews (docs/log-format.md, "Previews").
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "src/hdf5_group.hpp"
#include "src/log_layout.hpp"
#include "src/preview.hpp"

namespace ivory {
namespace {

constexpr int preview_format_version = 1;

template <class Rows, class Value>
std::vector<double> column_of(const Rows& rows, const Value& value) {
  std::vector<double> column;
  for (const auto& row : rows) column.push_back(value(row));
  return column;
}

// [rows x n] of a list that every row has.
template <class Rows, class List>
auto flat(const Rows& rows, const List& list) {
  std::decay_t<decltype(list(rows.front()))> all;
  for (const auto& row : rows) {
    const auto& own = list(row);
    all.insert(all.end(), own.begin(), own.end());
  }
  return all;
}

bool all_have_clients(const auto& rows) {
  for (const auto& row : rows) {
    if (row.clients.empty()) return false;
  }
  return true;
}

// Metrics of rows that have `test` and `clients`.
void write_metrics(Hdf5Group& group, const auto& rows, const std::string& scale, std::size_t clients) {
  for (const MetricColumn& column : metric_columns) {
    group.data(column.name, {scale}, column.units, fmt::format("{} on the test set", column.meaning),
               column_of(rows, [&](const auto& row) { return row.test.*column.value; }));
  }
  if (!all_have_clients(rows)) return;
  group.count_scale("client", "client of the run", clients);
  for (const MetricColumn& column : metric_columns) {
    group.data(fmt::format("client_{}", column.name), {scale, "client"}, column.units,
               fmt::format("{} on the client's own examples", column.meaning), flat(rows, [&](const auto& row) {
                 return column_of(row.clients, [&](const Metrics& m) { return m.*column.value; });
               }));
  }
}

void write_attributes(Hdf5File& file, const PreviewOutcome& outcome) {
  const PreviewSource& source = *outcome.source;
  file.set_integer("/", "preview_format_version", preview_format_version);
  file.set_text("/", "ivory_version", IVORY_VERSION);
  file.set_text("/", "created_by", "ivory " IVORY_VERSION);
  file.set_text("/", "logs", fmt::format("{}", fmt::join(*outcome.logs, "\n")));
  file.set_text("/", "scenario", source.header.scenario);
  file.set_text("/", "algorithm", source.header.algorithm);
  file.set_text("/", "optimizer", source.header.optimizer);
  file.set_text("/", "data_checksum", source.header.data_checksum);
  file.set_text("/", "partition_hash", source.header.partition_hash);
  file.set_natural("/", "seed", source.header.seed);
  file.set_integer("/", "round", source.round);
  file.set_text("/", "base", source.base.mean.empty() ? "none" : source.base_text);
  const RuleSettings& settings = *outcome.settings;
  file.set_real("/", "scale", settings.scale);
  file.set_real("/", "delta", settings.delta);
  file.set_real("/", "alpha", settings.alpha.value_or(source.step.alpha));
  file.set_real("/", "rho", settings.rho.value_or(source.step.rho));
  file.set_real("/", "damping", settings.damping.value_or(source.step.damping));
  const char* const kinds[] = {"whole", "layers", "tempered"};
  file.set_text("/", "responsibilities", kinds[static_cast<int>(settings.responsibilities)]);
}

void write_merged(Hdf5File& file, const PreviewOutcome& outcome) {
  const PreviewSource& source = *outcome.source;
  const std::vector<Preview>& previews = outcome.previews;
  Hdf5Group group(file, "/previews");
  group.count_scale("preview", "merged model", previews.size());
  group.scale("merged_client", "client of the run that was merged",
              std::vector<std::int64_t>(source.clients.begin(), source.clients.end()));
  std::vector<std::string> rules;
  for (const Preview& preview : previews) rules.push_back(preview.rule->name);
  group.texts("rule", "preview", "rule by which the clients were merged", rules);
  group.data("weight", {"preview", "merged_client"}, "1", "weight of the client",
             flat(previews, [](const Preview& preview) { return preview.weights; }));
  group.data("components", {"merged_client"}, "components", "posteriors of the client that a mixture is made of",
             column_of(source.tasks, [](const auto& own) { return static_cast<double>(own.size()); }));
  group.data("clamped", {"preview"}, "parameters", "entries of the merged precision that were raised to their floor",
             column_of(previews, [](const Preview& preview) { return preview.clamped; }));
  group.data("objective", {"preview"}, "nat",
             "mixture: log density of the product at the merged model, but for a constant; NaN: another rule",
             column_of(previews, [](const Preview& preview) { return preview.objective; }));
  write_metrics(group, previews, "preview", source.header.clients);
  if (previews.empty() || previews.front().mean.empty()) return;
  group.count_scale("parameter", "index in the flat parameter vector", source.header.parameters);
  group.data("mean", {"preview", "parameter"}, "1", "parameters of the merged model",
             flat(previews, [](const Preview& preview) { return preview.mean; }));
  group.data("precision", {"preview", "parameter"}, "1", "their precision; NaN: the rule gives none",
             flat(previews, [&](const Preview& preview) {
               return preview.precision.empty()
                          ? std::vector<float>(source.header.parameters, static_cast<float>(no_value))
                          : preview.precision;
             }));
}

void write_retrained(Hdf5File& file, const PreviewOutcome& outcome) {
  const PreviewSource& source = *outcome.source;
  Hdf5Group group(file, "/retrained");
  group.count_scale("run", "weights that models were trained with", outcome.retrained.size());
  group.scale("merged_client", "client of the run that was merged",
              std::vector<std::int64_t>(source.clients.begin(), source.clients.end()));
  std::vector<std::string> logs;
  for (const Retrained& one : outcome.retrained) logs.push_back(fmt::format("{}", fmt::join(one.logs, "\n")));
  group.texts("logs", "run", "logs with these weights, one per line; the metrics are their means", logs);
  group.data("weight", {"run", "merged_client"}, "1", "weight of the client",
             flat(outcome.retrained, [](const Retrained& one) { return one.weights; }));
  write_metrics(group, outcome.retrained, "run", source.header.clients);
}

void write_agreement(Hdf5File& file, const std::vector<RankAgreement>& agreement) {
  Hdf5Group group(file, "/rank_correlation");
  group.count_scale("rule_number", "rule", agreement.size());
  std::vector<std::string> rules;
  for (const RankAgreement& one : agreement) rules.push_back(one.rule->name);
  group.texts("rule", "rule_number", "name of the rule", rules);
  const std::size_t clients = agreement.front().client_nll.size();
  if (clients > 0) group.count_scale("client", "client of the run", clients);
  const auto write = [&](const std::string& kind, double RankAgreement::Pair::*value) {
    const std::string meaning = kind + " of previews and retrained models over the weights, by ";
    const auto of = [&](RankAgreement::Pair RankAgreement::*metric) {
      return column_of(agreement, [&](const RankAgreement& one) { return one.*metric.*value; });
    };
    group.data(kind + "_accuracy", {"rule_number"}, "1", meaning + "test accuracy", of(&RankAgreement::accuracy));
    group.data(kind + "_nll", {"rule_number"}, "1", meaning + "test NLL", of(&RankAgreement::nll));
    if (clients == 0) return;
    const auto per_client = [&](std::vector<RankAgreement::Pair> RankAgreement::*metric) {
      return flat(agreement, [&](const RankAgreement& one) {
        return column_of(one.*metric, [&](const RankAgreement::Pair& pair) { return pair.*value; });
      });
    };
    group.data(kind + "_client_accuracy", {"rule_number", "client"}, "1", meaning + "accuracy on the client's examples",
               per_client(&RankAgreement::client_accuracy));
    group.data(kind + "_client_nll", {"rule_number", "client"}, "1", meaning + "NLL on the client's examples",
               per_client(&RankAgreement::client_nll));
  };
  write("spearman", &RankAgreement::Pair::spearman);
  write("kendall", &RankAgreement::Pair::kendall);
}

}  // namespace

void check_preview_path(const std::string& path) {
  check_own_file("preview", "previews", path, "preview_format_version");
}

void write_previews(const std::string& path, const PreviewOutcome& outcome) {
  Hdf5File file = Hdf5File::create(path);
  write_attributes(file, outcome);
  write_merged(file, outcome);
  if (!outcome.retrained.empty()) {
    write_retrained(file, outcome);
    write_agreement(file, outcome.agreement);
  }
  file.close();
}

}  // namespace ivory
