// Previews: merged models and their metrics, and how well they put weights in the order of models that were trained with them.
#pragma once
#include <string>
#include <vector>

#include "ivory/record.hpp"
#include "src/preview_rules.hpp"
#include "src/preview_source.hpp"

namespace ivory {

struct Preview {
  const PreviewRule* rule = nullptr;
  std::vector<double> weights;  // [merged clients]
  Metrics test = {};
  std::vector<Metrics> clients =
      {};  // [clients of the run], on their own examples; empty where the scenario evaluates none
  double clamped = 0, objective = no_value;
  std::vector<float> mean = {}, precision = {};  // kept where wished for
};

/// Every rule with every weights, rule after rule. 0 threads: all. Throws InputError.
std::vector<Preview> make_previews(const PreviewSource& source, const std::vector<const PreviewRule*>& rules,
                                   const std::vector<std::vector<double>>& weights, const RuleSettings& settings,
                                   int threads, bool keep_models);

/// Models that were trained with [clients] weights; runs of the same weights (seeds) are one, with their mean metrics.
struct Retrained {
  std::vector<double> weights;  // [merged clients], all clients of the run
  std::vector<std::string> logs;
  Metrics test;                  // after the last round
  std::vector<Metrics> clients;  // [clients]; empty where a log has none
};

/// Throws InputError for a log that is not finished, of other data or of another partition, and where not all clients are merged.
std::vector<Retrained> read_retrained(const std::vector<std::string>& logs, const PreviewSource& source);

/// Of one rule's previews against what was trained, over the weights.
struct RankAgreement {
  const PreviewRule* rule = nullptr;
  struct Pair {
    double spearman = no_value, kendall = no_value;
  };
  Pair accuracy = {}, nll = {};                             // test set
  std::vector<Pair> client_accuracy = {}, client_nll = {};  // [clients]
};

/// `previews` are those of make_previews with the weights of `retrained`.
std::vector<RankAgreement> rank_agreement(const std::vector<Preview>& previews,
                                          const std::vector<Retrained>& retrained);

std::string preview_table(const std::vector<Preview>& previews, const PreviewSource& source);
std::string agreement_table(const std::vector<RankAgreement>& agreement, const std::vector<Retrained>& retrained);

struct PreviewOutcome {
  const PreviewSource* source = nullptr;
  const std::vector<std::string>* logs = nullptr;
  const RuleSettings* settings = nullptr;
  std::vector<Preview> previews = {};
  std::vector<Retrained> retrained = {};      // may be empty
  std::vector<RankAgreement> agreement = {};  // of `retrained`
};

/// Refuses a path at which something is that is no file of previews. Throws InputError.
void check_preview_path(const std::string& path);
/// The file of docs/log-format.md, "Previews". Throws RunError.
void write_previews(const std::string& path, const PreviewOutcome& outcome);

}  // namespace ivory
