// What removing one training example would do to the model, by the memory-perturbation equation (methods.md 7.1).
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "clients/network.hpp"
#include "ivory/dataset.hpp"
#include "ivory/record.hpp"
#include "ivory/scenario.hpp"
#include "src/evaluation.hpp"

namespace ivory {

/// `count` of the rows `candidates`, increasing: a keyed draw without replacement, the same in every round; all of them where there
/// are no more. A smaller probe of the same seed is a part of a larger one.
std::vector<std::uint32_t> draw_probe(std::uint64_t seed, const std::vector<std::uint32_t>& candidates,
                                      std::size_t count);

/// Rows of the probe that `evaluation` asks for under this key ("sensitivity", "label_noise_probe"), of `candidates`; empty: of none.
std::vector<std::uint32_t> probe_rows(const Scenario& scenario, const char* key,
                                      const std::vector<std::uint32_t>& candidates);

/// Sensitivities of a fixed set of examples. In double: they are differences of outputs that hardly differ.
class SensitivityProbe {
 public:
  /// `network` and `device` (where the posterior is) outlive it; the examples are copied. On the CPU `threads` share the work; the
  /// result depends on neither number.
  SensitivityProbe(Device& device, const Network<double>& network, Dataset examples, int threads);
  ~SensitivityProbe();
  /// Memory that a probe of so many examples takes on the CPU, beside the network, while it computes.
  static std::size_t bytes(const Network<double>& network, std::size_t examples, int threads);

  /// At the posterior q ~ exp(-(1/temperature) sum of losses) times its prior: dm_i = S^-1 grad l_i(m) / temperature with the loss
  /// that is trained with, df_i = f_i(m + dm_i) - f_i(m), dp_i = (dp/df) df_i, and log p(y_i | f_i + df_i).
  Sensitivity compute(const PosteriorView& q, double temperature) const;

 private:
  struct Lane;
  void compute_block(Lane& lane, std::size_t first, std::size_t count, Sensitivity& result) const;

  Device& device_;
  const Network<double>& network_;
  Dataset examples_;
  std::size_t block_;
  std::vector<std::unique_ptr<Lane>> lanes_;
};

/// Mean of the leave-one-out NLL, and its standard error over the examples as a sample of all (NaN for fewer than two).
struct LeaveOneOutNll {
  double value = no_value, error = no_value;
};
LeaveOneOutNll leave_one_out_nll(const Sensitivity& sensitivity);

}  // namespace ivory
