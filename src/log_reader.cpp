#include "src/log_reader.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <toml++/toml.h>
#include <algorithm>
#include <limits>

#include "ivory/error.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"

namespace ivory {
namespace {

constexpr std::int64_t most_rounds_or_clients = std::int64_t{1} << 24;  // of any scenario

using Shape = std::vector<std::size_t>;

void check_shape(const Hdf5File& file, const std::string& path, const Shape& expected) {
  const Shape shape = file.shape(path);
  if (shape == expected) return;
  throw InputError(fmt::format(
      "[log] dataset \"{}\" must have the shape [{}], as the other parts of the log say, got [{}], in {}; the "
      "file is damaged",
      path, fmt::join(expected, ", "), fmt::join(shape, ", "), file.path()));
}

/// Of a dataset whose shape the header says: anything else is not read at all.
template <class T>
std::vector<T> rows_of(const Hdf5File& file, const std::string& path, const Shape& shape, std::size_t first,
                       std::size_t count) {
  check_shape(file, path, shape);
  return file.read_rows<T>(path, first, count).values;
}

/// Texts of the header are shown on terminals.
std::string one_line(const Hdf5File& file, const char* name) {
  std::string text = file.text("/", name);
  const auto control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (std::none_of(text.begin(), text.end(), control)) return text;
  throw InputError(fmt::format(
      "[log] the attribute {} must be one line of text, got one with control characters, in {}; the file is damaged",
      name, file.path()));
}

const char* what_else(const Hdf5File& file) {
  if (file.has_attribute("/", "preview_format_version")) return "a file that ivory preview made of one";
  if (file.has_attribute("/", "replay_format_version")) return "a file that ivory replay made of one";
  return "another HDF5 file";
}

LogHeader read_header(const Hdf5File& file) {
  if (!file.has_attribute("/", "format_version") || !file.has_dataset("/rounds_complete")) {
    throw InputError(
        fmt::format("[log] a log of an Ivory run is needed, got {}, {}; logs have the attribute format_version and the "
                    "dataset rounds_complete",
                    what_else(file), file.path()));
  }
  LogHeader header;
  header.file = file.path();
  const std::int64_t format = file.integer("/", "format_version");
  if (format < 1 || format > log_format_version) {
    throw InputError(
        fmt::format("[log] this version of Ivory reads logs of format 1 to {}, got format {}, in {}; use the "
                    "version that wrote it or a newer one",
                    log_format_version, format, file.path()));
  }
  header.format_version = static_cast<int>(format);
  header.ivory_version = one_line(file, "ivory_version");
  header.name = one_line(file, "name");
  header.arm = one_line(file, "arm");
  header.scenario = file.text("/", "scenario");
  if (file.has_attribute("/", "scenario_folder")) header.scenario_folder = file.text("/", "scenario_folder");
  header.algorithm = one_line(file, "algorithm");
  header.optimizer = one_line(file, "optimizer");
  header.device = one_line(file, "device");
  header.data_checksum = one_line(file, "data_checksum");
  header.data_description = one_line(file, "data_description");
  if (file.has_attribute("/", "start_hash")) header.start_hash = one_line(file, "start_hash");
  header.partition_hash = one_line(file, "partition_hash");
  header.seed = file.natural("/", "seed");
  const auto size = [&](const char* name, std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
    const std::int64_t value = file.integer("/", name);
    if (value < 0 || value > most) {
      throw InputError(fmt::format("[log] the attribute {} must be in 0..{}, got {}, in {}; the file is damaged", name,
                                   most, value, file.path()));
    }
    return static_cast<std::size_t>(value);
  };
  header.clients = size("clients", most_rounds_or_clients);
  header.classes = size("classes");
  header.bins = size("bins");
  header.parameters = size("parameters");
  header.has_posterior = file.integer("/", "has_posterior") != 0;
  header.rounds = static_cast<int>(size("rounds", most_rounds_or_clients));
  check_shape(file, "/rounds/round", {static_cast<std::size_t>(header.rounds)});
  check_shape(file, "/clients/client", {header.clients});
  check_shape(file, "/rounds_complete", {});
  const std::vector<std::int64_t> complete = file.read<std::int64_t>("/rounds_complete").values;
  if (complete.at(0) < 0 || complete[0] > header.rounds) {
    throw InputError(fmt::format("[log] rounds_complete must be a number in 0..{}, got {}, in {}; the file is damaged",
                                 header.rounds, complete[0], file.path()));
  }
  header.rounds_complete = static_cast<int>(complete[0]);
  return header;
}

/// The rounds of a scale, increasing.
std::vector<std::int32_t> rounds_of(const Hdf5File& file, const char* scale, const LogHeader& header) {
  const Shape shape = file.shape(scale);
  if (shape.size() != 1 || shape[0] > static_cast<std::size_t>(header.rounds)) {
    throw InputError(fmt::format(
        "[log] dataset \"{}\" must be a list of some of {} rounds, got the shape [{}], in {}; the file is damaged",
        scale, header.rounds, fmt::join(shape, ", "), header.file));
  }
  std::vector<std::int32_t> rounds = file.read<std::int32_t>(scale).values;
  std::int32_t before = 0;
  for (const std::int32_t round : rounds) {
    if (round <= before || round > header.rounds) {
      throw InputError(fmt::format(
          "[log] dataset \"{}\" must have increasing rounds in 1..{}, got {} after {}, in {}; the file is damaged",
          scale, header.rounds, round, before, header.file));
    }
    before = round;
  }
  return rounds;
}

/// Those that were finished when the log was opened.
std::vector<int> finished_rounds(const Hdf5File& file, const char* scale, const LogHeader& header) {
  std::vector<int> rounds = rounds_of(file, scale, header);
  std::erase_if(rounds, [&](int round) { return round > header.rounds_complete; });
  return rounds;
}

void check_row(const LogHeader& header, const char* what, std::size_t row, std::size_t rows) {
  if (row >= rows) {
    throw InputError(
        fmt::format("[log] row {} of {} must be written, got {} rows, in {}", row, what, rows, header.file));
  }
}

// Vectors of a log with [log] layers are shorter than P; `group` says how short.
std::size_t recorded_parameters(const Hdf5File& file, const LogHeader& header, const std::string& group) {
  const std::string path = group + "/parameter";
  const std::vector<std::size_t> shape = file.shape(path);
  if (shape.size() == 1 && shape[0] <= header.parameters) return shape[0];
  throw InputError(
      fmt::format("[log] {} must be one list of at most {} parameters, got shape [{}], in {}; the file is "
                  "damaged",
                  path, header.parameters, fmt::join(shape, ", "), header.file));
}

void need_all_parameters(const Hdf5File& file, const LogHeader& header, const std::string& group) {
  const std::size_t recorded = recorded_parameters(file, header, group);
  if (recorded == header.parameters) return;
  throw InputError(
      fmt::format("[log] all {} parameters must be recorded for this, got {}, in {} of {}; run again with "
                  "log.layers = []",
                  header.parameters, recorded, group, header.file));
}

}  // namespace

LogReader::LogReader(const std::string& path) : file_(std::make_unique<Hdf5File>(Hdf5File::open_contained(path))) {
  header_ = read_header(*file_);
}
LogReader::~LogReader() = default;
LogReader::LogReader(LogReader&&) noexcept = default;
LogReader& LogReader::operator=(LogReader&&) noexcept = default;

std::vector<double> LogReader::column(std::string_view name) const {
  return rows_of<double>(*file_, fmt::format("/rounds/{}", name), {static_cast<std::size_t>(header_.rounds)}, 0,
                         static_cast<std::size_t>(header_.rounds_complete));
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
  return rows_of<std::uint64_t>(*file_, "/rounds/state_hash", {static_cast<std::size_t>(header_.rounds)}, 0,
                                static_cast<std::size_t>(header_.rounds_complete));
}

std::vector<int> LogReader::posterior_rounds() const { return finished_rounds(*file_, "/posterior/round", header_); }

std::vector<float> LogReader::posterior_mean(std::size_t row) const { return posterior_row("/posterior/mean", row); }

std::vector<float> LogReader::posterior_precision(std::size_t row) const {
  return posterior_row("/posterior/precision", row);
}

std::vector<float> LogReader::posterior_row(const std::string& path, std::size_t row) const {
  check_row(header_, "/posterior", row, posterior_rounds().size());
  need_all_parameters(*file_, header_, "/posterior");
  const std::size_t rows = file_->shape("/posterior/round").at(0);
  return rows_of<float>(*file_, path, {rows, header_.parameters}, row, 1);
}

std::vector<int> LogReader::site_rounds() const {
  if (!file_->has_dataset("/clients/site_round")) return {};
  return finished_rounds(*file_, "/clients/site_round", header_);
}

std::vector<float> LogReader::client_vectors(std::string_view name, std::size_t row) const {
  check_row(header_, "the clients' vectors", row, site_rounds().size());
  need_all_parameters(*file_, header_, "/clients");
  const std::size_t rows = file_->shape("/clients/site_round").at(0);
  return rows_of<float>(*file_, fmt::format("/clients/{}", name), {rows, header_.clients, header_.parameters}, row, 1);
}

std::vector<float> LogReader::client_vector(std::string_view name, std::size_t row, std::size_t client) const {
  check_row(header_, "the clients' vectors", row, site_rounds().size());
  const std::string path = fmt::format("/clients/{}", name);
  const std::size_t recorded = recorded_parameters(*file_, header_, "/clients");
  check_shape(*file_, path, {file_->shape("/clients/site_round").at(0), header_.clients, recorded});
  return file_->read_part<float>(path, {row, client, 0}, {1, 1, recorded}).values;
}

std::vector<int> LogReader::client_evaluation_rounds() const {
  return finished_rounds(*file_, "/clients/evaluation_round", header_);
}

std::vector<Metrics> LogReader::client_metrics(std::size_t row, std::string_view suffix) const {
  check_row(header_, "the clients' metrics", row, client_evaluation_rounds().size());
  std::vector<Metrics> clients(header_.clients);
  for (const MetricColumn& column : metric_columns) {
    const std::string path = fmt::format("/clients/{}{}", column.name, suffix);
    if (!file_->has_dataset(path)) continue;
    const std::size_t rows = file_->shape("/clients/evaluation_round").at(0);
    const auto values = rows_of<double>(*file_, path, {rows, header_.clients}, row, 1);
    for (std::size_t k = 0; k < clients.size(); ++k) clients[k].*column.value = values[k];
  }
  return clients;
}

std::vector<double> LogReader::client_examples() const {
  return rows_of<double>(*file_, "/clients/examples", {header_.clients}, 0, header_.clients);
}

std::vector<double> LogReader::client_history(std::string_view name) const {
  const auto rows = static_cast<std::size_t>(header_.rounds_complete);
  return rows_of<double>(*file_, fmt::format("/clients/{}", name),
                         {static_cast<std::size_t>(header_.rounds), header_.clients}, 0, rows);
}

std::vector<double> LogReader::numbers(const std::string& dataset, const Shape& shape) const {
  check_shape(*file_, dataset, shape);
  return file_->read<double>(dataset).values;
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

bool is_made_of_a_log(const std::string& path) {
  try {
    const Hdf5File file = Hdf5File::open(path);
    return file.has_attribute("/", "preview_format_version") || file.has_attribute("/", "replay_format_version");
  } catch (const InputError&) {
    return false;
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
