#include "src/logged_scenario.hpp"

#include "src/scenario_reader.hpp"

namespace ivory {

Scenario logged_scenario(const LogHeader& header, const std::string& beside) {
  Scenario scenario = parse_scenario(header.scenario, beside.empty() ? header.file : beside).front();
  scenario.folder = header.scenario_folder;
  return scenario;
}

}  // namespace ivory
