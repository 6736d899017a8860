// ivory preview: merged models from a log, without training.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/preview.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory preview runs/three-tasks-seed1.h5
  ivory preview runs/three-tasks-seed1.h5 --rule diagonal,pvi --grid 6 --total 3
  ivory preview runs/three-tasks-seed1.h5 --weights 1,1,4 --weights examples --round 1
  ivory preview runs/three-tasks-seed1.h5 --rule vb_admm --rho 1 --alpha 0.5
  ivory preview runs/three-tasks-seed1.h5 --rule mixture --late-rounds 3
  ivory preview runs/three-tasks-seed1.h5 --retrained runs/weighted-*.h5

The log must have the clients' posteriors: run with --set log.sites=every log.posterior_every=1. More LOGs (other seeds
with the same data and partition) give more components of mixtures. docs/methods.md, section 6, has the rules:
)";

struct Flags {
  PreviewQuestion question;
  RuleSettings settings;
  std::vector<std::string> rules, weights, retrained;
  double alpha = 0, rho = 0, damping = 0, total = 1;
  int grid = 0, threads = 0;
  std::string out;
  bool models = false;
};

std::string path_beside(const std::string& log) {
  const std::string stem = log.ends_with(".h5") ? log.substr(0, log.size() - 3) : log;
  return stem + "-preview.h5";
}

std::string footer() {
  std::string text = examples;
  for (const PreviewRule& rule : preview_rules()) text += fmt::format("  {:<17}{}\n", rule.name, rule.help);
  return text;
}

std::vector<std::vector<double>> chosen_weights(const Flags& flags, const PreviewSource& source,
                                                const std::vector<Retrained>& retrained) {
  std::vector<std::vector<double>> weights;
  for (const Retrained& one : retrained) weights.push_back(one.weights);
  for (const std::string& text : flags.weights) weights.push_back(parse_weights(text, source.merged_examples()));
  if (flags.grid > 0) weights = simplex_grid(source.clients.size(), flags.grid, flags.total);
  if (weights.empty()) weights.push_back(parse_weights("equal", source.merged_examples()));
  return weights;
}

int preview(const Flags& flags) {
  const std::string out = flags.out.empty() ? path_beside(flags.question.logs.front()) : flags.out;
  check_preview_path(out);
  const PreviewSource source = load_preview_source(flags.question);
  PreviewOutcome outcome{.source = &source, .logs = &flags.question.logs, .settings = &flags.settings};
  outcome.retrained = flags.retrained.empty() ? std::vector<Retrained>() : read_retrained(flags.retrained, source);
  const auto rules = choose_rules(flags.rules, source);
  outcome.previews = make_previews(source, rules, chosen_weights(flags, source, outcome.retrained), flags.settings,
                                   flags.threads, flags.models);
  outcome.agreement = rank_agreement(outcome.previews, outcome.retrained);
  write_previews(out, outcome);
  fmt::print("previews of {}, round {}, {} of {} clients: {}; base: {}\n\n{}", source.header.file, source.round,
             source.clients.size(), source.header.clients, fmt::join(source.clients, " "), source.base_text,
             preview_table(outcome.previews, source));
  for (const PreviewRule& rule : preview_rules()) {
    const std::string reason = flags.rules.empty() ? why_not(rule, source) : "";
    if (!reason.empty()) fmt::print("not from this log: {} ({})\n", rule.name, reason);
  }
  if (!outcome.agreement.empty()) fmt::print("\n{}", agreement_table(outcome.agreement, outcome.retrained));
  fmt::print("\nwritten to {}\n", out);
  return 0;
}

}  // namespace

void add_preview(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("preview", "Merge a log's clients with other weights, without training");
  const auto flags = std::make_shared<Flags>();
  PreviewQuestion& question = flags->question;
  verb->add_option("LOG", question.logs, "Log to merge clients of; more of them: seeds for mixtures")
      ->required()
      ->option_text("...");
  verb->add_option("--rule", flags->rules, "Rules; default: all that the log allows")
      ->option_text("NAME,...")
      ->delimiter(',');
  verb->add_option("--clients", question.clients, "Clients to merge; default: all of the round")
      ->option_text("K,...")
      ->delimiter(',');
  verb->add_option("--round", question.round, "Round whose posteriors are merged; default: the last in the log")
      ->option_text("R")
      ->check(CLI::Range(1, 1 << 24));
  auto* weights = verb->add_option("--weights", flags->weights,
                                   "A weight per merged client, or equal (default), or examples; may be repeated")
                      ->option_text("W,...")
                      ->take_all();
  auto* grid = verb->add_option("--grid", flags->grid, "All weights n/G that sum to --total")
                   ->option_text("G")
                   ->check(CLI::Range(1, 1000000));
  verb->add_option("--total", flags->total, "Sum of the grid's weights; default 1")
      ->option_text("W")
      ->check(CLI::Range(1e-6, 1e6))
      ->needs(grid);
  auto* retrained = verb->add_option("--retrained", flags->retrained,
                                     "Logs of runs with clients.weights: their weights, and rank correlations")
                        ->option_text("LOG ...");
  grid->excludes(weights);
  retrained->excludes(weights)->excludes(grid);
  verb->add_option("--base", question.base, "What clients were trained from: before (the round), start or prior")
      ->option_text("WHAT")
      ->check(CLI::IsMember({"before", "start", "prior"}));
  verb->add_option("--late-rounds", question.late_rounds, "Rounds up to --round that give components of mixtures")
      ->option_text("N")
      ->check(CLI::Range(1, 1000000));
  const std::map<std::string, Responsibilities> kinds = {{"whole", Responsibilities::whole},
                                                         {"layers", Responsibilities::parts},
                                                         {"tempered", Responsibilities::tempered}};
  verb->add_option("--responsibilities", flags->settings.responsibilities,
                   "Mixtures: of the whole vector (default), of layers, or tempered by 1/P")
      ->option_text("KIND")
      ->transform(CLI::CheckedTransformer(kinds));
  verb->add_option("--scale", flags->settings.scale, "task_arithmetic: factor on the sum; default 1")
      ->option_text("A")
      ->check(CLI::Range(-1e6, 1e6));
  verb->add_option("--delta", flags->settings.delta, "uncertainty: delta; default 1e-12")
      ->option_text("D")
      ->check(CLI::Range(0.0, 1e30));
  auto* alpha = verb->add_option("--alpha", flags->alpha, "vb_admm: server step; 0 = 1/(1 + rho sum w)")
                    ->option_text("A")
                    ->check(CLI::Range(0.0, 1.0));
  auto* rho = verb->add_option("--rho", flags->rho, "vb_admm, pvi: rho of the dual step")
                  ->option_text("R")
                  ->check(CLI::Range(1e-12, 1e12));
  auto* damping = verb->add_option("--damping", flags->damping, "vb_admm, pvi: share of the dual step")
                      ->option_text("D")
                      ->check(CLI::Range(1e-12, 1.0));
  verb->add_option("--threads", flags->threads, "Threads; default: all")->option_text("N")->check(CLI::Range(1, 4096));
  verb->add_option("--out", flags->out, "File of the previews; default: LOG's name with -preview")->option_text("FILE");
  verb->add_flag("--models", flags->models, "Also write the merged parameters")->option_text(" ");
  verb->footer(footer());
  verb->final_callback([=, &chosen] {
    if (alpha->count() > 0) flags->settings.alpha = flags->alpha;
    if (rho->count() > 0) flags->settings.rho = flags->rho;
    if (damping->count() > 0) flags->settings.damping = flags->damping;
    chosen = [flags] { return preview(*flags); };
  });
}

}  // namespace ivory
