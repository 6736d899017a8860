#include "server/vb_admm.hpp"

#include <algorithm>

#include "ivory/error.hpp"

namespace ivory {
namespace {

std::vector<OptionSpec> all_options() {
  return {
      {.name = "posterior",
       .default_value = std::string("diagonal"),
       .help = "family of the Gaussians: isotropic (federated ADMM; any point optimizer), diagonal, or full covariance "
               "(optimizer von; P x P matrices in double)",
       .choices = {"isotropic", "diagonal", "full"}},
      {.name = "rho",
       .default_value = 0.1,
       .help = "weight of the KL to the server, and step size of the dual",
       .unit = "1",
       .low = 0,
       .low_open = true},
      {.name = "temperature",
       .default_value = 1.0,
       .help = "tau: the likelihood counts 1/tau-fold",
       .unit = "1",
       .low = 0,
       .low_open = true},
      {.name = "prior_precision",
       .default_value = 1.0,
       .help = "s0 of the prior N(0, 1/s0)",
       .unit = "1/weight^2",
       .low = 0,
       .low_open = true},
      {.name = "damping",
       .default_value = 1.0,
       .help = "d: share of the dual step taken",
       .unit = "1",
       .low = 0,
       .high = 1,
       .low_open = true},
      {.name = "alpha",
       .default_value = 0.0,
       .help = "server step; 0 = 1/(1 + K rho). With rho = 1, alpha = 1 is PVI (damping < 1: damped PVI)",
       .unit = "1",
       .low = 0,
       .high = 1},
      {.name = "bregman", .default_value = false, .help = "dual step in expectation parameters (Bregman ADMM)"},
      {.name = "bregman_ref_sign",
       .default_value = false,
       .help = "compatibility: the reference code's sign of the Bregman precision step (methods.md D4)"},
      {.name = "ref_bayes_eval",
       .default_value = false,
       .help =
           "compatibility: posterior averages draw from precision N hess_init/(tau rho) + s0 in every round, not from "
           "the server's; optimizer ivon (methods.md D1)"},
      {.name = "ref_start_identity",
       .default_value = false,
       .help = "compatibility: the server starts at precision 1, not at the prior's (methods.md D2)"}};
}

}  // namespace

std::vector<OptionSpec> vb_admm_options(const std::vector<std::string>& names) {
  std::vector<OptionSpec> chosen;
  for (OptionSpec& spec : all_options()) {
    if (std::find(names.begin(), names.end(), spec.name) != names.end()) chosen.push_back(std::move(spec));
  }
  return chosen;
}

std::vector<OptionSpec> with_default(std::vector<OptionSpec> options, const std::string& name, double value) {
  for (OptionSpec& spec : options) {
    if (spec.name == name) spec.default_value = value;
  }
  return options;
}

template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm(const Options& options, VbAdmm preset, const std::string& tag) {
  const auto number = [&](const char* name, double& value) {
    if (options.has(name)) value = options.real(name);
  };
  const auto flag = [&](const char* name) { return options.has(name) && options.boolean(name); };
  number("rho", preset.rho);
  number("temperature", preset.temperature);
  number("prior_precision", preset.prior_precision);
  number("damping", preset.damping);
  number("alpha", preset.alpha);
  if (flag("bregman")) preset.step = DualStep::bregman;
  if (flag("bregman_ref_sign")) {
    if (preset.step == DualStep::natural) {
      throw InputError("[" + tag + "] bregman_ref_sign needs bregman = true, got false, at " +
                       to_string(options.place("bregman_ref_sign")) + "; drop one of them");
    }
    preset.step = DualStep::bregman_reference_sign;
  }
  preset.reference_average = flag("ref_bayes_eval");
  preset.start_precision = flag("ref_start_identity") ? 1.0 : preset.prior_precision;

  const std::string& family = options.text("posterior");
  if (preset.reference_average && family != "diagonal") {
    throw InputError("[" + tag +
                     "] ref_bayes_eval needs posterior = \"diagonal\" (one precision for every parameter), got \"" +
                     family + "\", at " + to_string(options.place("ref_bayes_eval")) + "; leave it out");
  }
  if (family == "diagonal") return make_vb_admm_diagonal<Real>(preset);
  if (family == "isotropic") {
    if (preset.step != DualStep::natural) {
      throw InputError("[" + tag +
                       "] Bregman steps need a posterior with precisions, got posterior = \"isotropic\", at " +
                       to_string(options.place("posterior")) + "; use \"diagonal\" or \"full\"");
    }
    if (flag("ref_start_identity")) {
      throw InputError(
          "[" + tag +
          "] ref_start_identity needs a posterior whose precisions move, got posterior = \"isotropic\" (they "
          "stay prior_precision), at " +
          to_string(options.place("ref_start_identity")) + "; leave it out, or set prior_precision = 1");
    }
    return make_vb_admm_isotropic<Real>(preset);
  }
  if constexpr (std::is_same_v<Real, double>) {
    return make_vb_admm_full(preset);
  } else {
    throw std::logic_error("full covariances run in double");
  }
}

template std::unique_ptr<Algorithm<float>> make_vb_admm(const Options&, VbAdmm, const std::string&);
template std::unique_ptr<Algorithm<double>> make_vb_admm(const Options&, VbAdmm, const std::string&);

}  // namespace ivory
