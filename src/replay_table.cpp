// A replay as text, CSV and JSON.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cmath>

#include "src/replay.hpp"
#include "src/text_table.hpp"

namespace ivory {
namespace {

std::string number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.5g}", value); }
std::string counted(double count, const char* noun) {
  return fmt::format("{:.0f} {}{}", count, noun, count == 1 ? "" : "s");
}
std::string fixed(double value) { return std::isnan(value) ? "-" : fmt::format("{:.5f}", value); }
std::string csv_cell(double value) { return std::isnan(value) ? std::string() : fmt::format("{}", value); }
std::string json_number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : "null"; }

std::string json_text(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<unsigned char>(c));
    } else {
      out += c;
    }
  }
  return out + "\"";
}

std::string json_texts(const std::vector<std::string>& texts) {
  std::vector<std::string> quoted;
  for (const std::string& text : texts) quoted.push_back(json_text(text));
  return fmt::format("[{}]", fmt::join(quoted, ", "));
}

// The reals of a step, under the names that CSV and JSON have for them.
struct StepColumn {
  const char* name;
  double StepReport::*value;
};
constexpr StepColumn step_columns[] = {
    {"examples", &StepReport::examples},
    {"learning_rate", &StepReport::learning_rate},
    {"loss", &StepReport::loss},
    {"gradient_norm", &StepReport::gradient_norm},
    {"distance", &StepReport::distance},
    {"precision_mean", &StepReport::precision_mean},
    {"precision_least", &StepReport::precision_least},
};

}  // namespace

std::string replay_table(const ReplayReport& report) {
  const LogHeader& header = report.header;
  std::string text = fmt::format("{}: client {} in round {} of {}{}, seed {}\n  state before  {}\n", header.file,
                                 report.question.client, report.question.round, header.name,
                                 header.arm.empty() ? "" : ", arm " + header.arm, header.seed, report.source);
  for (const std::string& note : report.notes) text += fmt::format("  note          {}\n", note);
  text += fmt::format("  visit         {}, {} of {} for {}, on {}\n\n", counted(report.examples, "example"),
                      counted(report.steps, "step"), header.optimizer, header.algorithm, report.device);
  TextTable table(0);
  std::vector<std::string> heading = {"step",       "epoch",         "examples", "learning rate",
                                      "loss [nat]", "gradient norm", "distance"};
  if (report.steps_have_precision()) heading.insert(heading.end(), {"precision: mean", "least"});
  table.row(heading);
  for (const StepReport& step : report.reports) {
    std::vector<std::string> cells = {fmt::format("{}", step.step),
                                      fmt::format("{}", step.epoch),
                                      fmt::format("{:.0f}", step.examples),
                                      number(step.learning_rate),
                                      fixed(step.loss),
                                      number(step.gradient_norm),
                                      number(step.distance)};
    if (report.steps_have_precision()) {
      cells.push_back(number(step.precision_mean));
      cells.push_back(number(step.precision_least));
    }
    table.row(cells);
  }
  return text + table.text();
}

std::string replay_comparison(const ReplayReport& report) {
  std::string text = fmt::format("\ntrain loss {:.6g}, the mean over the visit's steps\n", report.train_loss);
  if (report.refused) {
    text += fmt::format("refused: the server does not take a visit whose loss, mean or precision is not usable{}\n",
                        report.unusable > 0 ? fmt::format(" ({:.0f} entries here)", report.unusable) : "");
  }
  if (!report.same.empty()) text += fmt::format("the same bits as in the log: {}\n", fmt::join(report.same, ", "));
  if (!report.vectors_logged) {
    text +=
        "the log lacks what the client sent in this round (log.sites = \"every\" with log.posterior_every = 1 keeps "
        "all)\n";
  }
  for (const std::string& difference : report.differences)
    text += fmt::format("other than in the log: {}\n", difference);
  return text;
}

std::string replay_csv(const ReplayReport& report) {
  std::string text = "step,epoch";
  for (const StepColumn& column : step_columns) text += fmt::format(",{}", column.name);
  text += '\n';
  for (const StepReport& step : report.reports) {
    text += fmt::format("{},{}", step.step, step.epoch);
    for (const StepColumn& column : step_columns) text += "," + csv_cell(step.*column.value);
    text += '\n';
  }
  return text;
}

std::string replay_json(const ReplayReport& report) {
  std::string text;
  for (const StepReport& step : report.reports) {
    text += fmt::format("{{\"step\": {}, \"epoch\": {}", step.step, step.epoch);
    for (const StepColumn& column : step_columns)
      text += fmt::format(", \"{}\": {}", column.name, json_number(step.*column.value));
    text += "}\n";
  }
  const ReplayQuestion& question = report.question;
  return text +
         fmt::format(
             "{{\"log\": {}, \"round\": {}, \"client\": {}, \"state_before\": {}, \"notes\": {}, \"device\": {}, "
             "\"examples\": {}, \"steps\": {}, \"train_loss\": {}, \"refused\": {}, \"same\": {}, "
             "\"differences\": {}}}\n",
             json_text(report.header.file), question.round, question.client, json_text(report.source),
             json_texts(report.notes), json_text(report.device), json_number(report.examples),
             json_number(report.steps), json_number(report.train_loss), report.refused, json_texts(report.same),
             json_texts(report.differences));
}

}  // namespace ivory
