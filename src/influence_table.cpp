// What one client's removal does, as a table for terminals and as CSV.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "src/influence.hpp"
#include "src/rank_correlation.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

std::string number(double value, int digits) { return std::isnan(value) ? "-" : fmt::format("{:.{}g}", value, digits); }
std::string fixed(double value, int decimals) {
  return std::isnan(value) ? "-" : fmt::format("{:.{}f}", value, decimals);
}
std::string change(double value) { return std::isnan(value) ? "-" : fmt::format("{:+.4f}", value); }

/// Rank correlation of predicted and measured numbers over the clients that have both.
double agreement(const InfluenceReport& report, const auto& number) {
  std::vector<double> predicted, measured;
  for (const ClientInfluence& client : report.clients) {
    const double a = number(client, client.predicted), b = number(client, client.measured);
    if (std::isnan(a) || std::isnan(b)) continue;
    predicted.push_back(a);
    measured.push_back(b);
  }
  return spearman(predicted, measured);
}

double test_change(const InfluenceReport& report, const Without& without) {
  return without.test_nll - report.everybody.test_nll;
}
double own_change(const InfluenceReport& report, const ClientInfluence& client, const Without& without) {
  return without.own_nll - report.own_nll[client.client];
}

std::string agreement_lines(const InfluenceReport& report) {
  const auto count = std::count_if(report.clients.begin(), report.clients.end(),
                                   [](const ClientInfluence& client) { return !std::isnan(client.measured.score); });
  if (count == 0) return "";
  const double score = agreement(report, [](const ClientInfluence&, const Without& w) { return w.score; });
  const double test =
      agreement(report, [&](const ClientInfluence&, const Without& w) { return test_change(report, w); });
  const double own =
      agreement(report, [&](const ClientInfluence& client, const Without& w) { return own_change(report, client, w); });
  return fmt::format(
      "\nrank correlation of predicted and retrained over {} clients: score {}, change of the test NLL {}, change of "
      "the "
      "own NLL {}\n",
      count, fixed(score, 3), fixed(test, 3), fixed(own, 3));
}

}  // namespace

std::string influence_table(const InfluenceReport& report) {
  const auto any = [&](const auto& has) { return std::any_of(report.clients.begin(), report.clients.end(), has); };
  const bool measured = any([](const ClientInfluence& client) { return !std::isnan(client.measured.score); });
  const bool clamped = any([](const ClientInfluence& client) { return client.clamped > 0; });
  const bool unknown = any([](const ClientInfluence& client) { return std::isnan(client.predicted.score); });
  std::string text =
      fmt::format("{}, after round {}: test NLL {} nat", report.log, report.round, fixed(report.everybody.test_nll, 4));
  if (!report.regression) text += fmt::format(", accuracy {} %", fixed(100 * report.test_accuracy, 2));
  text += "\nwithout one client, predicted from its site; NLLs in nat, changes against all clients\n\n";
  TextTable table(0);
  std::vector<TextTable::Span> above = {{"", 4}, {"test set", 2}, {"own examples", 2}};
  if (clamped) above.push_back({"", 1});
  if (measured) above.push_back({"retrained: score, test, own", 3});
  if (measured) table.heading(above);
  std::vector<std::string> headings = {"client",   "examples", "score",   "shift",
                                       "test NLL", "change",   "own NLL", "change"};
  if (clamped) headings.emplace_back("clamped");
  if (measured) headings.insert(headings.end(), {"score", "change", "change"});
  table.row(headings);
  for (const ClientInfluence& client : report.clients) {
    std::vector<std::string> cells = {
        fmt::format("{}", client.client),    fmt::format("{:.0f}", client.examples),
        number(client.predicted.score, 4),   number(client.shift, 4),
        fixed(client.predicted.test_nll, 4), change(test_change(report, client.predicted)),
        fixed(client.predicted.own_nll, 4),  change(own_change(report, client, client.predicted))};
    if (clamped) cells.push_back(fixed(client.clamped, 0));
    if (measured) {
      cells.push_back(number(client.measured.score, 4));
      cells.push_back(change(test_change(report, client.measured)));
      cells.push_back(change(own_change(report, client, client.measured)));
    }
    table.row(cells);
  }
  text += table.text();
  if (clamped) {
    text +=
        "\nclamped: entries of the precision without the client that were raised to their floor; the server is far "
        "from "
        "the product of the sites, and the predictions are rough\n";
  }
  if (report.rounded) {
    text += "\nthe log is in float16, three digits: small influences may be rounding (log.storage = \"float32\")\n";
  }
  if (unknown) {
    text +=
        "\n-: the site after this client's last visit is not in the log; log.sites = \"every\" with "
        "log.posterior_every = "
        "1 keeps all\n";
  }
  return text + agreement_lines(report);
}

std::string influence_csv(const InfluenceReport& report) {
  std::string text =
      "client,examples,round,last_visit,score,shift,clamped,test_nll,test_nll_all,test_accuracy,test_accuracy_all,own_"
      "nll,"
      "own_nll_all,retrained_score,retrained_test_nll,retrained_own_nll\n";
  const auto cell = [](double value) { return std::isnan(value) ? std::string() : fmt::format("{}", value); };
  for (const ClientInfluence& client : report.clients) {
    text += fmt::format("{},{},{},{}", client.client, client.examples, report.round, client.visited);
    for (const double value :
         {client.predicted.score, client.shift, client.clamped, client.predicted.test_nll, report.everybody.test_nll,
          client.test_accuracy, report.test_accuracy, client.predicted.own_nll, report.own_nll[client.client],
          client.measured.score, client.measured.test_nll, client.measured.own_nll}) {
      text += "," + cell(value);
    }
    text += "\n";
  }
  return text;
}

}  // namespace ivory
