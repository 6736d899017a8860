// Adam and AdamW written once more, plainly and in double, in the order of PyTorch's documentation.
#pragma once
#include <cmath>

#include "tests/support/point_optimizer.hpp"

namespace ivory::test {

struct AdamReference {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double decoupled_decay = 0;  // 0: Adam
  Vector theta = {}, first = Vector(point_size, 0.0), second = Vector(point_size, 0.0);
  int t = 0;

  void step(const Vector& g, double rate) {
    ++t;
    for (std::size_t i = 0; i < theta.size(); ++i) {
      theta[i] -= rate * decoupled_decay * theta[i];
      first[i] = beta1 * first[i] + (1.0 - beta1) * g[i];
      second[i] = beta2 * second[i] + (1.0 - beta2) * g[i] * g[i];
      const double mean = first[i] / (1.0 - std::pow(beta1, t));
      const double square = second[i] / (1.0 - std::pow(beta2, t));
      theta[i] -= rate * mean / (std::sqrt(square) + epsilon);
    }
  }
};

}  // namespace ivory::test
