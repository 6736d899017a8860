// Dirichlet label skew with Dirichlet sizes: client k gets n_kc = round(n_c p_k q_kc / sum_j p_j q_jc) examples of
// class c, p ~ Dir(alpha_sizes) over clients, q_k ~ Dir(alpha_labels) over classes, as in the experiments of "Bayesian
// ADMM" (arXiv 2506.13150).
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "ivory/rng.hpp"
#include "src/data_common.hpp"
#include "src/partition_draw.hpp"

namespace ivory {
namespace {

constexpr int most_draws = 100;
// A draw that leaves m clients short would have to be lucky m times over. Where several draws all left this many short,
// none of a hundred will do, and a partition of 10,000 clients is refused in seconds.
constexpr int hopeless_draws = 5;
constexpr std::size_t hopeless_clients = 50;

// Logarithm of a gamma variate: small shapes give variates far below the range of double.
double log_gamma_variate(StreamReader& reader, double shape) {
  if (shape >= 1.0) return std::log(reader.gamma(shape));
  const double boost = std::log(reader.uniform()) / shape;
  return std::log(reader.gamma(shape + 1.0)) + boost;
}

/// Logarithms of a Dirichlet variate.
void draw_log_dirichlet(StreamReader reader, double alpha, std::span<double> out) {
  for (double& value : out) value = log_gamma_variate(reader, alpha);
  const double top = *std::max_element(out.begin(), out.end());
  double sum = 0;
  for (const double value : out) sum += std::exp(value - top);
  for (double& value : out) value -= top + std::log(sum);
}

/// Examples of class c for client k: [clients x classes].
std::vector<std::uint32_t> draw_counts(const PartitionTask& task, const IndexLists& examples, std::uint64_t draw) {
  const std::size_t clients = task.count, classes = examples.size();
  const auto stream = [&](PartitionDraw use, std::uint64_t client) {
    return StreamReader(
        task.seed,
        {.purpose = Purpose::partition, .client = client, .step = draw, .sample = static_cast<std::uint64_t>(use)});
  };
  std::vector<double> size(clients);
  draw_log_dirichlet(stream(PartitionDraw::sizes, 0), task.options.real("alpha_sizes"), size);
  std::vector<double> weight(clients * classes);  // log p_k q_kc
  for (std::size_t k = 0; k < clients; ++k) {
    const std::span<double> row(weight.data() + k * classes, classes);
    draw_log_dirichlet(stream(PartitionDraw::labels, k), task.options.real("alpha_labels"), row);
    for (double& value : row) value += size[k];
  }
  std::vector<std::uint32_t> counts(clients * classes);
  std::vector<double> shares(clients);
  for (std::size_t c = 0; c < classes; ++c) {
    double top = -std::numeric_limits<double>::infinity();
    for (std::size_t k = 0; k < clients; ++k) top = std::max(top, weight[k * classes + c]);
    for (std::size_t k = 0; k < clients; ++k) shares[k] = std::exp(weight[k * classes + c] - top);
    const std::vector<std::uint32_t> column = round_to_total(shares, examples[c].size());
    for (std::size_t k = 0; k < clients; ++k) counts[k * classes + c] = column[k];
  }
  return counts;
}

}  // namespace

std::vector<std::uint32_t> round_to_total(std::span<const double> shares, std::size_t total) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  std::vector<std::uint32_t> counts(shares.size());
  std::vector<double> rest(shares.size());
  std::size_t given = 0;
  for (std::size_t k = 0; k < shares.size(); ++k) {
    const double exact = static_cast<double>(total) * (shares[k] / sum);
    counts[k] = static_cast<std::uint32_t>(std::min(std::floor(exact), static_cast<double>(total - given)));
    rest[k] = exact - static_cast<double>(counts[k]);
    given += counts[k];
  }
  // The largest remainders are those that round up, short of the closest calls.
  std::vector<std::uint32_t> order(shares.size());
  std::iota(order.begin(), order.end(), 0U);
  const std::size_t left = std::min(total - given, order.size());
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(left), order.end(),
                    [&](std::uint32_t a, std::uint32_t b) { return rest[a] != rest[b] ? rest[a] > rest[b] : a < b; });
  for (std::size_t i = 0; i < total - given; ++i) ++counts[order[i % order.size()]];
  return counts;
}

IndexLists divide_by_dirichlet(const PartitionTask& task) {
  const auto least = static_cast<std::size_t>(task.options.integer("min_examples"));
  const std::size_t clients = task.count, n = task.train.size();
  if (clients > n / least) {
    throw InputError(fmt::format("[partition] {} clients with min_examples = {} need {} training examples, got {}{}",
                                 clients, least, clients * least, n, written_at(task.clients, "count")));
  }
  const IndexLists examples = shuffled_classes(task);
  check_memory(4.0 * static_cast<double>(clients) * static_cast<double>(examples.size()),
               "the clients' shares of the classes");
  const std::size_t classes = examples.size();
  std::vector<std::uint32_t> counts;
  std::size_t fewest_short = clients;
  int draw = 0;
  for (; draw < most_draws && fewest_short > 0; ++draw) {
    if (draw == hopeless_draws && fewest_short > hopeless_clients) break;
    counts = draw_counts(task, examples, static_cast<std::uint64_t>(draw));
    std::size_t short_clients = 0;
    for (std::size_t k = 0; k < clients; ++k) {
      const auto row = counts.begin() + static_cast<std::ptrdiff_t>(k * classes);
      short_clients += std::accumulate(row, row + static_cast<std::ptrdiff_t>(classes), std::size_t{0}) < least ? 1 : 0;
    }
    fewest_short = std::min(fewest_short, short_clients);
  }
  if (fewest_short > 0) {
    throw InputError(fmt::format(
        "[partition] every client needs at least min_examples = {}, got {} of {} clients below that in the best of {} "
        "draws "
        "with alpha_sizes = {} and alpha_labels = {} from {} examples{}; raise alpha_sizes, or use fewer clients",
        least, fewest_short, clients, draw, task.options.real("alpha_sizes"), task.options.real("alpha_labels"), n,
        written_at(task.options, "kind")));
  }
  IndexLists lists(clients);
  for (std::size_t c = 0; c < classes; ++c) {
    auto next = examples[c].begin();
    for (std::size_t k = 0; k < clients; ++k) {
      const auto end = next + static_cast<std::ptrdiff_t>(counts[k * classes + c]);
      lists[k].insert(lists[k].end(), next, end);
      next = end;
    }
  }
  return lists;
}

}  // namespace ivory
