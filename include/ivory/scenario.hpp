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
  std::string
      folder;  // of the scenario file, absolute, also where a log stands for it; no key: nothing is computed from it
  std::uint64_t seed = 1;
  int rounds = 0;
  std::string optimizer_name;  // [clients.optimizer] name
  std::string algorithm_name;  // [server] algorithm
  Options data, partition, model, clients, optimizer, algorithm, evaluation, log;
  Options ood;  // [evaluation.ood]: out-of-distribution data; no rows where the scenario has no such table
};

/// The whole resolved scenario as TOML text that reads back to the same Scenario.
std::string to_toml(const Scenario& scenario);

}  // namespace ivory
