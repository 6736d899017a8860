// Whether a sample log (sample_log.hpp) holds exactly its first rounds.
#pragma once
#include <fmt/format.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"
#include "src/log_reader.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"

namespace ivory::test {

inline bool same(double a, double b) { return a == b || (std::isnan(a) && std::isnan(b)); }

/// Compares whole arrays and reports the first difference only.
template <class A, class B>
void check_same(const std::string& what, const std::vector<A>& got, const std::vector<B>& expected) {
  BOOST_TEST(got.size() == expected.size(), what << " has " << got.size() << " values, expected " << expected.size());
  for (std::size_t i = 0; i < std::min(got.size(), expected.size()); ++i) {
    const auto a = static_cast<double>(got[i]), b = static_cast<double>(expected[i]);
    if (same(a, b)) continue;
    BOOST_ERROR(fmt::format("{}[{}] is {}, expected {}", what, i, a, b));
    return;
  }
}

/// Columns of the record, by name.
inline std::vector<std::pair<std::string, double>> sample_columns(const RoundRecord& record) {
  std::vector<std::pair<std::string, double>> columns = {{"negative_elbo", record.negative_elbo},
                                                         {"negative_elbo_se", record.negative_elbo_error},
                                                         {"laplace_prior_precision", record.laplace_prior_precision},
                                                         {"train_loss", record.train_loss},
                                                         {"seconds", record.seconds},
                                                         {"seconds_training", record.seconds_training},
                                                         {"seconds_evaluation", record.seconds_evaluation},
                                                         {"bytes_up", record.bytes_up},
                                                         {"bytes_down", record.bytes_down},
                                                         {"participants", record.participants},
                                                         {"refused", record.refused},
                                                         {"clamped", record.clamped},
                                                         {"precision_gap_closed", record.precision_gap_closed}};
  const Diagnostics& diagnostics = record.diagnostics;
  columns.insert(columns.end(), {{"primal_residual", diagnostics.primal_residual},
                                 {"dual_residual", diagnostics.dual_residual},
                                 {"site_residual_precision", diagnostics.site_residual_precision},
                                 {"site_residual_mean", diagnostics.site_residual_mean},
                                 {"hessian_at_start", diagnostics.optimizer.hessian_at_start},
                                 {"clip_rate", diagnostics.optimizer.clip_rate}});
  for (const MetricColumn& column : metric_columns) {
    const std::string name = column.name;
    columns.emplace_back(name, record.mean.metrics.*column.value);
    columns.emplace_back(name + "_bayes", record.bayes.metrics.*column.value);
    columns.emplace_back(name + "_bayes_se", record.bayes_error.*column.value);
    columns.emplace_back("validation_" + name, record.validation.*column.value);
    columns.emplace_back("validation_" + name + "_bayes", record.validation_bayes.*column.value);
  }
  for (const DetectionScore& score : detection_scores) {
    for (const DetectionColumn& column : detection_columns) {
      const std::string name = std::string(score.prefix) + column.name;
      columns.emplace_back(name, record.mean.ood.*score.score.*column.value);
      columns.emplace_back(name + "_bayes", record.bayes.ood.*score.score.*column.value);
    }
  }
  return columns;
}

/// Rows of one round in the datasets with more axes.
inline std::vector<std::pair<std::string, std::vector<double>>> sample_rows(const RoundRecord& record) {
  std::vector<std::pair<std::string, std::vector<double>>> rows;
  const auto missing = [](std::size_t n) { return std::vector<double>(n, no_value); };
  for (const auto& [name, values] : {std::pair{"kl_server_client", &record.diagnostics.kl},
                                     std::pair{"effective_step", &record.diagnostics.optimizer.effective_step}}) {
    rows.emplace_back(name, std::vector<double>(values->values.begin(), values->values.end()));
  }
  for (const auto& [suffix, evaluation] : {std::pair{"", &record.mean}, {"_bayes", &record.bayes}}) {
    const bool there = !evaluation->confusion.empty();
    rows.emplace_back(std::string("confusion") + suffix, there ? evaluation->confusion : missing(16));
    std::vector<double> bins;
    for (std::size_t b = 0; b < evaluation->bins.count.size(); ++b) {
      bins.insert(bins.end(), {evaluation->bins.count[b], evaluation->bins.confidence[b], evaluation->bins.correct[b]});
    }
    rows.emplace_back(std::string("ece_bins") + suffix, there ? bins : missing(15));
    for (const MetricColumn& column : metric_columns) {
      if (!column.classification) continue;  // regression has no classes
      std::vector<double> values;
      for (const Metrics& row : evaluation->classes.rows) values.push_back(row.*column.value);
      rows.emplace_back(fmt::format("class_{}{}", column.name, suffix), there ? values : missing(4));
    }
  }
  return rows;
}

/// `check_coming` asks that rounds to come are still missing; not so in the middle of a write.
inline void check_rounds(const LogReader& log, int rounds, bool posterior, bool check_coming) {
  const Hdf5File& file = log.file();
  const auto records = static_cast<std::size_t>(log.header().rounds);
  for (std::size_t r = 0; r < records; ++r) {
    const int round = static_cast<int>(r) + 1;
    const bool written = round <= rounds;
    if (!written && !check_coming) continue;
    const RoundRecord record = sample_record(round, posterior, true);
    for (const auto& [name, value] : sample_columns(record)) {
      check_same(fmt::format("{} of round {}", name, round), file.read_rows<double>("/rounds/" + name, r, 1).values,
                 std::vector<double>{written ? value : no_value});
    }
    for (auto [name, values] : sample_rows(record)) {
      if (!written) values.assign(values.size(), no_value);
      check_same(fmt::format("{} of round {}", name, round), file.read_rows<double>("/rounds/" + name, r, 1).values,
                 values);
    }
    const std::uint64_t hash = file.read_rows<std::uint64_t>("/rounds/state_hash", r, 1).values.at(0);
    BOOST_TEST(hash == (written ? record.state_hash : 0U));
    const auto visit = [&](const char* name, const std::vector<double>& values, double fill) {
      check_same(fmt::format("clients' {} of round {}", name, round),
                 file.read_rows<double>(fmt::format("/clients/{}", name), r, 1).values,
                 written ? values : std::vector<double>(3, fill));
    };
    visit("participation", {1, 0, 2}, -1);
    visit("train_loss", {record.clients[0].train_loss, no_value, record.clients[2].train_loss}, no_value);
    visit("steps", {11, no_value, 12}, no_value);
  }
}

inline void check_vectors(const LogReader& log, const std::string& sites, bool posterior) {
  const std::vector<int> rounds = log.posterior_rounds();
  const std::vector<float> none(SampleRun::parameters, std::nanf(""));
  for (std::size_t row = 0; row < rounds.size(); ++row) {
    check_same("posterior mean", log.posterior_mean(row), sample_vector(rounds[row], 20));
    check_same("posterior precision", log.posterior_precision(row), posterior ? sample_vector(rounds[row], 21) : none);
  }
  if (sites == "none") return;
  const std::vector<std::int32_t> site_rounds = log.file().read<std::int32_t>("/clients/site_round").values;
  const char* const names[] = {"mean", "precision", "site_mean", "site_precision"};
  for (std::size_t row = 0; row < site_rounds.size(); ++row) {
    if (site_rounds[row] > log.header().rounds_complete) continue;
    for (int kind = 0; kind < 4; ++kind) {
      std::vector<float> expected;
      for (int client = 0; client < SampleRun::clients; ++client) {
        const bool there = client != 1 && (posterior || kind == 0);
        const std::vector<float> one = there ? sample_vector(site_rounds[row], client * 4 + kind) : none;
        expected.insert(expected.end(), one.begin(), one.end());
      }
      check_same(fmt::format("clients' {} of round {}", names[kind], site_rounds[row]),
                 log.file().read_rows<float>(fmt::format("/clients/{}", names[kind]), row, 1).values, expected);
    }
  }
}

inline void check_client_metrics(const LogReader& log) {
  const std::vector<int> rounds = log.client_evaluation_rounds();
  const auto check = [&](std::size_t row, const char* suffix, int kind) {
    const std::vector<Metrics> clients = log.client_metrics(row, suffix);
    BOOST_TEST(clients.size() == std::size_t{SampleRun::clients});
    for (int k = 0; k < SampleRun::clients; ++k) {
      const Metrics expected = sample_metrics(rounds[row], kind, k);
      for (const MetricColumn& column : metric_columns) {
        const double got = clients[static_cast<std::size_t>(k)].*column.value, wanted = expected.*column.value;
        BOOST_TEST(same(got, wanted), column.name << suffix << " of client " << k);
      }
    }
  };
  for (std::size_t row = 0; row < rounds.size(); ++row) {
    check(row, "", 40);
    if (log.header().has_posterior) check(row, "_bayes", 60);
  }
}

/// The curve comes with the last round; before it and without a posterior it is missing.
inline void check_curve(const LogReader& log, bool posterior) {
  const LogHeader& header = log.header();
  const bool written = posterior && header.finished();
  const RoundRecord last = sample_record(header.rounds, posterior, true, true);
  for (const MetricColumn& column : metric_columns) {
    std::vector<double> expected(SampleRun::curve, no_value);
    for (std::size_t t = 0; written && t < expected.size(); ++t) expected[t] = last.bayes_curve[t].*column.value;
    check_same(fmt::format("curve of {}", column.name),
               log.file().read<double>(fmt::format("/curve/{}", column.name)).values, expected);
  }
}

/// The log holds rounds 1..`rounds` and nothing of later ones.
inline void check_log(const std::string& path, const SampleRun& run, int rounds, bool check_coming = true) {
  const LogReader log(path);
  const bool posterior = run.plan.has_posterior;
  BOOST_TEST(log.header().rounds_complete == rounds);
  BOOST_TEST(log.header().rounds == run.scenario.rounds);
  check_rounds(log, rounds, posterior, check_coming);
  check_vectors(log, run.scenario.log.text("sites"), posterior);
  check_client_metrics(log);
  if (check_coming) check_curve(log, posterior);
}

}  // namespace ivory::test
