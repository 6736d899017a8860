// Rules between keys: what no single key's range can say.
#pragma once
#include "ivory/scenario.hpp"
#include "src/scenario_given.hpp"

namespace ivory {

/// Adds a message per contradiction in a scenario whose every key is good by itself. `algorithm_place` is that of
/// [server] algorithm, which is no row of Options.
void check_contradictions(const Scenario& scenario, const SourcePlace& algorithm_place, Problems& problems);

}  // namespace ivory
