// Clients that send weights: exact minimisers of a quadratic objective, plain SGD on it, and clients that end up anywhere.
#pragma once
#include <cstddef>
#include <vector>

#include "ivory/rng.hpp"
#include "tests/support/client_problem.hpp"
#include "tests/support/quadratic_clients.hpp"

namespace ivory::test {

/// QuadraticClients' losses divided by N_k: lbar_k = 1/2 sum_i H_ki/N_k (theta_i - c_ki)^2.
struct PointClients : QuadraticClients {
  double mean_gradient(std::uint32_t k, std::size_t i, double theta) const {
    return H[k][i] * (theta - c[k][i]) / examples[k];
  }
  Vector mean_gradient(std::uint32_t k, const Vector& theta) const {
    Vector g;
    for (std::size_t i = 0; i < size(); ++i) g.push_back(mean_gradient(k, i, theta[i]));
    return g;
  }

  /// Gradient of the whole objective, as messages.hpp states it.
  double gradient(std::uint32_t k, const LocalTerms<double>& terms, std::size_t i, double theta) const {
    const auto [slope, curvature] = line(k, terms, i);
    return slope + curvature * theta;
  }

  /// argmin lbar_k + the terms, read off the terms alone.
  Federation<double>::Train minimiser() const {
    return [this](std::uint32_t k, const LocalTerms<double>& terms) {
      Sent<double> sent;
      for (std::size_t i = 0; i < size(); ++i) {
        const auto [slope, curvature] = line(k, terms, i);
        sent.mean.push_back(-slope / curvature);
      }
      return sent;
    };
  }

  /// `steps` steps of plain SGD with full batches, and what SCAFFOLD wants to know.
  Federation<double>::Train sgd(int steps, double lr) const {
    return [this, steps, lr](std::uint32_t k, const LocalTerms<double>& terms) {
      Sent<double> sent;
      for (std::size_t i = 0; i < size(); ++i) {
        double theta = terms.start[i];
        sent.start_gradient.push_back(mean_gradient(k, i, theta));
        for (int step = 0; step < steps; ++step) theta -= lr * gradient(k, terms, i, theta);
        sent.mean.push_back(theta);
      }
      sent.rate_sum = steps * lr;
      return sent;
    };
  }

  /// The minimum of sum_k weight_k lbar_k + prior/2 |theta|^2.
  Vector optimum(const Vector& weights, double prior = 0) const {
    Vector theta;
    for (std::size_t i = 0; i < size(); ++i) {
      double slope = 0, curvature = prior;
      for (std::size_t k = 0; k < clients(); ++k) {
        slope += weights[k] * H[k][i] * c[k][i] / examples[k];
        curvature += weights[k] * H[k][i] / examples[k];
      }
      theta.push_back(slope / curvature);
    }
    return theta;
  }

 private:
  struct Line {
    double slope, curvature;
  };
  Line line(std::uint32_t k, const LocalTerms<double>& terms, std::size_t i) const {
    const auto at = [i](const double* array, double absent) { return array != nullptr ? array[i] : absent; };
    const double h = H[k][i] / examples[k], d = terms.anchor_weight * at(terms.anchor_precision, 1.0);
    return {-h * c[k][i] + terms.site_weight * at(terms.site_mean, 0.0) +
                terms.common_weight * at(terms.common_mean, 0.0) - d * at(terms.anchor_mean, 0.0),
            h - terms.site_weight * at(terms.site_precision, 0.0) + d};
  }
};

inline PointClients four_point_clients() { return {four_clients()}; }

/// Weights that no training explains, different for every salt.
inline Sent<double> anywhere(std::size_t size, std::uint64_t salt) {
  Sent<double> sent;
  sent.mean = numbers(size, -3, 2, salt);
  return sent;
}

/// About 6 of 10 clients; nobody where `nobody`.
inline std::vector<bool> some_of(std::size_t clients, StreamReader& random, bool nobody = false) {
  std::vector<bool> present;
  for (std::size_t k = 0; k < clients; ++k) present.push_back(random.uniform() < 0.6 && !nobody);
  return present;
}

inline std::size_t count(const std::vector<bool>& present) {
  std::size_t clients = 0;
  for (const bool here : present) clients += here ? 1 : 0;
  return clients;
}

}  // namespace ivory::test
