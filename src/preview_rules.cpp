#include "src/preview_rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "ivory/error.hpp"
#include "ivory/gaussian.hpp"
#include "ivory/options.hpp"

namespace ivory {
namespace {

using Weights = std::span<const double>;
using Tasks = std::vector<GaussianView<float>>;

double total_of(Weights weights) { return std::accumulate(weights.begin(), weights.end(), 0.0); }

Tasks first_components(const MergeInput& input) {
  Tasks tasks;
  for (const auto& own : input.tasks) tasks.push_back(own.front().view());
  return tasks;
}

// Where the weights leave nothing of the base, any base will do: one is made of zeros and ones.
MergedPosterior base_for(const MergeInput& input, const char* rule, bool counts, bool with_precision) {
  const auto refuse = [&](const std::string& lacking) {
    throw InputError(fmt::format(
        "[preview] {} with these weights starts from what the clients were trained from{}, got {}, in {}; run with "
        "log.posterior_every = 1, or choose --round 1, another --base, or weights that sum to 1 (--total 1)",
        rule, with_precision ? " and its precision" : "", lacking, input.place));
  };
  if (!input.base.mean.empty() && (!with_precision || !input.base.precision.empty())) return input.base;
  if (counts) refuse(input.base.mean.empty() ? input.base_text : input.base_text + ", which has no precision");
  MergedPosterior base;
  base.mean.assign(input.layout->size(), 0.0F);
  if (with_precision) base.precision.assign(input.layout->size(), 1.0F);
  return base;
}

bool sums_to_one(Weights weights) { return std::abs(total_of(weights) - 1.0) < 1e-9; }

// Of a merged precision: the server's, 0.001 s0 (methods.md 16).
double floor_of(const MergeInput& input) {
  return std::isfinite(input.prior_precision) ? precision_floor * input.prior_precision : 1e-12;
}

Merged<float> average(const MergeInput& input, Weights weights, const RuleSettings&) {
  return merge_average<float>(first_components(input), weights);
}

Merged<float> task_arithmetic(const MergeInput& input, Weights weights, const RuleSettings& settings) {
  const bool counts = std::abs(settings.scale * total_of(weights) - 1.0) > 1e-9;
  const MergedPosterior base = base_for(input, "task_arithmetic", counts, false);
  return merge_task_vectors<float>(base.view(), first_components(input), weights, settings.scale);
}

Merged<float> uncertainty(const MergeInput& input, Weights weights, const RuleSettings& settings) {
  const MergedPosterior base = base_for(input, "uncertainty", !sums_to_one(weights), false);
  return merge_by_uncertainty<float>({base.mean, {}}, first_components(input), weights, settings.delta, 1e-12);
}

Merged<float> isotropic(const MergeInput& input, Weights weights, const RuleSettings&) {
  const MergedPosterior base = base_for(input, "isotropic", !sums_to_one(weights), false);
  return merge_task_vectors<float>(base.view(), first_components(input), weights, 1.0);
}

Merged<float> diagonal(const MergeInput& input, Weights weights, const RuleSettings&) {
  const MergedPosterior base = base_for(input, "diagonal", !sums_to_one(weights), true);
  return merge_posteriors<float>(base.view(), first_components(input), weights, floor_of(input));
}

// Where each layer's slices begin: "0.weight" and "0.bias" are of one layer.
std::vector<std::size_t> layer_begins(const ParameterLayout& layout) {
  std::vector<std::size_t> begins;
  std::string last;
  for (const ParameterSlice& slice : layout.slices()) {
    const std::string layer = slice.name.substr(0, slice.name.rfind('.'));
    if (begins.empty() || layer != last) begins.push_back(slice.offset);
    last = layer;
  }
  return begins;
}

Merged<float> mixture(const MergeInput& input, Weights weights, const RuleSettings& settings) {
  const MergedPosterior base = base_for(input, "mixture", !sums_to_one(weights), true);
  std::vector<Tasks> tasks;
  for (const auto& own : input.tasks) {
    Tasks& components = tasks.emplace_back();
    for (const MergedPosterior& posterior : own) components.push_back(posterior.view());
  }
  return merge_mixtures<float>(
      base.view(), tasks, weights,
      {.kind = settings.responsibilities, .parts = layer_begins(*input.layout), .floor = floor_of(input)});
}

Merged<float> server_step(const char* rule, const MergeInput& input, Weights weights, const RuleSettings& settings,
                          double alpha) {
  const NaturalStep& taken = input.step;
  const ServerStep step{.rho = settings.rho.value_or(taken.rho),
                        .damping = settings.damping.value_or(taken.damping),
                        .alpha = alpha,
                        .prior_precision = input.prior_precision,
                        .rate_taken = taken.rho * taken.damping};
  const bool again = step.rho * step.damping != step.rate_taken;
  if (again && !taken.natural_dual) {
    throw InputError(
        fmt::format("[preview] {} takes another rho or damping where the dual step was in natural parameters, got "
                    "Bregman steps, in "
                    "{}; leave --rho and --damping out",
                    rule, input.place));
  }
  const MergedPosterior base = again ? base_for(input, rule, true, true) : MergedPosterior{};
  std::vector<ClientWithSite<float>> clients;
  for (const auto& own : input.tasks) {
    clients.push_back({own.front().view(), own.front().site_mean, own.front().site_precision});
  }
  return merge_by_server_step<float>(base.view(), clients, weights, step);
}

Merged<float> vb_admm(const MergeInput& input, Weights weights, const RuleSettings& settings) {
  return server_step("vb_admm", input, weights, settings, settings.alpha.value_or(input.step.alpha));
}

Merged<float> pvi(const MergeInput& input, Weights weights, const RuleSettings& settings) {
  return server_step("pvi", input, weights, settings, 1.0);
}

}  // namespace

std::span<const PreviewRule> preview_rules() {
  static const std::vector<PreviewRule> rules = {
      {"average", "sum w m / sum w", RuleNeeds::weights, average},
      {"task_arithmetic", "m0 + scale sum w (m - m0)", RuleNeeds::weights, task_arithmetic},
      {"uncertainty", "gradient matching: m0 + sum w s (m - m0) / (delta + sum w (s - delta))", RuleNeeds::precision,
       uncertainty},
      {"isotropic", "product of posteriors, precisions alike: m0 + sum w (m - m0)", RuleNeeds::weights, isotropic},
      {"diagonal", "product of posteriors: s0 + sum w (s - s0), m0 + sum w s (m - m0) / s", RuleNeeds::precision,
       diagonal},
      {"mixture", "mode of the product of mixtures over seeds or late rounds", RuleNeeds::precision, mixture},
      {"vb_admm", "the server's step, with any alpha, rho and damping", RuleNeeds::sites, vb_admm},
      {"pvi", "prior times sites: the server's step with alpha = 1", RuleNeeds::sites, pvi},
  };
  return rules;
}

const PreviewRule* find_preview_rule(std::string_view name) {
  const auto rules = preview_rules();
  const auto rule = std::find_if(rules.begin(), rules.end(), [&](const PreviewRule& r) { return r.name == name; });
  return rule == rules.end() ? nullptr : &*rule;
}

std::vector<std::string> preview_rule_names() {
  std::vector<std::string> names;
  for (const PreviewRule& rule : preview_rules()) names.push_back(rule.name);
  return names;
}

std::string why_not(const PreviewRule& rule, const AlgorithmTraits& traits, const NaturalStep& step) {
  if (rule.needs == RuleNeeds::weights) return "";
  if (traits.full_covariance) return "its posteriors have precision matrices, of which only diagonals are kept";
  if (!traits.needs_posterior) return "its clients send weights without a precision";
  if (rule.needs == RuleNeeds::precision) return "";
  if (!traits.has_sites()) return "its clients have no sites with a precision";
  return step.known ? "" : "its server takes another step";
}

std::string method_text(const std::string& algorithm, const std::string& optimizer) {
  return fmt::format("algorithm \"{}\" (optimizer \"{}\")", algorithm, optimizer);
}

std::string why_not(const PreviewRule& rule, const MergeInput& input) {
  const std::string never = why_not(rule, input.traits, input.step);
  if (!never.empty() || rule.needs == RuleNeeds::weights) return never;
  for (const auto& own : input.tasks) {
    for (const MergedPosterior& posterior : own) {
      if (posterior.precision.empty()) return "a client's recorded precision is not finite";
      if (rule.needs == RuleNeeds::sites && posterior.site_mean.empty())
        return "a client's recorded site is not finite";
    }
  }
  return "";
}

std::vector<const PreviewRule*> choose_rules(const std::vector<std::string>& names, const MergeInput& input) {
  std::vector<const PreviewRule*> chosen;
  const bool several =
      std::any_of(input.tasks.begin(), input.tasks.end(), [](const auto& own) { return own.size() > 1; });
  for (const PreviewRule& rule : preview_rules()) {
    if (names.empty() && why_not(rule, input).empty() && (rule.name != "mixture" || several)) chosen.push_back(&rule);
  }
  for (const std::string& name : names) {
    const PreviewRule* const rule = find_preview_rule(name);
    if (rule == nullptr) {
      const std::vector<std::string> known = preview_rule_names();
      const std::string near = nearest_name(name, known);
      throw InputError(fmt::format("[preview] a rule is one of {}, got \"{}\", in --rule{}", fmt::join(known, ", "),
                                   name, near.empty() ? "; choose one" : fmt::format("; did you mean \"{}\"?", near)));
    }
    if (const std::string reason = why_not(*rule, input); !reason.empty()) {
      throw InputError(fmt::format(
          "[preview] {} needs the precision of every client's posterior{}, got {}: {}, in {}; take average, "
          "task_arithmetic or isotropic, or run vb_admm or pvi with diagonal covariances",
          name, rule->needs == RuleNeeds::sites ? " and its site" : "", input.method, reason, input.place));
    }
    chosen.push_back(rule);
  }
  return chosen;
}

Merged<float> merge(const PreviewRule& rule, const MergeInput& input, std::span<const double> weights,
                    const RuleSettings& settings) {
  return rule.merge(input, weights, settings);
}

std::vector<std::vector<double>> simplex_grid(std::size_t clients, int steps, double total) {
  constexpr double most = 1e5;
  double points = 1;  // C(steps + clients - 1, clients - 1)
  for (std::size_t i = 1; i < clients; ++i) {
    points *= static_cast<double>(steps) + static_cast<double>(i);
    points /= static_cast<double>(i);
  }
  if (points > most) {
    throw InputError(
        fmt::format("[preview] a grid may have {:.0f} points, got {:.3g} for {} clients and steps of 1/{}, in "
                    "--grid; take a smaller number or fewer --clients",
                    most, points, clients, steps));
  }
  std::vector<std::vector<double>> all;
  std::vector<int> counts(clients, 0);
  const auto fill = [&](const auto& self, std::size_t at, int left) -> void {
    if (at + 1 == clients) {
      counts[at] = left;
      std::vector<double>& weights = all.emplace_back();
      for (const int n : counts) weights.push_back(total * n / steps);
      return;
    }
    for (counts[at] = left; counts[at] >= 0; --counts[at]) self(self, at + 1, left - counts[at]);
  };
  fill(fill, 0, steps);
  return all;
}

std::vector<double> named_weights(std::string_view name, const std::vector<double>& examples) {
  if (name == "equal") return std::vector(examples.size(), 1.0);
  if (name != "examples" && name != "shares") return {};
  const double total = total_of(examples);
  const double unit = name == "shares" ? total : total / static_cast<double>(examples.size());
  std::vector<double> weights = examples;
  for (double& weight : weights) weight /= unit;
  return weights;
}

std::vector<double> parse_weights(const std::string& text, const std::vector<double>& examples) {
  const std::size_t clients = examples.size();
  std::vector<double> weights = named_weights(text, examples);
  if (!weights.empty()) return weights;
  const auto refuse = [&](const std::string& got) {
    throw InputError(
        fmt::format("[preview] weights are {} numbers of at least 0, one for each merged client and not all 0, "
                    "\"equal\", \"examples\" or \"shares\", got "
                    "{}, in --weights {}; correct them",
                    clients, got, text));
  };
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    const std::string word = text.substr(begin, end - begin);
    char* rest = nullptr;
    const double value = std::strtod(word.c_str(), &rest);
    if (word.empty() || *rest != '\0' || !std::isfinite(value) || value < 0) refuse('"' + word + '"');
    weights.push_back(value);
    begin = end + 1;
  }
  if (weights.size() != clients) refuse(fmt::format("{} numbers", weights.size()));
  if (total_of(weights) == 0) refuse("a sum of 0");
  return weights;
}

}  // namespace ivory
