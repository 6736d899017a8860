#include "src/partition.hpp"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "ivory/rng.hpp"
#include "src/content_hash.hpp"
#include "src/data_common.hpp"
#include "src/partition_draw.hpp"
#include "src/scenario_checks.hpp"

namespace ivory {
namespace {

constexpr std::uint32_t nobody = 0xFFFFFFFFU;

StreamReader order_reader(const PartitionTask& task, std::uint64_t list) {
  return StreamReader(
      task.seed,
      {.purpose = Purpose::partition, .client = list, .sample = static_cast<std::uint64_t>(PartitionDraw::order)});
}

IndexLists divide(const std::string& kind, const PartitionTask& task) {
  if (kind == "natural") return divide_naturally(task);
  if (task.count == 0) {
    throw InputError(fmt::format("[partition] clients.count must be at least 1 for kind = \"{}\", got 0{}", kind,
                                 written_at(task.clients, "count")));
  }
  if (kind == "iid") return divide_equally(task);
  if (kind == "dirichlet") return divide_by_dirichlet(task);
  if (kind == "classes") return divide_by_classes(task);
  if (kind == "groups") return divide_by_groups(task);
  throw std::logic_error("unknown kind of partition: " + kind);
}

/// Moves a share of each client's examples into its holdout list; one example always stays.
void hold_out(Partition& partition, double fraction, std::uint64_t seed) {
  if (fraction == 0) return;
  partition.holdout.resize(partition.clients());
  for (std::size_t k = 0; k < partition.clients(); ++k) {
    std::vector<std::uint32_t>& list = partition.train[k];
    const auto wanted = static_cast<std::size_t>(std::llround(fraction * static_cast<double>(list.size())));
    const auto kept = static_cast<std::ptrdiff_t>(list.size() - std::min(wanted, list.size() - 1));
    std::sort(list.begin(), list.end());
    StreamReader(seed, {.purpose = Purpose::holdout, .client = k}).shuffle(list.begin(), list.size());
    partition.holdout[k].assign(list.begin() + kept, list.end());
    list.resize(static_cast<std::size_t>(kept));
  }
}

std::size_t clients_without(const IndexLists& lists) {
  return static_cast<std::size_t>(std::count_if(lists.begin(), lists.end(), [](const auto& l) { return l.empty(); }));
}

/// Sorts the lists, counts overlap and rest, and makes sure of what every kind promises.
void finish(Partition& partition, std::size_t examples, bool may_repeat) {
  std::vector<std::uint32_t> holder(examples, nobody);
  std::size_t distinct = 0;
  const auto take = [&](std::vector<std::uint32_t>& list, std::size_t client) {
    std::sort(list.begin(), list.end());
    for (const std::uint32_t i : list) {
      if (i >= examples || holder[i] == client) throw std::logic_error("a partition gives a client an example twice");
      distinct += holder[i] == nobody ? 1 : 0;
      partition.repeated += holder[i] == nobody ? 0 : 1;
      holder[i] = static_cast<std::uint32_t>(client);
    }
  };
  for (std::size_t k = 0; k < partition.clients(); ++k) {
    if (partition.train[k].empty()) throw std::logic_error("a partition leaves a client without examples");
    take(partition.train[k], k);
    if (!partition.holdout.empty()) take(partition.holdout[k], k);
  }
  if (partition.repeated > 0 && !may_repeat) throw std::logic_error("the parts of a partition overlap");
  if (partition.repeated > 0 && !partition.holdout.empty()) {
    throw InputError(fmt::format(
        "[partition] an example held out by one client must not be trained on by another, got holdout with {} "
        "examples that several clients share; set on_shortage = \"shrink\" or holdout = 0",
        partition.repeated));
  }
  partition.unused = examples - distinct;

  ContentHash hash;
  for (const IndexLists* lists : {&partition.train, &partition.holdout}) {
    hash.add(std::uint64_t{lists->size()});
    for (const auto& list : *lists) hash.add(list.data(), list.size() * sizeof(std::uint32_t));
  }
  partition.hash = hash.value();
}

}  // namespace

IndexLists shuffled_classes(const PartitionTask& task) {
  IndexLists examples(static_cast<std::size_t>(task.train.classes));
  const std::vector<std::int32_t>& labels = task.train.true_labels();
  for (std::size_t i = 0; i < task.train.size(); ++i) {
    examples[static_cast<std::size_t>(labels[i])].push_back(static_cast<std::uint32_t>(i));
  }
  for (std::size_t c = 0; c < examples.size(); ++c)
    order_reader(task, c).shuffle(examples[c].begin(), examples[c].size());
  return examples;
}

IndexLists divide_equally(const PartitionTask& task) {
  const std::size_t n = task.train.size();
  if (task.count > n) {
    throw InputError(fmt::format("[partition] every client needs an example, got {} clients for {} training examples{}",
                                 task.count, n, written_at(task.clients, "count")));
  }
  std::vector<std::uint32_t> order(n);
  for (std::size_t i = 0; i < n; ++i) order[i] = static_cast<std::uint32_t>(i);
  order_reader(task, 0).shuffle(order.begin(), n);
  IndexLists lists(task.count);
  auto next = order.begin();
  for (std::size_t k = 0; k < task.count; ++k) {
    const auto end = next + static_cast<std::ptrdiff_t>(n / task.count + (k < n % task.count ? 1 : 0));
    lists[k].assign(next, end);
    next = end;
  }
  return lists;
}

IndexLists divide_naturally(const PartitionTask& task) {
  const std::vector<std::int32_t>& column = task.train.client;
  if (column.empty()) {
    throw InputError(
        fmt::format("[partition] kind = \"natural\" needs data that know their clients (kind \"synthetic\", \"leaf\", "
                    "\"csv\" or \"hdf5\" with a client column), got data without{}; choose another kind",
                    written_at(task.options, "kind")));
  }
  std::vector<std::int32_t> ids = column;
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  if (task.count != 0 && task.count != ids.size()) {
    throw InputError(
        fmt::format("[partition] clients.count must be the number of clients in the data, {}, or 0 to take it from "
                    "there, got {}{}",
                    ids.size(), task.count, written_at(task.clients, "count")));
  }
  IndexLists lists(ids.size());
  for (std::size_t i = 0; i < column.size(); ++i) {
    const auto k = static_cast<std::size_t>(std::lower_bound(ids.begin(), ids.end(), column[i]) - ids.begin());
    lists[k].push_back(static_cast<std::uint32_t>(i));
  }
  return lists;
}

std::span<const Kind> partition_kinds() {
  static const std::vector<Kind> kinds = {
      {"iid", "the examples in random order, in equal parts", {}},
      {"dirichlet",
       "random sizes and label shares: n_kc = round(n_c p_k q_kc / sum_j p_j q_jc), every example used once",
       {
           {.name = "alpha_sizes",
            .default_value = 1.0,
            .help = "p ~ Dir(alpha_sizes) over clients: small for very unequal clients, 1e6 for equal ones",
            .unit = "1",
            .low = 1e-6,
            .high = 1e12},
           {.name = "alpha_labels",
            .default_value = 0.5,
            .help = "q_k ~ Dir(alpha_labels) over classes: small for clients with few classes, 1e6 for even ones",
            .unit = "1",
            .low = 1e-6,
            .high = 1e12},
           {.name = "min_examples",
            .default_value = std::int64_t{1},
            .help = "drawn anew (up to 100 times) while a client has fewer, then refused",
            .unit = "examples",
            .low = 1,
            .high = 1 << 30},
       }},
      {"classes",
       "a few classes per client, the same number of examples of each",
       {
           {.name = "classes_per_client",
            .default_value = std::int64_t{2},
            .help = "distinct classes of a client; all classes are dealt out equally often",
            .unit = "classes",
            .low = 1,
            .high = max_classes},
           {.name = "examples_per_class",
            .default_value = std::int64_t{0},
            .help =
                "examples of each of its classes that a client gets; 0: every class in equal shares, nothing left over",
            .unit = "examples",
            .low = 0,
            .high = 1 << 30},
           {.name = "on_shortage",
            .default_value = std::string("refuse"),
            .help =
                "when a class has too few examples for all its clients; repeat: clients share examples (counted in the "
                "log); shrink: fewer examples per class, the same for all",
            .choices = {"refuse", "repeat", "shrink"}},
       }},
      {"groups",
       "every class with all its examples to the client that the scenario names: one task per client",
       {
           {.name = "client_of_class",
            .default_value = std::vector<double>(),
            .help = "for each class 0, 1, 2 ... the client 0, 1, 2 ... that holds it; [0, 0, 1, 2] gives the first "
                    "client two classes",
            .low = 0,
            .high = 1 << 24,
            .required = true},
       }},
      {"natural",
       "the clients that the data name (synthetic data, LEAF, CSV and HDF5 with a client column), in increasing order",
       {}},
  };
  return kinds;
}

const std::vector<OptionSpec>& common_partition_options() {
  static const std::vector<OptionSpec> options = {
      {.name = "holdout",
       .default_value = 0.0,
       .help = "share of each client's examples that it never trains on, for its own metrics; at least one stays for "
               "training",
       .unit = "1",
       .low = 0,
       .high = 0.9,
       .high_open = true},
      {.name = "seed",
       .default_value = std::int64_t{0},
       .help = "seed of the partition; 0: the scenario's seed, so that every seed of a run draws its own",
       .low = 0,
       .high = 0x1p53},
  };
  return options;
}

Partition make_partition(const Scenario& scenario, const Dataset& train) {
  const Options& options = scenario.partition;
  const auto own_seed = static_cast<std::uint64_t>(options.integer("seed"));
  const std::string& kind = options.text("kind");
  const PartitionTask task{options, scenario.clients, train,
                           static_cast<std::size_t>(scenario.clients.integer("count")),
                           own_seed != 0 ? own_seed : scenario.seed};
  Partition partition;
  partition.train = divide(kind, task);
  if (const std::string problem = weights_problem(scenario.clients, partition.clients()); !problem.empty()) {
    throw InputError(problem);
  }
  hold_out(partition, options.real("holdout"), task.seed);
  finish(partition, train.size(), kind == "classes" && options.text("on_shortage") == "repeat");
  return partition;
}

std::vector<std::uint32_t> left_out_clients(const Scenario& scenario, const Partition& partition) {
  std::vector<std::uint32_t> clients;
  for (const double client : scenario.clients.reals("without")) {
    if (client >= static_cast<double>(partition.clients())) {
      throw InputError(fmt::format("[partition] clients.without must name clients 0 to {}, got {}{}",
                                   partition.clients() - 1, client, written_at(scenario.clients, "without")));
    }
    clients.push_back(static_cast<std::uint32_t>(client));
  }
  std::sort(clients.begin(), clients.end());
  if (clients.size() >= partition.clients()) {
    throw InputError(fmt::format("[partition] a client must stay to train, got clients.without with all {} of them{}",
                                 partition.clients(), written_at(scenario.clients, "without")));
  }
  return clients;
}

std::string holdout_warning(const Scenario& scenario, const Partition& partition) {
  if (partition.holdout.empty()) return "";
  const std::size_t without = clients_without(partition.holdout), all = partition.clients();
  if (without == 0) return "";
  const bool instead = without == all && scenario.evaluation.text("clients") == "auto";
  return fmt::format(
      "[partition] {} of {} clients have no held-out examples, since holdout = {} of what they have rounds to none{}; "
      "{}, or raise it",
      without, all, scenario.partition.real("holdout"), written_at(scenario.partition, "holdout"),
      instead ? "they are evaluated on what they train on" : "they have no metrics of their own");
}

ClientExamples::ClientExamples(const Scenario& scenario, const Partition& partition, const Dataset& train)
    : train_(train) {
  const std::string& choice = scenario.evaluation.text("clients");
  const bool some_held_out = !partition.holdout.empty() && clients_without(partition.holdout) < partition.clients();
  const bool held_out = choice == "holdout" || (choice == "auto" && some_held_out);
  rows_ = held_out ? partition.holdout : partition.train;
  if (!held_out || train.clean_labels.empty()) return;
  std::vector<std::uint32_t> all;
  for (auto& rows : rows_) {
    for (std::uint32_t& row : rows) {
      all.push_back(row);
      row = static_cast<std::uint32_t>(all.size() - 1);
    }
  }
  own_ = subset(train, all);
  own_.labels = std::move(own_.clean_labels);
  own_.clean_labels.clear();
}

}  // namespace ivory
