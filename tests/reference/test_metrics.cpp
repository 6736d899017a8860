// Classification metrics, calibration, the average over posterior samples and KL divergences (metrics.h5).
#define BOOST_TEST_MODULE reference_metrics
#include "tests/support/boost_test.hpp"

#include "clients/loss.hpp"
#include "ivory/gaussian.hpp"
#include "src/evaluation.hpp"
#include "src/ood_metrics.hpp"
#include "tests/reference/reference_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

void check_metrics(const Hdf5File& file, const std::string& group, const std::vector<double>& probability,
                   const std::vector<double>* log_likelihood) {
  const auto labels = file.read<std::int32_t>(group + "/labels").values;
  const std::size_t n = labels.size(), classes = probability.size() / n;
  std::size_t calibrations = 0;
  for (const std::string& attribute : file.attributes(group)) {
    if (attribute.rfind("ece_", 0) != 0) continue;
    ++calibrations;
    const std::string bins = attribute.substr(4);
    const Evaluation evaluation =
        evaluate_probabilities(probability.data(), labels.data(), n, classes, std::stoul(bins),
                               log_likelihood != nullptr ? log_likelihood->data() : nullptr);
    check_value(evaluation.metrics.accuracy, file.real(group, "accuracy"), group + " accuracy");
    check_value(evaluation.metrics.nll, file.real(group, "nll"), group + " nll");
    check_value(evaluation.metrics.brier, file.real(group, "brier"), group + " brier");
    check_value(evaluation.metrics.entropy, file.real(group, "mean_entropy"), group + " mean_entropy");
    check_value(evaluation.metrics.ece, file.real(group, attribute), group + " " + attribute);
    check_value(calibration_error(evaluation.bins), file.real(group, attribute), group + " bins of " + attribute);
    if (!file.has_dataset(group + "/bin_count_" + bins)) continue;
    check_against(evaluation.bins.count, file, group + "/bin_count_" + bins);
    std::vector<double> confidence = evaluation.bins.confidence, accuracy = evaluation.bins.correct;
    const auto expected_confidence = file.read<double>(group + "/bin_confidence_" + bins).values;
    const auto expected_accuracy = file.read<double>(group + "/bin_accuracy_" + bins).values;
    for (std::size_t b = 0; b < confidence.size(); ++b) {
      if (evaluation.bins.count[b] == 0) {  // the reference's number for an empty bin means nothing
        BOOST_TEST(confidence[b] == 0.0);
        BOOST_TEST(accuracy[b] == 0.0);
        continue;
      }
      check_value(confidence[b] / evaluation.bins.count[b], expected_confidence[b], "confidence of a bin");
      check_value(accuracy[b] / evaluation.bins.count[b], expected_accuracy[b], "accuracy of a bin");
    }
  }
  BOOST_TEST(calibrations > 0U);
}

// Softmax of logits [rows x classes] through the production formula.
std::vector<double> softmax(const double* logits, std::size_t rows, std::size_t classes,
                            const std::vector<std::int32_t>& labels, std::vector<double>& log_likelihood) {
  std::vector<double> probability(rows * classes);
  log_likelihood.resize(rows);
  const SoftmaxCrossEntropy<double> formula{classes, 0.0};
  for (std::size_t r = 0; r < rows; ++r) {
    log_likelihood[r] = formula.predict(logits + r * classes, labels.data(), r, probability.data() + r * classes);
  }
  return probability;
}

}  // namespace

BOOST_AUTO_TEST_CASE(classification) {
  const auto file = open_reference("metrics.h5");
  if (!file) return;
  const auto logits = file->read<double>("classification/logits");
  const auto labels = file->read<std::int32_t>("classification/labels").values;
  std::vector<double> log_likelihood;
  const auto probability = softmax(logits.values.data(), logits.shape[0], logits.shape[1], labels, log_likelihood);
  check_against(probability, *file, "classification/probs");
  check_metrics(*file, "classification", probability, &log_likelihood);
  check_metrics(*file, "classification", file->read<double>("classification/probs").values, nullptr);
}

BOOST_AUTO_TEST_CASE(average_over_posterior_samples) {
  const auto file = open_reference("metrics.h5");
  if (!file) return;
  const auto logits = file->read<double>("model_average/logits");  // [S, N, C]
  const auto labels = file->read<std::int32_t>("model_average/labels").values;
  const std::size_t samples = logits.shape[0], n = logits.shape[1], classes = logits.shape[2];
  std::vector<double> mean(n * classes, 0.0), log_likelihood;
  for (std::size_t s = 0; s < samples; ++s) {
    const auto p = softmax(logits.values.data() + s * n * classes, n, classes, labels, log_likelihood);
    for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += p[i] / static_cast<double>(samples);
  }
  check_against(mean, *file, "model_average/probs");
  check_metrics(*file, "model_average", mean, nullptr);
}

BOOST_AUTO_TEST_CASE(divergence_of_diagonal_gaussians) {
  const auto file = open_reference("metrics.h5");
  if (!file) return;
  const auto read = [&](const char* name) { return file->read<double>(std::string("kl_diag/") + name).values; };
  const auto mp = read("mean_p"), mq = read("mean_q"), sp = read("prec_p"), sq = read("prec_q");
  const auto device = make_cpu_device();
  check_value(kl_diagonal(*device, mp.size(), KlTerm<double>{mp.data(), sp.data(), mq.data(), sq.data()}),
              file->real("kl_diag", "kl_p_q"), "kl_p_q");
  check_value(kl_diagonal(*device, mp.size(), KlTerm<double>{mq.data(), sq.data(), mp.data(), sp.data()}),
              file->real("kl_diag", "kl_q_p"), "kl_q_p");
}

BOOST_AUTO_TEST_CASE(area_under_the_roc_curve) {
  const auto file = open_reference("metrics.h5");
  if (!file) return;
  // In the file "out" is the positive class, and larger scores say "out".
  for (const std::string ties : {"", "_ties"}) {
    const auto in = file->read<double>("auroc/score_in" + ties).values;
    const auto out = file->read<double>("auroc/score_out" + ties).values;
    check_value(detection(out, in).auroc, file->real("auroc", "auroc" + ties), "auroc" + ties);
  }
}

BOOST_AUTO_TEST_CASE(groups_of_the_file) {
  const auto file = open_reference("metrics.h5");
  if (!file) return;
  std::size_t tested = 0;
  for (const std::string& group : file->groups("/")) {
    if (group == "classification" || group == "model_average" || group == "kl_diag" || group == "auroc")
      ++tested;
    else
      skipped("metrics.h5 " + group, "these metrics do not exist yet");
  }
  BOOST_TEST(tested == 4U);
}
