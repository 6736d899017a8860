#include "src/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "src/log_layout.hpp"

namespace ivory {
namespace {

/// Read anew for every line, so that a resized window is never overrun.
std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

/// Never throws: a closed terminal must not end a run. `main` notices what could not be written to stdout.
void put(std::FILE* stream, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stream);
  std::fflush(stream);
}

std::string show_percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.2f} %", 100 * share); }
std::string show_number(double value) { return std::isnan(value) ? "-" : fmt::format("{:.4f}", value); }

/// The first text that leaves the last column free, where some terminals would wrap; else the last text.
std::string widest_fitting(const std::vector<std::string>& texts) {
  const std::size_t width = terminal_columns();
  const auto fits = [&](const std::string& text) { return text_columns(text) < width; };
  const auto found = std::find_if(texts.begin(), texts.end(), fits);
  return found != texts.end() ? *found : texts.back();
}

std::string label(const ProgressTitle& title) {
  std::string text = title.total > 1 ? fmt::format("[{}/{}] ", title.index, title.total) : "";
  text += title.arm.empty() ? title.scenario : title.arm;
  return text + fmt::format(" seed {}", title.seed);
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      out += fmt::format("\\u{:04x}", static_cast<int>(c));
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string json_number(double value) { return std::isfinite(value) ? fmt::format("{}", value) : "null"; }

}  // namespace

ProgressStyle choose_style(bool quiet, bool json) {
  if (quiet) return ProgressStyle::quiet;
  if (json) return ProgressStyle::json;
  return isatty(STDERR_FILENO) != 0 ? ProgressStyle::live : ProgressStyle::lines;
}

std::string show_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0) return "-";
  if (seconds < 0.0995) return fmt::format("{:.2g} ms", 1000 * seconds);
  if (seconds < 9.95) return fmt::format("{:.2g} s", seconds);
  const auto whole = static_cast<long long>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{}m{:02}s", whole / 60, whole % 60);
  return fmt::format("{}h{:02}m", whole / 3600, whole % 3600 / 60);
}

std::string show_count(double count, const std::string& noun) {
  return fmt::format("{:.0f} {}{}", count, noun, count == 1 ? "" : "s");
}

std::size_t text_columns(const std::string& text) {
  std::size_t columns = 0;
  for (const char c : text) columns += (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;  // skips continuation bytes
  return columns;
}

std::string cut_text(const std::string& text, std::size_t columns) {
  std::size_t end = 0, seen = 0;
  for (; end < text.size(); ++end) {
    const bool starts = (static_cast<unsigned char>(text[end]) & 0xC0U) != 0x80U;
    if (starts && seen++ == columns) break;
  }
  return text.substr(0, end);
}

void Progress::start(const ProgressTitle& title) {
  title_ = title;
  began_ = std::chrono::steady_clock::now();
  rounds_done_ = 0;
  mean_ = bayes_ = {};
  refused_ = 0;
  health_ = {};
  if (style_ == ProgressStyle::live && !view_.brief) {
    redraw(fmt::format("{}  round 0/{}  preparing", label(title_), title_.rounds));
  }
}

double Progress::eta() const {
  // Wall time rather than the sum of the rounds' own seconds: writing the log counts too.
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began_;
  return rounds_done_ == 0 ? no_value : spent.count() / rounds_done_ * (title_.rounds - rounds_done_);
}

void Progress::round(const RoundRecord& record) {
  ++rounds_done_;
  refused_ += record.refused;
  regression_ = record.regression;
  const bool watched = (style_ == ProgressStyle::live || style_ == ProgressStyle::lines) && !view_.brief;
  for (const std::string& line : health_.look(record)) {
    if (watched) warn(line);
  }
  if (record.evaluated) {
    mean_ = view_.validation ? record.validation : record.mean.metrics;
    bayes_ = view_.validation ? record.validation_bayes : record.bayes.metrics;
  }
  if (style_ == ProgressStyle::json) {
    put(stdout, round_as_json(title_, record.round, columns_of(record), record.state_hash) + "\n");
    return;
  }
  if (style_ == ProgressStyle::quiet || view_.brief) return;

  const std::string time = fmt::format("  {}/round", show_duration(record.seconds));
  const std::string left = rounds_done_ < title_.rounds ? "  ETA " + show_duration(eta()) : "";
  const std::string digits = fmt::format("{}", title_.rounds);
  const std::string counter = fmt::format("{:>{}}/{}", record.round, digits.size(), digits);
  const std::string name = label(title_);
  if (style_ == ProgressStyle::lines) {
    // Here a round without evaluation says "-"; the live line keeps the last numbers.
    const std::string quality = record.evaluated ? quality_text(mean_, bayes_) : quality_text({}, {});
    put(stdout, fmt::format("{}  round {}  {}{}{}\n", name, counter, quality, time, left));
    return;
  }
  const std::string quality = main_metric(mean_), nll = show_number(mean_.nll);
  redraw(widest_fitting({
      fmt::format("{}  round {}  {}{}{}", name, counter, quality_text(mean_, bayes_), time, left),
      fmt::format("{}  round {}  {}{}{}", name, counter, quality_text(mean_, {}), time, left),
      fmt::format("{}  {}  {}  NLL {}{}{}", name, counter, quality, nll, time, left),
      fmt::format("{}  {}  {}{}", name, counter, quality, left),
  }));
}

std::string Progress::main_metric(const Metrics& metrics) const {
  return regression_ ? show_number(metrics.rmse) : show_percent(metrics.accuracy);
}

std::string Progress::quality_text(const Metrics& mean, const Metrics& bayes) const {
  std::string text = fmt::format("{}{} {}  NLL {}", view_.validation ? "validation " : "",
                                 regression_ ? "RMSE" : "accuracy", main_metric(mean), show_number(mean.nll));
  if (!std::isnan(bayes.nll)) {
    text += fmt::format("  posterior average {} {}", main_metric(bayes), show_number(bayes.nll));
  }
  return text;
}

void Progress::finish() {
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began_;
  const std::string rounds = show_count(rounds_done_, "round"), time = show_duration(spent.count());
  const bool shown = style_ == ProgressStyle::live || style_ == ProgressStyle::lines;
  if (view_.brief && shown) {
    note(fmt::format("{}  {}  {}  {}", label(title_), rounds, quality_text(mean_, bayes_), time));
  } else if (style_ == ProgressStyle::live) {
    redraw(widest_fitting({
        fmt::format("{}  {}  {}  {}", label(title_), rounds, quality_text(mean_, bayes_), time),
        fmt::format("{}  {}  {}  {}", label(title_), rounds, quality_text(mean_, {}), time),
        fmt::format("{}  {}  NLL {}  {}", label(title_), main_metric(mean_), show_number(mean_.nll), time),
        fmt::format("{}  {}  {}", label(title_), main_metric(mean_), time),
    }));
    close_line();
  }
  if (refused_ > 0) {
    warn(fmt::format("{} refused (loss or weights not finite); try a smaller learning rate",
                     show_count(refused_, "client visit")));
  }
  if (!shown || view_.brief) {
    for (const std::string& line : health_.all()) warn(line);
  } else if (const std::string summary = health_.summary(); !summary.empty()) {
    warn("in short: " + summary);
  }
}

void Progress::warn(const std::string& text) {
  close_line();
  put(stderr, fmt::format("ivory: warning: {}: {}\n", label(title_), text));
}

void Progress::abandon() { close_line(); }

void Progress::note(const std::string& text) {
  if (style_ == ProgressStyle::quiet || style_ == ProgressStyle::json) return;
  close_line();
  put(style_ == ProgressStyle::live ? stderr : stdout, text + "\n");
}

void Progress::redraw(const std::string& text) {
  const std::size_t width = terminal_columns();
  const std::string line = cut_text(text, width > 1 ? width - 1 : 1);
  const std::size_t columns = text_columns(line);
  // Blanks rather than an erase sequence: any terminal understands them. After a resize the old text may be wider.
  const std::size_t old = drawn_ < width ? drawn_ : width - 1;
  put(stderr, "\r" + line + std::string(old > columns ? old - columns : 0, ' '));
  drawn_ = columns;
}

void Progress::close_line() {
  if (drawn_ > 0) put(stderr, "\n");
  drawn_ = 0;
}

RoundColumns columns_of(const RoundRecord& record) {
  RoundColumns columns;
  const auto add = [&](const std::string& before, const Metrics& metrics, const std::string& after) {
    columns.emplace_back(before + "accuracy" + after, metrics.accuracy);
    columns.emplace_back(before + "nll" + after, metrics.nll);
    columns.emplace_back(before + "ece" + after, metrics.ece);
    columns.emplace_back(before + "brier" + after, metrics.brier);
    columns.emplace_back(before + "entropy" + after, metrics.entropy);
    columns.emplace_back(before + "rmse" + after, metrics.rmse);
  };
  add("", record.mean.metrics, "");
  add("", record.bayes.metrics, "_bayes");
  add("", record.bayes_error, "_bayes_se");
  add("validation_", record.validation, "");
  add("validation_", record.validation_bayes, "_bayes");
  for (const auto& [suffix, detection] : {std::pair{"", &record.mean.ood}, {"_bayes", &record.bayes.ood}}) {
    for (const DetectionScore& score : detection_scores) {
      for (const DetectionColumn& column : detection_columns) {
        columns.emplace_back(fmt::format("{}{}{}", score.prefix, column.name, suffix),
                             detection->*score.score.*column.value);
      }
    }
  }
  columns.emplace_back("negative_elbo", record.negative_elbo);
  columns.emplace_back("negative_elbo_se", record.negative_elbo_error);
  columns.emplace_back("laplace_prior_precision", record.laplace_prior_precision);
  columns.emplace_back("train_loss", record.train_loss);
  columns.emplace_back("seconds", record.seconds);
  columns.emplace_back("seconds_training", record.seconds_training);
  columns.emplace_back("seconds_evaluation", record.seconds_evaluation);
  columns.emplace_back("bytes_up", record.bytes_up);
  columns.emplace_back("bytes_down", record.bytes_down);
  columns.emplace_back("participants", record.participants);
  columns.emplace_back("refused", record.refused);
  columns.emplace_back("clamped", record.clamped);
  columns.emplace_back("precision_gap_closed", record.precision_gap_closed);
  for (const DiagnosticColumn& column : diagnostic_columns) {
    columns.emplace_back(column.name, column.value(record.diagnostics));
  }
  return columns;
}

std::string round_as_json(const ProgressTitle& title, int round, const RoundColumns& columns,
                          std::uint64_t state_hash) {
  std::string text = fmt::format("{{\"scenario\": {}, \"arm\": {}, \"seed\": {}, \"round\": {}, \"rounds\": {}",
                                 quoted(title.scenario), title.arm.empty() ? "null" : quoted(title.arm), title.seed,
                                 round, title.rounds);
  for (const auto& [name, value] : columns) text += fmt::format(", \"{}\": {}", name, json_number(value));
  // The hash is text, since readers of JSON keep 53 bits of a number.
  return text + fmt::format(", \"state_hash\": \"{:016x}\"}}", state_hash);
}

}  // namespace ivory
