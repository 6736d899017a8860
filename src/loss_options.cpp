#include "src/loss_options.hpp"

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

constexpr double default_noise_precision = 1;

std::string targets_text(const Dataset& data) {
  return data.outputs > 0 ? fmt::format("{} target value(s) per example", data.outputs)
                          : fmt::format("{} classes", data.classes);
}

}  // namespace

const std::vector<OptionSpec>& loss_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "loss",
       .default_value = std::string("softmax"),
       .help =
           "softmax: cross-entropy, one output per class; binary: cross-entropy of two classes with one output, the "
           "log-odds; gaussian: regression, noise_precision/2 times the squared error, one output per target value",
       .choices = {"softmax", "binary", "gaussian"}},
      {.name = "label_smoothing",
       .default_value = 0.0,
       .help = "loss = \"softmax\": share of the training target that is spread evenly over all classes; evaluation "
               "takes the true label",
       .unit = "1",
       .low = 0,
       .high = 1,
       .high_open = true},
      {.name = "noise_precision",
       .default_value = default_noise_precision,
       .help = "loss = \"gaussian\": precision (1/variance) of the observation noise of every target value",
       .unit = "1/targets^2",
       .low = 0,
       .high = 1e30,
       .low_open = true},
  };
  return options;
}

void check_loss(const Options& model, std::vector<std::string>& problems) {
  const std::string& loss = model.text("loss");
  const auto belongs = [&](const char* key, const char* to, double value, double rest) {
    if (loss == to || value == rest) return;
    problems.push_back(
        fmt::format("[scenario] model.{} belongs to loss = \"{}\", got {} with loss = {}{}; leave it out", key, to,
                    shown(value), shown(loss), where(model.place(key))));
  };
  belongs("label_smoothing", "softmax", model.real("label_smoothing"), 0);
  belongs("noise_precision", "gaussian", model.real("noise_precision"), default_noise_precision);
}

Loss loss_for(const Options& model, const Dataset& data) {
  const std::string& name = model.text("loss");
  Loss loss{.smoothing = model.real("label_smoothing"), .precision = model.real("noise_precision")};
  if (name == "binary") loss.kind = Loss::Kind::binary;
  if (name == "gaussian") loss.kind = Loss::Kind::gaussian;
  const auto refuse = [&](const char* needed, const char* instead) {
    throw InputError(fmt::format("[model] loss = \"{}\" needs data with {}, got {}{}; use loss = \"{}\", or other data",
                                 name, needed, targets_text(data), written_at(model, "loss"), instead));
  };
  const bool regression = data.outputs > 0;
  if (loss.kind == Loss::Kind::gaussian && !regression) refuse("target values (regression)", "softmax");
  if (loss.kind != Loss::Kind::gaussian && regression) refuse("classes", "gaussian");
  if (loss.kind == Loss::Kind::binary && data.classes != 2) refuse("two classes", "softmax");
  return loss;
}

std::size_t outputs_for(const Loss& loss, const Dataset& data) {
  switch (loss.kind) {
    case Loss::Kind::binary:
      return 1;
    case Loss::Kind::gaussian:
      return data.outputs;
    case Loss::Kind::softmax:
      break;
  }
  return static_cast<std::size_t>(data.classes);
}

}  // namespace ivory
