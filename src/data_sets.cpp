#include "src/data_sets.hpp"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <string_view>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/content_hash.hpp"
#include "src/data_cifar.hpp"
#include "src/data_common.hpp"
#include "src/data_csv.hpp"
#include "src/data_hdf5.hpp"
#include "src/data_idx.hpp"
#include "src/data_leaf.hpp"
#include "src/data_scaling.hpp"
#include "src/data_splits.hpp"
#include "src/data_synthetic.hpp"

namespace ivory {
namespace {

DataSplit read_kind(const Scenario& scenario) {
  const std::string& kind = scenario.data.text("kind");
  if (kind == "idx") return load_idx(scenario);
  if (kind == "cifar10") return load_cifar10(scenario);
  if (kind == "cifar100") return load_cifar100(scenario);
  if (kind == "leaf") return load_leaf(scenario);
  if (kind == "csv") return load_csv(scenario);
  if (kind == "hdf5") return load_hdf5(scenario);
  if (kind == "synthetic") return make_synthetic(scenario.data, data_seed(scenario));
  if (kind == "blobs") return make_blobs(scenario.data, data_seed(scenario));
  if (kind == "linear") return make_linear(scenario.data, data_seed(scenario));
  throw std::logic_error("unknown kind of data: " + kind);
}

void limit(Dataset& data, std::int64_t most) {
  if (most > 0 && static_cast<std::uint64_t>(most) < data.size()) keep_first(data, static_cast<std::size_t>(most));
}

void check_sizes(const DataSplit& data) {
  for (const Dataset* part : {&data.train, &data.test}) {
    const char* name = part == &data.train ? "training" : "test";
    if (part->size() == 0 || part->features == 0) {
      throw InputError(fmt::format("[data] the {} set must not be empty, got {} examples of {} values, {}", name,
                                   part->size(), part->features, data.description));
    }
    if (part->size() >= 0xFFFFFFFFU) {
      throw InputError(fmt::format("[data] the {} set holds fewer than 2^32 examples, got {}, {}; use limit_{}", name,
                                   part->size(), data.description, part == &data.train ? "train" : "test"));
    }
  }
}

/// The inputs of [evaluation.ood], scaled: the test part of its data. Messages name that table.
Dataset load_ood(const Scenario& scenario, const Dataset& train, std::string& description) {
  Scenario other = scenario;
  other.data = scenario.ood;
  const auto renamed = [](std::string_view message) {
    constexpr std::string_view tag = "[data]";
    if (message.starts_with(tag)) message.remove_prefix(tag.size());
    return fmt::format("[evaluation.ood]{}{}", message.starts_with(' ') ? "" : " ", message);
  };
  try {
    if (train.outputs > 0) {
      throw InputError(fmt::format(
          "[data] out-of-distribution inputs are told by the probabilities of classes, so the data must have "
          "classes, got regression targets{}; drop the table",
          written_at(other.data, "kind")));
    }
    DataSplit data = read_kind(other);
    check_sizes(data);
    limit(data.test, other.data.integer("limit_test"));
    if (data.test.features != train.features) {
      throw InputError(
          fmt::format("[data] out-of-distribution inputs must have as many features as the data, got {} in {} and {} "
                      "in the training set{}",
                      data.test.features, data.description, train.features, written_at(other.data, "kind")));
    }
    Dataset out = empty_like(train);
    out.x = std::move(data.test.x);
    // Their own classes are not the network's: nothing may index its outputs with them.
    out.labels.assign(data.test.size(), 0);
    make_scaling(other.data, train, scenario.data.real("divide_by")).apply(out, "scaled out-of-distribution set");
    description += fmt::format("; out of distribution: {} examples of {}", out.size(), data.description);
    return out;
  } catch (const MissingFileError& error) {
    throw MissingFileError(renamed(error.what()));
  } catch (const InputError& error) {
    throw InputError(renamed(error.what()));
  }
}

/// Of two sets of one source the shorter one is the beginning of the longer.
void refuse_test_inputs(const DataSplit& data, const Options& ood) {
  const std::size_t rows = std::min(data.ood.size(), data.test.size());
  const auto values = static_cast<std::ptrdiff_t>(rows * data.test.features);
  if (!std::equal(data.ood.x.begin(), data.ood.x.begin() + values, data.test.x.begin())) return;
  throw InputError(fmt::format(
      "[evaluation.ood] out-of-distribution inputs must not be those of the test set, got the same values in the "
      "first {} examples of both{}; name other data, or give generated data another seed",
      rows, written_at(ood, "kind")));
}

void scale(DataSplit& data, const Options& options) {
  const Scaling scaling = make_scaling(options, data.train, options.real("divide_by"));
  scaling.apply(data.train, "scaled training set");
  scaling.apply(data.test, "scaled test set");
  scaling.apply(data.validation, "scaled validation set");
  scaling.apply(data.public_pool, "scaled public pool");
}

std::uint64_t checksum(const DataSplit& data) {
  ContentHash hash;
  const auto add = [&hash](const Dataset& part) {
    hash.add(std::uint64_t{part.features});
    hash.add(static_cast<std::uint64_t>(part.classes));
    hash.add(part.x.data(), part.x.size() * sizeof(float));
    hash.add(part.labels.data(), part.labels.size() * sizeof(std::int32_t));
    hash.add(part.client.data(), part.client.size() * sizeof(std::int32_t));
    // What came later counts where it is there, so that data without it keep the checksum they always had.
    if (part.outputs == 0) return;
    hash.add(std::uint64_t{part.outputs});
    hash.add(part.targets.data(), part.targets.size() * sizeof(float));
  };
  for (const Dataset* part : {&data.train, &data.test, &data.validation}) add(*part);
  for (const Dataset* part : {&data.public_pool, &data.ood}) {
    if (part->size() == 0) continue;
    hash.add(std::uint64_t{part == &data.ood});
    add(*part);
  }
  return hash.value();
}

std::string describe(const DataSplit& data, const Options& options, const std::string& source) {
  std::string sizes = fmt::format("{} training", data.train.size());
  if (data.validation.size() > 0) sizes += fmt::format(", {} validation", data.validation.size());
  if (data.public_pool.size() > 0) sizes += fmt::format(", {} public", data.public_pool.size());
  std::string text =
      fmt::format("{}: {} and {} test examples, {} features, ", source, sizes, data.test.size(), data.train.features);
  text += data.train.outputs > 0 ? fmt::format("{} targets", data.train.outputs)
                                 : fmt::format("{} classes", data.train.classes);
  if (!data.train.clean_labels.empty()) {
    text += fmt::format(", {} training labels changed by {} noise of rate {}", changed_labels(data.train).size(),
                        options.text("label_noise_kind"), options.real("label_noise"));
  }
  return text;
}

DataSplit load(const Scenario& scenario) {
  const Options& options = scenario.data;
  DataSplit data = read_kind(scenario);
  check_sizes(data);
  limit(data.train, options.integer("limit_train"));
  limit(data.test, options.integer("limit_test"));
  data.train.shape = data.train.example_shape();
  data.test.shape = data.train.shape;  // examples of one run have one shape, also where one file says more than another
  split_validation(data, scenario);
  split_public(data, scenario);
  add_label_noise(data.train, scenario);
  std::string ood_text;
  if (!scenario.ood.rows().empty()) data.ood = load_ood(scenario, data.train, ood_text);
  scale(data, options);
  if (data.ood.size() > 0) refuse_test_inputs(data, scenario.ood);

  // A stray label makes many classes; the evaluation keeps two matrices of doubles.
  const auto classes = static_cast<double>(data.train.classes);
  check_memory(4.0 * classes * classes, fmt::format("the confusion matrices of {} classes", data.train.classes));
  data.checksum = checksum(data);
  data.description = describe(data, options, data.description) + ood_text;
  return data;
}

std::vector<OptionSpec> joined(std::initializer_list<std::vector<OptionSpec>> lists) {
  std::vector<OptionSpec> all;
  for (const std::vector<OptionSpec>& list : lists) all.insert(all.end(), list.begin(), list.end());
  return all;
}

OptionSpec limit_option(const std::string& part, const std::string& name) {
  return {.name = "limit_" + part,
          .default_value = std::int64_t{0},
          .help = fmt::format("use only the first so many {} examples, in the order of the file; 0: all", name),
          .unit = "examples",
          .low = 0,
          .high = 0x1p32};
}

OptionSpec seed_option(std::string help) {
  return {.name = "seed", .default_value = std::int64_t{0}, .help = std::move(help), .low = 0, .high = 0x1p53};
}

}  // namespace

std::span<const Kind> dataset_kinds() {
  static const std::vector<Kind> kinds = {idx_kind(),  cifar10_kind(),   cifar100_kind(), leaf_kind(),  csv_kind(),
                                          hdf5_kind(), synthetic_kind(), blobs_kind(),    linear_kind()};
  return kinds;
}

const std::vector<OptionSpec>& common_data_options() {
  static const std::vector<OptionSpec> options = joined(
      {scaling_options(),
       split_options(),
       {limit_option("train", "training"), limit_option("test", "test"),
        seed_option("seed of generated data, of what is put aside and of label noise; 0: the scenario's seed")}});
  return options;
}

const std::vector<OptionSpec>& common_ood_options() {
  static const std::vector<OptionSpec> options =
      joined({scaling_options(),
              {limit_option("test", "test"),
               seed_option("seed of generated data and of a test set put aside; 0: the scenario's seed")}});
  return options;
}

DataSplit load_data(const Scenario& scenario) {
  try {
    return load(scenario);
  } catch (const std::bad_alloc&) {
    throw RunError(
        "[data] the data must fit into memory, got no more of it; limit_train takes part of a data set only after "
        "reading it, so use a smaller file or a larger machine");
  }
}

}  // namespace ivory
