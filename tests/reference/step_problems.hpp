// The losses of the files that follow an optimizer step by step (ivon_steps.h5, ivon_admm_steps.h5, vsgd_steps.h5).
#pragma once
#include <string>
#include <vector>

#include "tests/reference/reference_files.hpp"
#include "tests/support/visit.hpp"

namespace ivory::test {

using Vector = std::vector<double>;

/// One of the two losses, without any regulariser.
struct Loss {
  Loss(const Hdf5File& file, const std::string& name)
      : quadratic(name == "quadratic"), A(file.read<double>("problem/A").values),
        a(file.read<double>("problem/a").values), X(file.read<double>("problem/X").values),
        y(file.read<double>("problem/y").values) {
    BOOST_TEST_REQUIRE((quadratic || name == "logistic"), "unknown problem " << name);
  }
  bool quadratic;
  Vector A, a, X, y;

  Vector gradient(const Vector& theta) const {
    const std::size_t size = theta.size();
    Vector g(size, 0.0);
    if (quadratic) {
      for (std::size_t i = 0; i < size; ++i)
        for (std::size_t j = 0; j < size; ++j) g[i] += A[i * size + j] * (theta[j] - a[j]);
      return g;
    }
    const auto rows = static_cast<double>(y.size());
    for (std::size_t n = 0; n < y.size(); ++n) {
      double z = 0.0;
      for (std::size_t j = 0; j < size; ++j) z += X[n * size + j] * theta[j];
      const double residual = 1.0 / (1.0 + std::exp(-z)) - y[n];
      for (std::size_t j = 0; j < size; ++j) g[j] += residual * X[n * size + j] / rows;
    }
    return g;
  }
};

template <class Real>
std::vector<Real> read_padded(const Hdf5File& file, const std::string& dataset) {
  return padded<Real>(file.read<Real>(dataset).values);
}

}  // namespace ivory::test
