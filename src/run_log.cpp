#include "src/run_log.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <system_error>
#include <tuple>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/content_hash.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"
#include "src/log_reader.hpp"
#include "src/reserved_file.hpp"
#include "src/resume_check.hpp"
#include "src/write_queue.hpp"

namespace ivory {
namespace {

constexpr const char* smaller_log =
    "free some space, choose another place (--out), or log less ([log] posterior_every, layers, storage, sites, "
    "precision_matrix)";

/// Where a dataset's bytes lie.
struct Column {
  Hdf5Type type = Hdf5Type::float64;
  std::uint64_t offset = 0;
  std::size_t row_values = 0;  // values for one index of the first axis
  std::size_t rows = 1;        // extent of the first axis
};

std::uint64_t values_of(const Hdf5Layout& layout) {
  std::uint64_t count = 1;
  for (const std::size_t extent : layout.shape) count *= extent;
  return count;
}

/// Upper bound of the file's size: raw data, and what HDF5 writes about each dataset (about 1 KiB was seen).
std::uint64_t bytes_needed(const std::vector<LogDataset>& datasets, std::size_t scenario_bytes) {
  constexpr std::uint64_t about_file = 1 << 17, about_dataset = 1 << 13;
  std::uint64_t bytes = about_file + 2 * scenario_bytes;
  for (const LogDataset& dataset : datasets) {
    bytes += about_dataset;
    if (dataset.layout.allocated) bytes += values_of(dataset.layout) * size_of(dataset.layout.type);
  }
  return bytes;
}

using Columns = std::map<std::string, Column, std::less<>>;

Columns places(const Hdf5File& file, const std::vector<LogDataset>& datasets) {
  Columns columns;
  for (const LogDataset& dataset : datasets) {
    const Hdf5Layout& layout = dataset.layout;
    const std::uint64_t values = values_of(layout);
    if (!layout.allocated || values == 0 || !dataset.texts.empty()) continue;
    const std::size_t rows = layout.shape.empty() ? 1 : layout.shape[0];
    columns[layout.path] = {layout.type, file.offset(layout.path), values / rows, rows};
  }
  return columns;
}

/// Rows are written to these places as they are: in a log that somebody else may have changed, each must be one that this program
/// would have made, within the file and apart from all others.
void check_places(const Hdf5File& file, const std::vector<LogDataset>& datasets, std::uint64_t file_size) {
  const auto refuse = [&](const std::string& path, const std::string& rule, const std::string& got) {
    throw InputError(fmt::format("[resume] dataset \"{}\" must {}, got {}, in {}; the log is damaged: {}", path, rule,
                                 got, file.path(), begin_anew));
  };
  std::map<std::uint64_t, std::pair<std::uint64_t, std::string>> taken;  // first byte -> end, name
  for (const LogDataset& dataset : datasets) {
    const Hdf5Layout& layout = dataset.layout;
    if (!layout.allocated || !dataset.texts.empty()) continue;
    const std::vector<std::size_t> shape = file.shape(layout.path);
    if (shape != layout.shape) {
      refuse(layout.path, fmt::format("have the shape [{}]", fmt::join(layout.shape, ", ")),
             fmt::format("[{}]", fmt::join(shape, ", ")));
    }
    if (values_of(layout) == 0) continue;
    if (!file.is_plain(layout.path, layout.type)) {
      refuse(layout.path, "be contiguous numbers of this machine's own type", "others");
    }
    const std::uint64_t first = file.offset(layout.path), bytes = values_of(layout) * size_of(layout.type);
    if (first > file_size || bytes > file_size - first) {
      refuse(layout.path, fmt::format("lie within the file's {} bytes", file_size),
             fmt::format("{} bytes from {} on", bytes, first));
    }
    const auto [other, own] = taken.emplace(first, std::pair{first + bytes, layout.path});
    if (!own) refuse(layout.path, "have a place of its own", "that of " + other->second.second);
  }
  std::uint64_t end = 0;
  std::string before;
  for (const auto& [first, place] : taken) {
    if (first < end) refuse(place.second, "have a place of its own", "that of " + before);
    std::tie(end, before) = place;
  }
}

template <class T, class Value>
T converted(Value value) {
  if constexpr (std::is_integral_v<T> && std::is_floating_point_v<Value>) {
    if (!std::isfinite(value)) return static_cast<T>(-1);
  }
  return static_cast<T>(value);
}

/// A row of the wrong length or place would overwrite others.
void check_length(std::string_view path, std::size_t expected, std::size_t got) {
  if (got == expected) return;
  throw RunError(
      fmt::format("[log] a row of {} has {} values, got {}; this is a defect of the program", path, expected, got));
}

void check_round(bool expected, int round, const char* what) {
  if (expected) return;
  throw RunError(
      fmt::format("[log] {} of round {} has no place in the log; this is a defect of the program", what, round));
}

/// Row of `round` among the increasing `rounds`, or their number when it is not one of them.
std::size_t row_of(const std::vector<int>& rounds, int round) {
  const auto found = std::lower_bound(rounds.begin(), rounds.end(), round);
  return found != rounds.end() && *found == round ? static_cast<std::size_t>(found - rounds.begin()) : rounds.size();
}

void refuse_foreign_file(const std::string& path) {
  std::error_code error;
  const auto status = std::filesystem::status(path, error);
  if (!std::filesystem::exists(status)) return;
  if (!std::filesystem::is_regular_file(status) || !is_ivory_log(path)) {
    throw RunError(
        fmt::format("[log] only a log may be replaced by a log, got {}, which is something else or a damaged log; move "
                    "it away or choose another place (--out)",
                    path));
  }
  // Replacing needs the folder's permission only: a log that its owner made read-only is taken at its word.
  if (::access(path.c_str(), W_OK) != 0) {
    throw RunError(
        fmt::format("[log] a log that is replaced must be writable, got {}: {}; change its permissions or choose "
                    "another place (--out)",
                    path, std::error_code(errno, std::generic_category()).message()));
  }
}

}  // namespace

/// After the constructor HDF5 no longer holds the file: every dataset has its place, and rows are written to it
/// directly. So no write can damage the file's structure, and whoever opens it between two writes finds it whole.
struct RunLog::Impl {
  LogShape shape;
  ReservedFile file;
  Columns columns;
  std::string name;  // the log's own, which the file has from its first round on
  int appended = 0;  // the last round appended here, which may wait to be written
  WriteQueue queue;  // all rows go through it

  Impl(ReservedFile file_, std::string name_)
      : file(std::move(file_)), name(std::move(name_)),
        queue([this](std::uint64_t offset, const void* data, std::size_t bytes) { file.write(offset, data, bytes); },
              most_queued_bytes) {}

  template <class T>
  T read(std::string_view path, std::size_t row) const {
    T value{};
    file.read(columns.find(path)->second.offset + row * sizeof(T), &value, sizeof(T));
    return value;
  }
  // Also from the file: two runs may go on in one log, and then compute the same.
  int rounds_complete() const {
    return std::max(appended, static_cast<int>(read<std::int64_t>("/rounds_complete", 0)));
  }

  /// Writes `values` from value `first` of the dataset on. Datasets have the machine's own types: bytes go as they are.
  template <class T, class Values>
  void write_as(const Column& column, std::uint64_t first, const Values& values) {
    std::vector<T> row(values.size());
    std::transform(values.begin(), values.end(), row.begin(), [](auto value) { return converted<T>(value); });
    queue.write(column.offset + first * sizeof(T), row.data(), row.size() * sizeof(T));
  }
  template <class Values>
  void write(const Column& column, std::uint64_t first, const Values& values) {
    switch (column.type) {
      case Hdf5Type::int8:
        return write_as<std::int8_t>(column, first, values);
      case Hdf5Type::int32:
        return write_as<std::int32_t>(column, first, values);
      case Hdf5Type::int64:
        return write_as<std::int64_t>(column, first, values);
      case Hdf5Type::uint64:
        return write_as<std::uint64_t>(column, first, values);
      case Hdf5Type::float16:
        break;  // rows of write_vector alone
      case Hdf5Type::float32:
        return write_as<float>(column, first, values);
      case Hdf5Type::float64:
        return write_as<double>(column, first, values);
    }
  }
  /// A row of the first axis. Nothing happens for a dataset without a place (it reads as missing) and for no values.
  template <class Values>
  void write_row(std::string_view path, std::size_t row, const Values& values) {
    const auto column = columns.find(path);
    if (column == columns.end() || values.empty()) return;
    check_length(path, column->second.row_values, values.size());
    write(column->second, row * column->second.row_values, values);
  }
  void write_value(std::string_view path, std::size_t row, double value) {
    write_row(path, row, std::vector<double>{value});
  }
  /// All rows of a dataset. Nothing happens for no values.
  void write_whole(std::string_view path, const std::vector<double>& values) {
    const auto column = columns.find(path);
    if (column == columns.end() || values.empty()) return;
    check_length(path, column->second.rows * column->second.row_values, values.size());
    write(column->second, 0, values);
  }
  /// What is kept of a vector [P]. Rows of /clients are those of one client.
  void write_vector(std::string_view path, std::size_t row, std::span<const float> values) {
    const auto column = columns.find(path);
    if (column == columns.end() || values.empty()) return;
    check_length(path, shape.parameters, values.size());
    const std::size_t bytes = size_of(shape.storage);
    std::uint64_t at = column->second.offset + row * size_of(shape.logged) * bytes;
    for (const ParameterRange& range : shape.logged) {
      const std::span<const float> part = values.subspan(range.begin, range.size);
      if (shape.storage == Hdf5Type::float16) {
        queue.write_half(at, part);
      } else {
        queue.write(at, part.data(), part.size_bytes());
      }
      at += part.size() * bytes;
    }
  }
  void write_matrix(std::string_view path, std::size_t row, std::span<const double> values) {
    const auto column = columns.find(path);
    if (column == columns.end() || values.empty()) return;
    check_length(path, shape.parameters * shape.parameters, values.size());
    queue.write(column->second.offset + row * values.size_bytes(), values.data(), values.size_bytes());
  }

  void write_metrics(const std::string& before, const std::string& after, std::size_t row, const Metrics& metrics) {
    for (const MetricColumn& column : metric_columns)
      write_value(before + column.name + after, row, metrics.*column.value);
  }
  void write_table(const std::string& before, const std::string& after, std::size_t row,
                   const std::vector<Metrics>& table) {
    std::vector<double> values(table.size());
    for (const MetricColumn& column : metric_columns) {
      std::transform(table.begin(), table.end(), values.begin(), [&](const Metrics& m) { return m.*column.value; });
      write_row(before + column.name + after, row, values);
    }
  }
  void write_evaluation(const std::string& suffix, std::size_t row, const Evaluation& evaluation) {
    write_metrics("/rounds/", suffix, row, evaluation.metrics);
    write_table("/rounds/class_", suffix, row, evaluation.classes.rows);
    write_row("/rounds/confusion" + suffix, row, evaluation.confusion);
    std::vector<double> bins;
    for (std::size_t b = 0; b < evaluation.bins.count.size(); ++b) {
      bins.insert(bins.end(), {evaluation.bins.count[b], evaluation.bins.confidence[b], evaluation.bins.correct[b]});
    }
    write_row("/rounds/ece_bins" + suffix, row, bins);
    for (const DetectionScore& score : detection_scores) {
      for (const DetectionColumn& column : detection_columns) {
        write_value(fmt::format("/rounds/{}{}{}", score.prefix, column.name, suffix), row,
                    evaluation.ood.*score.score.*column.value);
      }
    }
  }
  void write_previews(std::size_t row, const std::vector<PreviewRecord>& previews) {
    std::vector<Metrics> table;
    std::vector<double> clamped;
    for (const PreviewRecord& preview : previews) {
      table.push_back(preview.test);
      clamped.push_back(preview.clamped);
    }
    write_table("/previews/", "", row, table);
    write_row("/previews/clamped", row, clamped);
  }
  void write_visits(std::size_t row, const std::vector<ClientRecord>& clients) {
    std::vector<double> status, loss, steps;
    for (const ClientRecord& client : clients) {
      const bool present = client.status != ClientStatus::absent;
      status.push_back(static_cast<double>(client.status));
      loss.push_back(present ? client.train_loss : no_value);
      steps.push_back(present ? client.steps : no_value);
    }
    write_row("/clients/participation", row, status);
    write_row("/clients/train_loss", row, loss);
    write_row("/clients/steps", row, steps);
  }
};

RunLog::RunLog(const std::string& path, const LogPlan& plan) {
  refuse_foreign_file(path);
  const LogShape shape = shape_of(plan);
  const std::vector<LogDataset> datasets = log_datasets(plan, shape);
  // Under its own name a log is always whole: it is made under another one, which no other process uses.
  const std::string unfinished = fmt::format("{}.new-{}", path, ::getpid());
  impl_ = std::make_unique<Impl>(ReservedFile(unfinished), path);
  impl_->shape = shape;
  ReservedFile& file = impl_->file;
  try {
    // The space is taken first, because HDF5 1.10 does not survive a full disk: it would crash when the program ends.
    file.reserve(bytes_needed(datasets, to_toml(*plan.scenario).size()), smaller_log);
    const std::vector<std::byte> image = empty_hdf5_image();
    file.write(0, image.data(), image.size());
    Hdf5File content = Hdf5File::modify(unfinished);
    write_log_structure(content, datasets);
    write_log_attributes(content, plan, shape);
    impl_->columns = places(content, datasets);
    content.close();  // cuts off what was reserved too much
    file.reserve(file.size(), smaller_log);
    for (const LogDataset& dataset : datasets) {
      if (!dataset.values.empty()) impl_->write(impl_->columns.at(dataset.layout.path), 0, dataset.values);
    }
    impl_->queue.flush();
    file.rename(path);
  } catch (...) {
    ::unlink(unfinished.c_str());
    throw;
  }
}

RunLog::RunLog() = default;

RunLog RunLog::reopen(const std::string& path, const LogPlan& plan) {
  RunLog log;
  log.impl_ = std::make_unique<Impl>(ReservedFile::reopen(path), path);
  log.impl_->shape = shape_of(plan);
  check_resumable(LogReader(path).header(), plan);
  const Hdf5File content = Hdf5File::open_contained(path);
  const std::vector<LogDataset> datasets = log_datasets(plan, log.impl_->shape);
  check_places(content, datasets, log.impl_->file.size());
  log.impl_->columns = places(content, datasets);
  return log;
}

int RunLog::rounds_complete() const { return impl_->rounds_complete(); }

std::uint64_t RunLog::state_hash(int round) const {
  check_round(round >= 1 && round <= impl_->rounds_complete(), round, "the state's hash");
  return impl_->read<std::uint64_t>("/rounds/state_hash", static_cast<std::size_t>(round - 1));
}

RunLog::~RunLog() = default;
RunLog::RunLog(RunLog&&) noexcept = default;
RunLog& RunLog::operator=(RunLog&&) noexcept = default;

bool RunLog::wants_posterior(int round) const {
  return row_of(impl_->shape.posterior_rounds, round) < impl_->shape.posterior_rounds.size();
}

bool RunLog::wants_sites(int round) const {
  return row_of(impl_->shape.site_rounds, round) < impl_->shape.site_rounds.size();
}

void RunLog::write_posterior(int round, std::span<const float> mean, std::span<const float> precision,
                             std::span<const double> matrix) {
  check_round(wants_posterior(round), round, "a posterior");
  if (round <= rounds_complete()) return;
  const std::size_t row = row_of(impl_->shape.posterior_rounds, round);
  impl_->write_vector("/posterior/mean", row, mean);
  impl_->write_vector("/posterior/precision", row, precision);
  impl_->write_matrix("/posterior/precision_matrix", row, matrix);
}

void RunLog::write_client(int round, const ClientArrays& arrays) {
  check_round(wants_sites(round) && arrays.client < impl_->shape.clients, round, "a client's posterior");
  if (round <= rounds_complete()) return;
  const std::size_t row = row_of(impl_->shape.site_rounds, round) * impl_->shape.clients + arrays.client;
  impl_->write_vector("/clients/mean", row, arrays.mean);
  impl_->write_vector("/clients/precision", row, arrays.precision);
  impl_->write_vector("/clients/site_mean", row, arrays.site_mean);
  impl_->write_vector("/clients/site_precision", row, arrays.site_precision);
}

void RunLog::append(const RoundRecord& record) {
  Impl& log = *impl_;
  const int complete = log.rounds_complete();
  check_round(
      record.round <= complete + 1 && record.round >= 1 && static_cast<std::size_t>(record.round) <= log.shape.rounds,
      record.round, "the record");
  if (!log.file.has_its_name()) {
    throw RunError(fmt::format(
        "[log] one run at a time may write a log, got another file (or none) in the place of {} while round {} "
        "ran; give each run its own folder with --out",
        log.name, record.round));
  }
  if (record.round <= complete) {
    if (record.state_hash == state_hash(record.round)) return;
    throw RunError(fmt::format(
        "[resume] a round that is computed again must give the state that was logged, got {} instead of {} "
        "in round {}, in {}; the processor, the driver or a library is another one: {}",
        hexadecimal(record.state_hash), hexadecimal(state_hash(record.round)), record.round, log.name, begin_anew));
  }
  const auto row = static_cast<std::size_t>(record.round - 1);
  if (record.evaluated) {
    log.write_evaluation("", row, record.mean);
    log.write_evaluation("_bayes", row, record.bayes);
    log.write_metrics("/rounds/", "_bayes_se", row, record.bayes_error);
    log.write_metrics("/rounds/validation_", "", row, record.validation);
    log.write_metrics("/rounds/validation_", "_bayes", row, record.validation_bayes);
    log.write_value("/rounds/negative_elbo", row, record.negative_elbo);
    log.write_value("/rounds/negative_elbo_se", row, record.negative_elbo_error);
    log.write_value("/rounds/laplace_prior_precision", row, record.laplace_prior_precision);
    log.write_value("/rounds/loo_nll", row, record.leave_one_out_nll);
    log.write_value("/rounds/loo_nll_se", row, record.leave_one_out_nll_error);
    log.write_value("/rounds/probe_nll", row, record.probe_nll);
    log.write_value("/rounds/label_noise", row, record.label_noise);
    log.write_value("/rounds/label_noise_auroc", row, record.label_noise_auroc);
    log.write_value("/rounds/label_noise_label_auroc", row, record.label_noise_label_auroc);
  }
  log.write_whole("/sensitivity/parameter_deviation", record.sensitivity.parameter_deviation);
  log.write_whole("/sensitivity/output_deviation", record.sensitivity.output_deviation);
  log.write_whole("/sensitivity/prediction_deviation", record.sensitivity.prediction_deviation);
  log.write_whole("/sensitivity/nll", record.sensitivity.nll);
  log.write_whole("/sensitivity/loo_nll", record.sensitivity.leave_one_out_nll);
  log.write_whole("/label_noise/noise", record.label_noise_examples.mean);
  log.write_whole("/label_noise/deviation", record.label_noise_examples.deviation);
  if (wants_posterior(record.round))
    log.write_previews(row_of(log.shape.posterior_rounds, record.round), record.previews);
  for (std::size_t t = 0; t < record.bayes_curve.size(); ++t)
    log.write_metrics("/curve/", "", t, record.bayes_curve[t]);
  log.write_value("/rounds/train_loss", row, record.train_loss);
  log.write_value("/rounds/seconds", row, record.seconds);
  log.write_value("/rounds/seconds_training", row, record.seconds_training);
  log.write_value("/rounds/seconds_evaluation", row, record.seconds_evaluation);
  log.write_value("/rounds/bytes_up", row, record.bytes_up);
  log.write_value("/rounds/bytes_down", row, record.bytes_down);
  log.write_value("/rounds/participants", row, record.participants);
  log.write_value("/rounds/refused", row, record.refused);
  log.write_value("/rounds/clamped", row, record.clamped);
  log.write_value("/rounds/precision_gap_closed", row, record.precision_gap_closed);
  for (const DiagnosticColumn& column : diagnostic_columns) {
    log.write_value(fmt::format("/rounds/{}", column.name), row, column.value(record.diagnostics));
  }
  for (const DiagnosticQuantiles& column : diagnostic_quantiles) {
    log.write_row(fmt::format("/rounds/{}", column.name), row, column.value(record.diagnostics).values);
  }
  log.write_row("/rounds/state_hash", row, std::vector<std::uint64_t>{record.state_hash});
  log.write_visits(row, record.clients);
  if (const std::size_t at = row_of(log.shape.client_rounds, record.round); at < log.shape.client_rounds.size()) {
    log.write_table("/clients/", "", at, record.client_metrics);
    log.write_table("/clients/", "_bayes", at, record.client_metrics_bayes);
  }
  log.write_value("/rounds_complete", 0, record.round);  // last: a reader believes this number
  log.appended = record.round;
}

std::uint64_t RunLog::overflows() const { return impl_->queue.overflows(); }

void RunLog::flush() { impl_->queue.flush(); }

void RunLog::close() {
  flush();
  impl_->file.close();
}

}  // namespace ivory
