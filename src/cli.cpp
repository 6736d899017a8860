#include "src/cli.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cctype>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "ivory/options.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory run scenarios/quickstart.toml
  ivory run scenarios/quickstart.toml --set rounds=20 --seed 3
  ivory compare scenarios/quickstart.toml --seeds 5
  ivory sweep scenarios/quickstart.toml --set data.validation=0.2 --grid clients.batch=16,64
  ivory validate scenarios/quickstart.toml --partition
  ivory list optimizers
  ivory inspect runs/*.h5
  ivory influence runs/influence-seed1.h5
  ivory preview runs/three-tasks-seed1.h5 --grid 6
  ivory replay runs/quickstart-vb-admm-seed1.h5 --round 12 --client 7

Exit codes: 0 good, 1 a run failed, 2 bad input.
`ivory VERB --help` explains each verb.)";

/// True for "key=" and "arm:key=": a word that can only be a setting. FILE and other arguments are told apart by it.
bool starts_like_setting(const std::string& word) {
  const std::size_t equals = word.find('=');
  if (equals == std::string::npos || equals == 0 || word[0] == '-') return false;
  return std::all_of(word.begin(), word.begin() + static_cast<std::ptrdiff_t>(equals), [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '-' || c == '.' || c == ':';
  });
}

/// The arguments after the program's name, with `--set a=1 b=2` spelt out as `--set a=1 --set b=2`; --grid likewise.
std::vector<std::string> spelt_out(int argc, char** argv) {
  const auto takes_settings = [](const std::string& word) { return word == "--set" || word == "--grid"; };
  std::vector<std::string> out;
  std::string option;  // whose settings go on
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (out.empty() || !takes_settings(out.back())) {
      if (!option.empty() && starts_like_setting(word)) {
        out.push_back(option);
      } else {
        option = takes_settings(word) ? word : "";
      }
    }
    out.push_back(word);
  }
  return out;
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

std::vector<std::string> option_names(const CLI::App& verb) {
  std::vector<std::string> names;
  for (const CLI::Option* option : verb.get_options()) {
    for (const std::string& name : option->get_lnames()) names.push_back("--" + name);
  }
  return names;
}

/// What is wrong with the command line, with the nearest thing that exists.
std::string explain(CLI::App& app, const std::vector<std::string>& arguments, const CLI::ParseError& error) {
  const std::vector<std::string> verbs = verb_names(app);
  const std::vector<CLI::App*> chosen = app.get_subcommands();
  if (chosen.empty()) {
    const auto word =
        std::find_if(arguments.begin(), arguments.end(), [](const std::string& a) { return a[0] != '-'; });
    if (word == arguments.end() && !arguments.empty()) {
      return fmt::format("[command line] there is no such option before the verb, got {}; see `ivory --help`",
                         arguments.front());
    }
    std::string got = "none";
    std::string hint = ";";
    if (word != arguments.end()) {
      got = '"' + *word + '"';
      const std::string near = nearest_name(*word, verbs);
      if (!near.empty()) hint = fmt::format("; did you mean \"{}\"?", near);
    }
    return fmt::format("[command line] the verb must be one of {}, got {}{} `ivory --help` shows what each does",
                       fmt::join(verbs, ", "), got, hint);
  }
  const CLI::App& verb = *chosen.front();
  std::string text = error.what();
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr) {
    const std::vector<std::string> extras = app.remaining(true);
    const std::string extra = extras.empty() ? "" : extras.front();
    text = fmt::format("`ivory {}` has no such argument, got {}", verb.get_name(), extra);
    const std::string near = nearest_name(extra.substr(0, extra.find('=')), option_names(verb));
    if (!near.empty()) text += fmt::format("; did you mean {}?", near);
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return fmt::format("[command line] {}{} `ivory {} --help` shows what there is", text, text.back() == '?' ? "" : ";",
                     verb.get_name());
}

}  // namespace

int command_line(int argc, char** argv) {
  CLI::App app{"Ivory: federated learning, simulated and compared", "ivory"};
  const auto formatter = app.get_formatter();
  formatter->column_width(26);
  formatter->label("SUBCOMMAND", "VERB");
  formatter->label("Positionals", "Arguments");
  app.set_help_flag("-h,--help", "Print this help and exit");
  app.set_version_flag("--version", "ivory " IVORY_VERSION, "Print the version and exit");
  app.footer(examples);
  app.require_subcommand(1);
  Action chosen;
  add_run(app, chosen);
  add_compare(app, chosen);
  add_sweep(app, chosen);
  add_validate(app, chosen);
  add_plan(app, chosen);
  add_list(app, chosen);
  add_preview(app, chosen);
  add_inspect(app, chosen);
  add_pack(app, chosen);
  add_influence(app, chosen);
  add_replay(app, chosen);
  add_verify(app, chosen);

  for (CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; })) verb->group("Verbs");

  const std::vector<std::string> arguments = spelt_out(argc, argv);
  try {
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));  // CLI11 wants them in reverse
  } catch (const CLI::Success& success) {
    return app.exit(success);  // prints help or version
  } catch (const CLI::ParseError& error) {
    throw InputError(explain(app, arguments, error));
  }
  return chosen();
}

}  // namespace ivory
