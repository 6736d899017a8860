#include "src/cli_common.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cctype>
#include <map>
#include <string_view>

#include "ivory/error.hpp"
#include "src/memory_plan.hpp"
#include "src/scenario_reader.hpp"

namespace ivory {
namespace {

constexpr std::uint64_t largest_seed = std::uint64_t{1} << 53;  // as in a scenario file
constexpr int most_threads = 1024;

std::string file_word(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    const bool kept =
        byte >= 0x80 || std::isalnum(byte) != 0 || std::string_view("._+-=,").find(c) != std::string_view::npos;
    out += kept ? c : '_';
  }
  return out;
}

}  // namespace

std::vector<std::string> ScenarioFlags::arms() const {
  std::vector<std::string> arms;
  for (const std::string& word : only) {
    std::size_t begin = 0;
    while (begin <= word.size()) {
      const std::size_t end = std::min(word.find(',', begin), word.size());
      if (end > begin) arms.push_back(word.substr(begin, end - begin));
      begin = end + 1;
    }
  }
  if (!only.empty() && arms.empty()) throw InputError("[command line] --only takes the names of arms, got none");
  return arms;
}

std::vector<Scenario> ScenarioFlags::read() const { return read_scenario(file, set, arms()); }

void add_scenario_flags(CLI::App& verb, ScenarioFlags& flags, bool file_required) {
  verb.add_option("FILE", flags.file, "Scenario file (TOML)")->option_text(" ")->required(file_required);
  verb.add_option("--set", flags.set,
                  "Override a key of the scenario, for every arm or (ARM:KEY=...) for one; may be repeated")
      ->option_text("KEY=VALUE ...")
      ->allow_extra_args(false);
  verb.add_option("--only", flags.only, "Keep these arms of [[compare]]")
      ->option_text("ARM,...")
      ->allow_extra_args(false);
}

void add_device_flags(CLI::App& verb, RunFlags& flags) {
  verb.add_option("--threads", flags.threads, "Threads; default: every core that the process may use")
      ->option_text("N")
      ->check(CLI::Range(1, most_threads));
  verb.add_option("--device", flags.device, "auto (a GPU where there is one; the default), cpu, cuda, or cuda:0,cuda:1")
      ->option_text("DEVICE");
  verb.add_option("--block", flags.block, "Clients that a GPU trains at a time; default: as many as fit")
      ->option_text("N")
      ->check(CLI::Range(1, static_cast<int>(most_clients_in_a_block)));
}

void add_run_flags(CLI::App& verb, RunFlags& flags, const std::string& seed_help) {
  verb.add_option("--seed", flags.seed, seed_help)->option_text("N")->check(CLI::Range(std::uint64_t{0}, largest_seed));
  add_device_flags(verb, flags);
  verb.add_option("--parallel", flags.parallel,
                  "Runs at a time; default: 1, more where threads would be idle; on a GPU an arm's seeds")
      ->option_text("N")
      ->check(CLI::Range(1, most_threads));
  verb.add_option("--out", flags.out, "Folder for the logs; default: runs")->option_text("DIR");
  auto* quiet = verb.add_flag("--quiet", flags.quiet, "Print the final table and errors only")->option_text(" ");
  verb.add_flag("--json", flags.json, "Print one JSON object per round and nothing else")
      ->option_text(" ")
      ->excludes(quiet);
}

std::string log_stem(const std::string& out, const Scenario& scenario) {
  return out + (out.empty() || out.back() == '/' ? "" : "/") + file_word(scenario.name);
}

std::string log_path(const std::string& out, const Scenario& scenario) {
  const std::string arm = scenario.arm.empty() ? "" : "-" + file_word(scenario.arm);
  return fmt::format("{}{}-seed{}.h5", log_stem(out, scenario), arm, scenario.seed);
}

std::vector<Job> make_jobs(const std::vector<Scenario>& arms, const RunFlags& flags, std::uint64_t seeds) {
  std::vector<Job> jobs;
  std::map<std::string, std::string> arm_of;  // by log
  for (std::uint64_t i = 0; i < seeds; ++i) {
    for (const Scenario& arm : arms) {
      Job job{arm, ""};
      job.scenario.seed = flags.seed.value_or(arm.seed) + i;
      if (job.scenario.seed > largest_seed) {
        throw InputError(
            fmt::format("[command line] seeds must be at most {}, got {}", largest_seed, job.scenario.seed));
      }
      job.log_file = log_path(flags.out, job.scenario);
      if (const auto [other, is_new] = arm_of.emplace(job.log_file, arm.arm); !is_new) {
        throw InputError(
            fmt::format("[arms] every arm needs a log of its own, got {} for \"{}\" and \"{}\"; rename one arm",
                        job.log_file, other->second, arm.arm));
      }
      jobs.push_back(std::move(job));
    }
  }
  return jobs;
}

}  // namespace ivory
