// What one round leaves behind: plain numbers, filled by the experiment, written by the log, shown by progress and tables.
#pragma once
#include <cstdint>
#include <limits>
#include <vector>

#include "ivory/quantiles.hpp"

namespace ivory {

inline constexpr double no_value = std::numeric_limits<double>::quiet_NaN();

/// Quality of predictions (methods.md section 12). Natural logarithms; Brier in 0..2. Classification has no rmse, regression has
/// nll and rmse alone.
struct Metrics {
  double accuracy = no_value, nll = no_value, ece = no_value, brier = no_value, entropy = no_value;
  double rmse = no_value;  // root of the mean squared error over examples and targets
};

/// One row per class or per client.
struct MetricsTable {
  std::vector<double> examples;
  std::vector<Metrics> rows;
};

/// Reliability bins: examples, summed confidence and summed correctness; they add over disjoint sets of examples.
struct CalibrationBins {
  std::vector<double> count, confidence, correct;
};

/// How well a score tells in-distribution examples, the positives, from others (methods.md section 12).
struct Detection {
  double auroc = no_value, aupr_in = no_value, aupr_out = no_value;  // areas under ROC and precision-recall curves
  double fpr95 = no_value;  // false positive rate at the first threshold whose true positive rate is at least 0.95
  double error = no_value;  // smallest mean of both error rates
};

/// Detection of out-of-distribution inputs by two scores of a prediction: its largest probability and its negative entropy.
struct OodDetection {
  Detection confidence, entropy;
};

/// Everything computed from one set of predictions; tables, confusion and bins are empty for regression.
struct Evaluation {
  Metrics metrics;
  MetricsTable classes;           // by true class
  std::vector<double> confusion;  // [true x predicted], counts
  CalibrationBins bins;
  OodDetection ood;  // of the test set; NaN without out-of-distribution data
};

/// What removing each of n training examples would do (methods.md 7.1).
struct Sensitivity {
  std::vector<double> parameter_deviation = {};   // [n] |dm_i|, the length of the parameters' shift
  std::vector<double> output_deviation = {};      // [n x outputs] df_i
  std::vector<double> prediction_deviation = {};  // [n x predicted] dp_i
  std::vector<double> nll = {};                   // [n] at the posterior's mean, nats
  std::vector<double> leave_one_out_nll = {};     // [n] at its mean without the example, nats
};

/// Per-example label noise (methods.md section 8), [n x classes]: softmax f(m) - E_q[softmax f(theta)] per class, and the standard
/// deviation of one draw's softmax.
struct LabelNoise {
  std::vector<double> mean, deviation;
};

enum class ClientStatus : std::int8_t { absent = 0, trained = 1, refused = 2 };

/// One client's visit.
struct ClientRecord {
  ClientStatus status = ClientStatus::absent;
  double train_loss = no_value;  // mean over the visit's steps of the minibatch mean loss
  double steps = 0;
};

/// How a visit with IVON ended, or the means over a round's visits (methods.md 2.6). NaN: the optimizer has no such thing.
struct OptimizerHealth {
  double hessian_at_start = no_value;  // share of precision entries within 1 % of those that the visit began with
  Quantiles effective_step;            // of lr' / (h + d) over parameters
  double clip_rate = no_value;         // share of the entries of the last step's direction that were clipped
};

/// What the diagnostics of a method can be.
struct DiagnosticsKind {
  bool residuals = false;  // there is a common model
  bool sites = false;      // the server's diagonal precision is prior and sites, at a fixed point
  bool kl = false;         // server and clients have diagonal precisions
};

/// How far a round is from a fixed point (methods.md 2.6). NaN: the method has no such thing, or nobody took part.
struct Diagnostics {
  double primal_residual = no_value;          // root mean square over participants of |m_k - m_g|, m_g after the round
  double dual_residual = no_value;            // |m_g after the round - m_g before it|
  double site_residual_precision = no_value;  // |s_g - (s0 + sum_k V_k)| / |s_g|
  double site_residual_mean = no_value;       // |s_g m_g - sum_k v_k| / |s_g m_g|
  Quantiles kl;                               // over participants: KL(q_g before the round || q_k), nats
  double kl_parameters = 0;                   // over which that KL is a sum; 0: it is not taken
  OptimizerHealth optimizer;
};

/// A model that a rule made of a round's clients ([log] previews).
struct PreviewRecord {
  Metrics test;
  double clamped = no_value;  // entries of its precision that were raised to their floor
};

struct RoundRecord {
  int round = 0;                     // 1-based: the first finished round is 1
  bool evaluated = false;            // the metrics below are NaN when not
  bool regression = false;           // the run predicts numbers, not classes
  Evaluation mean;                   // at the server's mean
  Evaluation bayes;                  // posterior average; empty vectors and NaN without a posterior
  Metrics bayes_error;               // Monte-Carlo standard errors of `bayes.metrics`
  std::vector<Metrics> bayes_curve;  // of the average over its first t samples, t = 1, 2, ...; empty when not wanted
  Metrics validation;                // mean model on the validation split
  Metrics validation_bayes;          // posterior average on it
  double negative_elbo = no_value, negative_elbo_error = no_value;
  double laplace_prior_precision =
      no_value;                         // of the Laplace posterior that `bayes` is drawn from; NaN: of no such one
  std::vector<Metrics> client_metrics;  // mean model on each client's own examples; empty when not evaluated
  std::vector<Metrics> client_metrics_bayes;                                // the same of the posterior average
  double leave_one_out_nll = no_value, leave_one_out_nll_error = no_value;  // of the probe; error: over its examples
  double probe_nll = no_value;                                              // of the same examples, at the mean
  Sensitivity sensitivity;                                                  // after the last round alone
  double label_noise = no_value;                                            // mean over its probe of |eps_i|_1
  double label_noise_auroc = no_value,
         label_noise_label_auroc = no_value;  // for changed labels: |eps_i|_1, -eps_i,label
  LabelNoise label_noise_examples;            // after the last round alone
  std::vector<PreviewRecord> previews;        // by rule; empty where none is due
  double train_loss = no_value;               // example-weighted mean over participants
  double seconds = 0, seconds_training = 0, seconds_evaluation = 0;
  double bytes_up = 0, bytes_down = 0;
  std::uint64_t state_hash = 0;
  double clamped = 0;                      // precision entries raised to their floor in this round
  double precision_gap_closed = no_value;  // share of the client precision's target step that local training closed
  Diagnostics diagnostics;                 // NaN throughout without [log] diagnostics
  int participants = 0, refused = 0;
  std::vector<ClientRecord> clients;
};

}  // namespace ivory
