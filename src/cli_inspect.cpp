// ivory inspect: what logs hold, in words.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/inspect.hpp"
#include "src/interrupt.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory inspect runs/quickstart-vb-admm-seed1.h5
  ivory inspect runs/*.h5
  ivory inspect --follow runs/mnist-100-clients-vb-admm-seed1.h5

A log can be looked at while its run goes on.)";

struct Flags {
  std::vector<std::string> logs;
  bool follow = false;
};

/// A line for every round that is whole, as they come.
int follow(const std::string& path) {
  catch_interrupts();
  for (int shown = 0;;) {
    const RoundLines lines = round_lines(path, shown);
    fmt::print("{}", lines.text);
    std::fflush(stdout);
    shown = lines.rounds_complete;
    if (lines.finished) return 0;
    for (int tenth = 0; tenth < 5; ++tenth) {
      if (interrupted() != 0) return 128 + interrupted();
      std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
  }
}

int inspect(const Flags& flags) {
  if (flags.follow && flags.logs.size() > 1) {
    throw InputError(
        fmt::format("[command line] --follow takes one log, got {}; give the one to watch", flags.logs.size()));
  }
  if (flags.follow) return follow(flags.logs.front());
  bool first = true;
  for (const std::string& log : without_previews(flags.logs)) {
    if (!first) fmt::print("\n");
    first = false;
    fmt::print("{}", inspect_log(log));
  }
  return 0;
}

}  // namespace

void add_inspect(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("inspect", "Show what logs hold");
  const auto flags = std::make_shared<Flags>();
  verb->add_option("LOG", flags->logs, "Logs (HDF5) that `ivory run` wrote")->required()->option_text("...");
  verb->add_flag("--follow", flags->follow, "Go on with a line per round until the run has finished");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return inspect(*flags); }; });
}

}  // namespace ivory
