// Writing a run's HDF5 log. docs/log-format.md is its contract; architecture.md's "The log survives" says why it is
// built so: every dataset is created at full size before round 0 (contiguous, allocated early, NaN or -1 in rounds to
// come), old superblock, file locking off, and `rounds_complete` is written last.
#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/parameters.hpp"
#include "ivory/record.hpp"
#include "ivory/scenario.hpp"
#include "src/log_selection.hpp"

namespace ivory {

/// Rows that wait for the disk take no more memory than this; a round that writes more waits for it too.
inline constexpr std::size_t most_queued_bytes = std::size_t{64} << 20;

/// Everything that fixes the shape of the file before round 0.
struct LogPlan {
  const Scenario* scenario = nullptr;
  const ParameterLayout* layout = nullptr;
  std::vector<ParameterRange> logged;  // parameters of which rows are kept
  const Partition* partition = nullptr;
  const Dataset* train = nullptr;  // for the client x class counts
  std::string device;
  std::uint64_t data_checksum = 0, start_hash = 0;
  std::string data_description;
  int classes = 0;
  bool has_posterior = false;  // the server has a precision, after the last round at least
  bool has_ood = false;        // there is an out-of-distribution set
  bool clients_have_posterior = false;
  bool has_site_means = false, has_site_precisions = false;
  DiagnosticsKind diagnostics;
  bool has_matrix = false;  // the server's precision is a matrix, and the log keeps it
  // Rows of the training set whose sensitivities and label noise are measured; empty: not asked for.
  std::vector<std::uint32_t> sensitivity_rows, label_noise_rows;
  std::vector<std::string> previews;       // rules of [log] previews
  std::size_t outputs = 0, predicted = 0;  // of the network per example
};

/// One client's arrays, each of length P or empty.
struct ClientArrays {
  std::uint32_t client = 0;
  std::span<const float> mean, precision, site_mean, site_precision;
};

/// Rows are written by a thread of its own, in order, beside what goes on here: all functions copy what they are given. Where the
/// disk cannot keep up they wait for it. Where it fails, what came before stays and the next call throws RunError.
class RunLog {
 public:
  /// Creates `path` (replacing a log of that name, and nothing but a log), reserves its whole size and writes the
  /// header. Throws RunError when it cannot: no permission, disk full, another kind of file there.
  RunLog(const std::string& path, const LogPlan& plan);
  /// The log of an interrupted run, to go on with. Throws RunError, before anything is written, when it is not one of `plan`:
  /// the message says what differs.
  static RunLog reopen(const std::string& path, const LogPlan& plan);
  ~RunLog();
  RunLog(RunLog&&) noexcept;
  RunLog& operator=(RunLog&&) noexcept;

  /// Rounds whose rows are whole, or will be when what was appended is written. A run that goes on computes some of them again; nothing of them is written.
  int rounds_complete() const;
  /// As logged after a round that is complete.
  std::uint64_t state_hash(int round) const;

  /// True when [log] wants the posterior (or the sites) of this 1-based round.
  bool wants_posterior(int round) const;
  bool wants_sites(int round) const;

  /// Server mean, precision (empty without a posterior) and precision matrix [P x P] (empty where the log has none) after
  /// `round`; call before `append` of the round.
  void write_posterior(int round, std::span<const float> mean, std::span<const float> precision,
                       std::span<const double> matrix = {});
  /// Also before `append` of the round; several threads may write different clients.
  void write_client(int round, const ClientArrays& arrays);
  /// Writes the row of record.round and then `rounds_complete`. Rounds come in order. Of a round that is complete already it
  /// only compares the state's hash, and throws RunError where it is another one.
  void append(const RoundRecord& record);
  /// Finite numbers that float16 made infinite, among all that was written until the last flush.
  std::uint64_t overflows() const;
  /// Returns when everything is in the file.
  void flush();
  /// The same, and closes the log. Throws RunError where the system reports a late failure.
  void close();

 private:
  RunLog();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace ivory
