#include <fmt/format.h>

#include <iterator>

#include "ivory/scenario.hpp"

namespace ivory {
namespace {

using Lines = std::back_insert_iterator<std::string>;

void write_row(Lines out, std::string_view key, const OptionValue& value) {
  if (const auto* tables = std::get_if<std::vector<OptionTable>>(&value)) {
    fmt::format_to(out, "{} = [\n", key);
    for (const OptionTable& table : *tables) fmt::format_to(out, "  {},\n", to_toml(table));
    fmt::format_to(out, "]\n");
    return;
  }
  fmt::format_to(out, "{} = {}\n", key, to_toml(value));
}

/// A table with its choosing key (when it has one) on top and the others by name.
void write_table(Lines out, std::string_view table, std::string_view key, const OptionValue& chosen,
                 const Options& options) {
  fmt::format_to(out, "\n[{}]\n", table);
  if (!key.empty()) write_row(out, key, chosen);
  for (const auto& [name, row] : options.rows()) {
    if (name != key) write_row(out, name, row.value);
  }
}

void write_table(Lines out, std::string_view table, const Options& options) {
  const bool has_kind = options.has("kind");
  write_table(out, table, has_kind ? "kind" : "", has_kind ? OptionValue(options.text("kind")) : OptionValue(false),
              options);
}

}  // namespace

std::string to_toml(const Scenario& scenario) {
  std::string text;
  const auto out = std::back_inserter(text);
  write_row(out, "name", scenario.name);
  if (!scenario.arm.empty()) write_row(out, "arm", scenario.arm);
  write_row(out, "seed", static_cast<std::int64_t>(scenario.seed));
  write_row(out, "rounds", std::int64_t{scenario.rounds});
  write_table(out, "data", scenario.data);
  write_table(out, "partition", scenario.partition);
  write_table(out, "model", scenario.model);
  write_table(out, "clients", scenario.clients);
  write_table(out, "clients.optimizer", "name", scenario.optimizer_name, scenario.optimizer);
  write_table(out, "server", "algorithm", scenario.algorithm_name, scenario.algorithm);
  write_table(out, "evaluation", scenario.evaluation);
  if (!scenario.ood.rows().empty()) write_table(out, "evaluation.ood", scenario.ood);
  write_table(out, "log", scenario.log);
  return text;
}

}  // namespace ivory
