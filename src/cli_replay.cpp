// ivory replay: one client's visit of a logged run again.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <string>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/replay.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory replay runs/quickstart-vb-admm-seed1.h5 --round 12 --client 7
  ivory replay runs/mnist-seed1.h5 --round 42 --client 17 --every 10 --csv steps.csv --out visit.h5
  ivory replay runs/mnist-seed1.h5 --round 42 --client 17 --from start --whole-round

The visit has the random numbers it had in the run, and so its bits. The state before it comes from the log (with
log.posterior_every = 1 and log.sites = "every"), from a checkpoint beside the log, or from training the rounds before
it again; each of those is compared with the log. The result is compared with what the log has of the visit. The log
is only read, and may be that of a run that goes on.)";

struct Flags {
  ReplayQuestion question;
  std::string device, csv, out;
  int threads = 0;
  bool json = false;
};

/// The kind that the log was written on, where --device does not say.
DeviceChoice devices(const Flags& flags) {
  if (!flags.device.empty()) return choose_devices(flags.device);
  const LogHeader header = LogReader(flags.question.log).header();
  if (!header.device.starts_with("cuda")) return choose_devices("cpu");
  try {
    return choose_devices("cuda");
  } catch (const InputError& error) {
    throw InputError(
        fmt::format("[replay] a visit has its bits on the kind of device it was trained on, {}, in {}, got none: {}; "
                    "use such a machine, or say --device cpu --any-device",
                    header.device, header.file, error.what()));
  }
}

int replay_visit(const Flags& flags) {
  if (!flags.csv.empty()) check_csv(flags.csv);
  if (!flags.out.empty()) check_replay_path(flags.out);
  RunSettings settings;
  settings.threads = flags.threads;
  settings.devices = devices(flags).lanes;
  settings.on_note = [](const std::string& text) { fmt::print(stderr, "ivory: {}\n", text); };
  const ReplayReport report = replay(flags.question, settings);
  fmt::print("{}", flags.json ? replay_json(report) : replay_table(report) + replay_comparison(report));
  if (!flags.csv.empty()) write_csv(flags.csv, replay_csv(report));
  if (!flags.out.empty()) {
    write_replay(flags.out, report);
    if (!flags.json) fmt::print("written to {}\n", flags.out);
  }
  if (report.differences.empty() || flags.question.any_device) return 0;
  std::fflush(stdout);
  throw RunError(
      fmt::format("[replay] the visit must have the bits that were logged, got others (see above), client {} in round "
                  "{}, in {}; the log was written by ivory {} on {}: use that build and machine, or say --any-device",
                  flags.question.client, flags.question.round, report.header.file, report.header.ivory_version,
                  report.header.device));
}

}  // namespace

void add_replay(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("replay", "Make a client's visit of a logged run again, step by step");
  const auto flags = std::make_shared<Flags>();
  ReplayQuestion& question = flags->question;
  verb->add_option("LOG", question.log, "Log (HDF5) of the run")->required()->option_text(" ");
  verb->add_option("--round", question.round, "Round of the visit, from 1")
      ->required()
      ->option_text("R")
      ->check(CLI::Range(1, 1 << 30));
  verb->add_option("--client", question.client, "Client, from 0")
      ->required()
      ->option_text("K")
      ->check(CLI::Range(0, 1 << 30));
  verb->add_option("--every", question.every, "Steps from one row of the table to the next; default: 1")
      ->option_text("N")
      ->check(CLI::Range(1, 1 << 30));
  const std::map<std::string, ReplaySource> sources = {
      {"log", ReplaySource::log}, {"checkpoint", ReplaySource::checkpoint}, {"start", ReplaySource::start}};
  verb->add_option("--from", question.source,
                   "State before the round: log, checkpoint or start; default: the first there is")
      ->option_text("WHAT")
      ->transform(CLI::CheckedTransformer(sources));
  verb->add_flag("--whole-round", question.whole_round,
                 "Also train the round's other clients, and compare the server's state after it")
      ->option_text(" ");
  verb->add_option("--csv", flags->csv, "Write the steps to this file")->option_text("FILE");
  verb->add_option("--out", flags->out, "Write the steps, and the client's mean and precision, to this file (HDF5)")
      ->option_text("FILE");
  verb->add_flag("--json", flags->json, "Print one JSON object per step, then one with the outcome, and nothing else")
      ->option_text(" ");
  verb->add_option("--threads", flags->threads, "Threads; default: every core that the process may use")
      ->option_text("N")
      ->check(CLI::Range(1, 1024));
  verb->add_option("--device", flags->device, "cpu, cuda, or cuda:0; default: the kind that the run was on")
      ->option_text("DEVICE");
  verb->add_flag("--any-device", question.any_device,
                 "Go on where device or bits are others than the log's, and say what differs")
      ->option_text(" ");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return replay_visit(*flags); }; });
}

}  // namespace ivory
