// ivory inspect: what logs hold, in words.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "src/cli.hpp"
#include "src/inspect.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory inspect runs/quickstart-vb-admm-seed1.h5
  ivory inspect runs/*.h5

A log can be looked at while its run goes on.)";

}  // namespace

void add_inspect(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("inspect", "Show what logs hold");
  const auto logs = std::make_shared<std::vector<std::string>>();
  verb->add_option("LOG", *logs, "Logs (HDF5) that `ivory run` wrote")->required()->option_text("...");
  verb->footer(examples);
  verb->final_callback([logs, &chosen] {
    chosen = [logs] {
      bool first = true;
      for (const std::string& log : *logs) {
        if (!first) fmt::print("\n");
        first = false;
        fmt::print("{}", inspect_log(log));
      }
      return 0;
    };
  });
}

}  // namespace ivory
