// What is measured after a round, and on which of the data: the server's mean model, its posterior average, the clients.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "ivory/algorithm.hpp"
#include "ivory/record.hpp"
#include "src/evaluation.hpp"
#include "src/partition.hpp"
#include "src/run_parts.hpp"
#include "src/sensitivity.hpp"

namespace ivory {

/// In float, or in double for full covariances. All references outlive it.
template <class Real>
class RoundEvaluator {
 public:
  /// `state` is the server's, initialised; it lies on `server`.
  /// `runs`: that share the server's accelerator.
  RoundEvaluator(const Scenario& scenario, const RunParts<Real>& parts, const ServerState<Real>& state, Device& server,
                 int threads, std::size_t runs = 1);

  /// To be called whenever the server has a new mean; `mean` is the same on the host, [P].
  void take_mean(const std::vector<Real>& mean);
  /// Fills the metrics of record.round that are due. After the last round it also fits a Laplace posterior where the scenario asks
  /// for one.
  void evaluate(RoundRecord& record);

  bool has_ood() const;
  /// Of a merged model on the test set. `model` is [P].
  Metrics test_metrics(const std::vector<float>& model) const;
  /// [P]; empty where there is no Laplace posterior (yet).
  std::vector<float> laplace_precision() const;

 private:
  const float* mean() const;
  PosteriorView posterior(Buffer<double>& factor) const;
  PosteriorView averaged(PosteriorView q) const;
  void fix_average_precision();
  bool needs_posterior() const;
  void make_probes();
  void evaluate_sensitivity(RoundRecord& record, const PosteriorView& q) const;
  void evaluate_label_noise(RoundRecord& record, const PosteriorView& q) const;
  void fit_laplace(RoundRecord& record);
  OodDetection told_apart(const std::vector<float>& test, const Predictions& others) const;
  Evaluation evaluate_test(const float* parameters, std::size_t bins) const;
  void evaluate_clients(RoundRecord& record, std::size_t bins, const PosteriorView& q) const;
  void evaluate_posterior(RoundRecord& record, std::size_t bins, const PosteriorView& q) const;
  void evaluate_elbo(RoundRecord& record, const PosteriorView& q) const;
  void evaluate_personal(RoundRecord& record, std::size_t bins, bool clients_due) const;
  const float* personal_mean(std::uint32_t client) const;

  const Scenario& scenario_;
  const RunParts<Real>& parts_;
  const ServerState<Real>& state_;
  Device& server_;
  int threads_;
  ClientExamples client_examples_;
  Predictor predictor_;
  std::vector<std::uint32_t> sensitivity_rows_, label_noise_rows_;
  std::unique_ptr<Network<double>> sensitivity_network_;  // null without sensitivity_rows_
  std::unique_ptr<SensitivityProbe> sensitivity_;
  Dataset label_noise_examples_;
  Buffer<float> rounded_mean_;       // [stride] where training is in double
  Buffer<float> average_precision_;  // [stride] of posterior averages where the scenario fixes it, else empty
  Buffer<float> laplace_;            // [stride] the Laplace posterior's precision, from the last round on
};

}  // namespace ivory
