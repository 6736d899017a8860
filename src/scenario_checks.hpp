// Rules between keys: what no single key's range can say.
#pragma once
#include <cstddef>
#include <string>

#include "ivory/scenario.hpp"
#include "src/scenario_given.hpp"

namespace ivory {

/// Adds a message per contradiction in a scenario whose every key is good by itself. `algorithm_place` is that of
/// [server] algorithm, which is no row of Options.
void check_contradictions(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems);

/// What is wrong with [clients] weights for so many clients; "" where nothing is.
std::string weights_problem(const Options& clients, std::size_t count);

}  // namespace ivory
