// ivory pack: finished logs, compressed.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/log_pack.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory pack runs/*.h5
  ivory pack runs/quickstart-vb-admm-seed1.h5 -o smaller.h5

The packed log takes the place of the log unless -o names another file. It has the same format and the same values,
which are read back and compared before the replacement.)";

struct Flags {
  std::vector<std::string> logs;
  std::string to;
};

int pack(const Flags& flags) {
  if (!flags.to.empty() && flags.logs.size() > 1) {
    throw InputError(
        fmt::format("[command line] -o takes one log, got {}; leave it out to replace each", flags.logs.size()));
  }
  for (const std::string& log : without_previews(flags.logs)) {
    const std::string& to = flags.to.empty() ? log : flags.to;
    const PackedSizes sizes = pack_log(log, to);
    fmt::print("{}  {} -> {} bytes ({:.0f} %)\n", to, sizes.before, sizes.after,
               100.0 * static_cast<double>(sizes.after) / static_cast<double>(sizes.before));
  }
  return 0;
}

}  // namespace

void add_pack(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("pack", "Compress finished logs");
  const auto flags = std::make_shared<Flags>();
  verb->add_option("LOG", flags->logs, "Finished logs (HDF5)")->required()->option_text("...");
  verb->add_option("-o,--output", flags->to, "Write the packed log here, and leave LOG")->option_text("FILE");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return pack(*flags); }; });
}

}  // namespace ivory
