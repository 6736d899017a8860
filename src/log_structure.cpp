// What a log has before its first row: datasets with their attributes and scales, and the attributes of the file.
#include "src/content_hash.hpp"
#include "src/log_layout.hpp"

namespace ivory {

void write_log_structure(Hdf5File& file, const std::vector<LogDataset>& datasets) {
  for (const LogDataset& dataset : datasets) {
    const std::string& path = dataset.layout.path;
    if (dataset.texts.empty()) {
      file.make_dataset(dataset.layout);
    } else {
      file.write_text(path, dataset.texts);
    }
    file.set_text(path, "units", dataset.units);
    file.set_text(path, "long_name", dataset.long_name);
    if (dataset.layout.fill == -1) file.set_fill_attribute(path, -1);
    if (dataset.is_scale) {
      file.make_scale(path, path.substr(path.rfind('/') + 1));
      continue;
    }
    for (std::size_t axis = 0; axis < dataset.scales.size(); ++axis)
      file.attach_scale(path, axis, dataset.scales[axis]);
  }
}

void write_log_attributes(Hdf5File& file, const LogPlan& plan, const LogShape& shape) {
  const Scenario& scenario = *plan.scenario;
  file.set_integer("/", "format_version", log_format_version);
  file.set_text("/", "ivory_version", IVORY_VERSION);
  file.set_text("/", "created_by", "ivory " IVORY_VERSION);
  file.set_text("/", "name", scenario.name);
  file.set_text("/", "arm", scenario.arm);
  file.set_text("/", "scenario", to_toml(scenario));
  file.set_text("/", "scenario_folder", scenario.folder);
  file.set_natural("/", "seed", scenario.seed);
  file.set_text("/", "algorithm", scenario.algorithm_name);
  file.set_text("/", "optimizer", scenario.optimizer_name);
  file.set_text("/", "device", plan.device);
  file.set_text("/", "data_checksum", hexadecimal(plan.data_checksum));
  file.set_text("/", "data_description", plan.data_description);
  file.set_text("/", "start_hash", hexadecimal(plan.start_hash));
  file.set_text("/", "partition_hash", hexadecimal(plan.partition->hash));
  file.set_integer("/", "has_posterior", plan.has_posterior ? 1 : 0);
  const auto set_size = [&](const char* name, std::size_t size) {
    file.set_integer("/", name, static_cast<std::int64_t>(size));
  };
  set_size("rounds", shape.rounds);
  set_size("clients", shape.clients);
  set_size("classes", shape.classes);
  set_size("bins", shape.bins);
  set_size("parameters", shape.parameters);
  file.set_text("/partition", "hash", hexadecimal(plan.partition->hash));
  file.set_integer("/partition", "repeated", static_cast<std::int64_t>(plan.partition->repeated));
  file.set_integer("/partition", "unused", static_cast<std::int64_t>(plan.partition->unused));
}

}  // namespace ivory
