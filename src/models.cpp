#include "src/models.hpp"

#include <algorithm>
#include <initializer_list>
#include <string>
#include <utility>

#include "ivory/registry.hpp"
#include "src/loss_options.hpp"

namespace ivory {
namespace {

using Keys = std::initializer_list<std::pair<const char*, OptionValue>>;

/// A list of layers on its way; every entry stands where the scenario names the model.
class List {
 public:
  explicit List(const Options& model) : place_(model.place("kind")) {}
  List& add(const std::string& layer, Keys keys = {}) {
    OptionTable& table = tables_.emplace_back();
    table.place = place_;
    table.keys["layer"] = {OptionValue(layer), place_};
    for (const auto& [key, value] : keys) table.keys[key] = {value, place_};
    return *this;
  }
  std::vector<OptionTable> take() { return std::move(tables_); }

 private:
  SourcePlace place_;
  std::vector<OptionTable> tables_;
};

OptionValue whole(std::int64_t value) { return value; }
OptionValue text(const std::string& value) { return value; }

OptionSpec activation(const std::string& help) {
  OptionSpec spec{.name = "activation", .default_value = std::string("relu"), .help = help};
  for (const LayerPlugin& layer : layer_plugins()) {
    if (layer.activation) spec.choices.push_back(layer.name);
  }
  return spec;
}

OptionSpec flag(const std::string& name, bool value, const std::string& help) {
  return {.name = name, .default_value = value, .help = help};
}

Model mlp() {
  OptionSpec hidden{.name = "hidden",
                    .default_value = std::vector<double>(),
                    .help = "widths of the hidden layers, such as [200, 100]; [] is a linear model",
                    .unit = "units",
                    .low = 1,
                    .high = 1 << 20,
                    .required = true};
  return {
      {"mlp",
       "dense layers with an activation between them, logits at the end",
       {hidden, activation("between the dense layers"), flag("bias", true, "dense layers add a bias")}},
      [](const Options& model) {
        List list(model);
        for (const double width : model.reals("hidden")) {
          list.add("dense", {{"outputs", whole(static_cast<std::int64_t>(width))}, {"bias", model.boolean("bias")}});
          list.add(model.text("activation"));
        }
        return list.add("dense", {{"bias", model.boolean("bias")}}).take();
      }};
}

Model linear() {
  return {{"linear", "one dense layer", {flag("bias", true, "add a bias")}}, [](const Options& model) {
            return List(model).add("dense", {{"bias", model.boolean("bias")}}).take();
          }};
}

// Acar et al. 2021 (FedDyn) and the reference experiments (docs/methods.md 18.2): no padding anywhere.
Model cnn_acar() {
  return {
      {"cnn-acar",
       "two 5x5 convolutions of 64 channels, each with 2x2 max pooling, and dense layers of 384 and 192 (Acar et al. "
       "2021)",
       {activation("after every layer with parameters but the last")}},
      [](const Options& model) {
        const std::string act = model.text("activation");
        List list(model);
        for (int block = 0; block < 2; ++block) {
          list.add("conv2d", {{"channels", whole(64)}, {"kernel", whole(5)}}).add(act);
          list.add("max_pool2d", {{"kernel", whole(2)}});
        }
        list.add("flatten");
        for (const int width : {384, 192}) list.add("dense", {{"outputs", whole(width)}}).add(act);
        return list.add("dense").take();
      }};
}

// Zenke, Poole & Ganguli 2017 and the reference experiments: of each pair of convolutions the first is padded.
Model cnn_zenke() {
  return {{"cnn-zenke",
           "two pairs of 3x3 convolutions, of 32 and 64 channels, each pair with 2x2 max pooling, a dense layer of "
           "512, and "
           "dropout of 0.25, 0.25 and 0.5 (Zenke et al. 2017)",
           {activation("after every layer with parameters but the last"),
            flag("dropout", true, "drop numbers in training; false: the layers stay, with p = 0")}},
          [](const Options& model) {
            const std::string act = model.text("activation");
            const double on = model.boolean("dropout") ? 1.0 : 0.0;
            List list(model);
            for (const int channels : {32, 64}) {
              list.add("conv2d", {{"channels", whole(channels)}, {"kernel", whole(3)}, {"padding", whole(1)}}).add(act);
              list.add("conv2d", {{"channels", whole(channels)}, {"kernel", whole(3)}}).add(act);
              list.add("max_pool2d", {{"kernel", whole(2)}}).add("dropout", {{"p", 0.25 * on}});
            }
            list.add("flatten").add("dense", {{"outputs", whole(512)}}).add(act);
            return list.add("dropout", {{"p", 0.5 * on}}).add("dense").take();
          }};
}

// He et al. 2016, section 4.2, with a normalisation that has no running statistics.
Model resnet20() {
  OptionSpec norm{.name = "norm",
                  .default_value = std::string("group_norm"),
                  .help = "after every convolution; group_norm: with 2 groups",
                  .choices = {"group_norm", "filter_response_norm"}};
  return {{"resnet20",
           "3x3 convolutions of 16, 32 and 64 channels in three stages of three residual blocks, shortcuts without "
           "parameters, global average pooling (He et al. 2016)",
           {norm, activation("after the first convolution's normalisation, and in and after every block")}},
          [](const Options& model) {
            const std::string act = model.text("activation"), kind = model.text("norm");
            List list(model);
            const auto convolve = [&](int channels, int stride) {
              list.add("conv2d", {{"channels", whole(channels)},
                                  {"kernel", whole(3)},
                                  {"stride", whole(stride)},
                                  {"padding", whole(1)},
                                  {"bias", false}});
              if (kind == "group_norm") {
                list.add(kind, {{"groups", whole(2)}});
              } else {
                list.add(kind);
              }
            };
            convolve(16, 1);
            std::string before = "start";
            list.add(act, {{"name", text(before)}});
            for (int stage = 0; stage < 3; ++stage) {
              for (int block = 0; block < 3; ++block) {
                const int channels = 16 << stage;
                const bool smaller = stage > 0 && block == 0;
                convolve(channels, smaller ? 2 : 1);
                list.add(act);
                convolve(channels, 1);
                list.add("add", {{"from", text(before)}, {"shortcut", text(smaller ? "pad" : "identity")}});
                before = "stage " + std::to_string(stage + 1) + ", block " + std::to_string(block + 1);
                list.add(act, {{"name", text(before)}});
              }
            }
            return list.add("avg_pool2d", {{"kernel", whole(0)}}).add("flatten").add("dense").take();
          }};
}

Model sequential() {
  OptionSpec layers{
      .name = "layers",
      .default_value = std::vector<OptionTable>(),
      .help =
          "one table per layer, { layer = \"conv2d\", channels = 16, kernel = 3 }, with the keys of `ivory list "
          "layers`; a key name, and in add a key from, for residual additions; ends with a dense layer",
      .required = true};
  return {{"sequential", "your own list of layers, one after the other", {layers}},
          [](const Options& model) { return model.tables("layers"); }};
}

}  // namespace

std::span<const Model> models() {
  static const std::vector<Model> all = {mlp(), linear(), cnn_acar(), cnn_zenke(), resnet20(), sequential()};
  return all;
}

const Model* find_model(std::string_view name) {
  const auto found =
      std::find_if(models().begin(), models().end(), [&](const Model& m) { return m.kind.name == name; });
  return found == models().end() ? nullptr : &*found;
}

const std::vector<OptionSpec>& common_model_options() {
  static const std::vector<OptionSpec> options = [] {
    std::vector<OptionSpec> all = loss_options();
    all.push_back(
        {.name = "init",
         .default_value = std::string(),
         .help = "HDF5 file with the start weights, data sets \"0.weight\", \"0.bias\" ... in PyTorch's layout; empty: "
                 "PyTorch's default initialisation from the seed"});
    return all;
  }();
  return options;
}

}  // namespace ivory
