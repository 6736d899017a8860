// Server optimizers against FedAvg and against their own equations.
#pragma once
#include <functional>
#include <numeric>

#include "tests/support/boost_test.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/point_clients.hpp"

namespace ivory::test {

/// Two algorithms give the same server whatever their clients send, some of them absent.
inline void check_same_server(Device& device, const Algorithm<double>& one, const Algorithm<double>& other,
                              double tolerance) {
  const Vector examples{10, 25, 40, 5}, start = numbers(70, -1, 1, 1);
  Federation<double> a(device, one, start, examples, false), b(device, other, start, examples, false);
  StreamReader random(3, {.purpose = Purpose::cohort});
  for (std::uint64_t round = 0; round < 12; ++round) {
    const auto present = some_of(4, random, round == 5);
    const auto train = [&](std::uint32_t k, const LocalTerms<double>& terms) {
      BOOST_TEST(terms.anchor_weight == 0.0);
      BOOST_TEST((terms.site_mean == nullptr && terms.common_mean == nullptr));
      return anywhere(70, 10 * round + k);
    };
    a.round(train, present);
    b.round(train, present);
    BOOST_TEST(relative_difference(a.mean(), b.mean()) <= tolerance, "round " << round);
  }
}

/// The next weight, from the weight, the weighted mean move and the coordinate's memory, in round 1, 2 ...
using ServerRule =
    std::function<double(double weight, double move, std::size_t i, std::vector<Vector>& memory, int round)>;

/// Rounds with absent clients, one of them with nobody, which changes nothing.
inline void check_server_step(Device& device, const Algorithm<double>& algorithm, const ServerRule& rule) {
  const Vector examples{10, 25, 40, 5};
  Vector w = numbers(70, -1, 1, 1);
  Federation<double> federation(device, algorithm, w, examples, false);
  const std::size_t kept = federation.state.memory.size();
  BOOST_TEST(static_cast<int>(kept) + 1 == algorithm.traits().vectors_server);
  std::vector<Vector> memory(kept, Vector(70, 0.0));
  StreamReader random(3, {.purpose = Purpose::cohort});
  for (int round = 1; round <= 15; ++round) {
    const auto present = some_of(4, random, round == 6);
    federation.round(
        [&](std::uint32_t k, const LocalTerms<double>& terms) {
          BOOST_TEST(federation.head(terms.start) == federation.mean());
          return anywhere(70, 10U * static_cast<unsigned>(round) + k);
        },
        present);
    if (count(present) > 0) {
      for (std::size_t i = 0; i < w.size(); ++i) {
        double move = 0, weights = 0;
        for (std::size_t k = 0; k < 4; ++k) {
          if (!present[k]) continue;
          move += examples[k] * (federation.sent[k].mean[i] - w[i]);
          weights += examples[k];
        }
        w[i] = rule(w[i], move / weights, i, memory, round);
      }
    }
    BOOST_TEST(relative_difference(federation.mean(), w) < 1e-12, "round " << round);
    for (std::size_t v = 0; v < kept; ++v)
      BOOST_TEST(relative_difference(federation.head(federation.state.memory[v].data()), memory[v]) < 1e-12);
  }
}

}  // namespace ivory::test
