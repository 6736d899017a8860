// ivory verify: the sceptic's command.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

#include "src/cli.hpp"
#include "src/verify.hpp"

namespace ivory {
namespace {

constexpr const char* notes =
    R"(Examples:
  ivory verify

Each row is a statement with a closed form: the exact posterior after one round, the equality of two
methods, a contraction rate, a fixed point, a stationary variance. It is checked through the code that runs scenarios.

Exit codes: 0 every row passes, 1 some row fails.)";

}  // namespace

void add_verify(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("verify", "Check the methods against closed forms, in seconds");
  verb->footer(notes);
  verb->final_callback([&chosen] {
    chosen = [] {
      std::vector<Oracle> oracles;
      add_server_oracles(oracles);
      add_client_oracles(oracles);
      fmt::print("{}", oracle_table(oracles));
      return std::all_of(oracles.begin(), oracles.end(), [](const Oracle& oracle) { return oracle.passes(); }) ? 0 : 1;
    };
  });
}

}  // namespace ivory
