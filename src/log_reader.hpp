// Reading a run's log back (docs/log-format.md), finished, unfinished or still being written.
#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "ivory/record.hpp"

namespace ivory {

/// What a log says about its run. `rounds_complete` is that of the moment of opening.
struct LogHeader {
  std::string file;
  int format_version = 0;
  std::string ivory_version;
  std::string name, arm;        // arm: empty for a scenario without arms
  std::string scenario;         // the resolved TOML
  std::string scenario_folder;  // where its file was; empty where that is not known
  std::string algorithm, optimizer, device;
  std::string data_checksum, data_description, start_hash, partition_hash;
  std::uint64_t seed = 0;
  int rounds = 0, rounds_complete = 0;
  std::size_t clients = 0, classes = 0, bins = 0, parameters = 0;
  bool has_posterior = false;

  bool finished() const { return rounds_complete >= rounds; }
};

class Hdf5File;

class LogReader {
 public:
  /// Throws InputError when `path` is not an Ivory log, or one of a newer format. All other functions throw it too, where the file
  /// does not hold what its header says: then nothing is allocated.
  explicit LogReader(const std::string& path);
  ~LogReader();
  LogReader(LogReader&&) noexcept;
  LogReader& operator=(LogReader&&) noexcept;

  const LogHeader& header() const { return header_; }
  /// The file itself, for everything that has no function here.
  const Hdf5File& file() const { return *file_; }

  /// A column of /rounds/ ("accuracy_bayes"), one value per finished round; NaN where it was not evaluated.
  std::vector<double> column(std::string_view name) const;
  /// False for a column that the version which wrote the log did not have.
  bool has_column(std::string_view name) const;
  /// Detection of out-of-distribution inputs after the finished round `row` + 1; NaN where there is none. `suffix` as below.
  OodDetection detection(std::size_t row, std::string_view suffix = "") const;
  std::vector<std::uint64_t> state_hashes() const;

  /// Rounds of /posterior/ (1-based) that are written, and one of its rows, [P]. Throws InputError for a row beyond them, and in
  /// a log of some layers alone ([log] layers).
  std::vector<int> posterior_rounds() const;
  std::vector<float> posterior_mean(std::size_t row) const;
  std::vector<float> posterior_precision(std::size_t row) const;  // NaN for methods without a posterior

  /// Rounds (1-based) with the clients' vectors that are written; none in a log without them. One of their rows of `name` ("mean",
  /// "precision", "site_mean", "site_precision"), [K x P]; NaN for what a client or its method does not have.
  std::vector<int> site_rounds() const;
  std::vector<float> client_vectors(std::string_view name, std::size_t row) const;
  /// Of one client, and of the recorded parameters alone.
  std::vector<float> client_vector(std::string_view name, std::size_t row, std::size_t client) const;

  /// Rounds (1-based) with metrics per client that are written, and one of those rows; a client without examples is
  /// NaN.
  std::vector<int> client_evaluation_rounds() const;
  /// `suffix`: "" for the mean model, "_bayes" for the posterior average.
  std::vector<Metrics> client_metrics(std::size_t row, std::string_view suffix = "") const;  // [K]
  std::vector<double> client_examples() const;                                               // [K]
  /// A dataset [R, K] of /clients/ ("participation", "train_loss"): the rows of the finished rounds, row-major.
  std::vector<double> client_history(std::string_view name) const;

  /// All of a dataset that must have this shape, for those that have no function here.
  std::vector<double> numbers(const std::string& dataset, const std::vector<std::size_t>& shape) const;

  /// A number of the resolved scenario ("evaluation", "target_accuracy"); NaN when it has no such key.
  double scenario_number(std::string_view table, std::string_view key) const;

 private:
  std::vector<float> posterior_row(const std::string& path, std::size_t row) const;

  LogHeader header_;
  std::unique_ptr<Hdf5File> file_;
};

/// True when `path` holds an Ivory log (of any version); false for anything else, also when there is no such file.
bool is_ivory_log(const std::string& path);

/// True for what `ivory preview` and `ivory replay` write, often beside the log; false for anything else.
bool is_made_of_a_log(const std::string& path);

}  // namespace ivory
