// What a run shows while it goes on: a live line on a terminal, plain lines elsewhere, or JSON.
#pragma once
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ivory/record.hpp"
#include "src/health_warnings.hpp"

namespace ivory {

enum class ProgressStyle {
  live,   // one line on stderr, redrawn in place
  lines,  // one line per round on stdout
  quiet,  // nothing
  json,   // one JSON object per round on stdout
};

/// `live` when stderr is a terminal, `lines` otherwise; the user's --quiet or --json win.
ProgressStyle choose_style(bool quiet, bool json);

/// Which run the lines are about.
struct ProgressTitle {
  std::string scenario;
  std::string arm;  // empty for a scenario without arms
  std::uint64_t seed = 0;
  int rounds = 0;
  std::size_t index = 1, total = 1;  // this run among those of the command, 1-based
};

/// What the lines show.
struct ProgressView {
  ProgressStyle style = ProgressStyle::lines;
  bool brief = false;       // `live` and `lines` show one line per finished run: several runs go on at a time
  bool validation = false;  // quality on the validation set instead of the test set
};

/// One run's lines: called in the order start, round ..., finish or abandon. Each line is written as a whole, so that
/// several runs may show theirs at the same time.
class Progress {
 public:
  explicit Progress(const ProgressView& view) : style_(view.style), view_(view) {}

  void start(const ProgressTitle& title);
  void round(const RoundRecord& record);
  /// Ends the run's line; says on stderr which known failures showed, and whether clients were refused.
  void finish();
  /// Ends the line of a run that failed, so that a message can follow.
  void abandon();
  /// A line of its own beside the progress ("reused ..."); not shown by `quiet` and `json`.
  void note(const std::string& text);
  /// A line on stderr that names the run.
  void warn(const std::string& text);

 private:
  std::string quality_text(const Metrics& mean, const Metrics& bayes) const;
  std::string main_metric(const Metrics& metrics) const;
  void redraw(const std::string& text);
  void close_line();
  double eta() const;  // seconds

  ProgressStyle style_;
  ProgressView view_;
  ProgressTitle title_;
  std::chrono::steady_clock::time_point began_;
  int rounds_done_ = 0;
  Metrics mean_, bayes_;  // last evaluated
  bool regression_ = false;
  double refused_ = 0;
  HealthWatch health_;
  std::size_t drawn_ = 0;  // columns that the live line covers now
};

/// "4.2 s", "45 s", "3m20s", "1h05m"; "-" when not finite.
std::string show_duration(double seconds);
/// A count with singular or plural: "1 round", "3 rounds".
std::string show_count(double count, const std::string& noun);
/// Columns a text takes on a terminal, taking every UTF-8 code point as one.
std::size_t text_columns(const std::string& text);
/// The first `columns` code points of `text`.
std::string cut_text(const std::string& text, std::size_t columns);

/// The numbers of a round under the names that the log's /rounds/ has for them.
using RoundColumns = std::vector<std::pair<std::string, double>>;
RoundColumns columns_of(const RoundRecord& record);
/// One JSON object; NaN becomes null.
std::string round_as_json(const ProgressTitle& title, int round, const RoundColumns& columns, std::uint64_t state_hash);

}  // namespace ivory
