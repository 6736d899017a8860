// The rules that put clients together without training (methods.md 6), by their names, and the weights they are asked about.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "src/merge_input.hpp"

namespace ivory {

/// Numbers that some rules take.
struct RuleSettings {
  double scale = 1;                                             // task_arithmetic
  double delta = 1e-12;                                         // uncertainty
  std::optional<double> alpha, rho, damping;                    // vb_admm, pvi; as the run had them where not given
  Responsibilities responsibilities = Responsibilities::whole;  // mixture
};

enum class RuleNeeds { weights, precision, sites };

struct PreviewRule {
  std::string name, help;
  RuleNeeds needs = RuleNeeds::weights;  // of the clients
  Merged<float> (*merge)(const MergeInput&, std::span<const double> weights, const RuleSettings&);
};

std::span<const PreviewRule> preview_rules();

const PreviewRule* find_preview_rule(std::string_view name);  // null where there is none
std::vector<std::string> preview_rule_names();

/// Why a method cannot have the rule, "" where it can.
std::string why_not(const PreviewRule& rule, const AlgorithmTraits& traits, const NaturalStep& step);
/// The same of what is there: recorded numbers may not be finite.
std::string why_not(const PreviewRule& rule, const MergeInput& input);

/// For messages: `algorithm "vb_admm" (optimizer "ivon")`.
std::string method_text(const std::string& algorithm, const std::string& optimizer);

/// The rules of these names; of no names: all that the input allows, `mixture` only where there are several components. Throws
/// InputError for an unknown name and for a rule that the input does not allow.
std::vector<const PreviewRule*> choose_rules(const std::vector<std::string>& names, const MergeInput& input);

/// The merged model [P]. Throws InputError where the rule needs a base with these weights and there is none, or none with a
/// precision.
Merged<float> merge(const PreviewRule& rule, const MergeInput& input, std::span<const double> weights,
                    const RuleSettings& settings);

/// All weights total n_t/steps with whole n_t >= 0 that sum to `steps`, the first client's falling: C(steps + n - 1, n - 1) of
/// them. Throws InputError where that is more than 100,000.
std::vector<std::vector<double>> simplex_grid(std::size_t clients, int steps, double total);

/// Weights by their name, for clients of so many examples each: "equal" (all 1), "examples" (N_k over the mean), "shares" (N_k over
/// the sum). Empty for another name.
std::vector<double> named_weights(std::string_view name, const std::vector<double>& examples);

/// The same, or numbers: "1,2.5,0". Throws InputError.
std::vector<double> parse_weights(const std::string& text, const std::vector<double>& examples);

}  // namespace ivory
