// ivory validate: everything that can be checked without running.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "ivory/registry.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/content_hash.hpp"
#include "src/data_sets.hpp"
#include "src/log_selection.hpp"
#include "src/loss_options.hpp"
#include "src/memory_plan.hpp"
#include "src/model.hpp"
#include "src/partition.hpp"
#include "src/run_parts.hpp"
#include "src/scenario_checks.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory validate scenarios/quickstart.toml
  ivory validate scenarios/quickstart.toml --partition
  ivory validate scenarios/quickstart.toml --set partition.alpha_labels=0.1 --partition

Reads the scenario, loads its data where they can be found, divides them among the clients and builds the network.)";

struct Flags {
  ScenarioFlags scenario;
  bool partition = false;
};

/// The options of a table as text: arms with the same text share data or partition.
std::string key_of(const Options& options) {
  std::string key;
  for (const auto& [name, row] : options.rows()) key += name + "=" + to_toml(row.value) + "\n";
  return key;
}

struct LoadedData {
  std::string key;
  std::optional<DataSplit> split;  // empty when its files are nowhere to be found
  std::string missing;
};

struct DrawnPartition {
  std::string key;
  Partition partition;
  const LoadedData* data = nullptr;
  std::vector<std::string> arms;
};

std::string arm_name(const Scenario& arm) { return arm.arm.empty() ? arm.name : arm.arm; }

/// Only arms that differ in data, partition or seed need them anew.
class Checker {
 public:
  const LoadedData& data(const Scenario& arm) {
    const std::string key = fmt::format("{}\n{}ood\n{}", arm.seed, key_of(arm.data), key_of(arm.ood));
    for (const auto& known : data_) {
      if (known->key == key) return *known;
    }
    auto loaded = std::make_unique<LoadedData>();
    loaded->key = key;
    try {
      loaded->split = load_data(arm);
    } catch (const MissingFileError& error) {
      loaded->missing = error.what();
    }
    data_.push_back(std::move(loaded));
    return *data_.back();
  }
  const Partition& partition(const Scenario& arm, const LoadedData& data) {
    const std::string key = fmt::format("{}{}\n{}", data.key, arm.clients.integer("count"), key_of(arm.partition));
    for (const auto& known : partitions_) {
      if (known->key != key) continue;
      known->arms.push_back(arm_name(arm));
      return known->partition;
    }
    partitions_.push_back(std::make_unique<DrawnPartition>());
    DrawnPartition& drawn = *partitions_.back();
    drawn.key = key;
    drawn.partition = make_partition(arm, data.split->train);
    drawn.data = &data;
    drawn.arms.push_back(arm_name(arm));
    return drawn.partition;
  }
  const std::vector<std::unique_ptr<LoadedData>>& all_data() const { return data_; }
  const std::vector<std::unique_ptr<DrawnPartition>>& partitions() const { return partitions_; }

 private:
  std::vector<std::unique_ptr<LoadedData>> data_;  // pointers, so that references stay good
  std::vector<std::unique_ptr<DrawnPartition>> partitions_;
};

/// "64-32-10 relu", "resnet20 3x32x32-10"; the ends are "?" without data.
std::string model_text(const Scenario& arm, const LoadedData& data) {
  const std::size_t outputs = data.split ? outputs_for(loss_for(arm.model, data.split->train), data.split->train) : 0;
  if (const std::string& kind = arm.model.text("kind"); kind != "mlp") {
    if (!data.split) return kind;
    return fmt::format("{} {}-{}", kind, fmt::join(data.split->train.example_shape(), "x"), outputs);
  }
  std::string text = data.split ? fmt::format("{}", data.split->train.features) : "?";
  for (const double width : arm.model.reals("hidden")) text += fmt::format("-{:.0f}", width);
  text += data.split ? fmt::format("-{}", outputs) : "-?";
  return text + " " + arm.model.text("activation");
}

/// Builds what a run would build, for the errors this may throw; returns P.
std::size_t build(const Scenario& arm, const DataSplit& data) {
  const auto network = make_network<float>(arm, data.train);
  logged_parameters(arm, network.layout());
  if (!arm.model.text("init").empty()) (void)initial_weights(arm, network);
  return network.layout().size();
}

/// What a run asks of its clients beyond the partition, which arms share.
void check_clients(const Scenario& arm, const Partition& partition, const Dataset& train) {
  if (const std::string problem = weights_problem(arm.clients, partition.clients()); !problem.empty()) {
    throw InputError(problem);
  }
  (void)shared_pool(arm, train, trained_examples(arm, partition));
}

/// Of matrices alone: what vectors take is seldom too much. Another machine may have the memory, so it is a warning; one thread is the
/// least that a run takes.
std::string memory_warning(const Scenario& arm) {
  if (!runs_in_double(arm)) return "";
  try {
    check_cpu_memory(RunParts<double>(arm).memory(), 1, available_memory());
  } catch (const MemoryError& error) {
    return fmt::format("{}: {}", arm_name(arm), error.what());
  }
  return "";
}

/// "0, 3 to 9"
std::string ranges(const std::vector<std::size_t>& numbers) {
  std::vector<std::string> parts;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    parts.push_back(last == i ? fmt::format("{}", numbers[i]) : fmt::format("{} to {}", numbers[i], numbers[last]));
    i = last + 1;
  }
  return fmt::format("{}", fmt::join(parts, ", "));
}

/// Names the classes that no training example has; empty where all have some.
std::string empty_classes(const Dataset& train) {
  if (train.outputs > 0) return "";
  std::vector<std::size_t> counts(static_cast<std::size_t>(train.classes), 0), empty;
  for (const std::int32_t label : train.true_labels()) ++counts[static_cast<std::size_t>(label)];
  for (std::size_t c = 0; c < counts.size(); ++c) {
    if (counts[c] == 0) empty.push_back(c);
  }
  if (empty.empty()) return "";
  return fmt::format(
      "[data] {} of {} classes have no training examples: {}; the network has an output for each of them; number the "
      "labels from 0 without gaps if they are none",
      empty.size(), train.classes, ranges(empty));
}

std::string clients_text(const Scenario& arm, const Partition* partition) {
  if (partition != nullptr) return fmt::format("{}", partition->clients());
  const auto count = arm.clients.integer("count");
  return count > 0 ? fmt::format("{}", count) : "?";
}

std::string partition_text(const Partition& partition) {
  std::size_t least = SIZE_MAX, most = 0;
  for (const auto& indices : partition.train) {
    least = std::min(least, indices.size());
    most = std::max(most, indices.size());
  }
  const std::string sizes = least == most ? fmt::format("{}", least) : fmt::format("{} to {}", least, most);
  return fmt::format("  {} of {} examples, {} repeated, {} unused\n",
                     show_count(static_cast<double>(partition.clients()), "client"), sizes, partition.repeated,
                     partition.unused);
}

/// Rows of equally wide columns, the first row a header.
std::string aligned(const std::vector<std::vector<std::string>>& rows) {
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (const auto& row : rows) {
    for (std::size_t c = 0; c < row.size(); ++c) widths[c] = std::max(widths[c], text_columns(row[c]));
  }
  std::string out;
  for (const auto& row : rows) {
    std::string line = " ";
    for (std::size_t c = 0; c < row.size(); ++c) {
      line += " " + row[c] + std::string(widths[c] - text_columns(row[c]) + 1, ' ');
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

void warn(const std::string& text) {
  if (!text.empty()) fmt::print(stderr, "ivory: warning: {}\n", text);
}

int validate(const Flags& flags) {
  const std::vector<Scenario> arms = flags.scenario.read();
  Checker checker;
  std::vector<std::vector<std::string>> rows = {
      {"arm", "algorithm", "optimizer", "clients", "model", "parameters", "rounds", "seed"}};
  std::set<std::string> warnings;
  for (const Scenario& arm : arms) {
    // For the contradictions between options that they refuse. Every plug-in exists in double, von in double alone.
    (void)find_optimizer(arm.optimizer_name)->make_double(arm.optimizer);
    (void)find_algorithm(arm.algorithm_name)->make_double(arm.algorithm);
    const LoadedData& data = checker.data(arm);
    if (!data.split && flags.partition) throw InputError(data.missing);
    const Partition* partition = data.split ? &checker.partition(arm, data) : nullptr;
    if (partition != nullptr) check_clients(arm, *partition, data.split->train);
    if (partition != nullptr) warnings.insert(holdout_warning(arm, *partition));
    if (partition != nullptr) warnings.insert(memory_warning(arm));
    rows.push_back({arm_name(arm), arm.algorithm_name, arm.optimizer_name, clients_text(arm, partition),
                    model_text(arm, data), data.split ? fmt::format("{}", build(arm, *data.split)) : "?",
                    fmt::format("{}", arm.rounds), fmt::format("{}", arm.seed)});
  }
  for (const std::string& text : warnings) warn(text);
  fmt::print("ok: {}\n\n{}", flags.scenario.file, aligned(rows));
  for (const auto& data : checker.all_data()) {
    if (!data->split) {
      fmt::print(stderr, "ivory: warning: data, partition and parameters not checked: {}\n", data->missing);
      continue;
    }
    fmt::print("\ndata: {}\n", data->split->description);
    warn(empty_classes(data->split->train));
    const std::size_t validation = data->split->validation.size();
    if (validation > 0) fmt::print("validation split: {}\n", show_count(static_cast<double>(validation), "example"));
    const std::size_t shared = data->split->public_pool.size();
    if (shared > 0) fmt::print("public pool: {}\n", show_count(static_cast<double>(shared), "example"));
  }
  for (const auto& drawn : checker.partitions()) {
    const std::string arms_text =
        checker.partitions().size() > 1 ? fmt::format(" of {}", fmt::join(drawn->arms, ", ")) : "";
    fmt::print("\npartition{}, hash {}:\n", arms_text, hexadecimal(drawn->partition.hash));
    if (flags.partition) {
      fmt::print("{}", heat_map(drawn->partition, drawn->data->split->train));
    } else {
      fmt::print("{}", partition_text(drawn->partition));
    }
  }
  return 0;
}

}  // namespace

void add_validate(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("validate", "Check a scenario and its data without running");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario);
  verb->add_flag("--partition", flags->partition, "Draw the examples of each client and class");
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return validate(*flags); }; });
}

}  // namespace ivory
