// A few classes per client, with the same number of examples of each.
#include <algorithm>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "ivory/rng.hpp"
#include "src/data_common.hpp"
#include "src/partition_draw.hpp"

namespace ivory {
namespace {

constexpr std::size_t classes_in_a_message = 10;

/// "class 0: 19 of 20, class 5: 18 of 20" for the classes with too few disjoint parts of `size` examples for their
/// holders.
std::string shortage(const IndexLists& examples, const std::vector<std::size_t>& holders, std::size_t size) {
  std::string text;
  std::size_t found = 0;
  for (std::size_t c = 0; c < examples.size(); ++c) {
    const std::size_t parts = examples[c].size() / size;
    if (parts >= holders[c]) continue;
    if (++found <= classes_in_a_message) {
      text += fmt::format("{}class {}: {} of {}", text.empty() ? "" : ", ", c, parts, holders[c]);
    }
  }
  if (found > classes_in_a_message) text += fmt::format(" and {} classes more", found - classes_in_a_message);
  return text;
}

[[noreturn]] void refuse(const PartitionTask& task, const std::string& rule, const std::string& got,
                         const std::string& advice) {
  const char* key = task.options.given("examples_per_class") ? "examples_per_class" : "classes_per_client";
  throw InputError(fmt::format("[partition] {}, got {}{}; {}", rule, got, written_at(task.options, key), advice));
}

/// Examples of each class that a client gets: one size for all, or (0) all of the class in equal shares.
std::size_t part_size(const PartitionTask& task, const IndexLists& examples, const std::vector<std::size_t>& holders) {
  auto size = static_cast<std::size_t>(task.options.integer("examples_per_class"));
  const std::string& on_shortage = task.options.text("on_shortage");
  std::size_t largest_fit = task.train.size(), smallest_class = task.train.size();
  for (std::size_t c = 0; c < examples.size(); ++c) {
    if (holders[c] == 0) continue;
    largest_fit = std::min(largest_fit, examples[c].size() / holders[c]);
    smallest_class = std::min(smallest_class, examples[c].size());
  }
  const bool repeats = size > 0 && on_shortage == "repeat";
  if (largest_fit == 0 && !repeats) {
    refuse(task, "every client needs an example of its own of each of its classes", shortage(examples, holders, 1),
           "use fewer clients or classes_per_client");
  }
  if (size == 0 || size <= largest_fit) return size;
  if (on_shortage == "shrink") return largest_fit;
  if (on_shortage == "refuse") {
    refuse(task, fmt::format("every class needs a disjoint part of {} examples for each client that holds it", size),
           shortage(examples, holders, size),
           fmt::format("set on_shortage = \"repeat\" (clients share examples) or \"shrink\" ({} examples), or "
                       "examples_per_class = 0 (all examples in equal shares)",
                       largest_fit));
  }
  if (size > smallest_class) {
    refuse(task, "no client holds an example twice, so examples_per_class may not exceed the smallest class",
           fmt::format("{} for a class of {}", size, smallest_class), "lower examples_per_class");
  }
  return size;
}

}  // namespace

std::vector<std::vector<int>> deal_classes(std::size_t clients, std::size_t each, const std::vector<int>& classes,
                                           std::uint64_t seed) {
  // As from packs of cards: a shuffled pack of all classes is dealt to the end before the next is opened. A card that a
  // client holds already stays in the pack for the next client.
  StreamReader reader(seed,
                      {.purpose = Purpose::partition, .sample = static_cast<std::uint64_t>(PartitionDraw::classes)});
  std::vector<std::vector<int>> hands(clients);
  std::vector<int> pack;  // dealt from the back
  std::vector<std::size_t> last_holder(static_cast<std::size_t>(*std::max_element(classes.begin(), classes.end())) + 1,
                                       clients);
  for (std::size_t k = 0; k < clients; ++k) {
    std::vector<int>& hand = hands[k];
    std::vector<int> kept_back;
    while (hand.size() < each) {
      if (pack.empty()) {
        pack = classes;
        reader.shuffle(pack.begin(), pack.size());
      }
      const int card = pack.back();
      pack.pop_back();
      std::size_t& holder = last_holder[static_cast<std::size_t>(card)];
      if (holder != k) {
        holder = k;
        hand.push_back(card);
      } else {
        kept_back.push_back(card);
      }
    }
    pack.insert(pack.end(), kept_back.rbegin(), kept_back.rend());
  }
  // One pack serves neighbouring clients, which so complement each other; the order of clients should say nothing.
  reader.shuffle(hands.begin(), clients);
  return hands;
}

IndexLists divide_by_classes(const PartitionTask& task) {
  const auto each = static_cast<std::size_t>(task.options.integer("classes_per_client"));
  const IndexLists examples = shuffled_classes(task);
  std::vector<int> present;
  for (std::size_t c = 0; c < examples.size(); ++c) {
    if (!examples[c].empty()) present.push_back(static_cast<int>(c));
  }
  if (each > present.size()) {
    throw InputError(
        fmt::format("[partition] classes_per_client may not exceed the {} classes of the training set, got {}{}",
                    present.size(), each, written_at(task.options, "classes_per_client")));
  }
  const auto wanted = static_cast<double>(std::max<std::int64_t>(1, task.options.integer("examples_per_class")));
  check_memory(static_cast<double>(task.count) * static_cast<double>(each) * wanted,
               fmt::format("the examples of {} clients", task.count));
  const std::vector<std::vector<int>> hands = deal_classes(task.count, each, present, task.seed);
  std::vector<std::size_t> holders(examples.size(), 0);
  for (const std::vector<int>& hand : hands) {
    for (const int c : hand) ++holders[static_cast<std::size_t>(c)];
  }
  const std::size_t size = part_size(task, examples, holders);

  IndexLists lists(task.count);
  std::vector<std::size_t> dealt(examples.size(), 0), next(examples.size(), 0);
  for (std::size_t k = 0; k < task.count; ++k) {
    for (const int card : hands[k]) {
      const auto c = static_cast<std::size_t>(card);
      const std::size_t n = examples[c].size();
      const std::size_t share = size > 0 ? size : n / holders[c] + (dealt[c] < n % holders[c] ? 1 : 0);
      ++dealt[c];
      // Past the end of a class comes its beginning again: a new overlap, but never inside one client, as share <= n.
      for (std::size_t i = 0; i < share; ++i) lists[k].push_back(examples[c][(next[c] + i) % n]);
      next[c] = (next[c] + share) % n;
    }
  }
  return lists;
}

IndexLists divide_by_groups(const PartitionTask& task) {
  const std::vector<double>& client = task.options.reals("client_of_class");
  const std::string place = written_at(task.options, "client_of_class");
  const IndexLists examples = shuffled_classes(task);
  if (client.size() != examples.size()) {
    throw InputError(
        fmt::format("[partition] client_of_class must name a client for each of the {} classes, got {}{}; "
                    "give one number per class",
                    examples.size(), client.size(), place));
  }
  IndexLists lists(task.count);
  for (std::size_t c = 0; c < examples.size(); ++c) {
    const auto k = static_cast<std::size_t>(client[c]);
    if (static_cast<double>(k) != client[c] || k >= task.count) {
      throw InputError(
          fmt::format("[partition] client_of_class must hold whole numbers of clients, 0 to {}, got {} for "
                      "class {}{}; correct it, or raise clients.count",
                      task.count - 1, client[c], c, place));
    }
    lists[k].insert(lists[k].end(), examples[c].begin(), examples[c].end());
  }
  for (std::size_t k = 0; k < task.count; ++k) {
    if (!lists[k].empty()) continue;
    throw InputError(
        fmt::format("[partition] client_of_class must give every client a class with examples, got none "
                    "for client {}{}; name it for a class, or lower clients.count",
                    k, place));
  }
  return lists;
}

}  // namespace ivory
