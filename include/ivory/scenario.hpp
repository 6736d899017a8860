// A resolved scenario: every key has a value. The tables are typed options; src/scenario_schema.cpp declares their keys.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "ivory/options.hpp"

namespace ivory {

struct Scenario {
  std::string name;
  std::string arm;  // name of the [[compare]] arm; empty for a scenario without arms
  std::string file;
  std::uint64_t seed = 1;
  int rounds = 0;
  Options data, partition, model, clients, optimizer, server, algorithm, evaluation, log;
  // clients.optimizer and server.algorithm name plug-ins; `optimizer` and `algorithm` hold those plug-ins' own options.
};

/// The whole resolved scenario as TOML text that reads back to the same Scenario.
std::string to_toml(const Scenario& scenario);

}  // namespace ivory
