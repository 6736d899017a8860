#include "src/log_plan.hpp"

#include <string_view>

#include "src/diagnostics.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_layout.hpp"
#include "src/sensitivity.hpp"

namespace ivory {
namespace {

/// What a dataset belongs to, in words.
const char* part_of(std::string_view path) {
  if (path == "/posterior/precision_matrix") return "precision matrices";
  if (path.starts_with("/posterior/")) return "posterior";
  for (const std::string_view vectors : {"mean", "precision", "site_mean", "site_precision"}) {
    if (path.substr(0, 9) == "/clients/" && path.substr(9) == vectors) return "clients and sites";
  }
  if (path.starts_with("/sensitivity/") || path.starts_with("/label_noise/")) return "probes";
  return "header and metrics";
}

}  // namespace

template <class Real>
LogPlan plan_log(const Scenario& scenario, const RunParts<Real>& parts) {
  return {.scenario = &scenario,
          .layout = &parts.network.layout(),
          .logged = parts.logged,
          .partition = &parts.partition,
          .train = &parts.data.train,
          .device = {},
          .data_checksum = parts.data.checksum,
          .data_description = parts.data.description,
          .classes = parts.data.train.classes,
          .has_posterior = parts.traits.gives_posterior || parts.laplace,
          .has_ood = parts.has_ood(),
          .clients_have_posterior = parts.traits.needs_posterior,
          .has_site_means = parts.traits.site != SiteKind::none,
          .has_site_precisions = parts.traits.site == SiteKind::gaussian,
          .diagnostics = diagnostics_kind(parts.traits),
          .has_matrix = scenario.log.boolean("precision_matrix"),
          .sensitivity_rows = probe_rows(scenario, "sensitivity", parts.all_examples),
          .label_noise_rows = probe_rows(scenario, "label_noise_probe", parts.all_examples),
          .previews = scenario.log.texts("previews"),
          .outputs = parts.network.outputs(),
          .predicted = parts.network.predicted()};
}
template LogPlan plan_log(const Scenario&, const RunParts<float>&);
template LogPlan plan_log(const Scenario&, const RunParts<double>&);

LogSize size_of_log(const LogPlan& plan) {
  const LogShape shape = shape_of(plan);
  std::vector<LogDataset> datasets = log_datasets(plan, shape);
  LogSize size;
  const auto add = [&](const char* part, std::uint64_t bytes) {
    for (auto& [name, sum] : size.parts) {
      if (name == part) sum += bytes;
      if (name == part) return;
    }
    size.parts.emplace_back(part, bytes);
  };
  for (LogDataset& dataset : datasets) {
    Hdf5Layout& layout = dataset.layout;
    if (layout.allocated && dataset.texts.empty()) {
      std::uint64_t bytes = size_of(layout.type);
      for (const std::size_t extent : layout.shape) bytes *= extent;
      add(part_of(layout.path), bytes);
    }
    layout.allocated = false;  // the file below is names, types and attributes alone
  }
  Hdf5File file = Hdf5File::in_memory();
  write_log_structure(file, datasets);
  write_log_attributes(file, plan, shape);
  add("header and metrics", file.size());
  for (const auto& [name, bytes] : size.parts) size.total += bytes;
  return size;
}

}  // namespace ivory
