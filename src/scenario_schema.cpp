#include "src/scenario_schema.hpp"

#include <algorithm>

#include "ivory/registry.hpp"
#include "src/data_sets.hpp"
#include "src/models.hpp"
#include "src/partition.hpp"
#include "src/preview_rules.hpp"
#include "src/scenario_given.hpp"

namespace ivory {
namespace {

using Specs = std::vector<OptionSpec>;

OptionSpec flag(std::string name, bool value, std::string help) {
  return {.name = std::move(name), .default_value = value, .help = std::move(help)};
}

OptionSpec choice(std::string name, std::string value, std::vector<std::string> choices, std::string help) {
  return {.name = std::move(name),
          .default_value = std::move(value),
          .help = std::move(help),
          .choices = std::move(choices)};
}

OptionSpec count(std::string name, std::int64_t value, double low, double high, std::string unit, std::string help) {
  return {.name = std::move(name),
          .default_value = value,
          .help = std::move(help),
          .unit = std::move(unit),
          .low = low,
          .high = high};
}

// Limits of the random streams' keys: 24 bits of round, 16 bits of Monte-Carlo sample.
constexpr double most_rounds = (1 << 24) - 1;
constexpr double most_samples = (1 << 16) - 1;
constexpr double most_steps = 1e9;

Specs top_keys() {
  OptionSpec name{.name = "name",
                  .default_value = std::string(),
                  .help = "what the run is called in logs and tables",
                  .required = true};
  OptionSpec arm{.name = "arm",
                 .default_value = std::string(),
                 .help =
                     "the [[compare]] arm, and the setting of a sweep, that a resolved scenario came from; not for "
                     "hand-written files"};
  OptionSpec rounds = count("rounds", 1, 1, most_rounds, "rounds", "rounds of communication");
  rounds.required = true;
  return {name, arm, count("seed", 1, 0, 0x1p53, "", "every random number of the run follows from it"), rounds};
}

Specs clients_keys() {
  const auto share = [](std::string name, double value, bool zero, std::string help) {
    return OptionSpec{.name = std::move(name),
                      .default_value = value,
                      .help = std::move(help),
                      .unit = "1",
                      .low = 0,
                      .high = 1,
                      .low_open = !zero};
  };
  OptionSpec clip_norm{
      .name = "clip_norm",
      .default_value = 0.0,
      .help =
          "largest norm of a step's gradient; longer ones are scaled down to it: the gradient of the whole objective "
          "without weight decay, for ivon that of the minibatch loss; 0: none",
      .unit = "1",
      .low = 0};
  OptionSpec weights{
      .name = "weights",
      .default_value = std::vector<double>(),
      .help =
          "one number per client, with which its loss counts in the common objective: its number of examples is "
          "multiplied by it wherever the method uses that; empty: all 1",
      .unit = "1",
      .low = 0,
      .high = 1e6,
      .low_open = true};
  return {
      count("count", 0, 0, 1 << 24, "clients",
            "number of clients; 0: as the data set says (partition kind \"natural\")"),
      weights,
      share("participation", 1.0, false, "share of the clients that takes part in a round, drawn anew each round"),
      count("epochs", 1, 0, 1e6, "epochs", "passes over its own examples per visit of a client; 0: `steps` decides"),
      count("steps", 0, 0, most_steps, "steps", "minibatch steps per visit of a client; 0: `epochs` decides"),
      count("batch", 64, 1, 1 << 20, "examples", "examples per minibatch step"),
      choice("schedule", "constant", {"constant", "cosine", "linear", "step"},
             "learning rate over rounds r = 0..R-1; cosine: lr/2 (1 + cos(pi r/R)); linear: lr (1 - r/R); step: lr * "
             "schedule_step_factor^floor(r/schedule_step_rounds)"),
      count("schedule_step_rounds", 0, 0, most_rounds, "rounds", "schedule = \"step\": rounds between two steps"),
      share("schedule_step_factor", 0.1, false,
            "schedule = \"step\": factor on the learning rate every schedule_step_rounds"),
      share("schedule_final", 0.0, true,
            "schedule = \"cosine\" or \"linear\": the share of lr that the rate falls to, instead of 0"),
      count("warmup_rounds", 0, 0, most_rounds, "rounds",
            "rounds r = 0.. of linear rise: factor (r+1)/warmup_rounds on top of the schedule"),
      choice("inner_schedule", "constant", {"constant", "cosine", "linear", "step"},
             "learning rate over the steps of one visit, on top of the schedule over rounds, with the same formulas"),
      count("inner_step_every", 0, 0, most_steps, "steps",
            "inner_schedule = \"step\": steps of a visit between two falls"),
      share("inner_step_factor", 0.1, false,
            "inner_schedule = \"step\": factor on the learning rate every inner_step_every"),
      share("inner_final", 0.0, true,
            "inner_schedule = \"cosine\" or \"linear\": the share that the rate falls to, instead of 0"),
      count("inner_warmup_steps", 0, 0, most_steps, "steps",
            "steps of linear rise at the start of each visit, on top of inner_schedule"),
      clip_norm,
      flag(
          "keep_opt_state", false,
          "compatibility: each client keeps its optimizer's state (momentum, moments) from visit to visit (methods.md, "
          "section 4)"),
      flag("ref_same_seed", false,
           "compatibility: every visit of every client draws the same noise and the same minibatch order (methods.md "
           "D5)"),
      choice("products", "float32", {"float32", "tf32", "bfloat16"},
             "arithmetic of training's matrix products on a GPU; the others are faster and less exact "
             "(docs/performance.md); the CPU knows float32 alone"),
      flag("pool", false,
           "pooled training, an upper bound: one client trains on the union of all clients' examples, and the clients "
           "stay "
           "for the metrics per client"),
      {.name = "without",
       .default_value = std::vector<double>{},
       .help = "numbers of clients that never take part, as if they were not there; the others keep their numbers, "
               "examples and random numbers",
       .low = 0,
       .high = 1 << 24},
  };
}

Specs evaluation_keys() {
  OptionSpec laplace_prior{.name = "laplace_prior_precision",
                           .default_value = 0.0,
                           .help =
                               "laplace: precision of the prior N(0, 1/precision); 0: where the evidence is "
                               "largest",
                           .unit = "1/weight^2",
                           .low = 0,
                           .high = 1e30};
  OptionSpec target{.name = "target_accuracy",
                    .default_value = 0.9,
                    .help = "test accuracy for the columns \"rounds to target\" and \"bytes to target\"",
                    .unit = "1",
                    .low = 0,
                    .high = 1};
  return {
      count("every", 1, 1, most_rounds, "rounds",
            "rounds between evaluations on the test set; the last round always is"),
      count("samples", 32, 0, most_samples, "samples",
            "Monte-Carlo samples of the posterior average; 0: no posterior average"),
      flag("curve", false,
           "after the last round, the metrics of the posterior average over the first 1, 2, ... of its samples"),
      count("bins", 15, 1, 1000, "bins", "confidence bins of the calibration error"),
      choice("clients", "auto", {"auto", "none", "train", "holdout"},
             "which of its own examples each client is evaluated on; auto: holdout where the partition keeps one, else "
             "train"),
      count("clients_every", 10, 1, most_rounds, "rounds",
            "rounds between evaluations on the clients' examples; the last round always is"),
      count("elbo_samples", 0, 0, most_samples, "samples",
            "Monte-Carlo samples of the server's negative ELBO; 0: not computed"),
      flag("laplace", false,
           "after the last round, a Laplace posterior for an algorithm without a posterior of its own: the posterior "
           "average of that round is drawn from it (docs/methods.md, section 12)"),
      laplace_prior,
      count("sensitivity", 0, 0, 1 << 24, "examples",
            "so many training examples, drawn at random, for which every evaluation predicts what removing them would "
            "do, "
            "and from that the leave-one-out NLL (docs/methods.md, section 7); 0: none"),
      count(
          "label_noise_probe", 0, 0, 1 << 24, "examples",
          "so many training examples, drawn at random, for which every evaluation estimates how the posterior smooths "
          "their labels, with `samples` networks (docs/methods.md, section 8); 0: none"),
      target,
  };
}

// Mixtures are made of several seeds or rounds.
std::vector<std::string> previews_of_one_round() {
  std::vector<std::string> names = preview_rule_names();
  std::erase(names, "mixture");
  return names;
}

Specs log_keys() {
  return {
      count("posterior_every", 10, 0, most_rounds, "rounds",
            "rounds between records of the server's mean and precision; 0: at the end only"),
      count("checkpoint_every", 10, 0, most_rounds, "rounds",
            "rounds between checkpoints, from which an interrupted run goes on; 0: only where it is told to stop"),
      choice("sites", "none", {"none", "last", "every"},
             "records of each client's mean, precision and site: none, after the last round, or with every posterior"),
      {.name = "diagnostics",
       .default_value = true,
       .help =
           "residuals, KL and the optimizer's health of every round (methods.md 2.6); training does not depend on it"},
      {.name = "previews",
       .default_value = std::vector<std::string>{},
       .help = "rules that also put each recorded round's clients together; their models are evaluated, not used",
       .choices = previews_of_one_round()},
      choice("preview_weights", "equal", {"equal", "examples", "shares"},
             "weights of the clients in previews: 1, examples over their mean, or examples over their sum"),
      {.name = "layers",
       .default_value = std::vector<std::string>{},
       .help = "layers (\"0\") or slices (\"0.weight\") whose parameters are recorded; []: all"},
      choice("storage", "float32", {"float32", "float16"},
             "type of recorded means, precisions and sites; float16 halves the log, keeps 3 digits and ends at 65504"),
      {.name = "precision_matrix",
       .default_value = false,
       .help = "with every record of the server's Gaussian its whole precision matrix [P x P], for full covariances"}};
}

template <class Plugin>
std::vector<Kind> kinds_of(std::span<const Plugin> plugins) {
  std::vector<Kind> kinds;
  for (const Plugin& plugin : plugins) kinds.push_back({plugin.name, plugin.help, plugin.options});
  return kinds;
}

std::vector<Kind> model_kinds() {
  std::vector<Kind> kinds;
  for (const Model& model : models()) kinds.push_back(model.kind);
  return kinds;
}

std::vector<Kind> copied(std::span<const Kind> kinds) { return {kinds.begin(), kinds.end()}; }

bool declares(const Specs& specs, std::string_view name) {
  return std::any_of(specs.begin(), specs.end(), [&](const OptionSpec& spec) { return spec.name == name; });
}

}  // namespace

const std::vector<ScheduleKey>& schedule_keys() {
  static const std::vector<ScheduleKey> keys = {
      {"schedule", "schedule_step_rounds", {"step"}},       {"schedule", "schedule_step_factor", {"step"}},
      {"schedule", "schedule_final", {"cosine", "linear"}}, {"inner_schedule", "inner_step_every", {"step"}},
      {"inner_schedule", "inner_step_factor", {"step"}},    {"inner_schedule", "inner_final", {"cosine", "linear"}}};
  return keys;
}

const std::vector<ScenarioTable>& scenario_tables() {
  static const std::vector<ScenarioTable> tables = {
      {"", "the run", top_keys()},
      {"clients", "who trains, and how long", clients_keys()},
      {"evaluation", "what is measured, and when", evaluation_keys()},
      {"log", "what the log keeps beside the metrics", log_keys()},
  };
  return tables;
}

const ScenarioTable* find_table(std::string_view name) {
  for (const ScenarioTable& table : scenario_tables()) {
    if (table.name == name) return &table;
  }
  return nullptr;
}

std::vector<ChoiceTable> choice_tables() {
  return {
      {"data", "kind", common_data_options(), copied(dataset_kinds()), true},
      {"partition", "kind", common_partition_options(), copied(partition_kinds()), true},
      {"model", "kind", common_model_options(), model_kinds(), true, "mlp"},
      {"clients.optimizer", "name", {}, kinds_of(optimizer_plugins()), false},
      {"server", "algorithm", {}, kinds_of(algorithm_plugins()), false},
      {"evaluation.ood", "kind", common_ood_options(), copied(dataset_kinds()), true, "", true},
  };
}

std::vector<std::string> table_names() {
  return {"data",   "partition",  "model",          "clients", "clients.optimizer",
          "server", "evaluation", "evaluation.ood", "log"};
}

const Kind* ChoiceTable::find(std::string_view kind) const {
  const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.name == kind; });
  return found == kinds.end() ? nullptr : &*found;
}

const Kind* ChoiceTable::chosen_in(const GivenScenario& given) const {
  const std::string* name = given.text(table, key);
  return find(name != nullptr ? *name : default_name);
}

std::vector<std::string> ChoiceTable::names() const {
  std::vector<std::string> out;
  for (const Kind& kind : kinds) out.push_back(kind.name);
  return out;
}

bool ChoiceTable::takes(const Kind& kind, std::string_view option) const {
  return option == key || declares(common, option) || declares(kind.options, option);
}

OptionSpec ChoiceTable::key_spec() const {
  return {.name = key, .default_value = default_name, .choices = names(), .required = default_name.empty()};
}

Specs ChoiceTable::specs(const Kind& kind) const {
  Specs out = {key_spec()};
  out.insert(out.end(), common.begin(), common.end());
  out.insert(out.end(), kind.options.begin(), kind.options.end());
  return out;
}

}  // namespace ivory
