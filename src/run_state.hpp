// What a checkpoint holds of a run: everything that goes from one round to the next, listed once for writing and reading.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ivory/algorithm.hpp"
#include "src/checkpoint.hpp"

namespace ivory {

/// Calls `visitor(name, member)` for what outlives a round. The sums do not: each round opens its own.
template <class State, class Visitor>
void visit_state(State& state, const Visitor& visitor) {
  visitor("start", state.start);
  visitor("mean", state.mean);
  visitor("precision", state.precision);
  visitor("memory", state.memory);
  visitor("public_labels", state.public_labels);
  visitor("public_predictions", state.public_predictions);
  visitor("site", state.site);
  visitor("visited", state.visited);
}

/// Writes buffers, plain vectors and vectors of either.
class StateWriter {
 public:
  explicit StateWriter(CheckpointWriter& writer) : writer_(writer) {}

  template <class T>
  void operator()(const std::string& name, const Buffer<T>& buffer) const {
    (*this)(name, buffer.to_host());
  }
  template <class T>
  void operator()(const std::string& name, const std::vector<T>& values) const {
    if constexpr (std::is_arithmetic_v<T>) {
      writer_.array(name, std::span<const T>(values));
    } else {
      writer_.value(name, std::uint64_t{values.size()});
      for (const T& one : values) (*this)(name, one);
    }
  }

 private:
  CheckpointWriter& writer_;
};

/// Reads them back; buffers become as long as they were, on `device`. What has a length already keeps it, or was empty: anything
/// else is another run's, and throws RunError.
class StateReader {
 public:
  StateReader(CheckpointReader& reader, Device& device) : reader_(reader), device_(device) {}

  template <class T>
  void operator()(const std::string& name, Buffer<T>& buffer) const {
    const std::vector<T> values = reader_.array<T>(name);
    check_length(name, buffer.size(), values.size());
    if (values.size() != buffer.size()) {
      buffer = Buffer<T>(device_, values);
    } else if (!values.empty()) {  // in place: others may know where it is
      buffer.from_host(values);
    }
  }
  template <class T>
  void operator()(const std::string& name, std::vector<T>& values) const {
    if constexpr (std::is_arithmetic_v<T>) {
      std::vector<T> read = reader_.array<T>(name);
      check_length(name, values.size(), read.size());
      values = std::move(read);
    } else {
      const auto length = reader_.value<std::uint64_t>(name);
      check_length(name, values.size(), length);
      if (length > reader_.most_arrays()) reader_.fail(name + " has more arrays than the file has room for");
      values.resize(length);
      for (T& one : values) (*this)(name, one);
    }
  }

 private:
  void check_length(const std::string& name, std::size_t there, std::size_t read) const {
    if (there == read || there == 0 || read == 0) return;
    reader_.fail(name + " has " + std::to_string(read) + " values where the run has " + std::to_string(there));
  }

  CheckpointReader& reader_;
  Device& device_;
};

}  // namespace ivory
