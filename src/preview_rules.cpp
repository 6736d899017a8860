#include "src/preview_rules.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>

#include "ivory/error.hpp"
#include "ivory/options.hpp"

namespace ivory {
namespace {

using Weights = std::span<const double>;
using Tasks = std::vector<GaussianView<float>>;

double total_of(Weights weights) { return std::accumulate(weights.begin(), weights.end(), 0.0); }

Tasks first_components(const PreviewSource& source) {
  Tasks tasks;
  for (const auto& own : source.tasks) tasks.push_back(own.front().view());
  return tasks;
}

// Where the weights leave nothing of the base, any base will do: one is made of zeros and ones.
LoggedPosterior base_for(const PreviewSource& source, const char* rule, bool counts, bool with_precision) {
  const auto refuse = [&](const std::string& lacking) {
    throw InputError(fmt::format(
        "[preview] {} with these weights starts from what the clients were trained from{}, got {}, in {}; run with "
        "log.posterior_every = 1, or choose --round 1, another --base, or weights that sum to 1 (--total 1)",
        rule, with_precision ? " and its precision" : "", lacking, source.header.file));
  };
  if (!source.base.mean.empty() && (!with_precision || !source.base.precision.empty())) return source.base;
  if (counts) refuse(source.base.mean.empty() ? source.base_text : source.base_text + ", which has no precision");
  LoggedPosterior base;
  base.mean.assign(source.header.parameters, 0.0F);
  if (with_precision) base.precision.assign(source.header.parameters, 1.0F);
  return base;
}

bool sums_to_one(Weights weights) { return std::abs(total_of(weights) - 1.0) < 1e-9; }

// Of a merged precision: the server's, 0.001 s0 (methods.md 16).
double floor_of(const PreviewSource& source) {
  return std::isfinite(source.prior_precision) ? 1e-3 * source.prior_precision : 1e-12;
}

Merged<float> average(const PreviewSource& source, Weights weights, const RuleSettings&) {
  return merge_average<float>(first_components(source), weights);
}

Merged<float> task_arithmetic(const PreviewSource& source, Weights weights, const RuleSettings& settings) {
  const bool counts = std::abs(settings.scale * total_of(weights) - 1.0) > 1e-9;
  const LoggedPosterior base = base_for(source, "task_arithmetic", counts, false);
  return merge_task_vectors<float>(base.view(), first_components(source), weights, settings.scale);
}

Merged<float> uncertainty(const PreviewSource& source, Weights weights, const RuleSettings& settings) {
  const LoggedPosterior base = base_for(source, "uncertainty", !sums_to_one(weights), false);
  return merge_by_uncertainty<float>({base.mean, {}}, first_components(source), weights, settings.delta, 1e-12);
}

Merged<float> isotropic(const PreviewSource& source, Weights weights, const RuleSettings&) {
  const LoggedPosterior base = base_for(source, "isotropic", !sums_to_one(weights), false);
  return merge_task_vectors<float>(base.view(), first_components(source), weights, 1.0);
}

Merged<float> diagonal(const PreviewSource& source, Weights weights, const RuleSettings&) {
  const LoggedPosterior base = base_for(source, "diagonal", !sums_to_one(weights), true);
  return merge_posteriors<float>(base.view(), first_components(source), weights, floor_of(source));
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

Merged<float> mixture(const PreviewSource& source, Weights weights, const RuleSettings& settings) {
  const LoggedPosterior base = base_for(source, "mixture", !sums_to_one(weights), true);
  std::vector<Tasks> tasks;
  for (const auto& own : source.tasks) {
    Tasks& components = tasks.emplace_back();
    for (const LoggedPosterior& posterior : own) components.push_back(posterior.view());
  }
  return merge_mixtures<float>(
      base.view(), tasks, weights,
      {.kind = settings.responsibilities, .parts = layer_begins(source.network->layout()), .floor = floor_of(source)});
}

Merged<float> server_step(const char* rule, const PreviewSource& source, Weights weights, const RuleSettings& settings,
                          double alpha) {
  const NaturalStep& taken = source.step;
  const ServerStep step{.rho = settings.rho.value_or(taken.rho),
                        .damping = settings.damping.value_or(taken.damping),
                        .alpha = alpha,
                        .prior_precision = source.prior_precision,
                        .rate_taken = taken.rho * taken.damping};
  const bool again = step.rho * step.damping != step.rate_taken;
  if (again && !taken.natural_dual) {
    throw InputError(
        fmt::format("[preview] {} takes another rho or damping where the dual step was in natural parameters, got "
                    "Bregman steps, in "
                    "{}; leave --rho and --damping out",
                    rule, source.header.file));
  }
  const LoggedPosterior base = again ? base_for(source, rule, true, true) : LoggedPosterior{};
  std::vector<ClientWithSite<float>> clients;
  for (const auto& own : source.tasks) {
    clients.push_back({own.front().view(), own.front().site_mean, own.front().site_precision});
  }
  return merge_by_server_step<float>(base.view(), clients, weights, step);
}

Merged<float> vb_admm(const PreviewSource& source, Weights weights, const RuleSettings& settings) {
  return server_step("vb_admm", source, weights, settings, settings.alpha.value_or(source.step.alpha));
}

Merged<float> pvi(const PreviewSource& source, Weights weights, const RuleSettings& settings) {
  return server_step("pvi", source, weights, settings, 1.0);
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

std::string why_not(const PreviewRule& rule, const PreviewSource& source) {
  if (rule.needs == RuleNeeds::weights) return "";
  if (source.traits.full_covariance) {
    return "its posteriors have precision matrices, of which the log has the diagonals";
  }
  for (const auto& own : source.tasks) {
    for (const LoggedPosterior& posterior : own) {
      if (posterior.precision.empty()) return "its clients send weights without a precision";
      if (rule.needs == RuleNeeds::sites && posterior.site_mean.empty())
        return "its clients have no sites with a precision";
    }
  }
  if (rule.needs == RuleNeeds::sites && !source.step.known) return "its server takes another step";
  return "";
}

std::vector<const PreviewRule*> choose_rules(const std::vector<std::string>& names, const PreviewSource& source) {
  std::vector<const PreviewRule*> chosen;
  const bool several =
      std::any_of(source.tasks.begin(), source.tasks.end(), [](const auto& own) { return own.size() > 1; });
  std::vector<std::string> known;
  for (const PreviewRule& rule : preview_rules()) {
    known.push_back(rule.name);
    if (names.empty() && why_not(rule, source).empty() && (rule.name != "mixture" || several)) chosen.push_back(&rule);
  }
  for (const std::string& name : names) {
    const auto rules = preview_rules();
    const auto rule = std::find_if(rules.begin(), rules.end(), [&](const PreviewRule& r) { return r.name == name; });
    if (rule == rules.end()) {
      const std::string near = nearest_name(name, known);
      throw InputError(fmt::format("[preview] a rule is one of {}, got \"{}\", in --rule{}", fmt::join(known, ", "),
                                   name, near.empty() ? "; choose one" : fmt::format("; did you mean \"{}\"?", near)));
    }
    if (const std::string reason = why_not(*rule, source); !reason.empty()) {
      throw InputError(fmt::format(
          "[preview] {} needs the precision of every client's posterior{}, got algorithm \"{}\" (optimizer \"{}\"): "
          "{}, "
          "in {}; take average, task_arithmetic or isotropic, or run vb_admm or pvi with diagonal covariances",
          name, rule->needs == RuleNeeds::sites ? " and its site" : "", source.header.algorithm,
          source.header.optimizer, reason, source.header.file));
    }
    chosen.push_back(&*rule);
  }
  return chosen;
}

Merged<float> merge(const PreviewRule& rule, const PreviewSource& source, std::span<const double> weights,
                    const RuleSettings& settings) {
  return rule.merge(source, weights, settings);
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

std::vector<double> parse_weights(const std::string& text, const PreviewSource& source) {
  const std::size_t clients = source.clients.size();
  if (text == "equal") return std::vector<double>(clients, 1.0);
  std::vector<double> weights;
  if (text == "examples") {
    for (const std::uint32_t k : source.clients) {
      weights.push_back(static_cast<double>(source.partition.train[k].size()));
    }
    const double mean = total_of(weights) / static_cast<double>(clients);
    for (double& weight : weights) weight /= mean;
    return weights;
  }
  const auto refuse = [&](const std::string& got) {
    throw InputError(
        fmt::format("[preview] weights are {} numbers of at least 0, one for each merged client and not all 0, "
                    "\"equal\" or \"examples\", got "
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
