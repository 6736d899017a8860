#include "src/resume_check.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <map>
#include <sstream>
#include <vector>

#include "ivory/error.hpp"
#include "src/checkpoint.hpp"
#include "src/content_hash.hpp"

namespace ivory {
namespace {

// Key, with its table, -> value, of TOML as to_toml writes it: one key a line.
std::map<std::string, std::string> lines_by_key(const std::string& toml) {
  std::map<std::string, std::string> values;
  std::istringstream text(toml);
  std::string line, table;
  while (std::getline(text, line)) {
    if (line.starts_with('[')) {
      table = line.substr(1, line.find(']') - 1) + ".";
    } else if (const auto equals = line.find(" = "); equals != std::string::npos) {
      values[table + line.substr(0, line.find_last_not_of(' ', equals) + 1)] = line.substr(equals + 3);
    }
  }
  return values;
}

}  // namespace

std::string scenario_differences(const std::string& logged, const std::string& now) {
  constexpr std::size_t most = 4;
  const auto before = lines_by_key(logged), after = lines_by_key(now);
  auto all = before;
  all.insert(after.begin(), after.end());
  std::vector<std::string> differences;
  for (const auto& [key, value] : all) {
    const auto a = before.find(key), b = after.find(key);
    const std::string logged_value = a == before.end() ? "nothing" : a->second;
    const std::string value_now = b == after.end() ? "nothing" : b->second;
    if (logged_value != value_now) differences.push_back(fmt::format("{}: {} -> {}", key, logged_value, value_now));
  }
  const std::size_t more = differences.size() > most ? differences.size() - most : 0;
  if (more > 0) {
    differences.resize(most);
    differences.push_back(fmt::format("{} more", more));
  }
  return fmt::format("{}", fmt::join(differences, "; "));
}

std::string device_kind(const std::string& description) {
  const std::string first = description.substr(0, description.find(';'));
  const auto open = first.find('(');
  return first.substr(0, first.find_first_of(": ")) + (open == std::string::npos ? "" : " " + first.substr(open));
}

void check_log_data(const std::string& tag, const LogHeader& header, std::uint64_t checksum) {
  if (const std::string found = hexadecimal(checksum); found != header.data_checksum) {
    throw InputError(
        fmt::format("[{}] the data must be those of the log, checksum {}, got {}, in {}; put them back, or run again",
                    tag, header.data_checksum, found, header.file));
  }
}

void check_repeatable(const std::string& tag, const LogHeader& header, const LogPlan& plan, bool any_device) {
  check_log_data(tag, header, plan.data_checksum);
  const auto differ = [&](const std::string& what, const std::string& logged, const std::string& now,
                          const std::string& advice) {
    if (logged == now) return;
    throw InputError(fmt::format("[{}] the {} must be the log's, {}, got {}, in {}; {}", tag, what, logged, now,
                                 header.file, advice));
  };
  const std::string other_version =
      fmt::format("the log was written by ivory {}, this is {}: use that version", header.ivory_version, IVORY_VERSION);
  differ("partition (hash)", header.partition_hash, hexadecimal(plan.partition->hash), other_version);
  if (!header.start_hash.empty()) {
    differ("start weights (hash)", header.start_hash, hexadecimal(plan.start_hash),
           "a file of weights that has changed, or another version of ivory, makes others: " + other_version);
  }
  if (any_device) return;
  differ("kind of device", device_kind(header.device), device_kind(plan.device),
         "on another one the bits may differ: choose the log's (--device), or say --any-device");
}

void check_log_clients(const std::string& tag, const LogHeader& header, std::size_t clients) {
  if (header.clients == clients) return;
  throw InputError(
      fmt::format("[{}] the attribute clients must be that of the scenario, {}, got {}, in {}; the file is damaged",
                  tag, clients, header.clients, header.file));
}

void check_log_parameters(const std::string& tag, const LogHeader& header, std::size_t parameters) {
  if (header.parameters == parameters) return;
  throw InputError(fmt::format("[{}] a log must hold its network's {} parameters, got {}, in {}; run again", tag,
                               parameters, header.parameters, header.file));
}

void check_resumable(const LogHeader& header, const LogPlan& plan) {
  const auto differ = [&](const std::string& what, const std::string& logged, const std::string& now) {
    if (logged == now) return;
    throw InputError(
        fmt::format("[resume] a run goes on with the {} that it began with, got {} after {}, in {}; use what the log "
                    "has, or {}",
                    what, now, logged, header.file, begin_anew));
  };
  const std::string scenario = to_toml(*plan.scenario);
  if (header.scenario != scenario) {
    throw InputError(
        fmt::format("[resume] a run goes on with the scenario that it began with, got other keys ({}), in {}; "
                    "use the log's (ivory run --resume LOG, without a file), or {}",
                    scenario_differences(header.scenario, scenario), header.file, begin_anew));
  }
  differ("version of ivory", header.ivory_version, IVORY_VERSION);
  differ("data (checksum)", header.data_checksum, hexadecimal(plan.data_checksum));
  differ("partition (hash)", header.partition_hash, hexadecimal(plan.partition->hash));
  differ("start weights (hash)", header.start_hash, hexadecimal(plan.start_hash));
  differ("kind of device", device_kind(header.device), device_kind(plan.device));
}

}  // namespace ivory
