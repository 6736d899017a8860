// Federations of clients with quadratic losses, whose solutions are known, for the oracles of `ivory verify`.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ivory/algorithm.hpp"
#include "ivory/registry.hpp"

namespace ivory::verify {

using Vector = std::vector<double>;
using Values = std::vector<std::pair<std::string, OptionValue>>;

inline Options options_of(const std::vector<OptionSpec>& specs, const Values& values, const std::string& table) {
  GivenTable given;
  for (const auto& [name, value] : values) given[name].value = value;
  return resolve_options(specs, given, table, {});
}
inline std::unique_ptr<Algorithm<double>> algorithm_of(const std::string& name, const Values& values) {
  const AlgorithmPlugin* const plugin = find_algorithm(name);
  return plugin->make_double(options_of(plugin->options, values, "server"));
}
inline std::unique_ptr<Optimizer<double>> optimizer_of(const std::string& name, const Values& values) {
  const OptimizerPlugin* const plugin = find_optimizer(name);
  return plugin->make_double(options_of(plugin->options, values, "clients.optimizer"));
}

/// The larger one; NaN where one is, so that no oracle calls a NaN exact.
inline double worse(double a, double b) { return std::isnan(a) || b <= a ? a : b; }

/// Four clients of unequal sizes with sum losses L_k = 1/2 sum_i H_ki (theta_i - c_ki)^2.
struct Quadratics {
  Vector examples{10, 25, 40, 5};
  std::vector<Vector> H{{1, 0.2, 4}, {3, 0.9, 0.1}, {0.5, 2, 1}, {7, 0.3, 2.5}};
  std::vector<Vector> c{{1, -2, 0.5}, {-2, 0.3, 4}, {0.5, 1.5, -1}, {3, -0.7, 0.2}};
  double prior_precision = 2;

  std::size_t clients() const { return H.size(); }
  std::size_t size() const { return H[0].size(); }
  double posterior_precision(std::size_t i) const {
    double s = prior_precision;
    for (const Vector& h : H) s += h[i];
    return s;
  }
  double posterior_mean(std::size_t i) const {
    double eta = 0;
    for (std::size_t k = 0; k < clients(); ++k) eta += H[k][i] * c[k][i];
    return eta / posterior_precision(i);
  }
  /// d lbar_k / d theta_i.
  double gradient(std::size_t k, std::size_t i, double theta) const {
    return H[k][i] * (theta - c[k][i]) / examples[k];
  }
  /// Largest entry of the sum over clients of the gradients of their mean losses.
  double largest_gradient(const Vector& theta) const {
    double largest = 0;
    for (std::size_t i = 0; i < size(); ++i) {
      double total = 0;
      for (std::size_t k = 0; k < clients(); ++k) total += gradient(k, i, theta[i]);
      largest = worse(largest, std::abs(total));
    }
    return largest;
  }
};

/// What a client sends; empty vectors are not sent.
struct Sent {
  Vector mean, precision, curvature;
  double rate_sum = 1;
};

/// A server and its clients, which `train` plays.
class Federation {
 public:
  using Train = std::function<Sent(std::uint32_t client, const LocalTerms<double>& terms)>;

  Federation(Device& device, const Algorithm<double>& algorithm, const Vector& start, const Vector& examples)
      : algorithm_(algorithm),
        state_(device, start.size(), round_up_to_tile(start.size()), examples, /*everyone_takes_part=*/true) {
    state_.start.from_host(padded(start, state_.stride, 0.0));
    algorithm.initialise(state_);
  }

  void round(const Train& train) {
    algorithm_.open_round(state_);
    for (std::uint32_t k = 0; k < state_.clients; ++k) {
      const Sent sent = train(k, algorithm_.local_terms(state_, k));
      const bool matrix = algorithm_.traits().full_covariance;
      const Vector mean = padded(sent.mean, state_.stride, 0.0), curvature = padded(sent.curvature, state_.stride, 0.0);
      const Vector precision = matrix ? sent.precision : padded(sent.precision, state_.stride, 1.0);
      ClientUpdate<double> update;
      update.client = k;
      update.mean = mean.data();
      update.precision = sent.precision.empty() ? nullptr : precision.data();
      update.curvature = sent.curvature.empty() ? nullptr : curvature.data();
      update.examples = state_.examples[k];
      update.steps = 1;
      update.rate_sum = sent.rate_sum;
      algorithm_.update_site(state_, update);
      algorithm_.absorb(state_, k, &update);
    }
    (void)algorithm_.close_round(state_);
    state_.end_round(true);
  }

  ServerState<double>& state() { return state_; }
  Vector mean() const { return {state_.mean.data(), state_.mean.data() + state_.parameters}; }
  /// [P], or [P x P] with full covariances.
  Vector precision() const {
    const std::size_t size = state_.parameters;
    const std::size_t count = algorithm_.traits().full_covariance ? size * size : size;
    return {state_.precision.data(), state_.precision.data() + count};
  }

 private:
  static Vector padded(const Vector& values, std::size_t stride, double filling) {
    Vector out(stride, filling);
    std::copy(values.begin(), values.end(), out.begin());
    return out;
  }

  const Algorithm<double>& algorithm_;
  ServerState<double> state_;
};

/// The exact minimiser of the client's objective with the delta method, read off the terms alone; and its exact Gaussian where
/// the terms ask for one.
inline Sent solve(const Quadratics& problem, std::uint32_t k, const LocalTerms<double>& terms) {
  Sent sent{Vector(problem.size()), {}, problem.H[k]};
  const bool gaussian = terms.effective_samples > 0;
  if (gaussian) sent.precision.resize(problem.size());
  for (std::size_t i = 0; i < problem.size(); ++i) {
    const auto entry = [i](const double* array, double otherwise) { return array != nullptr ? array[i] : otherwise; };
    const double h = problem.H[k][i] / problem.examples[k];
    const double anchor = terms.anchor_weight * entry(terms.anchor_precision, 1.0);
    const double curvature = h - terms.site_weight * entry(terms.site_precision, 0.0) + anchor;
    const double pull = h * problem.c[k][i] - terms.site_weight * entry(terms.site_mean, 0.0) -
                        terms.common_weight * entry(terms.common_mean, 0.0) + anchor * entry(terms.anchor_mean, 0.0);
    sent.mean[i] = pull / curvature;
    if (gaussian) sent.precision[i] = terms.effective_samples * curvature;
  }
  return sent;
}

inline double largest_difference(const Vector& a, const Vector& b) {
  double largest = a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    largest = worse(largest, std::abs(a[i] - b[i]));
  }
  return largest;
}

}  // namespace ivory::verify
