#include "src/scenario_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/hdf5_file.hpp"
#include "src/loss_options.hpp"
#include "src/option_messages.hpp"
#include "src/preview_rules.hpp"
#include "src/scenario_schema.hpp"

namespace ivory {
namespace {

/// Place of the key if the user set it, else of the one that makes it wrong.
std::string at(const Options& options, std::string_view key, const Options& others, std::string_view other) {
  return options.given(key) ? where(options.place(key)) : where(others.place(other));
}

double number(const Options& options, std::string_view key) {
  const OptionValue& value = options.rows().find(key)->second.value;
  const auto* whole = std::get_if<std::int64_t>(&value);
  return whole != nullptr ? static_cast<double>(*whole) : options.real(key);
}

/// Whether a key of [clients] has its default, which a resolved scenario spells out.
bool has_default(const Options& clients, const std::string& key) {
  const auto& specs = find_table("clients")->options;
  const auto spec = std::ranges::find(specs, key, &OptionSpec::name);
  return clients.rows().find(key)->second.value == spec->default_value;
}

void check_length_of_visits(const Options& clients, Problems& problems) {
  const auto epochs = clients.integer("epochs"), steps = clients.integer("steps");
  if (epochs > 0 && steps > 0) {
    problems.push_back(
        fmt::format("[scenario] clients.epochs and clients.steps exclude each other, got epochs = {} and "
                    "steps = {}{}; remove one or set it to 0",
                    epochs, steps, where(clients.place("steps"))));
  }
  if (epochs == 0 && steps == 0) {
    problems.push_back(fmt::format("[scenario] clients must train: epochs or steps must be >= 1, got 0 for both{}",
                                   at(clients, "epochs", clients, "steps")));
  }
}

void check_schedule(const Options& clients, Problems& problems) {
  for (const auto& [schedule, every] :
       {std::pair{"schedule", "schedule_step_rounds"}, {"inner_schedule", "inner_step_every"}}) {
    if (clients.text(schedule) != "step" || clients.integer(every) > 0) continue;
    problems.push_back(fmt::format("[scenario] clients.{} = \"step\" needs {} >= 1, got 0{}", schedule, every,
                                   where(clients.place(schedule))));
  }
  for (const ScheduleKey& row : schedule_keys()) {
    const std::string& shape = clients.text(row.schedule);
    if (std::ranges::find(row.shapes, shape) != row.shapes.end() || has_default(clients, row.key)) continue;
    problems.push_back(fmt::format("[scenario] clients.{} needs {} = {}, got {}{}; drop one of them", row.key,
                                   row.schedule, quoted_list(row.shapes), shown(shape), where(clients.place(row.key))));
  }
}

void check_cohort(const Options& clients, const Options& partition, Problems& problems) {
  if (clients.integer("count") == 0 && partition.text("kind") != "natural") {
    problems.push_back(
        fmt::format("[scenario] clients.count must be >= 1 for partition kind {}, got {}{}; only \"natural\" "
                    "takes it from the data",
                    shown(partition.text("kind")), clients.given("count") ? "0" : "nothing",
                    at(clients, "count", partition, "kind")));
  }
  if (clients.boolean("pool") && clients.real("participation") < 1) {
    problems.push_back(
        fmt::format("[scenario] clients.pool trains one client on all examples, so participation must be 1, "
                    "got {}{}",
                    shown(clients.real("participation")), where(clients.place("participation"))));
  }
}

// How many clients there are is known with the data at the latest (left_out_clients).
void check_without(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems) {
  const std::vector<double>& without = scenario.clients.reals("without");
  if (without.empty()) return;
  const std::string place = where(scenario.clients.place("without"));
  for (std::size_t i = 0; i < without.size(); ++i) {
    if (std::trunc(without[i]) != without[i]) {
      problems.push_back(
          fmt::format("[scenario] clients.without must hold whole numbers, got {}{}", shown(without[i]), place));
    }
    if (std::find(without.begin(), without.begin() + static_cast<std::ptrdiff_t>(i), without[i]) !=
        without.begin() + static_cast<std::ptrdiff_t>(i)) {
      problems.push_back(fmt::format("[scenario] clients.without must name each client once, got {} twice{}",
                                     shown(without[i]), place));
    }
  }
  const AlgorithmTraits& traits = find_algorithm(scenario.algorithm_name)->traits;
  const Options& algorithm = scenario.algorithm;
  // Both count on the last client, or on numbers without gaps.
  const char* const reason = traits.personal ? "each client's model is its own there"
                             : traits.uses_public_pool
                                 ? "every client answers for a share of the public pool"
                                 : (algorithm.has("ref_shared_scalars") && algorithm.boolean("ref_shared_scalars")
                                        ? "ref_shared_scalars takes the last client's numbers for all"
                                        : nullptr);
  if (reason == nullptr) return;
  problems.push_back(fmt::format(
      "[scenario] clients.without must be [] with server.algorithm = {} ({}), got {}{}; "
      "leave it out",
      shown(scenario.algorithm_name), reason, to_toml(scenario.clients.rows().find("without")->second.value),
      where(scenario.clients.given("without") ? scenario.clients.place("without") : algorithm_place)));
}

void check_weights(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems) {
  const Options& clients = scenario.clients;
  if (clients.reals("weights").empty()) return;
  const std::string place = where(clients.place("weights"));
  if (const auto count = static_cast<std::size_t>(clients.integer("count")); count > 0) {
    if (const std::string problem = weights_problem(clients, count); !problem.empty()) problems.push_back(problem);
  }
  if (clients.boolean("pool")) {
    problems.push_back(fmt::format(
        "[scenario] clients.weights needs clients of their own, got pool = true{}; drop one of them", place));
  }
  if (!find_algorithm(scenario.algorithm_name)->traits.weighs_losses) {
    std::vector<std::string> able;
    for (const AlgorithmPlugin& plugin : algorithm_plugins()) {
      if (plugin.traits.weighs_losses) able.push_back(plugin.name);
    }
    problems.push_back(fmt::format(
        "[scenario] clients.weights needs a method in which a client counts by its examples, server.algorithm = {}, "
        "got {}{}; choose one of them, or leave weights out",
        quoted_list(able), shown(scenario.algorithm_name), place.empty() ? where(algorithm_place) : place));
  }
}

void check_pool(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems) {
  if (!scenario.clients.boolean("pool") || !find_algorithm(scenario.algorithm_name)->traits.personal) return;
  problems.push_back(fmt::format(
      "[scenario] clients.pool trains one common model, and server.algorithm = {} has none, got both{}; use "
      "\"fedavg\" for pooled training",
      shown(scenario.algorithm_name), where(algorithm_place)));
}

// The log keeps the whole text in one attribute, and HDF5 ends those at 64 KiB.
void check_length_of_text(const Scenario& scenario, Problems& problems) {
  const std::size_t length = to_toml(scenario).size();
  if (length <= longest_text_attribute) return;
  problems.push_back(fmt::format(
      "[scenario] the resolved scenario may have {} characters, which is what a log can hold, got {}; long "
      "lists (data.mean, data.std) can be left to normalise = \"standard\", or the data scaled in their file",
      longest_text_attribute, length));
}

void check_model(const Options& model, Problems& problems) {
  if (!model.has("hidden")) return;
  for (const double width : model.reals("hidden")) {
    if (std::trunc(width) == width) continue;
    problems.push_back(fmt::format("[scenario] model.hidden must hold whole numbers, got {}{}", shown(width),
                                   where(model.place("hidden"))));
  }
}

// The algorithm with what its options make of it: "vb_admm" with posterior = "full".
std::string algorithm_text(const Scenario& scenario) {
  std::string text = fmt::format("server.algorithm = {}", shown(scenario.algorithm_name));
  if (scenario.algorithm.has("posterior")) {
    text += fmt::format(" with posterior = {}", shown(scenario.algorithm.text("posterior")));
  }
  return text;
}

// The precision of these networks is made of IVON's first curvature.
void check_reference_average(const Scenario& scenario, Problems& problems) {
  const Options& algorithm = scenario.algorithm;
  if (!algorithm.has("ref_bayes_eval") || !algorithm.boolean("ref_bayes_eval")) return;
  const std::string place = where(algorithm.place("ref_bayes_eval"));
  if (!scenario.optimizer.has("hess_init")) {
    problems.push_back(fmt::format(
        "[scenario] server.ref_bayes_eval needs clients.optimizer.name = \"ivon\" (its hess_init is part of the "
        "precision), got {}{}; leave it out",
        shown(scenario.optimizer_name), place));
  }
  if (scenario.evaluation.integer("samples") == 0) {
    problems.push_back(fmt::format(
        "[scenario] server.ref_bayes_eval needs evaluation.samples >= 1 (posterior averages), got 0{}; leave it out",
        place));
  }
}

// Who needs precisions must be sent them, of the same kind; a precision matrix has no other use.
void check_posterior(const Scenario& scenario, const SourcePlace& algorithm_place, const AlgorithmTraits& traits,
                     Problems& problems) {
  const OptimizerPlugin* optimizer = find_optimizer(scenario.optimizer_name);
  const auto fits = [&](const OptimizerPlugin& plugin) {
    return traits.needs_posterior ? plugin.gives_posterior && plugin.full_covariance == traits.full_covariance
                                  : !plugin.full_covariance;
  };
  if (fits(*optimizer)) return;
  std::vector<std::string> able;
  for (const OptimizerPlugin& plugin : optimizer_plugins()) {
    if (fits(plugin)) able.push_back(plugin.name);
  }
  problems.push_back(fmt::format("[scenario] {} needs clients.optimizer.name = {}, {}, got {}{}",
                                 algorithm_text(scenario), quoted_list(able),
                                 !traits.needs_posterior  ? "which send weights"
                                 : traits.full_covariance ? "whose clients send a precision matrix"
                                                          : "whose clients send a precision",
                                 shown(scenario.optimizer_name), where(algorithm_place)));
}

// What the two plug-ins must be for each other depends on their options.
void check_pair(const Scenario& scenario, const SourcePlace& algorithm_place, const AlgorithmTraits& traits,
                const Optimizer<double>& optimizer, Problems& problems) {
  check_posterior(scenario, algorithm_place, traits, problems);
  const std::string used = fmt::format("server.algorithm = {}", shown(scenario.algorithm_name));
  if (traits.needs_plain_sgd && !optimizer.plain_sgd()) {
    const bool sgd = scenario.optimizer_name == "sgd";
    problems.push_back(fmt::format(
        "[scenario] {} needs clients.optimizer.name = \"sgd\" with momentum = 0 (its control variates are mean "
        "gradients, read off the way that a client has gone), got {}{}",
        used,
        sgd ? fmt::format("momentum = {}", shown(scenario.optimizer.real("momentum"))) : shown(scenario.optimizer_name),
        where(sgd ? scenario.optimizer.place("momentum") : algorithm_place)));
  }
  if (traits.needs_point && optimizer.gives_posterior()) {
    problems.push_back(
        fmt::format("[scenario] {} with server.unsquared_prox = true needs an optimizer without a posterior, got "
                    "clients.optimizer.name = {}{}; leave unsquared_prox out",
                    used, shown(scenario.optimizer_name), where(scenario.algorithm.place("unsquared_prox"))));
  }
}

// Clients and server exchange class probabilities on inputs that all of them have.
void check_public_pool(const Scenario& scenario, const SourcePlace& algorithm_place, const AlgorithmTraits& traits,
                       Problems& problems) {
  if (!traits.uses_public_pool) return;
  const bool shared = scenario.algorithm.integer("share_inputs") > 0;
  if (shared && scenario.data.integer("public") > 0) {
    problems.push_back(
        fmt::format("[scenario] server.share_inputs takes the place of data.public, got both{}; set one of them",
                    where(scenario.algorithm.place("share_inputs"))));
  }
  if (!shared && scenario.data.integer("public") == 0) {
    problems.push_back(fmt::format(
        "[scenario] server.algorithm = {} needs data.public >= 1 (inputs on which clients and server exchange "
        "predictions), got 0{}; set data.public to a few examples per class, or take \"fedlap\"; server.share_inputs "
        "lets "
        "clients share their own",
        shown(scenario.algorithm_name),
        scenario.data.given("public") ? where(scenario.data.place("public")) : where(algorithm_place)));
  }
  if (const std::string& loss = scenario.model.text("loss"); loss != "softmax") {
    problems.push_back(fmt::format(
        "[scenario] server.algorithm = {} needs model.loss = \"softmax\" (clients and server exchange class "
        "probabilities), got {}{}; take \"fedlap\"",
        shown(scenario.algorithm_name), shown(loss), where(scenario.model.place("loss"))));
  }
}

// Precisions are matrices with full covariances alone.
void check_matrix(const Scenario& scenario, const AlgorithmTraits& traits, Problems& problems) {
  if (!scenario.log.boolean("precision_matrix") || traits.full_covariance) return;
  problems.push_back(fmt::format(
      "[scenario] log.precision_matrix needs an algorithm with full covariances, vb_admm with posterior = \"full\", "
      "got {}{}; leave it out",
      algorithm_text(scenario), where(scenario.log.place("precision_matrix"))));
}

void check_previews(const Scenario& scenario, const Algorithm<double>& algorithm, Problems& problems) {
  for (const std::string& name : scenario.log.texts("previews")) {
    const std::string reason = why_not(*find_preview_rule(name), algorithm.traits(), algorithm.natural_step());
    if (reason.empty()) continue;
    problems.push_back(fmt::format("[scenario] log.previews cannot have {} with {}: {}{}; leave it out", shown(name),
                                   method_text(scenario.algorithm_name, scenario.optimizer_name), reason,
                                   where(scenario.log.place("previews"))));
  }
}

void check_storage(const Options& log, Problems& problems) {
  if (!log.boolean("precision_matrix") || log.texts("layers").empty()) return;
  problems.push_back(fmt::format(
      "[scenario] log.precision_matrix records the matrix of all parameters, got log.layers = {}{}; drop one of them",
      to_toml(log.rows().find("layers")->second.value), where(log.place("layers"))));
}

void check_curve(const Options& evaluation, Problems& problems) {
  if (!evaluation.boolean("curve") || evaluation.integer("samples") > 0) return;
  problems.push_back(fmt::format("[scenario] evaluation.curve needs evaluation.samples >= 1, got 0{}; drop one of them",
                                 at(evaluation, "curve", evaluation, "samples")));
}

void check_laplace(const Options& evaluation, Problems& problems) {
  const bool wanted = evaluation.boolean("laplace");
  if (wanted && evaluation.integer("samples") == 0) {
    problems.push_back(
        fmt::format("[scenario] evaluation.laplace needs evaluation.samples >= 1, got 0{}; drop one of them",
                    at(evaluation, "laplace", evaluation, "samples")));
  }
  if (const double prior = evaluation.real("laplace_prior_precision"); prior > 0 && !wanted) {
    problems.push_back(fmt::format(
        "[scenario] evaluation.laplace_prior_precision needs laplace = true, got {}{}; set laplace, or leave it out",
        shown(prior), where(evaluation.place("laplace_prior_precision"))));
  }
}

// Both need the posterior that predictions are drawn from; noise of labels needs labels and draws.
void check_probes(const Scenario& scenario, const AlgorithmTraits& traits, Problems& problems) {
  const Options& evaluation = scenario.evaluation;
  for (const char* const key : {"sensitivity", "label_noise_probe"}) {
    const std::int64_t examples = evaluation.integer(key);
    if (examples == 0) continue;
    const std::string place = where(evaluation.place(key));
    if (!traits.gives_posterior && (traits.personal || !evaluation.boolean("laplace"))) {
      problems.push_back(fmt::format(
          "[scenario] evaluation.{} needs a posterior of the server, got {} with {} examples{}; take an algorithm like "
          "\"vb_admm\", or evaluation.laplace = true for the last round{}",
          key, algorithm_text(scenario), examples, place, traits.personal ? " of one with a common model" : ""));
    }
  }
  if (evaluation.integer("label_noise_probe") == 0) return;
  const std::string place = where(evaluation.place("label_noise_probe"));
  if (evaluation.integer("samples") < 2) {
    problems.push_back(fmt::format(
        "[scenario] evaluation.label_noise_probe needs evaluation.samples >= 2, got {}{}; set samples, or leave it out",
        evaluation.integer("samples"), place));
  }
  if (scenario.model.text("loss") == "gaussian") {
    problems.push_back(fmt::format(
        "[scenario] evaluation.label_noise_probe needs classes, got model.loss = \"gaussian\"{}; leave it out", place));
  }
}

// Plug-ins check what a single option cannot say (hess_init + weight_decay > 0) where they are made.
void check_plugins(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems) {
  const auto attempt = [&](const auto& make) -> decltype(make()) {
    try {
      return make();
    } catch (const InputError& error) {
      problems.push_back(error.what());
      return nullptr;
    }
  };
  const auto optimizer =
      attempt([&] { return find_optimizer(scenario.optimizer_name)->make_double(scenario.optimizer); });
  const auto algorithm =
      attempt([&] { return find_algorithm(scenario.algorithm_name)->make_double(scenario.algorithm); });
  if (algorithm) check_public_pool(scenario, algorithm_place, algorithm->traits(), problems);
  if (algorithm) check_matrix(scenario, algorithm->traits(), problems);
  if (algorithm) check_previews(scenario, *algorithm, problems);
  if (algorithm) check_probes(scenario, algorithm->traits(), problems);
  check_reference_average(scenario, problems);
  if (optimizer && algorithm) check_pair(scenario, algorithm_place, algorithm->traits(), *optimizer, problems);
}

}  // namespace

std::string weights_problem(const Options& clients, std::size_t count) {
  const std::size_t weights = clients.has("weights") ? clients.reals("weights").size() : 0;
  if (weights == 0 || weights == count) return "";
  return fmt::format(
      "[scenario] clients.weights must have one number for each of the {} clients, got {}{}; give all, "
      "or leave it out",
      count, weights, where(clients.place("weights")));
}

void check_contradictions(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems) {
  check_length_of_visits(scenario.clients, problems);
  check_schedule(scenario.clients, problems);
  check_cohort(scenario.clients, scenario.partition, problems);
  check_model(scenario.model, problems);
  check_loss(scenario.model, problems);
  check_without(scenario, algorithm_place, problems);
  check_weights(scenario, algorithm_place, problems);
  check_pool(scenario, algorithm_place, problems);
  check_length_of_text(scenario, problems);
  check_plugins(scenario, algorithm_place, problems);
  check_storage(scenario.log, problems);
  check_curve(scenario.evaluation, problems);
  check_laplace(scenario.evaluation, problems);
  if (scenario.evaluation.text("clients") == "holdout" && number(scenario.partition, "holdout") == 0) {
    problems.push_back(fmt::format("[scenario] evaluation.clients = \"holdout\" needs partition.holdout > 0, got {}{}",
                                   shown(scenario.partition.rows().find("holdout")->second.value),
                                   where(scenario.evaluation.place("clients"))));
  }
}

}  // namespace ivory
