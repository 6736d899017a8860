// Rounds of a production algorithm where the test plays the clients.
#pragma once
#include <cstddef>
#include <functional>
#include <vector>

#include "ivory/algorithm.hpp"
#include "tests/support/visit.hpp"

namespace ivory::test {

/// What a client sends: `precision` is empty for point methods, the others where the algorithm does not ask for them.
template <class Real>
struct Sent {
  std::vector<Real> mean = {}, precision = {}, start_gradient = {};
  double rate_sum = 1;
  std::vector<Real> curvature = {}, public_predictions = {};
};

template <class Real>
class Federation {
 public:
  using Train = std::function<Sent<Real>(std::uint32_t client, const LocalTerms<Real>& terms)>;

  Federation(Device& device, const Algorithm<Real>& algorithm_, const std::vector<Real>& start,
             const std::vector<double>& examples_, bool everyone = true, PublicModel<Real>* public_model = nullptr)
      : algorithm(algorithm_), state(device, start.size(), round_up_to_tile(start.size()), examples_, everyone) {
    state.start.from_host(padded<Real>(start));
    state.public_model = public_model;
    algorithm.initialise(state);
  }

  const Algorithm<Real>& algorithm;
  ServerState<Real> state;
  std::vector<Sent<Real>> sent;  // of the last round, padded
  // Called for every client that is present, as a run does: after its update was absorbed, before the server's step. May be empty.
  std::function<void(const ServerState<Real>&, const ClientUpdate<Real>&)> observer;

  /// One round of the clients in `present` (empty: all of them), one after the other as a run with one thread does it.
  AbsorbReport round(const Train& train, const std::vector<bool>& present = {}) {
    const auto clients = static_cast<std::uint32_t>(state.clients);
    sent.assign(clients, {});
    algorithm.open_round(state);
    for (std::uint32_t k = 0; k < clients; ++k) {
      if (!present.empty() && !present[k]) {
        algorithm.absorb(state, k, nullptr);
        continue;
      }
      const Sent<Real> result = train(k, algorithm.local_terms(state, k));
      sent[k].mean = padded<Real>(result.mean);
      sent[k].start_gradient = padded<Real>(result.start_gradient);
      sent[k].curvature = padded<Real>(result.curvature);
      sent[k].public_predictions = result.public_predictions;
      if (!result.precision.empty()) {
        if (algorithm.traits().full_covariance) {
          sent[k].precision = result.precision;
        } else {
          sent[k].precision = padded<Real>(result.precision);
          for (std::size_t i = state.parameters; i < state.stride; ++i) sent[k].precision[i] = Real(1);
        }
      }
      ClientUpdate<Real> update;
      update.client = k;
      update.mean = sent[k].mean.data();
      update.precision = sent[k].precision.empty() ? nullptr : sent[k].precision.data();
      update.start_gradient = result.start_gradient.empty() ? nullptr : sent[k].start_gradient.data();
      update.curvature = result.curvature.empty() ? nullptr : sent[k].curvature.data();
      update.public_predictions = result.public_predictions.empty() ? nullptr : sent[k].public_predictions.data();
      update.examples = state.examples[k];
      update.steps = 1;
      update.rate_sum = result.rate_sum;
      algorithm.update_site(state, update);
      algorithm.absorb(state, k, &update);
      if (observer) observer(state, update);
    }
    const AbsorbReport report = algorithm.close_round(state);
    state.end_round(std::any_of(sent.begin(), sent.end(), [](const auto& one) { return !one.mean.empty(); }));
    return report;
  }

  std::vector<Real> mean() const { return head(state.mean.data()); }
  std::vector<Real> precision() const { return head(state.precision.data()); }
  std::vector<Real> site_mean(std::uint32_t k) const { return head_or_zero(algorithm.site_mean(state, k)); }
  std::vector<Real> site_precision(std::uint32_t k) const { return head_or_zero(algorithm.site_precision(state, k)); }
  std::vector<Real> head(const Real* row) const { return std::vector<Real>(row, row + state.parameters); }

 private:
  std::vector<Real> head_or_zero(const Real* row) const {
    return row != nullptr ? head(row) : std::vector<Real>(state.parameters, Real(0));
  }
};

}  // namespace ivory::test
