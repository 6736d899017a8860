#include "src/progress.hpp"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>

namespace ivory {
namespace {

/// Read anew for every line, so that a resized window is never overrun.
std::size_t terminal_columns() {
  winsize size{};
  if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

std::string show_percent(double share) { return std::isnan(share) ? "-" : fmt::format("{:.2f} %", 100 * share); }
std::string show_nll(double nll) { return std::isnan(nll) ? "-" : fmt::format("{:.4f}", nll); }

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
  accuracy_ = nll_ = accuracy_bayes_ = nll_bayes_ = no_value;
  refused_ = clamped_ = 0;
  if (style_ == ProgressStyle::live) redraw(fmt::format("{}  round 0/{}  preparing", label(title_), title_.rounds));
}

double Progress::eta() const {
  // Wall time rather than the sum of the rounds' own seconds: writing the log counts too.
  const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began_;
  return rounds_done_ == 0 ? no_value : spent.count() / rounds_done_ * (title_.rounds - rounds_done_);
}

void Progress::round(const RoundRecord& record) {
  ++rounds_done_;
  refused_ += record.refused;
  clamped_ += record.clamped;
  if (record.evaluated) {
    accuracy_ = record.mean.metrics.accuracy, nll_ = record.mean.metrics.nll;
    accuracy_bayes_ = record.bayes.metrics.accuracy, nll_bayes_ = record.bayes.metrics.nll;
  }
  if (style_ == ProgressStyle::json) {
    fmt::print("{}\n", round_as_json(title_, record));
    std::fflush(stdout);
    return;
  }
  if (style_ == ProgressStyle::quiet) return;

  // A round without evaluation keeps the last numbers on the live line; a plain line says "-".
  const bool live = style_ == ProgressStyle::live;
  const bool shown = live || record.evaluated;
  const std::string digits = fmt::format("{}", title_.rounds);
  const std::string head = fmt::format("{}  round {:>{}}/{}", label(title_), record.round, digits.size(), digits);
  const std::string mean = fmt::format("  accuracy {}  NLL {}", shown ? show_percent(accuracy_) : "-",
                                       shown ? show_nll(nll_) : "-");
  const bool has_bayes = !std::isnan(nll_bayes_) && shown;
  const std::string bayes =
      has_bayes ? fmt::format("  posterior average {} {}", show_percent(accuracy_bayes_), show_nll(nll_bayes_)) : "";
  const std::string time =
      fmt::format("  {}/round  ETA {}", show_duration(record.seconds), show_duration(eta()));
  if (!live) {
    fmt::print("{}{}{}{}\n", head, mean, bayes, time);
    std::fflush(stdout);
    return;
  }
  std::string line = head + mean + bayes + time;
  // On a narrow terminal the time left matters more than the second pair of metrics.
  if (text_columns(line) >= terminal_columns()) line = head + mean + time;
  redraw(line);
}

void Progress::finish() {
  if (style_ == ProgressStyle::live) {
    const std::chrono::duration<double> spent = std::chrono::steady_clock::now() - began_;
    std::string line = fmt::format("{}  {}  accuracy {}  NLL {}", label(title_), show_count(rounds_done_, "round"),
                                   show_percent(accuracy_), show_nll(nll_));
    if (!std::isnan(nll_bayes_)) {
      line += fmt::format("  posterior average {} {}", show_percent(accuracy_bayes_), show_nll(nll_bayes_));
    }
    redraw(line + fmt::format("  {}", show_duration(spent.count())));
    close_line();
  }
  if (refused_ > 0) {
    fmt::print(stderr, "ivory: warning: {}: {} refused (loss or weights not finite); try a smaller learning rate\n",
               label(title_), show_count(refused_, "client visit"));
  }
  if (clamped_ > 0) {
    fmt::print(stderr, "ivory: warning: {}: precision raised to its floor {} (all rounds and parameters together)\n",
               label(title_), show_count(clamped_, "time"));
  }
}

void Progress::abandon() { close_line(); }

void Progress::note(const std::string& text) {
  if (style_ == ProgressStyle::quiet || style_ == ProgressStyle::json) return;
  close_line();
  fmt::print(style_ == ProgressStyle::live ? stderr : stdout, "{}\n", text);
}

void Progress::redraw(const std::string& text) {
  const std::size_t width = terminal_columns();
  const std::string line = cut_text(text, width > 1 ? width - 1 : 1);  // the last column would wrap on some terminals
  const std::size_t columns = text_columns(line);
  // Blanks rather than an erase sequence: any terminal understands them. After a resize the old text may be wider.
  const std::size_t old = drawn_ < width ? drawn_ : width - 1;
  fmt::print(stderr, "\r{}{:{}}", line, "", old > columns ? old - columns : 0);
  std::fflush(stderr);
  drawn_ = columns;
}

void Progress::close_line() {
  if (drawn_ > 0) fmt::print(stderr, "\n");
  drawn_ = 0;
}

std::string round_as_json(const ProgressTitle& title, const RoundRecord& record) {
  fmt::memory_buffer out;
  const auto number = [&](const std::string& key, double value) {
    fmt::format_to(std::back_inserter(out), ", \"{}\": {}", key, json_number(value));
  };
  const auto metrics = [&](const Metrics& values, const std::string& suffix) {
    number("accuracy" + suffix, values.accuracy);
    number("nll" + suffix, values.nll);
    number("ece" + suffix, values.ece);
    number("brier" + suffix, values.brier);
    number("entropy" + suffix, values.entropy);
  };
  fmt::format_to(std::back_inserter(out), "{{\"scenario\": {}, \"arm\": {}, \"seed\": {}, \"round\": {}, \"rounds\": {}",
                 quoted(title.scenario), title.arm.empty() ? "null" : quoted(title.arm), title.seed, record.round,
                 title.rounds);
  metrics(record.mean.metrics, "");
  metrics(record.bayes.metrics, "_bayes");
  number("train_loss", record.train_loss);
  number("seconds", record.seconds);
  number("bytes_up", record.bytes_up);
  number("bytes_down", record.bytes_down);
  number("participants", record.participants);
  number("refused", record.refused);
  number("clamped", record.clamped);
  // Text, since readers of JSON keep 53 bits of a number.
  fmt::format_to(std::back_inserter(out), ", \"state_hash\": \"{:016x}\"}}", record.state_hash);
  return fmt::to_string(out);
}

}  // namespace ivory
