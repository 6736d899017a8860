// Scenarios and small data files for the tests of data and partitions.
#pragma once
#include <zlib.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/data_sets.hpp"
#include "src/partition.hpp"
#include "tests/support/temporary_folder.hpp"

namespace ivory::test {

using Values = std::map<std::string, OptionValue>;

/// The options of one kind with its common keys, through the same checks as a scenario file.
inline Options kind_options(std::span<const Kind> kinds, const std::vector<OptionSpec>& common, const std::string& kind,
                            const Values& values, const std::string& table) {
  for (const Kind& candidate : kinds) {
    if (candidate.name != kind) continue;
    std::vector<OptionSpec> specs = common;
    specs.insert(specs.end(), candidate.options.begin(), candidate.options.end());
    GivenTable given;
    for (const auto& [name, value] : values) given[name] = {value, {"test.toml", 7, 3}};
    Options options = resolve_options(specs, given, table, {"test.toml", 1, 1});
    options.set("kind", {kind, {"test.toml", 2, 1}, true});
    return options;
  }
  throw std::runtime_error("no kind " + kind);
}

inline Scenario data_scenario(const std::string& kind, const Values& values = {}, std::uint64_t seed = 1) {
  Scenario scenario;
  scenario.file = "nowhere/test.toml";
  scenario.seed = seed;
  scenario.data = kind_options(dataset_kinds(), common_data_options(), kind, values, "data");
  return scenario;
}

/// The options of [evaluation.ood].
inline Options ood_options(const std::string& kind, const Values& values = {}) {
  return kind_options(dataset_kinds(), common_ood_options(), kind, values, "evaluation.ood");
}

inline Scenario partition_scenario(const std::string& kind, std::int64_t clients, const Values& values = {},
                                   std::uint64_t seed = 1) {
  Scenario scenario;
  scenario.seed = seed;
  scenario.partition = kind_options(partition_kinds(), common_partition_options(), kind, values, "partition");
  scenario.clients.set("count", {clients, {"test.toml", 20, 9}, true});
  return scenario;
}

/// The message of the InputError that `call` throws; "" when it throws none. Any other exception passes through.
template <class Call>
std::string input_error(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

inline std::string load_error(const std::string& kind, const Values& values) {
  return input_error([&] { load_data(data_scenario(kind, values)); });
}

inline std::vector<std::size_t> class_counts(const Dataset& data) {
  std::vector<std::size_t> counts(static_cast<std::size_t>(data.classes));
  for (const std::int32_t label : data.labels) ++counts[static_cast<std::size_t>(label)];
  return counts;
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

inline void write_file(const std::string& path, const std::string& bytes) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}

inline std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A gzip member.
inline std::string gzip(const std::string& bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK) throw std::runtime_error("zlib");
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  const int code = deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  if (code != Z_STREAM_END) throw std::runtime_error("zlib");
  return out;
}

/// The lowest `bytes` bytes of `value`, big-endian.
inline std::string big_endian(std::uint64_t value, int bytes) {
  std::string out;
  for (int i = bytes - 1; i >= 0; --i) out += static_cast<char>(value >> (8 * i));
  return out;
}

inline std::string idx(unsigned char type, const std::vector<std::uint32_t>& shape, const std::string& values) {
  std::string out = {'\0', '\0', static_cast<char>(type), static_cast<char>(shape.size())};
  for (const std::uint32_t extent : shape) out += big_endian(extent, 4);
  return out + values;
}

}  // namespace ivory::test
