// The file of a replay (docs/log-format.md, "Replays").
#include "src/hdf5_group.hpp"
#include "src/replay.hpp"

namespace ivory {
namespace {

constexpr int replay_format_version = 1;
constexpr const char* mark = "replay_format_version";

void write_attributes(Hdf5File& file, const ReplayReport& report) {
  const LogHeader& header = report.header;
  file.set_integer("/", mark, replay_format_version);
  file.set_text("/", "ivory_version", IVORY_VERSION);
  file.set_text("/", "created_by", "ivory " IVORY_VERSION);
  file.set_text("/", "log", header.file);
  file.set_text("/", "scenario", header.scenario);
  file.set_text("/", "algorithm", header.algorithm);
  file.set_text("/", "optimizer", header.optimizer);
  file.set_text("/", "data_checksum", header.data_checksum);
  file.set_text("/", "partition_hash", header.partition_hash);
  file.set_natural("/", "seed", header.seed);
  file.set_integer("/", "round", report.question.round);
  file.set_integer("/", "client", report.question.client);
  file.set_text("/", "device", report.device);
  file.set_text("/", "state_before", report.source);
  file.set_integer("/", "refused", report.refused ? 1 : 0);
  file.set_integer("/", "same_bits", report.differences.empty() ? 1 : 0);
  file.set_real("/", "train_loss", report.train_loss);
}

void write_steps(Hdf5File& file, const ReplayReport& report) {
  Hdf5Group group(file, "/steps");
  std::vector<std::int64_t> steps, epochs;
  for (const StepReport& step : report.reports) {
    steps.push_back(static_cast<std::int64_t>(step.step));
    epochs.push_back(static_cast<std::int64_t>(step.epoch));
  }
  group.scale("step", "optimizer step of the visit, from 1", steps);
  group.data("epoch", {"step"}, "1", "epoch over the client's examples, from 1", epochs);
  const auto column = [&](const char* name, const char* units, const char* meaning, double StepReport::*value) {
    std::vector<double> values;
    for (const StepReport& step : report.reports) values.push_back(step.*value);
    group.data(name, {"step"}, units, meaning, values);
  };
  column("examples", "examples", "examples in the minibatch", &StepReport::examples);
  column("learning_rate", "1", "learning rate, schedules applied", &StepReport::learning_rate);
  column("loss", "nat", "mean loss of the minibatch, where the step began", &StepReport::loss);
  column("gradient_norm", "nat", "length of that loss's gradient", &StepReport::gradient_norm);
  column("distance", "1", "distance of the mean from where the visit began, after the step", &StepReport::distance);
  if (!report.steps_have_precision()) return;
  column("precision_mean", "1", "mean of the client's precisions after the step", &StepReport::precision_mean);
  column("precision_least", "1", "least of the client's precisions after the step", &StepReport::precision_least);
}

template <class Real>
void write_client(Hdf5File& file, const ReplayReport& report) {
  Hdf5Group group(file, "/client");
  const std::size_t size = report.mean.size();
  const std::vector<Real> mean(report.mean.begin(), report.mean.end());
  const std::vector<Real> precision(report.precision.begin(), report.precision.end());
  group.count_scale("parameter", "index in the flat parameter vector", size);
  group.data("mean", {"parameter"}, "1", "the client's parameters after its visit", mean);
  if (precision.size() == size) {
    group.data("precision", {"parameter"}, "1", "precision of the client's posterior after its visit", precision);
  } else if (!precision.empty()) {
    group.data("precision_matrix", {"parameter", "parameter"}, "1",
               "precision matrix of the client's posterior after its visit", precision);
  }
}

}  // namespace

void check_replay_path(const std::string& path) { check_own_file("replay", "replays", path, mark); }

void write_replay(const std::string& path, const ReplayReport& report) {
  Hdf5File file = Hdf5File::create(path);
  write_attributes(file, report);
  write_steps(file, report);
  if (report.in_double) {
    write_client<double>(file, report);
  } else {
    write_client<float>(file, report);
  }
  file.close();
}

}  // namespace ivory
