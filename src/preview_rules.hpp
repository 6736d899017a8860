// The rules that put clients together without training (methods.md 6), by their names, and the weights they are asked about.
#pragma once
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "src/preview_source.hpp"

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
  Merged<float> (*merge)(const PreviewSource&, std::span<const double> weights, const RuleSettings&);
};

std::span<const PreviewRule> preview_rules();

/// Why the rule cannot be had from this log, "" where it can.
std::string why_not(const PreviewRule& rule, const PreviewSource& source);

/// The rules of these names; of no names: all that the log allows, `mixture` only where there are several components. Throws
/// InputError for an unknown name and for a rule that the log does not allow.
std::vector<const PreviewRule*> choose_rules(const std::vector<std::string>& names, const PreviewSource& source);

/// The merged model [P]. Throws InputError where the rule needs a base with these weights and there is none, or none with a
/// precision.
Merged<float> merge(const PreviewRule& rule, const PreviewSource& source, std::span<const double> weights,
                    const RuleSettings& settings);

/// All weights total n_t/steps with whole n_t >= 0 that sum to `steps`, the first client's falling: C(steps + n - 1, n - 1) of
/// them. Throws InputError where that is more than 100,000.
std::vector<std::vector<double>> simplex_grid(std::size_t clients, int steps, double total);

/// "1,2.5,0" for so many clients, "equal" (all 1), or "examples" (N_k over the mean of the merged clients). Throws InputError.
std::vector<double> parse_weights(const std::string& text, const PreviewSource& source);

}  // namespace ivory
