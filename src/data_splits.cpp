#include "src/data_splits.hpp"

#include <algorithm>
#include <map>
#include <numeric>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/data_common.hpp"

namespace ivory {
namespace {

StreamReader reader_of(const Scenario& scenario, DataDraw draw, std::uint64_t client = 0) {
  return StreamReader(data_seed(scenario),
                      {.purpose = Purpose::data, .client = client, .sample = static_cast<std::uint64_t>(draw)});
}

/// One flag per example: about wanted / C of each class, and where a class has fewer, more of the others. Fewer than
/// `wanted` only where every other example is the last of its client.
std::vector<std::uint8_t> draw_balanced(const Dataset& data, std::size_t wanted, StreamReader reader) {
  std::vector<std::uint32_t> order(data.size());
  std::iota(order.begin(), order.end(), 0U);
  reader.shuffle(order.begin(), order.size());
  std::vector<std::vector<std::uint32_t>> of_class(static_cast<std::size_t>(data.classes));
  for (const std::uint32_t i : order) of_class[static_cast<std::size_t>(data.labels[i])].push_back(i);
  // Where the classes cannot get the same number, it is drawn which get one more.
  reader.shuffle(of_class.begin(), of_class.size());

  std::map<std::int32_t, std::size_t> left;
  for (const std::int32_t client : data.client) ++left[client];
  const auto may_go = [&](std::uint32_t example) {
    if (data.client.empty()) return true;
    std::size_t& rest = left[data.client[example]];
    return rest > 1 && rest-- > 0;
  };
  std::vector<std::uint8_t> marked(data.size(), 0);
  std::size_t taken = 0;
  for (bool more = true; more && taken < wanted;) {
    more = false;
    for (std::vector<std::uint32_t>& examples : of_class) {
      while (!examples.empty() && !may_go(examples.back())) examples.pop_back();
      if (examples.empty() || taken == wanted) continue;
      marked[examples.back()] = 1;
      examples.pop_back();
      ++taken;
      more = true;
    }
  }
  return marked;
}

}  // namespace

const std::vector<OptionSpec>& split_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "validation",
       .default_value = 0.0,
       .help = "share of the training examples put aside as a validation set, chosen at random by the seed",
       .unit = "1",
       .low = 0,
       .high = 0.9,
       .high_open = true},
      {.name = "public",
       .default_value = std::int64_t{0},
       .help =
           "so many of the training examples that remain become a public pool, which no client holds: chosen by the "
           "seed, in equal numbers per class as far as there are enough",
       .unit = "examples",
       .low = 0,
       .high = 0x1p32},
      {.name = "label_noise",
       .default_value = 0.0,
       .help = "probability that a label of the training set (not of validation, public pool and test set) is changed, "
               "drawn by the seed",
       .unit = "1",
       .low = 0,
       .high = 1,
       .high_open = true},
      {.name = "label_noise_kind",
       .default_value = std::string("symmetric"),
       .help = "symmetric: to one of the other classes, all equally likely; pair: from class c to c + 1, from the last "
               "to the first",
       .choices = {"symmetric", "pair"}},
  };
  return options;
}

void split_validation(DataSplit& data, const Scenario& scenario) {
  data.validation = empty_like(data.train);
  const double fraction = scenario.data.real("validation");
  if (fraction == 0) return;
  data.validation =
      take_out(data.train, draw_fraction(data.train, fraction, reader_of(scenario, DataDraw::validation)));
  if (data.validation.size() == 0) {
    throw InputError(
        fmt::format("[data] validation needs an example to put aside, got {} training examples{}{}; set "
                    "validation = 0",
                    data.train.size(), data.train.client.empty() ? "" : ", one per client",
                    written_at(scenario.data, "validation")));
  }
}

void split_public(DataSplit& data, const Scenario& scenario) {
  data.public_pool = empty_like(data.train);
  const auto wanted = static_cast<std::size_t>(scenario.data.integer("public"));
  if (wanted == 0) return;
  const std::size_t n = data.train.size();
  if (wanted >= n) {
    throw InputError(fmt::format("[data] public must leave training examples to the clients, got {} of {}{}; lower it",
                                 wanted, n, written_at(scenario.data, "public")));
  }
  data.public_pool =
      take_out(data.train, draw_balanced(data.train, wanted, reader_of(scenario, DataDraw::public_pool)));
  if (data.public_pool.size() < wanted) {
    throw InputError(fmt::format(
        "[data] public must leave every client of the data an example, got {}, of {} examples only {} can be spared{}; "
        "lower it",
        wanted, n, data.public_pool.size(), written_at(scenario.data, "public")));
  }
}

Dataset shared_inputs(const Dataset& train, const std::vector<std::vector<std::uint32_t>>& clients,
                      const Scenario& scenario) {
  const auto wanted = static_cast<std::size_t>(scenario.algorithm.integer("share_inputs"));
  std::vector<std::uint32_t> rows(wanted * clients.size());
  for (std::size_t k = 0; k < clients.size(); ++k) {
    Dataset own = subset(train, clients[k]);
    own.client.clear();  // all may be shared
    if (own.size() < wanted) {
      throw InputError(
          fmt::format("[server] share_inputs must be at most the examples of every client, got {}, and client "
                      "{} has {}{}; lower it",
                      wanted, k, own.size(), written_at(scenario.algorithm, "share_inputs")));
    }
    const auto marked = draw_balanced(own, wanted, reader_of(scenario, DataDraw::shared_inputs, k));
    std::size_t taken = 0;
    for (std::size_t i = 0; i < marked.size(); ++i) {
      if (marked[i] != 0) rows[taken++ * clients.size() + k] = clients[k][i];
    }
  }
  return subset(train, rows);
}

void add_label_noise(Dataset& train, const Scenario& scenario) {
  const double rate = scenario.data.real("label_noise");
  if (rate == 0) return;
  if (train.outputs > 0 || train.classes < 2) {
    throw InputError(fmt::format("[data] label_noise needs labels of two or more classes, got {}{}; set it to 0",
                                 train.outputs > 0 ? "targets of a regression" : "a single class",
                                 written_at(scenario.data, "label_noise")));
  }
  const bool pair = scenario.data.text("label_noise_kind") == "pair";
  const auto classes = static_cast<std::uint32_t>(train.classes);
  StreamReader reader = reader_of(scenario, DataDraw::label_noise);
  train.clean_labels = train.labels;
  for (std::int32_t& label : train.labels) {
    if (reader.uniform() >= rate) continue;
    const std::uint32_t step = pair ? 1 : 1 + reader.below(classes - 1);
    label = static_cast<std::int32_t>((static_cast<std::uint32_t>(label) + step) % classes);
  }
}

std::vector<std::uint32_t> changed_labels(const Dataset& data) {
  std::vector<std::uint32_t> rows;
  for (std::size_t i = 0; i < data.clean_labels.size(); ++i) {
    if (data.labels[i] != data.clean_labels[i]) rows.push_back(static_cast<std::uint32_t>(i));
  }
  return rows;
}

}  // namespace ivory
