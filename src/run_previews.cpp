#include "src/run_previews.hpp"

#include <algorithm>
#include <utility>

namespace ivory {
namespace {

template <class Real>
std::vector<float> fetched(Device& server, const Real* from, std::size_t size) {
  if (from == nullptr) return {};
  std::vector<Real> values(size);
  server.download(values.data(), from, size * sizeof(Real));
  return {values.begin(), values.end()};
}

bool needs(const std::vector<const PreviewRule*>& rules, RuleNeeds what) {
  return std::any_of(rules.begin(), rules.end(), [&](const PreviewRule* rule) { return rule->needs >= what; });
}

std::vector<const PreviewRule*> chosen(const Scenario& scenario) {
  std::vector<const PreviewRule*> rules;
  for (const std::string& name : scenario.log.texts("previews")) rules.push_back(find_preview_rule(name));
  return rules;
}

}  // namespace

template <class Real>
RunPreviews<Real>::RunPreviews(const Scenario& scenario, const RunParts<Real>& parts)
    : parts_(parts), rules_(chosen(scenario)), weights_(scenario.log.text("preview_weights")) {
  round_.method = method_text(scenario.algorithm_name, scenario.optimizer_name);
  round_.place = "log.previews";
  round_.layout = &parts.network.layout();
  round_.traits = parts.traits;
  round_.step = parts.algorithm->natural_step();
  round_.prior_precision = parts.algorithm->prior_precision();
  round_.base_text = "server before the round";
}

template <class Real>
void RunPreviews<Real>::open(const std::vector<Real>& mean, const std::vector<Real>& precision) {
  round_.tasks.clear();
  examples_.clear();
  round_.base.mean.assign(mean.begin(), mean.end());
  round_.base.precision.clear();
  if (!parts_.traits.full_covariance) round_.base.precision.assign(precision.begin(), precision.end());
}

template <class Real>
void RunPreviews<Real>::add(const ServerState<Real>& state, Device& server, const ClientUpdate<Real>& update) {
  const std::size_t size = state.parameters;
  MergedPosterior& own = round_.tasks.emplace_back().emplace_back();
  own.mean = fetched(server, update.mean, size);
  if (needs(rules_, RuleNeeds::precision)) own.precision = fetched(server, update.precision, size);
  if (needs(rules_, RuleNeeds::sites)) {
    own.site_mean = fetched(server, parts_.algorithm->site_mean(state, update.client), size);
    own.site_precision = fetched(server, parts_.algorithm->site_precision(state, update.client), size);
  }
  examples_.push_back(update.examples);
}

template <class Real>
std::vector<Merged<float>> RunPreviews<Real>::close() {
  std::vector<Merged<float>> merged;
  if (!round_.tasks.empty()) {
    const std::vector<double> weights = named_weights(weights_, examples_);
    for (const PreviewRule* rule : rules_) merged.push_back(merge(*rule, round_, weights, {}));
  }
  round_.tasks.clear();
  return merged;
}

std::size_t preview_bytes(const Scenario& scenario, std::size_t participants, std::size_t parameters) {
  const auto rules = chosen(scenario);
  if (rules.empty()) return 0;
  const std::size_t vectors = needs(rules, RuleNeeds::sites) ? 4 : needs(rules, RuleNeeds::precision) ? 2 : 1;
  return participants * vectors * parameters * sizeof(float);
}

template class RunPreviews<float>;
template class RunPreviews<double>;

}  // namespace ivory
