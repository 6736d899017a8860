// Partitions: who gets what, what is never broken, and what is refused.
#define BOOST_TEST_MODULE partition
#include <chrono>
#include <cmath>
#include <numeric>
#include <set>
#include "tests/support/boost_test.hpp"

#include "ivory/rng.hpp"
#include "src/data_common.hpp"
#include "src/partition_draw.hpp"
#include "tests/support/data_files.hpp"
#include "tests/support/statistics.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const std::vector<std::size_t> mnist_counts = {5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949};

// Labels only: partitions look at nothing else.
Dataset labelled(const std::vector<std::size_t>& counts) {
  Dataset data;
  data.features = 1;
  data.classes = static_cast<int>(counts.size());
  for (std::size_t c = 0; c < counts.size(); ++c)
    data.labels.insert(data.labels.end(), counts[c], static_cast<std::int32_t>(c));
  StreamReader(17, {.purpose = Purpose::shuffle}).shuffle(data.labels.begin(), data.labels.size());
  data.x.assign(data.labels.size(), 0.0F);
  return data;
}

using Lists = std::vector<std::vector<std::uint32_t>>;

// Example counts [clients][classes].
std::vector<std::vector<std::size_t>> class_counts(const Lists& lists, const Dataset& data) {
  std::vector<std::vector<std::size_t>> counts(lists.size(),
                                               std::vector<std::size_t>(static_cast<std::size_t>(data.classes)));
  for (std::size_t k = 0; k < lists.size(); ++k) {
    for (const std::uint32_t i : lists[k]) ++counts[k][static_cast<std::size_t>(data.labels[i])];
  }
  return counts;
}

// The laws of every partition, counted with sets and independently of the code's own check.
void check_laws(const Partition& partition, const Dataset& data) {
  std::multiset<std::uint32_t> all;
  for (std::size_t k = 0; k < partition.clients(); ++k) {
    BOOST_TEST(!partition.train[k].empty());
    std::set<std::uint32_t> own(partition.train[k].begin(), partition.train[k].end());
    std::size_t size = partition.train[k].size();
    all.insert(partition.train[k].begin(), partition.train[k].end());
    BOOST_TEST(std::is_sorted(partition.train[k].begin(), partition.train[k].end()));
    if (!partition.holdout.empty()) {
      own.insert(partition.holdout[k].begin(), partition.holdout[k].end());
      all.insert(partition.holdout[k].begin(), partition.holdout[k].end());
      size += partition.holdout[k].size();
      BOOST_TEST(std::is_sorted(partition.holdout[k].begin(), partition.holdout[k].end()));
    }
    BOOST_TEST(own.size() == size);  // no client holds an example twice
  }
  const std::size_t distinct = std::set<std::uint32_t>(all.begin(), all.end()).size();
  BOOST_TEST(partition.repeated == all.size() - distinct);
  BOOST_TEST(partition.unused == data.size() - distinct);
  if (!all.empty()) BOOST_TEST(*all.rbegin() < data.size());
}

std::string refusal(const Scenario& scenario, const Dataset& data) {
  std::string message = input_error([&] { make_partition(scenario, data); });
  BOOST_TEST((message.empty() || message.starts_with("[partition] ") || message.starts_with("[memory] ")), message);
  return message;
}

Values classes_values(std::int64_t each, std::int64_t examples, const std::string& on_shortage = "refuse") {
  return {{"classes_per_client", each}, {"examples_per_class", examples}, {"on_shortage", on_shortage}};
}

}  // namespace

BOOST_AUTO_TEST_CASE(iid_parts_are_equal_and_random) {
  const Dataset data = labelled({400, 300, 303});
  const Partition partition = make_partition(partition_scenario("iid", 10), data);
  check_laws(partition, data);
  BOOST_TEST(partition.unused == 0U);
  BOOST_TEST(partition.holdout.empty());
  for (std::size_t k = 0; k < 10; ++k) BOOST_TEST(partition.train[k].size() == (k < 3 ? 101U : 100U));
  // The classes of the parts follow the whole: 20 degrees of freedom, five standard deviations.
  double chi2 = 0;
  for (const auto& counts : class_counts(partition.train, data)) {
    const auto size = static_cast<double>(std::accumulate(counts.begin(), counts.end(), std::size_t{0}));
    const double expected[] = {size * 400 / 1003, size * 300 / 1003, size * 303 / 1003};
    for (std::size_t c = 0; c < 3; ++c) chi2 += std::pow(static_cast<double>(counts[c]) - expected[c], 2) / expected[c];
  }
  BOOST_TEST(std::abs(chi2 - 18) / 6 < 5);
  BOOST_TEST(refusal(partition_scenario("iid", 1004), data).find("1004 clients for 1003") != std::string::npos);
  BOOST_TEST(refusal(partition_scenario("iid", 0), data).find("at least 1") != std::string::npos);
  BOOST_TEST(make_partition(partition_scenario("iid", 1003), data).train[1002].size() == 1U);
}

BOOST_AUTO_TEST_CASE(rounding_gives_totals_and_departs_from_round_as_little_as_it_can) {
  StreamReader reader(4, {.purpose = Purpose::data});
  for (int trial = 0; trial < 2000; ++trial) {
    const std::size_t n = 1 + reader.below(12), whole = reader.below(60);
    std::vector<double> shares(n);
    for (double& share : shares) share = reader.below(4) == 0 ? 0.0 : reader.uniform();
    shares[reader.below(static_cast<std::uint32_t>(n))] = 1.0;
    const std::vector<std::uint32_t> counts = round_to_total(shares, whole);
    const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
    std::size_t given = 0, changed = 0;
    long long rounded = 0;
    for (std::size_t k = 0; k < n; ++k) {
      const double exact = static_cast<double>(whole) * shares[k] / sum;
      BOOST_REQUIRE(std::abs(exact - counts[k]) < 1);
      given += counts[k];
      rounded += std::llround(exact);
      changed += std::llround(exact) != static_cast<long long>(counts[k]);
      // No two clients could swap a unit and both come closer.
      for (std::size_t j = 0; j < n; ++j) {
        const double other = static_cast<double>(whole) * shares[j] / sum;
        BOOST_REQUIRE(!(exact - counts[k] > other - counts[j] + 1 + 1e-9));
      }
    }
    BOOST_REQUIRE(given == whole);
    BOOST_REQUIRE(static_cast<long long>(changed) == std::llabs(rounded - static_cast<long long>(whole)));
  }
  BOOST_TEST(round_to_total(std::vector<double>{1, 1, 1}, 5) == (std::vector<std::uint32_t>{2, 2, 1}));
  BOOST_TEST(round_to_total(std::vector<double>{1e-300, 1, 0}, 7) == (std::vector<std::uint32_t>{0, 7, 0}));
}

BOOST_AUTO_TEST_CASE(dirichlet_counts_follow_the_formula) {
  const Dataset data = labelled(mnist_counts);
  const std::size_t clients = 20, classes = 10;
  const Scenario scenario = partition_scenario("dirichlet", clients, {{"alpha_sizes", 2.0}, {"alpha_labels", 0.5}}, 62);
  const Partition partition = make_partition(scenario, data);
  check_laws(partition, data);
  BOOST_TEST(partition.unused == 0U);
  BOOST_TEST(partition.repeated == 0U);

  // The formula once more, in plain numbers, from the gamma variates of the same streams (first draw: step 0).
  const auto gammas = [](std::uint64_t client, std::uint64_t sample, double alpha, std::size_t n) {
    StreamReader reader(62, {.purpose = Purpose::partition, .client = client, .step = 0, .sample = sample});
    std::vector<double> g(n);
    for (double& value : g) {
      if (alpha >= 1) {
        value = reader.gamma(alpha);
      } else {
        const double u = reader.uniform();
        value = reader.gamma(alpha + 1) * std::pow(u, 1 / alpha);
      }
    }
    const double sum = std::accumulate(g.begin(), g.end(), 0.0);
    for (double& value : g) value /= sum;
    return g;
  };
  const std::vector<double> p = gammas(0, 2, 2.0, clients);
  std::vector<std::vector<double>> q;
  for (std::size_t k = 0; k < clients; ++k) q.push_back(gammas(k, 3, 0.5, classes));
  const auto counts = class_counts(partition.train, data);
  std::size_t not_rounded = 0;
  for (std::size_t c = 0; c < classes; ++c) {
    double norm = 0;
    for (std::size_t j = 0; j < clients; ++j) norm += p[j] * q[j][c];
    long long off = -static_cast<long long>(mnist_counts[c]), differ = 0;
    for (std::size_t k = 0; k < clients; ++k) {
      const double exact = static_cast<double>(mnist_counts[c]) * p[k] * q[k][c] / norm;
      BOOST_TEST(std::abs(exact - static_cast<double>(counts[k][c])) < 1);
      off += std::llround(exact);
      differ += std::llround(exact) != static_cast<long long>(counts[k][c]);
    }
    BOOST_TEST(differ == std::llabs(off));  // round(), but for what the total of the class asks
    not_rounded += static_cast<std::size_t>(differ);
  }
  BOOST_TEST(not_rounded < 20U);
}

BOOST_AUTO_TEST_CASE(dirichlet_extremes_stay_finite) {
  const Dataset data = labelled({300, 300, 300, 300});
  // Equal sizes and label shares in the limit.
  const Partition even =
      make_partition(partition_scenario("dirichlet", 6, {{"alpha_sizes", 1e12}, {"alpha_labels", 1e12}}), data);
  for (const auto& row : class_counts(even.train, data)) {
    for (const std::size_t n : row) BOOST_TEST(n == 50U);
  }
  // One class per client in the limit: q underflows by thousands of orders, and every example still has an owner.
  for (const std::uint64_t seed : {1U, 2U, 3U}) {
    const Scenario scenario = partition_scenario("dirichlet", 3, {{"alpha_sizes", 1e6}, {"alpha_labels", 1e-6}}, seed);
    std::string message;
    Partition skewed;
    message = input_error([&] { skewed = make_partition(scenario, data); });
    BOOST_REQUIRE_MESSAGE(message.empty(), message);
    check_laws(skewed, data);
    BOOST_TEST(skewed.unused == 0U);
    // Each client has its one class, and a class that nobody chose goes to one client whole.
    std::size_t cells = 0;
    for (const auto& row : class_counts(skewed.train, data))
      cells += 4 - static_cast<std::size_t>(std::count(row.begin(), row.end(), 0U));
    BOOST_TEST(cells <= 3U + 4U - 1U);
  }
}

BOOST_AUTO_TEST_CASE(small_dirichlet_clients_are_drawn_anew_then_refused) {
  const Dataset data = labelled({150, 150, 150});
  // Dir(1) over 30 clients of 450 examples leaves somebody below 2 in most draws, and not in all.
  std::size_t smallest = 1000;
  std::set<std::uint64_t> hashes;
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    const Partition partition = make_partition(
        partition_scenario("dirichlet", 30, {{"alpha_sizes", 2.0}, {"min_examples", std::int64_t{2}}}, seed), data);
    check_laws(partition, data);
    for (const auto& list : partition.train) smallest = std::min(smallest, list.size());
    hashes.insert(partition.hash);
  }
  BOOST_TEST(smallest >= 2U);
  BOOST_TEST(hashes.size() == 10U);
  const std::string hard = refusal(partition_scenario("dirichlet", 100, {{"alpha_sizes", 0.1}}), data);
  BOOST_TEST(contains(hard, "min_examples = 1"), hard);
  BOOST_TEST(contains(hard, "of 100 clients"), hard);
  BOOST_TEST(contains(hard, "raise alpha_sizes"), hard);
  const std::string few = refusal(partition_scenario("dirichlet", 100, {{"min_examples", std::int64_t{5}}}), data);
  BOOST_TEST(contains(few, "need 500 training examples, got 450"), few);
}

BOOST_AUTO_TEST_CASE(classes_are_dealt_evenly_and_distinct) {
  for (const std::size_t classes : {1U, 3U, 7U, 10U}) {
    for (std::size_t each = 1; each <= classes; ++each) {
      for (const std::size_t clients : {1U, 2U, 13U, 100U}) {
        std::vector<int> names(classes);
        for (std::size_t c = 0; c < classes; ++c) names[c] = static_cast<int>(2 * c + 1);
        std::map<int, std::size_t> held;
        for (const auto& hand : deal_classes(clients, each, names, clients * 100 + each)) {
          BOOST_REQUIRE(hand.size() == each);
          BOOST_REQUIRE(std::set<int>(hand.begin(), hand.end()).size() == each);
          for (const int c : hand) ++held[c];
        }
        std::size_t least = clients, most = 0, sum = 0;
        for (const int c : names) {
          const std::size_t n = held.contains(c) ? held[c] : 0;
          least = std::min(least, n), most = std::max(most, n), sum += n;
        }
        BOOST_REQUIRE(sum == clients * each);
        BOOST_REQUIRE(most - least <= 1);
      }
    }
  }
  // Every pair of classes comes up: 45 pairs, 9000 clients.
  std::map<std::pair<int, int>, double> pairs;
  std::vector<int> names(10);
  std::iota(names.begin(), names.end(), 0);
  for (const auto& hand : deal_classes(9000, 2, names, 5)) ++pairs[std::minmax(hand[0], hand[1])];
  BOOST_TEST(pairs.size() == 45U);
  std::vector<double> counts;
  for (const auto& [pair, n] : pairs) counts.push_back(n);
  BOOST_TEST(std::abs(chi_square_score(counts)) < 5);
  // The order of clients says nothing: five neighbours hold all ten classes between them once in 1,600 times.
  const auto hands = deal_classes(1000, 2, names, 6);
  std::size_t complete = 0;
  for (std::size_t k = 0; k < 1000; k += 5) {
    std::set<int> together;
    for (std::size_t i = k; i < k + 5; ++i) together.insert(hands[i].begin(), hands[i].end());
    complete += together.size() == 10;
  }
  BOOST_TEST(complete < 10U);
}

BOOST_AUTO_TEST_CASE(class_shortage_is_refused_with_numbers) {
  const Dataset data = labelled(mnist_counts);
  // MNIST has 194 disjoint parts of 300 where 100 clients of 2 classes need 200.
  std::size_t parts = 0;
  for (const std::size_t n : mnist_counts) parts += n / 300;
  BOOST_TEST(parts == 194U);
  const std::string message = refusal(partition_scenario("classes", 100, classes_values(2, 300)), data);
  for (const char* part :
       {"disjoint part of 300", "class 0: 19 of 20", "class 2: 19 of 20", "class 4: 19 of 20", "class 5: 18 of 20",
        "class 6: 19 of 20", "class 8: 19 of 20", "class 9: 19 of 20", "repeat", "shrink", "271"}) {
    BOOST_TEST(contains(message, part), message << "\n  lacks: " << part);
  }
  BOOST_TEST(!contains(message, "class 1:"));
  BOOST_TEST(refusal(partition_scenario("classes", 100, classes_values(2, 271)), data) == "");

  const Dataset tiny = labelled({3, 0, 2});
  BOOST_TEST(contains(refusal(partition_scenario("classes", 2, classes_values(3, 1)), tiny),
                      "the 2 classes of the training set, got 3"));
  BOOST_TEST(
      contains(refusal(partition_scenario("classes", 3, classes_values(2, 3, "repeat")), tiny), "3 for a class of 2"));
  BOOST_TEST(
      contains(refusal(partition_scenario("classes", 3, classes_values(2, 1, "shrink")), tiny), "class 2: 2 of 3"));
  BOOST_TEST(
      contains(refusal(partition_scenario("classes", 3, classes_values(2, 0, "repeat")), tiny), "class 2: 2 of 3"));
}

BOOST_AUTO_TEST_CASE(class_shortage_may_repeat_examples) {
  const Dataset data = labelled(mnist_counts);
  const Partition partition =
      make_partition(partition_scenario("classes", 100, classes_values(2, 300, "repeat")), data);
  check_laws(partition, data);
  // Every class is asked for 20 parts of 300; what it lacks is repeated, what it has more is unused.
  std::size_t repeated = 0, unused = 0;
  for (const std::size_t n : mnist_counts) (n < 6000 ? repeated : unused) += n < 6000 ? 6000 - n : n - 6000;
  BOOST_TEST(partition.repeated == repeated);
  BOOST_TEST(partition.unused == unused);
  for (const auto& row : class_counts(partition.train, data)) {
    std::size_t classes = 0;
    for (const std::size_t n : row) {
      BOOST_TEST((n == 0 || n == 300));
      classes += n > 0;
    }
    BOOST_TEST(classes == 2U);
  }
  // No example has more than two holders: the overlap is spread out.
  std::map<std::uint32_t, int> holders;
  for (const auto& list : partition.train) {
    for (const std::uint32_t i : list) BOOST_REQUIRE(++holders[i] <= 2);
  }
}

BOOST_AUTO_TEST_CASE(examples_with_several_holders_cannot_be_held_out) {
  const Dataset data = labelled(mnist_counts);
  auto values = classes_values(2, 300, "repeat");
  values["holdout"] = 0.1;
  BOOST_CHECK_EXCEPTION(
      make_partition(partition_scenario("classes", 100, values), data), InputError,
      [](const InputError& error) { return std::string(error.what()).find("[partition] an example held out") == 0; });
}

BOOST_AUTO_TEST_CASE(class_shortage_may_shrink_the_parts) {
  const Dataset data = labelled(mnist_counts);
  const Partition partition =
      make_partition(partition_scenario("classes", 100, classes_values(2, 300, "shrink")), data);
  check_laws(partition, data);
  BOOST_TEST(partition.repeated == 0U);
  for (const auto& list : partition.train)
    BOOST_TEST(list.size() == 2U * 271U);  // floor(5421 / 20) of the smallest class
  // Without a shortage no mode changes anything.
  const auto hash = [&](const std::string& mode) {
    return make_partition(partition_scenario("classes", 100, classes_values(2, 200, mode)), data).hash;
  };
  BOOST_TEST(hash("shrink") == hash("refuse"));
  BOOST_TEST(hash("repeat") == hash("refuse"));
}

BOOST_AUTO_TEST_CASE(classes_may_be_shared_out_whole) {
  const Dataset data = labelled({151, 151, 149, 152, 148, 152, 150, 149, 146, 149});
  const Partition partition = make_partition(partition_scenario("classes", 10, classes_values(2, 0)), data);
  check_laws(partition, data);
  BOOST_TEST(partition.unused == 0U);
  BOOST_TEST(partition.repeated == 0U);
  for (const auto& row : class_counts(partition.train, data)) {
    for (const std::size_t n : row) BOOST_TEST((n == 0 || (n >= 73 && n <= 76)));
  }
}

BOOST_AUTO_TEST_CASE(groups_give_whole_classes_to_the_clients_named) {
  const Dataset data = labelled({30, 20, 10, 5});
  const auto groups = [](std::int64_t clients, const std::vector<double>& list) {
    return partition_scenario("groups", clients, {{"client_of_class", list}});
  };
  const Partition partition = make_partition(groups(2, {1, 0, 1, 0}), data);
  check_laws(partition, data);
  BOOST_TEST(partition.unused == 0U);
  const std::vector<std::vector<std::size_t>> expected = {{0, 20, 0, 5}, {30, 0, 10, 0}};
  BOOST_TEST((class_counts(partition.train, data) == expected));
  BOOST_TEST(contains(refusal(groups(2, {1, 0, 1}), data), "each of the 4 classes, got 3"));
  BOOST_TEST(contains(refusal(groups(2, {1, 0, 2, 0}), data), "0 to 1, got 2 for class 2"));
  BOOST_TEST(contains(refusal(groups(2, {1, 0, 0.5, 0}), data), "got 0.5"));
  BOOST_TEST(contains(refusal(groups(3, {1, 0, 1, 0}), data), "none for client 2"));
}

BOOST_AUTO_TEST_CASE(natural_clients_come_in_the_order_of_their_numbers) {
  Dataset data = labelled({4, 3});
  data.client = {9, -2, 9, 500, -2, 9, 500};
  for (const std::int64_t count : {0, 3}) {
    const Partition partition = make_partition(partition_scenario("natural", count), data);
    check_laws(partition, data);
    const Lists expected = {{1, 4}, {0, 2, 5}, {3, 6}};
    BOOST_TEST((partition.train == expected));
  }
  const std::string message = refusal(partition_scenario("natural", 4), data);
  BOOST_TEST(contains(message, "in the data, 3,"), message);
  BOOST_TEST(contains(message, "got 4, at test.toml:20:9"), message);
  data.client.clear();
  BOOST_TEST(contains(refusal(partition_scenario("natural", 0), data), "data without"));
}

BOOST_AUTO_TEST_CASE(held_out_examples_are_a_keyed_share_of_each_client) {
  const Dataset data = labelled({40, 41, 22});
  const Partition whole = make_partition(partition_scenario("iid", 10), data);
  const Partition part = make_partition(partition_scenario("iid", 10, {{"holdout", 0.25}}), data);
  check_laws(part, data);
  std::set<std::size_t> places;
  for (std::size_t k = 0; k < 10; ++k) {
    BOOST_TEST(part.holdout[k].size() == 3U);  // of 10 or 11, rounded half up
    std::vector<std::uint32_t> both = part.train[k];
    both.insert(both.end(), part.holdout[k].begin(), part.holdout[k].end());
    std::sort(both.begin(), both.end());
    BOOST_TEST(both == whole.train[k], boost::test_tools::per_element());
    places.insert(static_cast<std::size_t>(std::find(both.begin(), both.end(), part.holdout[k][0]) - both.begin()));
  }
  BOOST_TEST(places.size() > 1U);  // not always the first ones
  BOOST_TEST(part.hash != whole.hash);

  Dataset small = labelled({1, 2});
  small.client = {0, 1, 1};
  const Partition tight = make_partition(partition_scenario("natural", 0, {{"holdout", 0.89}}), small);
  check_laws(tight, small);
  BOOST_TEST(tight.holdout[0].empty());
  BOOST_TEST(tight.holdout[1].size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_partition_is_a_pure_function_of_its_seed) {
  const Dataset data = labelled(mnist_counts);
  const std::pair<std::string, Values> kinds[] = {
      {"iid", {}}, {"dirichlet", {{"alpha_sizes", 5.0}}}, {"classes", classes_values(3, 100)}};
  for (const auto& [kind, values] : kinds) {
    Values more = values;
    more["holdout"] = 0.1;
    const Partition one = make_partition(partition_scenario(kind, 40, more, 7), data);
    const Partition same = make_partition(partition_scenario(kind, 40, more, 7), data);
    const Partition other = make_partition(partition_scenario(kind, 40, more, 8), data);
    BOOST_TEST((one.train == same.train));
    BOOST_TEST((one.holdout == same.holdout));
    BOOST_TEST(one.hash == same.hash);
    BOOST_TEST((one.train != other.train));
    BOOST_TEST(one.hash != other.hash);
    more["seed"] = std::int64_t{7};
    BOOST_TEST(make_partition(partition_scenario(kind, 40, more, 8), data).hash == one.hash);
  }
}

BOOST_AUTO_TEST_CASE(ten_thousand_clients_take_bounded_time) {
  Dataset data = labelled(mnist_counts);
  const Dataset large = labelled({30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000});
  const auto start = std::chrono::steady_clock::now();
  check_laws(make_partition(partition_scenario("iid", 10000, {{"holdout", 0.3}}), data), data);
  check_laws(make_partition(partition_scenario("classes", 10000, classes_values(2, 2)), data), data);
  check_laws(make_partition(partition_scenario("classes", 10000, classes_values(2, 4, "repeat")), data), data);
  check_laws(
      make_partition(partition_scenario("dirichlet", 10000, {{"alpha_sizes", 1e3}, {"alpha_labels", 1e3}}), large),
      large);
  // Dir(1) sizes leave thousands without an example in every draw: refused without a hundred of them.
  const std::string hopeless = refusal(partition_scenario("dirichlet", 10000), data);
  BOOST_TEST(contains(hopeless, "best of 5 draws"), hopeless);
  for (std::size_t i = 0; i < data.size(); ++i) data.client.push_back(static_cast<std::int32_t>(i * 7919 % 10000));
  check_laws(make_partition(partition_scenario("natural", 10000), data), data);
  const std::string vast = refusal(partition_scenario("classes", 1 << 24, classes_values(10, 5421, "repeat")), data);
  BOOST_TEST(contains(vast, "fit into memory"), vast);
  // About a second; anything quadratic in clients or examples would take minutes.
  BOOST_TEST(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < 60);
}

BOOST_AUTO_TEST_CASE(the_heat_map_shows_counts_totals_and_a_summary) {
  Dataset data = labelled({4, 3, 10});
  data.labels = {0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2};
  Partition partition;
  partition.train = {{0, 1, 4}, {7, 8, 9, 10, 11, 12, 13, 14, 15}, {2}};
  partition.holdout = {{5}, {}, {}};
  partition.repeated = 3;
  partition.unused = 2;
  const std::string expected =
      "client   size    0  1  2\n"
      "0           3   :2 .1\n"
      "1           9         @9\n"
      "2           1   .1\n"
      "total      13    3  1  9\n"
      "shades .:-=+*#%@ go up to 9 examples\n"
      "3 clients of 1 to 9 examples (median 3), 1.3 classes per client on average; 1 held out, 3 repeated, 2 unused\n";
  BOOST_TEST(heat_map(partition, data) == expected);

  // Two rows for three clients: the first alone, the others added up.
  const std::string grouped = heat_map(partition, data, 2);
  BOOST_TEST(contains(grouped, "\n0           3 "), grouped);
  BOOST_TEST(contains(grouped, "\n1-2        10 "), grouped);
  BOOST_TEST(contains(grouped, "rows add up the clients"), grouped);
}

BOOST_AUTO_TEST_CASE(the_heat_map_of_many_clients_and_classes_stays_small) {
  const Dataset letters = labelled(std::vector<std::size_t>(62, 40));
  const Partition partition = make_partition(partition_scenario("classes", 500, classes_values(2, 1)), letters);
  const std::string map = heat_map(partition, letters);
  BOOST_TEST(std::count(map.begin(), map.end(), '\n') ==
             2 + 1 + 40 + 1 + 2);  // labels, header, rows, totals, legend and summary
  BOOST_TEST(contains(map, "          1111111111222222222233333333334444444444555555555566\n"),
             map);  // tens of the labels
  BOOST_TEST(contains(map, "500 clients of 2 to 2 examples (median 2), 2.0 classes per client"), map);
  const Dataset many = labelled(std::vector<std::size_t>(1000, 3));
  const std::string wide = heat_map(make_partition(partition_scenario("iid", 3), many), many);
  std::size_t longest = 0, begin = 0;
  for (std::size_t end; (end = wide.find('\n', begin)) != std::string::npos; begin = end + 1)
    longest = std::max(longest, end - begin);
  BOOST_TEST(longest <= 120U, wide);
  BOOST_TEST(contains(wide, "ranges of classes"), wide);
}
