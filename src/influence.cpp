#include "src/influence.hpp"

#include <fmt/format.h>
#include <omp.h>

#include <algorithm>
#include <cmath>

#include "ivory/error.hpp"
#include "ivory/gaussian.hpp"
#include "ivory/registry.hpp"
#include "src/content_hash.hpp"
#include "src/data_common.hpp"
#include "src/evaluation.hpp"
#include "src/log_reader.hpp"
#include "src/logged_scenario.hpp"
#include "src/partition.hpp"
#include "src/resume_check.hpp"
#include "src/run_parts.hpp"

namespace ivory {
namespace {

Scenario scenario_of(const LogReader& log) { return logged_scenario(log.header()); }

void refuse_without_sites(const LogReader& log, const Scenario& scenario) {
  const std::string& file = log.header().file;
  const AlgorithmTraits traits = find_algorithm(scenario.algorithm_name)->make_double(scenario.algorithm)->traits();
  if (!traits.has_sites()) {
    throw InputError(fmt::format(
        "[influence] the server's posterior must be made of the clients' sites (vb_admm, pvi, bregman_admm, with "
        "posterior = \"diagonal\"), got server.algorithm = \"{}\", in {}; influence has no other source",
        scenario.algorithm_name, file));
  }
  if (traits.full_covariance) {
    throw InputError(fmt::format(
        "[influence] a log must have all of its sites' precisions, got full covariances, of which logs keep diagonals, "
        "in {}; run with server.posterior = \"diagonal\"",
        file));
  }
  if (scenario.log.text("sites") == "none") {
    throw InputError(
        fmt::format("[influence] a log must have the clients' sites, got log.sites = \"none\", in {}; run again with "
                    "--set log.sites=last",
                    file));
  }
  if (log.site_rounds().empty()) {
    throw InputError(
        fmt::format("[influence] a log must have a finished round with the clients' sites, got {} of {} rounds and "
                    "none, in {}; let "
                    "the run finish (ivory run --resume), or run again with --set log.sites=every",
                    log.header().rounds_complete, log.header().rounds, file));
  }
}

/// The last visit of each client that counted, up to `round`; 0: none.
std::vector<int> last_visits(const LogReader& log, int round) {
  const std::vector<double> status = log.client_history("participation");
  const std::size_t clients = log.header().clients;
  std::vector<int> last(clients, 0);
  for (int r = 1; r <= round; ++r) {
    for (std::size_t k = 0; k < clients; ++k) {
      if (status[static_cast<std::size_t>(r - 1) * clients + k] == 1) last[k] = r;
    }
  }
  return last;
}

template <class T>
std::size_t index_of(const std::vector<T>& values, T wanted) {
  return static_cast<std::size_t>(std::find(values.begin(), values.end(), wanted) - values.begin());
}

/// Scenario and data of a log, and what its networks predict on them.
class Judge {
 public:
  Judge(const LogHeader& header, const Scenario& scenario, int threads)
      : parts_(scenario), predictor_(parts_.network, threads) {
    check_log_data("influence", header, parts_.data.checksum);
    check_log_clients("influence", header, parts_.partition.clients());
    if (const std::string found = hexadecimal(parts_.partition.hash); found != header.partition_hash) {
      throw InputError(fmt::format(
          "[influence] clients must have the examples that they have in the log, partition {}, got {}, in {}; use the "
          "version of Ivory that wrote it, {}",
          header.partition_hash, found, header.file, header.ivory_version));
    }
    check_log_parameters("influence", header, parts_.network.layout().size());
  }

  const RunParts<float>& parts() const { return parts_; }

  Metrics on_test(std::span<const float> mean) const {
    return evaluate(predict(mean, parts_.data.test), parts_.data.test, 1).metrics;
  }
  double own_nll(std::span<const float> mean, std::uint32_t client) const {
    const Dataset own = subset(parts_.data.train, parts_.partition.train[client]);
    return evaluate(predict(mean, own), own, 1).metrics.nll;
  }

 private:
  Predictions predict(std::span<const float> mean, const Dataset& data) const {
    std::vector<float> padded(mean.begin(), mean.end());
    padded.resize(parts_.network.layout().stride(), 0.0F);
    return predictor_.predict(padded.data(), data);
  }

  RunParts<float> parts_;
  Predictor predictor_;
};

// float16 ends at 65504, and what is left of a precision without a site may be nothing but infinite.
void need_finite(std::span<const float> values, const char* what, int round, const LogHeader& header) {
  if (std::all_of(values.begin(), values.end(), [](float value) { return std::isfinite(value); })) return;
  throw InputError(
      fmt::format("[influence] the recorded {} of round {} must be finite, got one that is not, in {}; where "
                  "log.storage is \"float16\" run again with \"float32\"",
                  what, round, header.file));
}

void add_predictions(InfluenceReport& report, const LogReader& log, const Judge& judge, std::span<const float> mean,
                     std::span<const float> precision) {
  const std::vector<int> rounds = log.site_rounds(), visits = last_visits(log, report.round);
  const std::size_t size = mean.size();
  const double floor = precision_floor * judge.parts().algorithm->prior_precision();
  const auto leave = [&](ClientInfluence& client, std::span<const float> site_mean,
                         std::span<const float> site_precision) {
    const LeaveOut without = leave_out<float>(mean, precision, site_mean, site_precision, floor);
    const std::vector<float> rest(without.mean.begin(), without.mean.end());
    const Metrics test = judge.on_test(rest);
    client.shift = without.shift;
    client.clamped = without.clamped;
    client.test_accuracy = test.accuracy;
    client.predicted = {.score = without.score, .test_nll = test.nll, .own_nll = judge.own_nll(rest, client.client)};
  };
  need_finite(mean, "means of the server", report.round, log.header());
  need_finite(precision, "precisions of the server", report.round, log.header());
  for (const std::uint32_t k : judge.parts().clients) {
    ClientInfluence& client = report.clients.emplace_back();
    client.client = k;
    client.examples = static_cast<double>(judge.parts().examples[k].size());
    client.visited = visits[k];
    if (client.visited == 0) leave(client, {}, {});
  }
  for (std::size_t row = 0; row < rounds.size(); ++row) {
    const auto of_row = [&](const ClientInfluence& client) { return client.visited == rounds[row]; };
    if (std::none_of(report.clients.begin(), report.clients.end(), of_row)) continue;
    const std::vector<float> v = log.client_vectors("site_mean", row), V = log.client_vectors("site_precision", row);
    for (ClientInfluence& client : report.clients) {
      if (!of_row(client)) continue;
      const std::size_t at = client.client * size;
      need_finite(std::span(v).subspan(at, size), "site means", rounds[row], log.header());
      need_finite(std::span(V).subspan(at, size), "site precisions", rounds[row], log.header());
      leave(client, std::span(v).subspan(at, size), std::span(V).subspan(at, size));
    }
  }
}

/// The one client that `retrained` has less than `all`. Everything else that training depends on must be the same.
std::uint32_t client_without(const Scenario& all, const LogHeader& header) {
  Scenario retrained = logged_scenario(header);
  std::vector<double> less = retrained.clients.reals("without");
  for (const double client : all.clients.reals("without")) std::erase(less, client);
  if (less.size() != 1 || retrained.clients.reals("without").size() != all.clients.reals("without").size() + 1) {
    throw InputError(
        fmt::format("[influence] a log of --retrained must be of a run without one client more, got clients.without = "
                    "{} beside {}, in {}; run it with --set 'clients.without=[NUMBER]'",
                    to_toml(retrained.clients.rows().find("without")->second.value),
                    to_toml(all.clients.rows().find("without")->second.value), header.file));
  }
  retrained.clients.set("without", all.clients.rows().find("without")->second);
  retrained.name = all.name, retrained.arm = all.arm;
  retrained.evaluation = all.evaluation, retrained.log = all.log, retrained.ood = all.ood;
  if (const std::string a = to_toml(all), b = to_toml(retrained); a != b) {
    throw InputError(
        fmt::format("[influence] a log of --retrained must be of the same scenario but for clients.without, got other "
                    "settings ({}), "
                    "in {}",
                    scenario_differences(a, b), header.file));
  }
  return static_cast<std::uint32_t>(less.front());
}

void add_measured(InfluenceReport& report, const Judge& judge, const Scenario& all, const std::string& file,
                  std::span<const float> mean, std::span<const float> precision) {
  const LogReader log(file);
  const std::uint32_t client = client_without(all, log.header());
  if (log.header().parameters != mean.size()) {
    throw InputError(
        fmt::format("[influence] a log of --retrained must have the {} parameters of the log, got {}, in {}",
                    mean.size(), log.header().parameters, file));
  }
  const std::vector<int> rounds = log.posterior_rounds();
  const std::size_t row = index_of(rounds, report.round);
  if (row == rounds.size()) {
    throw InputError(
        fmt::format("[influence] a log of --retrained must have the server's posterior after round {}, got {} rounds, "
                    "in {}; let it "
                    "finish",
                    report.round, log.header().rounds_complete, file));
  }
  const std::vector<float> retrained = log.posterior_mean(row);
  const auto found = std::find_if(report.clients.begin(), report.clients.end(),
                                  [&](const ClientInfluence& one) { return one.client == client; });
  if (found == report.clients.end()) return;  // cannot be: the scenario's own check knows the clients
  found->measured = {.score = shift_score<float>(precision, mean, retrained),
                     .test_nll = judge.on_test(retrained).nll,
                     .own_nll = judge.own_nll(retrained, client)};
}

}  // namespace

template <class Real>
LeaveOut leave_out(std::span<const Real> mean, std::span<const Real> precision, std::span<const Real> site_mean,
                   std::span<const Real> site_precision, double floor) {
  LeaveOut out;
  double squares = 0;
  for (std::size_t i = 0; i < mean.size(); ++i) {
    const double m = mean[i], s = precision[i];
    const double v = site_mean.empty() ? 0.0 : static_cast<double>(site_mean[i]);
    const double V = site_precision.empty() ? 0.0 : static_cast<double>(site_precision[i]);
    const double rest = s - V;
    out.clamped += rest < floor ? 1.0 : 0.0;
    out.precision.push_back(rest < floor ? floor : rest);
    out.mean.push_back((s * m - v) / out.precision.back());
    const double shift = out.mean.back() - m;
    squares += shift * shift;
    out.score += 0.5 * s * shift * shift;
  }
  out.shift = std::sqrt(squares);
  return out;
}

template <class Real>
double shift_score(std::span<const Real> precision, std::span<const Real> from, std::span<const Real> to) {
  double score = 0;
  for (std::size_t i = 0; i < precision.size(); ++i) {
    const double shift = static_cast<double>(to[i]) - static_cast<double>(from[i]);
    score += 0.5 * static_cast<double>(precision[i]) * shift * shift;
  }
  return score;
}

template LeaveOut leave_out(std::span<const float>, std::span<const float>, std::span<const float>,
                            std::span<const float>, double);
template LeaveOut leave_out(std::span<const double>, std::span<const double>, std::span<const double>,
                            std::span<const double>, double);
template double shift_score(std::span<const float>, std::span<const float>, std::span<const float>);
template double shift_score(std::span<const double>, std::span<const double>, std::span<const double>);

InfluenceReport client_influence(const std::string& file, std::span<const std::string> retrained, int threads) {
  const LogReader log(file);
  const Scenario scenario = scenario_of(log);
  refuse_without_sites(log, scenario);
  const Judge judge(log.header(), scenario, threads > 0 ? threads : omp_get_max_threads());
  InfluenceReport report{.log = file,
                         .round = log.site_rounds().back(),
                         .regression = judge.parts().data.train.outputs > 0,
                         .rounded = scenario.log.text("storage") == "float16",
                         .everybody = {},
                         .own_nll = {},
                         .clients = {}};
  const std::size_t row = index_of(log.posterior_rounds(), report.round);  // sites come with a posterior
  const std::vector<float> mean = log.posterior_mean(row), precision = log.posterior_precision(row);
  const Metrics test = judge.on_test(mean);
  report.everybody.test_nll = test.nll;
  report.test_accuracy = test.accuracy;
  for (std::uint32_t k = 0; k < judge.parts().partition.clients(); ++k) {
    report.own_nll.push_back(judge.own_nll(mean, k));
  }
  add_predictions(report, log, judge, mean, precision);
  for (const std::string& other : retrained) add_measured(report, judge, scenario, other, mean, precision);
  const auto order = [](const ClientInfluence& client) {
    return std::isnan(client.predicted.score) ? -1.0 : client.predicted.score;
  };
  std::stable_sort(report.clients.begin(), report.clients.end(),
                   [&](const ClientInfluence& a, const ClientInfluence& b) { return order(a) > order(b); });
  return report;
}

}  // namespace ivory
