// The command line, one file per verb. Only files named cli* know CLI11.
#pragma once
#include <functional>

namespace CLI {
class App;
}

namespace ivory {

/// What to do once the command line is parsed; returns the exit code.
using Action = std::function<int()>;

/// Each adds its verb to `app`; parsing that verb fills `chosen`.
void add_run(CLI::App& app, Action& chosen);
void add_compare(CLI::App& app, Action& chosen);
void add_sweep(CLI::App& app, Action& chosen);
void add_validate(CLI::App& app, Action& chosen);
void add_preview(CLI::App& app, Action& chosen);
void add_list(CLI::App& app, Action& chosen);
void add_plan(CLI::App& app, Action& chosen);
void add_inspect(CLI::App& app, Action& chosen);
void add_pack(CLI::App& app, Action& chosen);
void add_influence(CLI::App& app, Action& chosen);
void add_replay(CLI::App& app, Action& chosen);
void add_verify(CLI::App& app, Action& chosen);

/// The whole program; returns the exit code. Throws InputError for a command line that breaks a rule.
int command_line(int argc, char** argv);

}  // namespace ivory
