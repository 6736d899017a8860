// ivory influence: what each client does to the server, from the sites in a log.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/influence.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory run scenarios/influence.toml
  ivory influence runs/influence-seed1.h5 --csv influence.csv
  ivory run scenarios/influence.toml --set 'clients.without=[3]' name=influence-without-3
  ivory influence runs/influence-seed1.h5 --retrained runs/influence-without-*.h5

The log needs the clients' sites: log.sites = "last" in the scenario. Nothing is trained: a client's site is what it has
told the server, and the server's Gaussian without it is what is left (docs/methods.md, section 7). The score is half
the squared shift of the server's mean in the metric of its precision, in nats; the table is sorted by it. --retrained
puts beside the predictions what training without a client really gave.)";

struct Flags {
  std::string log, csv;
  std::vector<std::string> retrained;
  int threads = 0;
};

int influence(const Flags& flags) {
  if (!flags.csv.empty()) check_csv(flags.csv);
  const InfluenceReport report = client_influence(flags.log, flags.retrained, flags.threads);
  fmt::print("{}", influence_table(report));
  if (!flags.csv.empty()) write_csv(flags.csv, influence_csv(report));
  return 0;
}

}  // namespace

void add_influence(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("influence", "Say what each client does to the server, from the sites in a log");
  const auto flags = std::make_shared<Flags>();
  verb->add_option("LOG", flags->log, "Log (HDF5) of a run with log.sites")->required()->option_text(" ");
  verb->add_option("--retrained", flags->retrained, "Logs of the same scenario without one client, to compare with")
      ->option_text("LOG ...");
  verb->add_option("--csv", flags->csv, "Write the table to this file")->option_text("FILE");
  verb->add_option("--threads", flags->threads, "Threads; default: every core that the process may use")
      ->option_text("N")
      ->check(CLI::Range(1, 1024));
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return influence(*flags); }; });
}

}  // namespace ivory
