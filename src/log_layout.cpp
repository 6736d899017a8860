#include "src/log_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

#include "src/content_hash.hpp"
#include "src/data_splits.hpp"

namespace ivory {
namespace {

using Axes = std::vector<std::string>;

constexpr double missing = no_value;

/// Collects the datasets of one group. Axes are named by scales of the same group, so that a reader of one group finds
/// them.
class Group {
 public:
  Group(std::vector<LogDataset>& all, std::string path) : all_(all), path_(std::move(path)) {}

  void scale(const std::string& name, const std::string& units, const std::string& long_name,
             std::vector<double> values, Hdf5Type type = Hdf5Type::int32) {
    LogDataset row;
    row.layout = {.path = path_ + name, .type = type, .shape = {values.size()}};
    row.units = units;
    row.long_name = long_name;
    row.is_scale = true;
    row.values = std::move(values);
    add_scale(name, std::move(row));
  }
  void count_scale(const std::string& name, const std::string& long_name, std::size_t length, int first = 0) {
    std::vector<double> values(length);
    std::iota(values.begin(), values.end(), first);
    scale(name, "1", long_name, std::move(values));
  }
  void text_scale(const std::string& name, const std::string& long_name, std::vector<std::string> texts) {
    LogDataset row;
    row.layout = {.path = path_ + name, .shape = {texts.size()}};
    row.units = "1";
    row.long_name = long_name;
    row.is_scale = true;
    row.texts = std::move(texts);
    add_scale(name, std::move(row));
  }

  LogDataset& data(const std::string& name, Hdf5Type type, const Axes& axes, const std::string& units,
                   const std::string& long_name, double fill = missing, bool allocated = true) {
    LogDataset row;
    row.layout = {.path = path_ + name, .type = type, .fill = fill, .allocated = allocated};
    row.units = units;
    row.long_name = long_name;
    for (const std::string& axis : axes) {
      row.layout.shape.push_back(lengths_.at(axis));
      row.scales.push_back(path_ + axis);
    }
    all_.push_back(std::move(row));
    return all_.back();
  }
  template <class Number>
  void constant(const std::string& name, Hdf5Type type, const Axes& axes, const std::string& units,
                const std::string& long_name, const std::vector<Number>& values) {
    data(name, type, axes, units, long_name, 0).values.assign(values.begin(), values.end());
  }
  void texts(const std::string& name, const std::string& axis, const std::string& long_name,
             std::vector<std::string> values) {
    data(name, Hdf5Type::int8, {axis}, "1", long_name, 0).texts = std::move(values);
  }

 private:
  void add_scale(const std::string& name, LogDataset row) {
    lengths_[name] = row.layout.shape.front();
    row.scales = {row.layout.path};
    all_.push_back(std::move(row));
  }

  std::vector<LogDataset>& all_;
  std::string path_;  // with the '/' at its end
  std::map<std::string, std::size_t> lengths_;
};

/// Whether a run has this metric at all.
bool has(const LogPlan& plan, const MetricColumn& column) {
  return plan.train->outputs > 0 ? column.regression : column.classification;
}

std::vector<double> as_reals(const std::vector<int>& values) { return {values.begin(), values.end()}; }

void add_rounds(Group& group, const LogPlan& plan, const LogShape& shape) {
  const bool bayes = plan.has_posterior, classification = plan.train->outputs == 0;
  group.count_scale("round", "round, 1 is the first", shape.rounds, 1);
  group.count_scale("true_class", "class of the label", shape.classes);
  group.count_scale("predicted_class", "most probable class", shape.classes);
  std::vector<double> edges;
  for (std::size_t b = 1; b <= shape.bins; ++b)
    edges.push_back(static_cast<double>(b) / static_cast<double>(shape.bins));
  group.scale("bin", "1", "upper edge of the confidence bin; bins are of equal width and right-closed",
              std::move(edges), Hdf5Type::float64);
  group.text_scale("bin_sum", "what is summed over the examples of a bin", {"examples", "confidence", "correct"});

  group.scale("quantile", "1", "level of the quantile", {quantile_levels.begin(), quantile_levels.end()},
              Hdf5Type::float64);

  const struct {
    const char* suffix;
    const char* model;
    bool kept;
  } predictions[] = {{"", "mean model", true}, {"_bayes", "posterior average", bayes}};
  for (const auto& [suffix, model, kept] : predictions) {
    for (const MetricColumn& column : metric_columns) {
      group.data(std::string(column.name) + suffix, Hdf5Type::float64, {"round"}, column.units,
                 fmt::format("{} on the test set, {}", column.meaning, model), missing, kept && has(plan, column));
    }
    group.data(std::string("confusion") + suffix, Hdf5Type::float32, {"round", "true_class", "predicted_class"},
               "examples", fmt::format("test examples by true and predicted class, {}", model), missing,
               kept && classification);
    group.data(std::string("ece_bins") + suffix, Hdf5Type::float64, {"round", "bin", "bin_sum"}, "examples",
               fmt::format("sums over the test examples of each confidence bin, {}", model), missing,
               kept && classification);
    for (const MetricColumn& column : metric_columns) {
      if (!column.classification) continue;
      group.data(fmt::format("class_{}{}", column.name, suffix), Hdf5Type::float64, {"round", "true_class"},
                 column.units, fmt::format("{} on the test examples of one class, {}", column.meaning, model), missing,
                 kept && classification);
    }
  }
  for (const MetricColumn& column : metric_columns) {
    group.data(fmt::format("{}_bayes_se", column.name), Hdf5Type::float64, {"round"}, column.units,
               fmt::format("Monte-Carlo standard error of {}_bayes", column.name), missing, bayes && has(plan, column));
  }
  for (const auto& [suffix, model, kept] : predictions) {
    for (const MetricColumn& column : metric_columns) {
      group.data(fmt::format("validation_{}{}", column.name, suffix), Hdf5Type::float64, {"round"}, column.units,
                 fmt::format("{} on the validation set, {}", column.meaning, model), missing,
                 kept && has(plan, column));
    }
  }
  for (const auto& [suffix, model, kept] : predictions) {
    for (const DetectionScore& score : detection_scores) {
      for (const DetectionColumn& column : detection_columns) {
        group.data(fmt::format("{}{}{}", score.prefix, column.name, suffix), Hdf5Type::float64, {"round"}, "1",
                   fmt::format("out-of-distribution inputs told from the test set by the {}, {}: {}", score.meaning,
                               model, column.meaning),
                   missing, kept && plan.has_ood);
      }
    }
  }
  const struct {
    const char *name, *units, *long_name;
    bool there;
  } asked_for[] = {
      {"loo_nll", "nat", "leave-one-out NLL per example of the probe of evaluation.sensitivity, predicted",
       !plan.sensitivity_rows.empty()},
      {"loo_nll_se", "nat", "standard error of loo_nll over the examples of the probe", !plan.sensitivity_rows.empty()},
      {"probe_nll", "nat", "NLL per example of the same probe, mean model", !plan.sensitivity_rows.empty()},
      {"label_noise", "1", "sum over classes of the label noise's size, mean over evaluation.label_noise_probe",
       !plan.label_noise_rows.empty()},
      {"label_noise_auroc", "1", "changed labels told from others by the size of their noise: area under the ROC curve",
       !plan.label_noise_rows.empty()},
      {"label_noise_label_auroc", "1",
       "changed labels told from others by the negative noise of the label's own class: area under the ROC curve",
       !plan.label_noise_rows.empty()},
  };
  for (const auto& column : asked_for) {
    if (column.there) group.data(column.name, Hdf5Type::float64, {"round"}, column.units, column.long_name);
  }
  const struct {
    const char *name, *units, *long_name;
  } columns[] = {
      {"negative_elbo", "nat", "negative evidence lower bound of the server's posterior on the training examples"},
      {"negative_elbo_se", "nat", "Monte-Carlo standard error of negative_elbo"},
      {"laplace_prior_precision", "1", "prior precision of the Laplace posterior after the round; NaN: there is none"},
      {"train_loss", "nat",
       "training loss per example, mean over the steps of the participants weighted by their examples"},
      {"seconds", "s", "wall time of the round"},
      {"seconds_training", "s", "wall time of the clients' training and the server's step"},
      {"seconds_evaluation", "s", "wall time of the evaluation"},
      {"bytes_up", "bytes", "sent by the clients to the server, all together"},
      {"bytes_down", "bytes", "sent by the server to the clients, all together"},
      {"participants", "clients", "clients that trained and whose update counts"},
      {"refused", "clients", "clients that trained and whose update was not finite and was left out"},
      {"clamped", "parameters", "entries of the server's precision that were raised to their floor"},
      {"precision_gap_closed", "1",
       "share of the way to its fixed point that local training moved the clients' precision"},
  };
  for (const auto& column : columns) {
    group.data(column.name, Hdf5Type::float64, {"round"}, column.units, column.long_name);
  }
  const bool diagnosed = plan.scenario->log.boolean("diagnostics");
  for (const DiagnosticColumn& column : diagnostic_columns) {
    group.data(column.name, Hdf5Type::float64, {"round"}, column.units, column.meaning, missing,
               diagnosed && column.there(plan));
  }
  for (const DiagnosticQuantiles& column : diagnostic_quantiles) {
    group.data(column.name, Hdf5Type::float64, {"round", "quantile"}, column.units, column.meaning, missing,
               diagnosed && column.there(plan));
  }
  group.data("state_hash", Hdf5Type::uint64, {"round"}, "1", "hash of the server's state after the round; 0: not yet",
             0);
}

void add_curve(Group& group, const LogPlan& plan, const LogShape& shape) {
  group.count_scale("samples", "networks drawn from the posterior, the first ones of the last round's average",
                    shape.curve, 1);
  for (const MetricColumn& column : metric_columns) {
    group.data(column.name, Hdf5Type::float64, {"samples"}, column.units,
               fmt::format("{} on the test set after the last round, average over so many samples", column.meaning),
               missing, plan.has_posterior && has(plan, column));
  }
}

/// The probe's examples: an axis "example" with their rows in the training set.
void add_probe(Group& group, const std::vector<std::uint32_t>& rows, const Dataset& train) {
  group.count_scale("example", "example of the probe", rows.size());
  group.constant("row", Hdf5Type::int32, {"example"}, "1", "row of the training set", rows);
  std::vector<std::int32_t> labels;
  for (const std::uint32_t row : rows) labels.push_back(train.labels[row]);
  group.constant("label", Hdf5Type::int32, {"example"}, "1", "class that it is trained with", labels);
}

void add_sensitivity(Group& group, const LogPlan& plan) {
  add_probe(group, plan.sensitivity_rows, *plan.train);
  group.count_scale("output", "output of the network", plan.outputs);
  group.count_scale("prediction", "predicted number: class, or target", plan.predicted);
  const bool regression = plan.train->outputs > 0;
  group.data("parameter_deviation", Hdf5Type::float64, {"example"}, "1",
             "length of the shift of the parameters' mean when the example is removed");
  group.data("output_deviation", Hdf5Type::float64, {"example", "output"}, regression ? "unit of the targets" : "nat",
             "change of the example's own outputs (logits) when it is removed");
  group.data("prediction_deviation", Hdf5Type::float64, {"example", "prediction"},
             regression ? "unit of the targets" : "1",
             "change of the example's own prediction (probabilities) when it is removed, linear in output_deviation");
  group.data("nll", Hdf5Type::float64, {"example"}, "nat", "negative log-likelihood of the example, mean model");
  group.data("loo_nll", Hdf5Type::float64, {"example"}, "nat",
             "negative log-likelihood of the example, predicted for the mean model without it");
}

void add_label_noise_probe(Group& group, const LogPlan& plan) {
  const Dataset& train = *plan.train;
  add_probe(group, plan.label_noise_rows, train);
  group.count_scale("class", "class", plan.predicted);
  std::vector<int> flipped;
  for (const std::uint32_t row : plan.label_noise_rows) {
    flipped.push_back(train.true_labels()[row] != train.labels[row] ? 1 : 0);
  }
  group.constant("flipped", Hdf5Type::int8, {"example"}, "1", "1: data.label_noise changed the label", flipped);
  group.data("noise", Hdf5Type::float64, {"example", "class"}, "1",
             "probability at the posterior's mean less its expectation: what training adds to the label, on average");
  group.data("deviation", Hdf5Type::float64, {"example", "class"}, "1",
             "standard deviation over the posterior of the probability");
}

void add_previews(Group& group, const LogPlan& plan, const LogShape& shape) {
  group.scale("round", "1", "round whose clients were merged", as_reals(shape.posterior_rounds));
  group.text_scale("rule", "how they were put together (log.previews)", plan.previews);
  const Axes axes = {"round", "rule"};
  for (const MetricColumn& column : metric_columns) {
    group.data(column.name, Hdf5Type::float64, axes, column.units,
               fmt::format("{} on the test set, merged model", column.meaning), missing, has(plan, column));
  }
  group.data("clamped", Hdf5Type::float64, axes, "parameters",
             "entries of the merged precision that were raised to their floor");
}

void add_parameter_scale(Group& group, const LogShape& shape) {
  std::vector<double> indices;
  for (const ParameterRange& range : shape.logged) {
    for (std::size_t i = 0; i < range.size; ++i) indices.push_back(static_cast<double>(range.begin + i));
  }
  group.scale("parameter", "1", "index in the flat parameter vector", std::move(indices));
}

void add_posterior(Group& group, const LogPlan& plan, const LogShape& shape) {
  group.scale("round", "1", "round after which the row was written", as_reals(shape.posterior_rounds));
  add_parameter_scale(group, shape);
  group.data("mean", shape.storage, {"round", "parameter"}, "1", "mean of the server's parameters");
  group.data("precision", shape.storage, {"round", "parameter"}, "1",
             "precision of the server's parameters; NaN for methods without a posterior", missing, plan.has_posterior);
  if (!plan.has_matrix) return;
  group.count_scale("other_parameter", "index in the flat parameter vector", shape.parameters);
  group.data("precision_matrix", Hdf5Type::float64, {"round", "parameter", "other_parameter"}, "1",
             "precision matrix of the server's parameters, symmetric; its inverse is their covariance");
}

void add_clients(Group& group, const LogPlan& plan, const LogShape& shape) {
  group.count_scale("client", "client", shape.clients);
  group.count_scale("round", "round, 1 is the first", shape.rounds, 1);
  group.scale("evaluation_round", "1", "round after which the clients were evaluated", as_reals(shape.client_rounds));
  const std::string& on = plan.scenario->evaluation.text("clients");
  const bool evaluated = on != "none";
  std::vector<std::size_t> examples, holdout(shape.clients, 0);
  for (const auto& rows : plan.partition->train) examples.push_back(rows.size());
  for (std::size_t k = 0; k < plan.partition->holdout.size(); ++k) holdout[k] = plan.partition->holdout[k].size();
  group.constant("examples", Hdf5Type::int32, {"client"}, "examples", "training examples of the client", examples);
  group.constant("holdout_examples", Hdf5Type::int32, {"client"}, "examples",
                 "examples that the client never trains on", holdout);
  group.data("participation", Hdf5Type::int8, {"round", "client"}, "1",
             "0: absent, 1: trained, 2: trained and refused (not finite), -1: round to come", -1);
  group.data("train_loss", Hdf5Type::float32, {"round", "client"}, "nat",
             "training loss per example, mean over the steps of the visit; NaN: absent");
  group.data("steps", Hdf5Type::float32, {"round", "client"}, "steps", "minibatch steps of the visit; NaN: absent");
  const struct {
    const char* suffix;
    const char* model;
    bool kept;
  } predictions[] = {{"", "mean model", evaluated}, {"_bayes", "posterior average", evaluated && plan.has_posterior}};
  for (const auto& [suffix, model, kept] : predictions) {
    for (const MetricColumn& column : metric_columns) {
      group.data(std::string(column.name) + suffix, Hdf5Type::float32, {"evaluation_round", "client"}, column.units,
                 fmt::format("{} of the {} on the client's own examples (evaluation.clients = \"{}\")", column.meaning,
                             model, on),
                 missing, kept && has(plan, column));
    }
  }
  if (shape.site_rounds.empty()) return;
  group.scale("site_round", "1", "round after which the clients' vectors were written", as_reals(shape.site_rounds));
  add_parameter_scale(group, shape);
  const Axes axes = {"site_round", "client", "parameter"};
  group.data("mean", shape.storage, axes, "1", "the client's parameters after its visit; NaN: absent");
  group.data("precision", shape.storage, axes, "1", "precision of the client's posterior after its visit; NaN: none",
             missing, plan.clients_have_posterior);
  group.data("site_mean", shape.storage, axes, "1",
             "natural mean (precision times mean) of the client's site, or its dual variable; NaN: none", missing,
             plan.has_site_means);
  group.data("site_precision", shape.storage, axes, "1", "precision of the client's site; NaN: none", missing,
             plan.has_site_precisions);
}

/// Offsets and concatenated indices of one kind of examples.
void add_assignment(Group& group, const std::string& kind, const std::string& meaning,
                    const std::vector<std::vector<std::uint32_t>>& examples, std::size_t clients) {
  std::vector<double> offsets, counts, indices;
  for (std::size_t k = 0; k < clients; ++k) {
    offsets.push_back(static_cast<double>(indices.size()));
    if (k < examples.size()) indices.insert(indices.end(), examples[k].begin(), examples[k].end());
    counts.push_back(static_cast<double>(indices.size()) - offsets.back());
  }
  group.count_scale(kind + "_entry", fmt::format("position in {}_index", kind), indices.size());
  group.constant(kind + "_offset", Hdf5Type::int64, {"client"}, "1",
                 fmt::format("where the client's part of {}_index begins", kind), offsets);
  group.constant(kind + "_count", Hdf5Type::int64, {"client"}, "examples",
                 fmt::format("length of the client's part of {}_index", kind), counts);
  group.constant(kind + "_index", Hdf5Type::int32, {kind + "_entry"}, "1", meaning, indices);
}

/// Which labels are noise, and what they were; only where noise was asked for.
void add_label_noise(Group& group, const Dataset& train) {
  if (train.clean_labels.empty()) return;
  const std::vector<std::uint32_t> rows = changed_labels(train);
  std::vector<std::int32_t> before;
  for (const std::uint32_t row : rows) before.push_back(train.clean_labels[row]);
  group.count_scale("flipped_entry", "position in flipped_index", rows.size());
  group.constant("flipped_index", Hdf5Type::int32, {"flipped_entry"}, "1",
                 "rows of the training set whose label the label noise changed", rows);
  group.constant("flipped_class", Hdf5Type::int32, {"flipped_entry"}, "1", "class of these rows before the noise",
                 before);
}

void add_partition(Group& group, const LogPlan& plan, const LogShape& shape) {
  group.count_scale("client", "client", shape.clients);
  group.count_scale("class", "class of the label", shape.classes);
  std::vector<double> counts(shape.clients * shape.classes, 0.0);
  for (std::size_t k = 0; k < shape.clients; ++k) {
    for (const std::uint32_t row : plan.partition->train[k]) {
      counts[k * shape.classes + static_cast<std::size_t>(plan.train->labels[row])] += 1;
    }
  }
  group.constant("class_counts", Hdf5Type::int32, {"client", "class"}, "examples",
                 "training examples by client and class", counts);
  add_assignment(group, "train", "rows of the training set that the client trains on, client after client",
                 plan.partition->train, shape.clients);
  add_assignment(group, "holdout", "rows of the training set that the client is only evaluated on, client after client",
                 plan.partition->holdout, shape.clients);
  add_label_noise(group, *plan.train);
}

void add_parameters(Group& group, const LogPlan& plan) {
  const std::vector<ParameterSlice>& slices = plan.layout->slices();
  std::size_t rank = 1;
  for (const ParameterSlice& slice : slices) rank = std::max(rank, slice.shape.size());
  std::vector<std::string> names;
  std::vector<std::size_t> offsets, sizes, shapes;
  for (const ParameterSlice& slice : slices) {
    names.push_back(slice.name);
    offsets.push_back(slice.offset);
    sizes.push_back(slice.size);
    shapes.insert(shapes.end(), slice.shape.begin(), slice.shape.end());
    shapes.resize(sizes.size() * rank, 0);
  }
  group.count_scale("slice", "slice of the flat parameter vector", slices.size());
  group.count_scale("axis", "axis of a slice", rank);
  group.texts("name", "slice", "name of the slice, as in PyTorch", std::move(names));
  group.constant("offset", Hdf5Type::int64, {"slice"}, "parameters", "first element of the slice", offsets);
  group.constant("size", Hdf5Type::int64, {"slice"}, "parameters", "length of the slice", sizes);
  group.constant("shape", Hdf5Type::int64, {"slice", "axis"}, "1", "row-major shape of the slice; 0: no such axis",
                 shapes);
}

}  // namespace

LogShape shape_of(const LogPlan& plan) {
  const Scenario& scenario = *plan.scenario;
  const auto rounds_every = [&](std::int64_t every) {
    std::vector<int> rounds;
    for (int round = 1; round <= scenario.rounds; ++round) {
      if (round == scenario.rounds || (every > 0 && round % every == 0)) rounds.push_back(round);
    }
    return rounds;
  };
  LogShape shape;
  shape.rounds = static_cast<std::size_t>(scenario.rounds);
  shape.clients = plan.partition->clients();
  shape.classes = static_cast<std::size_t>(plan.classes);
  shape.bins = static_cast<std::size_t>(scenario.evaluation.integer("bins"));
  if (scenario.evaluation.boolean("curve")) {
    shape.curve = static_cast<std::size_t>(scenario.evaluation.integer("samples"));
  }
  shape.parameters = plan.layout->size();
  shape.logged = plan.logged;
  if (scenario.log.text("storage") == "float16") shape.storage = Hdf5Type::float16;
  shape.posterior_rounds = rounds_every(scenario.log.integer("posterior_every"));
  shape.client_rounds = rounds_every(scenario.evaluation.integer("clients_every"));
  const std::string& sites = scenario.log.text("sites");
  if (sites == "last") shape.site_rounds = {scenario.rounds};
  if (sites == "every") shape.site_rounds = shape.posterior_rounds;
  return shape;
}

std::vector<LogDataset> log_datasets(const LogPlan& plan, const LogShape& shape) {
  std::vector<LogDataset> all;
  LogDataset counter;
  counter.layout = {.path = "/rounds_complete", .type = Hdf5Type::int64};
  counter.units = "rounds";
  counter.long_name = "rounds whose rows are whole; written after them";
  all.push_back(std::move(counter));
  Group rounds(all, "/rounds/"), curve(all, "/curve/"), posterior(all, "/posterior/"), clients(all, "/clients/"),
      partition(all, "/partition/"), parameters(all, "/parameters/"), sensitivity(all, "/sensitivity/"),
      label_noise(all, "/label_noise/"), previews(all, "/previews/");
  add_rounds(rounds, plan, shape);
  if (shape.curve > 0) add_curve(curve, plan, shape);
  if (!plan.previews.empty()) add_previews(previews, plan, shape);
  if (!plan.sensitivity_rows.empty()) add_sensitivity(sensitivity, plan);
  if (!plan.label_noise_rows.empty()) add_label_noise_probe(label_noise, plan);
  add_posterior(posterior, plan, shape);
  add_clients(clients, plan, shape);
  add_partition(partition, plan, shape);
  add_parameters(parameters, plan);
  return all;
}

void write_log_attributes(Hdf5File& file, const LogPlan& plan, const LogShape& shape) {
  const Scenario& scenario = *plan.scenario;
  file.set_integer("/", "format_version", log_format_version);
  file.set_text("/", "ivory_version", IVORY_VERSION);
  file.set_text("/", "created_by", "ivory " IVORY_VERSION);
  file.set_text("/", "name", scenario.name);
  file.set_text("/", "arm", scenario.arm);
  file.set_text("/", "scenario", to_toml(scenario));
  file.set_natural("/", "seed", scenario.seed);
  file.set_text("/", "algorithm", scenario.algorithm_name);
  file.set_text("/", "optimizer", scenario.optimizer_name);
  file.set_text("/", "device", plan.device);
  file.set_text("/", "data_checksum", hexadecimal(plan.data_checksum));
  file.set_text("/", "data_description", plan.data_description);
  file.set_text("/", "start_hash", hexadecimal(plan.start_hash));
  file.set_text("/", "partition_hash", hexadecimal(plan.partition->hash));
  file.set_integer("/", "has_posterior", plan.has_posterior ? 1 : 0);
  const auto set_size = [&](const char* name, std::size_t size) {
    file.set_integer("/", name, static_cast<std::int64_t>(size));
  };
  set_size("rounds", shape.rounds);
  set_size("clients", shape.clients);
  set_size("classes", shape.classes);
  set_size("bins", shape.bins);
  set_size("parameters", shape.parameters);
  file.set_text("/partition", "hash", hexadecimal(plan.partition->hash));
  file.set_integer("/partition", "repeated", static_cast<std::int64_t>(plan.partition->repeated));
  file.set_integer("/partition", "unused", static_cast<std::int64_t>(plan.partition->unused));
}

}  // namespace ivory
