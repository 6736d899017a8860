// What a log holds: every dataset with its axes, unit and meaning, as one table. docs/log-format.md says the same in
// words.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "ivory/record.hpp"
#include "src/hdf5_file.hpp"
#include "src/run_log.hpp"

namespace ivory {

inline constexpr int log_format_version = 1;

/// Lengths of the log's axes.
struct LogShape {
  std::size_t rounds = 0, clients = 0, classes = 0, bins = 0, parameters = 0;
  std::vector<ParameterRange> logged;    // parameters of which rows are kept
  Hdf5Type storage = Hdf5Type::float32;  // of those rows
  std::size_t curve = 0;                 // samples of the posterior average's curve; 0: no curve
  std::vector<int> posterior_rounds, site_rounds, client_rounds;  // 1-based, increasing
};

LogShape shape_of(const LogPlan& plan);

/// One dataset, and what it tells a reader.
struct LogDataset {
  Hdf5Layout layout;
  std::string units, long_name;
  std::vector<std::string> scales;  // path of the dimension scale of each axis
  bool is_scale = false;
  std::vector<double> values;      // known before round 1; empty: written later, or never
  std::vector<std::string> texts;  // the same for strings
};

/// All datasets; the scales of a group stand before what uses them.
std::vector<LogDataset> log_datasets(const LogPlan& plan, const LogShape& shape);

/// Attributes of the file itself and of /partition.
void write_log_attributes(Hdf5File& file, const LogPlan& plan, const LogShape& shape);

/// The metrics and their columns.
struct MetricColumn {
  const char* name;
  double Metrics::*value;
  const char* units;
  const char* meaning;
  bool classification = true, regression = false;  // which has it
};
inline constexpr MetricColumn metric_columns[] = {
    {"accuracy", &Metrics::accuracy, "1", "accuracy"},
    {"nll", &Metrics::nll, "nat", "negative log-likelihood per example", true, true},
    {"ece", &Metrics::ece, "1", "expected calibration error"},
    {"brier", &Metrics::brier, "1", "Brier score (0 to 2)"},
    {"entropy", &Metrics::entropy, "nat", "predictive entropy per example"},
    {"rmse", &Metrics::rmse, "unit of the targets", "root of the mean squared error", false, true},
};

/// Detection of out-of-distribution inputs: columns for each of two scores.
struct DetectionScore {
  const char* prefix;
  Detection OodDetection::*score;
  const char* meaning;
};
inline constexpr DetectionScore detection_scores[] = {
    {"ood_", &OodDetection::confidence, "largest probability"},
    {"ood_entropy_", &OodDetection::entropy, "negative entropy"},
};
struct DetectionColumn {
  const char* name;
  const char* heading;
  double Detection::*value;
  const char* meaning;
};
inline constexpr DetectionColumn detection_columns[] = {
    {"auroc", "AUROC [%]", &Detection::auroc, "area under the ROC curve"},
    {"aupr_in", "AUPR in [%]", &Detection::aupr_in, "average precision, test examples as positives"},
    {"aupr_out", "AUPR out [%]", &Detection::aupr_out, "average precision, out-of-distribution inputs as positives"},
    {"fpr95", "FPR at 95 % [%]", &Detection::fpr95, "false positive rate at a true positive rate of at least 0.95"},
    {"detection_error", "detection error [%]", &Detection::error, "smallest mean of the two error rates"},
};

/// Columns of the diagnostics, whole numbers of a round first and then quantiles, which have an axis of their own.
struct DiagnosticColumn {
  const char* name;
  double (*value)(const Diagnostics&);
  const char* units;
  const char* meaning;
  bool (*there)(const LogPlan&);  // whether the run can have it
};
inline constexpr DiagnosticColumn diagnostic_columns[] = {
    {"primal_residual", [](const Diagnostics& d) { return d.primal_residual; }, "1",
     "root mean square over participants of the distance between client's and server's mean after the round",
     [](const LogPlan& plan) { return plan.diagnostics.residuals; }},
    {"dual_residual", [](const Diagnostics& d) { return d.dual_residual; }, "1",
     "distance that the server's mean went in the round",
     [](const LogPlan& plan) { return plan.diagnostics.residuals; }},
    {"site_residual_precision", [](const Diagnostics& d) { return d.site_residual_precision; }, "1",
     "server's precision less prior and all sites, relative norm",
     [](const LogPlan& plan) { return plan.diagnostics.sites; }},
    {"site_residual_mean", [](const Diagnostics& d) { return d.site_residual_mean; }, "1",
     "server's natural mean less prior and all sites, relative norm",
     [](const LogPlan& plan) { return plan.diagnostics.sites; }},
    {"hessian_at_start", [](const Diagnostics& d) { return d.optimizer.hessian_at_start; }, "1",
     "share of IVON's precisions that a visit left within 1 % of their start, mean over participants",
     [](const LogPlan&) { return true; }},
    {"clip_rate", [](const Diagnostics& d) { return d.optimizer.clip_rate; }, "1",
     "share of IVON's step direction that was clipped in the visit's last step, mean over participants",
     [](const LogPlan&) { return true; }},
};
struct DiagnosticQuantiles {
  const char* name;
  const Quantiles& (*value)(const Diagnostics&);
  const char* units;
  const char* meaning;
  bool (*there)(const LogPlan&);
};
inline constexpr DiagnosticQuantiles diagnostic_quantiles[] = {
    {"kl_server_client", [](const Diagnostics& d) -> const Quantiles& { return d.kl; }, "nat",
     "KL from the server's Gaussian before the round to the client's after it, quantiles over participants",
     [](const LogPlan& plan) { return plan.diagnostics.kl; }},
    {"effective_step", [](const Diagnostics& d) -> const Quantiles& { return d.optimizer.effective_step; }, "1",
     "IVON's step per unit of gradient in the visit's last step, quantiles over parameters, mean over participants",
     [](const LogPlan&) { return true; }},
};

}  // namespace ivory
