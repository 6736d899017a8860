#include "src/model_layers.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "ivory/registry.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

std::vector<std::string> layer_names() {
  std::vector<std::string> names;
  for (const LayerPlugin& plugin : layer_plugins()) names.push_back(plugin.name);
  return names;
}

OptionSpec text_key(const std::string& name, const std::string& help) {
  return {.name = name, .default_value = std::string(), .help = help};
}

// "batch_norm", "BatchNorm2d" and the like: a name that people expect, and a mistake that nothing would show.
bool is_batch_norm(const std::string& name) {
  std::string letters;
  for (const char c : name) {
    if (c != '_' && c != '-') letters += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return letters.starts_with("batchnorm");
}

/// Checks the entries of one list, in order.
class Checker {
 public:
  Checker(std::string list, Problems& problems) : list_(std::move(list)), problems_(problems) {}

  void read(const OptionTable& table) {
    const std::string entry = fmt::format("{}[{}]", list_, number_++);
    LayerChoice choice;
    choice.place = table.place;
    choice.plugin = plugin(table, entry);
    if (choice.plugin != nullptr) {
      std::vector<OptionSpec> specs = choice.plugin->options;
      specs.push_back(text_key("layer", "which layer"));
      specs.push_back(text_key("name", "by which later layers take its output"));
      if (choice.plugin->takes_skip) {
        specs.push_back(text_key("from", "name of the earlier layer whose output it takes, too"));
        specs.back().required = true;
      }
      if (const auto options = resolve_options(specs, table.keys, entry, table.place, problems_)) {
        const bool named = !options->given("name") || is_new(*options, entry);
        const bool fed = !choice.plugin->takes_skip || comes_from_before(*options, entry);
        if (named && fed) {
          choice.name = options->text("name");
          if (choice.plugin->takes_skip) choice.from = options->text("from");
          for (const OptionSpec& spec : choice.plugin->options)
            choice.options.set(spec.name, options->rows().find(spec.name)->second);
          layers_.push_back(std::move(choice));
        }
      }
    }
    if (const auto name = table.keys.find("name"); name != table.keys.end()) {
      if (const auto* text = std::get_if<std::string>(&name->second.value)) names_.push_back(*text);
    }
  }
  std::vector<LayerChoice> take() { return std::move(layers_); }

 private:
  const LayerPlugin* plugin(const OptionTable& table, const std::string& entry) {
    GivenTable choosing;
    const auto given = table.keys.find("layer");
    if (given != table.keys.end()) {
      choosing.insert(*given);
      if (const auto* name = std::get_if<std::string>(&given->second.value); name != nullptr && is_batch_norm(*name)) {
        problems_.push_back(fmt::format(
            "[scenario] {}.layer must not be batch normalisation, got {}{}; its running mean and variance are no "
            "parameters, so no algorithm would average them and no posterior cover them; use \"group_norm\" or "
            "\"filter_response_norm\"",
            entry, shown(*name), where(given->second.place)));
        return nullptr;
      }
    }
    OptionSpec spec = text_key("layer", "which layer");
    spec.choices = layer_names();
    spec.required = true;
    const auto options = resolve_options({spec}, choosing, entry, table.place, problems_);
    return options ? find_layer(options->text("layer")) : nullptr;
  }

  bool is_new(const Options& options, const std::string& entry) {
    const std::string& name = options.text("name");
    if (!name.empty() && std::find(names_.begin(), names_.end(), name) == names_.end()) return true;
    problems_.push_back(fmt::format("[scenario] {}.name must be a name that no earlier layer has, got {}{}", entry,
                                    shown(name), where(options.place("name"))));
    return false;
  }

  bool comes_from_before(const Options& options, const std::string& entry) {
    const std::string& from = options.text("from");
    if (std::find(names_.begin(), names_.end(), from) != names_.end()) return true;
    problems_.push_back(
        fmt::format("[scenario] {}.from must be the name of an earlier layer, got {}{}{}", entry, shown(from),
                    where(options.place("from")),
                    names_.empty() ? "; give that layer a key name = \"...\"" : suggestion(from, names_)));
    return false;
  }

  std::string list_;
  Problems& problems_;
  std::size_t number_ = 0;
  std::vector<std::string> names_;
  std::vector<LayerChoice> layers_;
};

}  // namespace

std::vector<LayerChoice> resolve_layers(const std::vector<OptionTable>& tables, const std::string& list,
                                        Problems& problems) {
  Checker checker(list, problems);
  for (const OptionTable& table : tables) checker.read(table);
  return checker.take();
}

std::vector<OptionTable> spelt_out(std::span<const LayerChoice> layers) {
  std::vector<OptionTable> tables;
  for (const LayerChoice& layer : layers) {
    OptionTable& table = tables.emplace_back();
    table.place = layer.place;
    const auto text = [&](const std::string& key, const std::string& value) {
      if (!value.empty()) table.keys[key] = {OptionValue(value), layer.place};
    };
    text("layer", layer.plugin->name);
    text("name", layer.name);
    text("from", layer.from);
    for (const auto& [key, row] : layer.options.rows()) table.keys[key] = {row.value, row.place};
  }
  return tables;
}

}  // namespace ivory
