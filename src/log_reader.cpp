#include "src/log_reader.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <algorithm>

#include "ivory/error.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"

namespace ivory {
namespace {

LogHeader read_header(const Hdf5File& file) {
  if (!file.has_attribute("/", "format_version") || !file.has_dataset("/rounds_complete")) {
    throw InputError(
        fmt::format("[log] a log of an Ivory run is needed, got another HDF5 file, {}; logs have the attribute "
                    "format_version and the dataset rounds_complete",
                    file.path()));
  }
  LogHeader header;
  header.file = file.path();
  header.format_version = static_cast<int>(file.integer("/", "format_version"));
  if (header.format_version < 1 || header.format_version > log_format_version) {
    throw InputError(
        fmt::format("[log] this version of Ivory reads logs of format 1 to {}, got format {}, in {}; use the "
                    "version that wrote it or a newer one",
                    log_format_version, header.format_version, file.path()));
  }
  header.ivory_version = file.text("/", "ivory_version");
  header.name = file.text("/", "name");
  header.arm = file.text("/", "arm");
  header.scenario = file.text("/", "scenario");
  header.algorithm = file.text("/", "algorithm");
  header.optimizer = file.text("/", "optimizer");
  header.device = file.text("/", "device");
  header.data_checksum = file.text("/", "data_checksum");
  header.data_description = file.text("/", "data_description");
  if (file.has_attribute("/", "start_hash")) header.start_hash = file.text("/", "start_hash");
  header.partition_hash = file.text("/", "partition_hash");
  header.seed = file.natural("/", "seed");
  const auto size = [&](const char* name) {
    const std::int64_t value = file.integer("/", name);
    if (value < 0)
      throw InputError(fmt::format("[log] {} must not be negative, got {}, in {}", name, value, file.path()));
    return static_cast<std::size_t>(value);
  };
  header.clients = size("clients");
  header.classes = size("classes");
  header.bins = size("bins");
  header.parameters = size("parameters");
  header.has_posterior = file.integer("/", "has_posterior") != 0;
  header.rounds = static_cast<int>(size("rounds"));
  const std::vector<std::int64_t> complete = file.read<std::int64_t>("/rounds_complete").values;
  if (complete.size() != 1 || complete[0] < 0 || complete[0] > header.rounds) {
    throw InputError(fmt::format("[log] rounds_complete must be one number in 0..{}, in {}; the file is damaged",
                                 header.rounds, file.path()));
  }
  header.rounds_complete = static_cast<int>(complete[0]);
  return header;
}

/// Those of a scale's rounds that were finished when the log was opened.
std::vector<int> finished_rounds(const Hdf5File& file, const char* scale, int rounds_complete) {
  std::vector<int> rounds;
  for (const std::int32_t round : file.read<std::int32_t>(scale).values) {
    if (round >= 1 && round <= rounds_complete) rounds.push_back(round);
  }
  return rounds;
}

void check_row(const LogHeader& header, const char* what, std::size_t row, std::size_t rows) {
  if (row >= rows) {
    throw InputError(
        fmt::format("[log] row {} of {} must be written, got {} rows, in {}", row, what, rows, header.file));
  }
}

// Vectors of a log with [log] layers are shorter than P.
std::vector<float> whole_row(const Hdf5File& file, const LogHeader& header, const std::string& path, std::size_t row,
                             std::size_t vectors) {
  const std::vector<std::size_t> shape = file.shape(path);
  const std::size_t recorded = shape.empty() ? 1 : shape.back(), expected = header.parameters;
  if (recorded != expected) {
    throw InputError(
        fmt::format("[log] all {} parameters must be recorded for this, got {}, in {} of {}; run again "
                    "with log.layers = []",
                    expected, recorded, path, header.file));
  }
  std::vector<float> values = file.read_rows<float>(path, row, 1).values;
  if (values.size() != vectors * expected) {
    throw InputError(fmt::format("[log] a row must have {} values, got {}, in {} of {}; the file is damaged",
                                 vectors * expected, values.size(), path, header.file));
  }
  return values;
}

}  // namespace

LogReader::LogReader(const std::string& path) : file_(std::make_unique<Hdf5File>(Hdf5File::open(path))) {
  header_ = read_header(*file_);
}
LogReader::~LogReader() = default;
LogReader::LogReader(LogReader&&) noexcept = default;
LogReader& LogReader::operator=(LogReader&&) noexcept = default;

std::vector<double> LogReader::column(std::string_view name) const {
  return file_->read_rows<double>(fmt::format("/rounds/{}", name), 0, static_cast<std::size_t>(header_.rounds_complete))
      .values;
}

bool LogReader::has_column(std::string_view name) const { return file_->has_dataset(fmt::format("/rounds/{}", name)); }

OodDetection LogReader::detection(std::size_t row, std::string_view suffix) const {
  OodDetection detection;
  for (const DetectionScore& score : detection_scores) {
    for (const DetectionColumn& column : detection_columns) {
      const std::string name = fmt::format("{}{}{}", score.prefix, column.name, suffix);
      if (has_column(name)) detection.*score.score.*column.value = this->column(name).at(row);
    }
  }
  return detection;
}

std::vector<std::uint64_t> LogReader::state_hashes() const {
  return file_->read_rows<std::uint64_t>("/rounds/state_hash", 0, static_cast<std::size_t>(header_.rounds_complete))
      .values;
}

std::vector<int> LogReader::posterior_rounds() const {
  return finished_rounds(*file_, "/posterior/round", header_.rounds_complete);
}

std::vector<float> LogReader::posterior_mean(std::size_t row) const {
  check_row(header_, "/posterior", row, posterior_rounds().size());
  return whole_row(*file_, header_, "/posterior/mean", row, 1);
}

std::vector<float> LogReader::posterior_precision(std::size_t row) const {
  check_row(header_, "/posterior", row, posterior_rounds().size());
  return whole_row(*file_, header_, "/posterior/precision", row, 1);
}

std::vector<int> LogReader::site_rounds() const {
  if (!file_->has_dataset("/clients/site_round")) return {};
  return finished_rounds(*file_, "/clients/site_round", header_.rounds_complete);
}

std::vector<float> LogReader::client_vectors(std::string_view name, std::size_t row) const {
  check_row(header_, "the clients' vectors", row, site_rounds().size());
  return whole_row(*file_, header_, fmt::format("/clients/{}", name), row, header_.clients);
}

std::vector<float> LogReader::client_vector(std::string_view name, std::size_t row, std::size_t client) const {
  check_row(header_, "the clients' vectors", row, site_rounds().size());
  const std::string path = fmt::format("/clients/{}", name);
  const std::vector<std::size_t> shape = file_->shape(path);
  return file_->read_part<float>(path, {row, client, 0}, {1, 1, shape.empty() ? 0 : shape.back()}).values;
}

std::vector<int> LogReader::client_evaluation_rounds() const {
  return finished_rounds(*file_, "/clients/evaluation_round", header_.rounds_complete);
}

std::vector<Metrics> LogReader::client_metrics(std::size_t row, std::string_view suffix) const {
  check_row(header_, "the clients' metrics", row, client_evaluation_rounds().size());
  std::vector<Metrics> clients(header_.clients);
  for (const MetricColumn& column : metric_columns) {
    const std::string path = fmt::format("/clients/{}{}", column.name, suffix);
    if (!file_->has_dataset(path)) continue;
    const auto values = file_->read_rows<double>(path, row, 1).values;
    for (std::size_t k = 0; k < std::min(clients.size(), values.size()); ++k) clients[k].*column.value = values[k];
  }
  return clients;
}

std::vector<double> LogReader::client_examples() const { return file_->read<double>("/clients/examples").values; }

std::vector<double> LogReader::client_history(std::string_view name) const {
  const auto rows = static_cast<std::size_t>(header_.rounds_complete);
  return file_->read_rows<double>(fmt::format("/clients/{}", name), 0, rows).values;
}

double LogReader::scenario_number(std::string_view table, std::string_view key) const {
  try {
    const toml::table scenario = toml::parse(header_.scenario);
    return scenario[table][key].value<double>().value_or(no_value);
  } catch (const toml::parse_error& error) {
    throw InputError(fmt::format("[log] the attribute scenario must be TOML, got an error ({}), in {}",
                                 error.description(), header_.file));
  }
}

bool is_ivory_log(const std::string& path) {
  try {
    const Hdf5File file = Hdf5File::open(path);
    return file.has_attribute("/", "format_version") && file.has_attribute("/", "ivory_version") &&
           file.has_dataset("/rounds_complete");
  } catch (const InputError&) {
    return false;
  }
}

}  // namespace ivory
