// Predictions and their quality: mean model, posterior average, per class, per client, negative ELBO (methods.md section 12).
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "clients/network.hpp"
#include "clients/resident_data.hpp"
#include "ivory/buffer.hpp"
#include "ivory/dataset.hpp"
#include "ivory/record.hpp"

namespace ivory {

/// All metrics of predicted probabilities [n x classes]. `log_likelihood` [n] (may be null) is log p(label) where it is known
/// more exactly than from the probability; otherwise the NLL takes log max(p, 1e-12). Calibration bins are right-closed and of
/// equal width; a confidence of 0 goes to the first. With n = 0 every metric is NaN, and
/// so it is where an example's probability is NaN: that is no prediction, and counts in neither the confusion nor the bins.
template <class Real>
Evaluation evaluate_probabilities(const Real* probability, const std::int32_t* labels, std::size_t n,
                                  std::size_t classes, std::size_t bins, const double* log_likelihood = nullptr);

/// -sum_c p_c log p_c of one prediction, in nats; NaN where a probability is.
template <class Real>
double predictive_entropy(const Real* p, std::size_t classes);

/// ECE = sum_b (n_b/n) |accuracy_b - confidence_b| from bins; bins of disjoint sets may be added first. NaN without examples.
double calibration_error(const CalibrationBins& bins);

/// Regression: nll and rmse of predicted means [n x outputs]; `log_likelihood` [n] is log p(targets). NaN with n = 0.
template <class Real>
Metrics evaluate_means(const Real* mean, const float* targets, std::size_t n, std::size_t outputs,
                       const double* log_likelihood);

inline constexpr std::size_t chunk_rows = 256;  // of a prediction, fixed: the shape of a product decides its bits
inline constexpr double smallest_probability = 1e-12;  // of the label, where the NLL is taken from a probability

struct Predictions {
  std::vector<float> values;           // [n x predicted]: the probability of each class, or the mean of each target
  std::vector<double> log_likelihood;  // [n], log p(label) by log-sum-exp, or log p(targets)
};

/// The average of at least one network's predictions of `data`: of probabilities (regression: of means); log p is of the averaged
/// probability or density.
Predictions average_of(std::span<const Predictions> predictions, const Dataset& data);

/// All metrics of a prediction of `data`.
Evaluation evaluate(const Predictions& predictions, const Dataset& data, std::size_t bins);

/// Metrics of the examples `rows` of a prediction, for one client.
Metrics metrics_of_rows(const Predictions& predictions, const Dataset& data, std::span<const std::uint32_t> rows,
                        std::size_t bins);

/// The Gaussian that networks are drawn from, in the memory of the predictor's device: a precision for each parameter or, where
/// `factor` is set, a precision matrix S = L L' in double.
struct PosteriorView {
  const float* mean = nullptr;         // [stride]; with a factor `exact_mean` stands for it
  const float* precision = nullptr;    // [stride]
  const double* exact_mean = nullptr;  // [stride]
  const double* factor = nullptr;      // [P x P] L, see Predictor::factor_of
};

/// What a posterior average is asked for beside its metrics.
struct AverageWishes {
  bool curve = false;        // the metrics of every shorter average
  bool probability = false;  // the averaged probabilities
};

struct PosteriorAverage {
  Evaluation evaluation;
  Metrics
      error;  // Monte-Carlo standard errors: jackknife over at most 8 groups of samples; NaN for fewer than 2 samples
  std::vector<float> probability;  // [n x classes], those of average_predictions; empty unless wished for
  std::vector<Metrics>
      curve;  // [samples], of the average over the first t = 1, 2, ... samples; empty unless wished for
};

struct NegativeElbo {
  double value = no_value, error = no_value;  // nats; error is the standard error over the samples
};

/// Runs a network over data in fixed chunks of rows: shared among threads on the CPU, many sampled networks at a time on an
/// accelerator. Results depend on neither number.
class Predictor {
 public:
  /// On the CPU.
  Predictor(const Network<float>& network, int threads);
  /// On `device`, which outlives the predictor and is not used elsewhere while it works. Parameters are in its memory, of which
  /// `runs` predictors may work at a time.
  Predictor(const Network<float>& network, Device& device, int threads, std::size_t runs = 1);
  ~Predictor();

  /// Keeps a copy of `data` in an accelerator's memory until the end; data not kept is sent each time.
  void keep(const Dataset& data);

  /// `parameters` is [stride].
  Predictions predict(const float* parameters, const Dataset& data) const;

  /// The Cholesky factor of a precision matrix [P x P] in the device's memory; NaN where it is not positive definite.
  Buffer<double> factor_of(const double* precision) const;

  /// p(y|x) = mean over `samples` draws theta ~ q of p(y | f(x; theta)); draws keyed by (seed, round), from the same normals for
  /// diagonal and full covariances. For regression its mean gives the rmse, and the mean of the densities the nll.
  PosteriorAverage posterior_average(const PosteriorView& q, const Dataset& data, int samples, std::size_t bins,
                                     std::uint64_t seed, std::uint64_t round, const AverageWishes& wishes = {}) const;

  /// The average's predictions themselves, of the same draws; log p is of the averaged probability or density.
  Predictions average_predictions(const PosteriorView& q, const Dataset& data, int samples, std::uint64_t seed,
                                  std::uint64_t round) const;

  /// Per-example label noise of classes (methods.md section 8) over draws in pairs m +- d, so that what is odd in d cancels in the
  /// mean; `draws` are rounded up to an even number.
  LabelNoise label_noise(const PosteriorView& q, const Dataset& data, int draws, std::uint64_t seed,
                         std::uint64_t round) const;
  /// Memory that this takes on the CPU for so many examples.
  static std::size_t label_noise_bytes(const Network<float>& network, std::size_t examples, int threads);

  /// (1/tau) sum_i weight_i E_q[l_i] + KL(q || N(0, 1/prior)), E_q over `samples` draws that are the same for every method.
  NegativeElbo negative_elbo(const PosteriorView& q, const Dataset& data, std::span<const float> weights,
                             double temperature, double prior_precision, int samples, std::uint64_t seed,
                             std::uint64_t round) const;

 private:
  struct Lane;
  /// Of `networks` parameter vectors, [networks x stride].
  void run(const float* parameters, std::size_t networks, const Dataset& data, std::span<Predictions> out) const;
  void run_on_cpu(const float* parameters, const Dataset& data, Predictions& out) const;
  void run_on_accelerator(const float* parameters, std::size_t networks, const Dataset& data,
                          std::span<Predictions> out) const;
  std::size_t networks_at_a_time(const Dataset& data, std::size_t wanted) const;
  Predictions room_for(const Dataset& data) const;
  /// Calls use(t, predictions of network t) for networks t = 0.. drawn from q; in pairs, network 2i + 1 mirrors 2i at the mean.
  template <class Use>
  void sample(const PosteriorView& q, const Dataset& data, int samples, Purpose purpose, std::uint64_t seed,
              std::uint64_t round, const Use& use, bool in_pairs = false) const;

  const Network<float>& network_;
  Device* device_ = nullptr;  // of the parameters
  std::vector<std::unique_ptr<Lane>> lanes_;
  int threads_ = 1;
  std::size_t runs_ = 1;
  std::map<const Dataset*, ResidentData> kept_;
};

}  // namespace ivory
