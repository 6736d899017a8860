// The losses of a network's outputs: values, gradients, predictions and Gauss-Newton seeds (methods.md, section 0.1).
#define BOOST_TEST_MODULE loss
#include <cmath>
#include <limits>
#include <numbers>
#include <string>
#include <vector>
#include "tests/support/boost_test.hpp"

#include "clients/network.hpp"
#include "ivory/rng.hpp"

using namespace ivory;

namespace {

using Vector = std::vector<double>;
using LossKind = Loss::Kind;

struct Case {
  std::string name;
  Loss loss;
  std::size_t outputs;
};

const std::vector<Case> cases = {{"softmax", {}, 4},
                                 {"softmax with smoothing", {.smoothing = 0.2}, 4},
                                 {"binary", {.kind = LossKind::binary}, 1},
                                 {"gaussian", {.kind = LossKind::gaussian, .precision = 2.5}, 3}};

// Classes and values of `rows` examples, as each loss wants them.
struct Data {
  Data(const Loss& loss, std::size_t outputs, std::size_t rows) {
    StreamReader random(3, {.purpose = Purpose::data});
    const std::uint32_t classes = loss.kind == LossKind::binary ? 2 : static_cast<std::uint32_t>(outputs);
    for (std::size_t r = 0; r < rows; ++r) labels.push_back(static_cast<std::int32_t>(random.below(classes)));
    for (std::size_t i = 0; i < rows * outputs; ++i) values.push_back(random.normal());
  }
  Targets<double> targets() const { return {labels.data(), values.data()}; }
  std::vector<std::int32_t> labels;
  Vector values;
};

Vector random_outputs(std::size_t count, std::uint64_t seed = 7) {
  StreamReader random(seed, {.purpose = Purpose::data});
  Vector f(count);
  for (double& x : f) x = 1.5 * random.normal();
  return f;
}

template <class Real>
struct Trained {
  double loss = 0;
  std::vector<Real> gradient;
};

// One row on its own.
template <class Real>
Trained<Real> train(const Loss& loss, const std::vector<Real>& f, const Targets<Real>& targets, std::size_t r = 0) {
  Trained<Real> out{0, std::vector<Real>(f.size())};
  out.loss = with_formula<Real>(loss, f.size(), [&](const auto& formula) {
    return formula.train(f.data(), targets, r, Real(1), out.gradient.data());
  });
  return out;
}

template <class Real>
struct Predicted {
  double log_likelihood = 0;
  std::vector<Real> values;
};

template <class Real>
Predicted<Real> predict(const Loss& loss, const std::vector<Real>& f, const Targets<Real>& targets, std::size_t r = 0) {
  return with_formula<Real>(loss, f.size(), [&](const auto& formula) {
    Predicted<Real> out{0, std::vector<Real>(formula.predicted())};
    out.log_likelihood = formula.predict(f.data(), targets, r, out.values.data());
    return out;
  });
}

// sum_c u_c u_c' by the formula's seeds.
Vector matrix_of_seeds(const Loss& loss, const Vector& f) {
  const std::size_t n = f.size();
  Vector matrix(n * n, 0.0), u(n);
  with_formula<double>(loss, n, [&](const auto& formula) {
    for (std::size_t c = 0; c < formula.seeds(); ++c) {
      formula.seed(f.data(), c, u.data());
      for (std::size_t i = 0; i < n * n; ++i) matrix[i] += u[i / n] * u[i % n];
    }
  });
  return matrix;
}

void check_close(double a, double b, double bound, const std::string& what) {
  BOOST_TEST(std::abs(a - b) <= bound, what << ": " << a << " and " << b);
}

}  // namespace

BOOST_AUTO_TEST_CASE(gradients_through_a_network_are_those_of_finite_differences) {
  const auto device = make_cpu_device();
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c.name) {
      constexpr std::size_t rows = 5, inputs = 3;
      const auto network = make_mlp<double>(inputs, std::vector<std::size_t>{4}, c.outputs, "tanh", true, c.loss);
      const Data data(c.loss, c.outputs, rows);
      const Vector x = random_outputs(rows * inputs);
      Vector parameters = network.initialise(2);
      auto workspace = network.make_workspace(*device, 1, rows);
      const BatchShape shape{1, rows, nullptr, network.layout().stride()};
      const auto loss_at = [&](const Vector& theta) {
        Vector row_losses(rows, 0.0);
        network.loss(*device, shape, theta.data(), x.data(), data.targets(), workspace, row_losses.data());
        return losses_of_rows(row_losses, rows).front();
      };
      Vector gradient(parameters.size()), row_losses(rows, 0.0);
      network.gradient(*device, shape, parameters.data(), x.data(), data.targets(), workspace, gradient.data(),
                       row_losses.data());
      BOOST_TEST(losses_of_rows(row_losses, rows).front() == loss_at(parameters));
      for (std::size_t i = 0; i < network.layout().size(); ++i) {
        constexpr double step = 1e-5;
        const double here = parameters[i];
        parameters[i] = here + step;
        const double above = loss_at(parameters);
        parameters[i] = here - step;
        const double below = loss_at(parameters);
        parameters[i] = here;
        check_close(gradient[i], (above - below) / (2 * step), 1e-8, "parameter " + std::to_string(i));
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(label_smoothing_is_the_cross_entropy_with_a_smoothed_target) {
  constexpr double eps = 0.3;
  const Loss smoothed{.smoothing = eps};
  const Vector f = random_outputs(5);
  const std::vector<std::int32_t> labels = {3};
  double total = 0;
  for (const double x : f) total += std::exp(x);
  Vector target(5, eps / 5);
  target[3] += 1 - eps;
  double expected = 0;
  for (std::size_t c = 0; c < 5; ++c) expected -= target[c] * (f[c] - std::log(total));
  const auto got = train<double>(smoothed, f, labels.data());
  check_close(got.loss, expected, 1e-14, "loss");
  for (std::size_t c = 0; c < 5; ++c) check_close(got.gradient[c], std::exp(f[c]) / total - target[c], 1e-15, "slope");
  // Its minimiser predicts the target itself, and the loss there is the target's entropy.
  Vector best;
  double entropy = 0;
  for (const double t : target) best.push_back(std::log(t)), entropy -= t * std::log(t);
  const auto there = train<double>(smoothed, best, labels.data());
  check_close(there.loss, entropy, 1e-14, "loss at the minimiser");
  for (const double g : there.gradient) check_close(g, 0, 1e-15, "slope at the minimiser");
  // Evaluation knows no smoothing.
  BOOST_TEST(predict<double>(smoothed, f, labels.data()).log_likelihood ==
             predict<double>({}, f, labels.data()).log_likelihood);
}

BOOST_AUTO_TEST_CASE(binary_is_softmax_with_a_zero_beside_it) {
  const Loss binary{.kind = LossKind::binary};
  for (const double z : {-30.0, -3.0, -1e-9, 0.0, 0.4, 2.0, 25.0}) {
    for (const std::int32_t label : {0, 1}) {
      BOOST_TEST_CONTEXT("logit " << z << ", label " << label) {
        const auto one = train<double>(binary, {z}, &label), two = train<double>({}, {0.0, z}, &label);
        check_close(one.loss, two.loss, 1e-14 * (1 + std::abs(z)), "loss");
        check_close(one.gradient[0], two.gradient[1], 1e-15, "gradient");
        const auto p = predict<double>(binary, {z}, &label), q = predict<double>({}, {0.0, z}, &label);
        check_close(p.log_likelihood, q.log_likelihood, 1e-14 * (1 + std::abs(z)), "log-likelihood");
        BOOST_REQUIRE_EQUAL(p.values.size(), 2U);
        for (std::size_t c = 0; c < 2; ++c) check_close(p.values[c], q.values[c], 1e-15, "probability");
        check_close(matrix_of_seeds(binary, {z})[0], matrix_of_seeds({}, {0.0, z})[3], 1e-15, "curvature");
      }
    }
  }
  // The small probability keeps its digits, where 1 - p has none left.
  const std::int32_t right = 1, wrong = 0;
  const auto far = train<double>(binary, {50.0}, &right);
  BOOST_TEST(std::abs(far.loss / std::exp(-50.0) - 1) < 1e-14);
  BOOST_TEST(std::abs(far.gradient[0] / -std::exp(-50.0) - 1) < 1e-14);
  BOOST_TEST(train<double>(binary, {50.0}, &wrong).gradient[0] == 1.0);
}

template <class Real>
void check_extremes() {
  for (const Case& c : cases) {
    for (const double size : {1e2, 1e4}) {
      BOOST_TEST_CONTEXT(c.name << ", outputs of size " << size << ", " << sizeof(Real) << " bytes") {
        for (const std::int32_t label : {0, 1}) {
          std::vector<Real> f(c.outputs), values(c.outputs, Real(0)), u(c.outputs);
          for (std::size_t j = 0; j < f.size(); ++j) f[j] = static_cast<Real>(j % 2 == 0 ? size : -size);
          const auto trained = train<Real>(c.loss, f, {&label, values.data()});
          const auto predicted = predict<Real>(c.loss, f, {&label, values.data()});
          BOOST_TEST(std::isfinite(trained.loss));
          for (const Real g : trained.gradient) BOOST_TEST(std::isfinite(g));
          for (const Real p : predicted.values) BOOST_TEST(std::isfinite(p));
          BOOST_TEST(std::isfinite(predicted.log_likelihood));
          with_formula<Real>(c.loss, c.outputs, [&](const auto& formula) {
            for (std::size_t s = 0; s < formula.seeds(); ++s) {
              formula.seed(f.data(), s, u.data());
              for (const Real x : u) BOOST_TEST(std::isfinite(x));
            }
          });
          if (c.loss.kind == LossKind::binary) {
            BOOST_TEST(trained.loss == (label == 1 ? 0.0 : size), boost::test_tools::tolerance(1e-6));
          }
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(outputs_of_any_size_give_finite_numbers) {
  check_extremes<float>();
  check_extremes<double>();
}

BOOST_AUTO_TEST_CASE(an_output_that_is_not_a_number_shows_everywhere) {
  for (const Case& c : cases) {
    for (std::size_t at = 0; at < c.outputs; ++at) {
      BOOST_TEST_CONTEXT(c.name << ", output " << at) {
        const Data data(c.loss, c.outputs, 1);
        Vector f = random_outputs(c.outputs), u(c.outputs);
        f[at] = std::numeric_limits<double>::quiet_NaN();
        const auto trained = train<double>(c.loss, f, data.targets());
        const auto predicted = predict<double>(c.loss, f, data.targets());
        BOOST_TEST(std::isnan(trained.loss));
        BOOST_TEST(std::isnan(trained.gradient[at]));
        BOOST_TEST(std::isnan(predicted.values[at]));
        BOOST_TEST(std::isnan(predicted.log_likelihood));
        with_formula<double>(c.loss, c.outputs, [&](const auto& formula) {
          formula.seed(f.data(), c.outputs > 1 ? at : 0, u.data());
          BOOST_TEST(std::isnan(u[at]));
          formula.sampled_seed(f.data(), make_stream(1, {.purpose = Purpose::data}), 0, u.data());
          BOOST_TEST(std::isnan(u[at]));
        });
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_gaussian_loss_is_that_of_normal_noise) {
  const Loss loss{.kind = LossKind::gaussian, .precision = 4};
  const Vector f = {1.0, -2.0}, y = {0.5, 1.0};
  const std::int32_t none = 0;
  // 4/2 (0.25 + 9); N(y | f, 1/4) = sqrt(4 / 2 pi) exp(-4/2 (f-y)^2) for each output.
  const auto trained = train<double>(loss, f, {&none, y.data()});
  BOOST_TEST(trained.loss == 18.5);
  BOOST_TEST(trained.gradient == (Vector{2.0, -12.0}), boost::test_tools::per_element());
  const auto predicted = predict<double>(loss, f, {&none, y.data()});
  BOOST_TEST(predicted.values == f, boost::test_tools::per_element());
  double density = 1;
  for (std::size_t j = 0; j < 2; ++j) {
    density *= std::sqrt(4 / (2 * std::numbers::pi)) * std::exp(-2 * (f[j] - y[j]) * (f[j] - y[j]));
  }
  check_close(predicted.log_likelihood, std::log(density), 1e-13, "log-likelihood");
}

BOOST_AUTO_TEST_CASE(seeds_make_the_hessian_in_the_outputs) {
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c.name) {
      const std::size_t n = c.outputs;
      const Data data(c.loss, n, 1);
      const Vector f = random_outputs(n);
      const Vector matrix = matrix_of_seeds(c.loss, f);
      for (std::size_t j = 0; j < n; ++j) {
        constexpr double step = 1e-5;
        Vector above = f, below = f;
        above[j] += step, below[j] -= step;
        const Vector up = train<double>(c.loss, above, data.targets()).gradient;
        const Vector down = train<double>(c.loss, below, data.targets()).gradient;
        for (std::size_t i = 0; i < n; ++i) {
          check_close(matrix[i * n + j], (up[i] - down[i]) / (2 * step), 1e-9,
                      "entry " + std::to_string(i) + ", " + std::to_string(j));
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(sampled_seeds_have_that_matrix_as_their_mean) {
  constexpr std::size_t draws = 10000;
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c.name) {
      const std::size_t n = c.outputs;
      const Vector f = random_outputs(n);
      const Vector exact = matrix_of_seeds(c.loss, f);
      Vector mean(n * n, 0.0), squares(n * n, 0.0), u(n);
      const Stream stream = make_stream(11, {.purpose = Purpose::data});
      with_formula<double>(c.loss, n, [&](const auto& formula) {
        for (std::size_t r = 0; r < draws; ++r) {
          formula.sampled_seed(f.data(), stream, r, u.data());
          for (std::size_t i = 0; i < n * n; ++i) {
            const double x = u[i / n] * u[i % n];
            mean[i] += x / draws;
            squares[i] += x * x / draws;
          }
        }
      });
      for (std::size_t i = 0; i < n * n; ++i) {
        // Five standard errors of the mean; the key is fixed, so this holds or fails for good.
        const double error = std::sqrt((squares[i] - mean[i] * mean[i]) / draws);
        BOOST_TEST(error > 0);
        check_close(mean[i], exact[i], 5 * error, "entry " + std::to_string(i));
      }
    }
  }
}

// A linear network: d f_c / d W_ci = x_i, so the diagonal of the Gauss-Newton matrix is sum_r x_ri^2 Lambda_cc.
BOOST_AUTO_TEST_CASE(squared_gradients_of_the_seeds_add_up_to_the_gauss_newton_diagonal) {
  const auto device = make_cpu_device();
  for (const Case& c : cases) {
    BOOST_TEST_CONTEXT(c.name) {
      constexpr std::size_t rows = 4, inputs = 3, clients = 2;
      const std::vector<int> live = {4, 2};
      const auto network = make_mlp<double>(inputs, {}, c.outputs, "relu", false, c.loss);
      const std::size_t n = c.outputs, stride = network.layout().stride();
      const Vector x = random_outputs(clients * rows * inputs), theta = network.initialise(5);
      Vector parameters = theta, sums(clients * stride, 0.0);
      parameters.insert(parameters.end(), theta.begin(), theta.end());
      auto workspace = network.make_workspace(*device, clients, rows, true);
      const BatchShape shape{.clients = clients, .rows = rows, .live = live.data(), .parameter_stride = stride};
      const double* const f = network.forward(*device, shape, parameters.data(), x.data(), workspace);
      for (std::size_t s = 0; s < network.curvature_seeds(); ++s) {
        network.seed_curvature(*device, shape, f, s, workspace);
        network.add_squared_gradients(*device, shape, parameters.data(), x.data(), workspace, sums.data());
      }
      for (std::size_t b = 0; b < clients; ++b) {
        for (std::size_t k = 0; k < n * inputs; ++k) {
          double expected = 0;
          for (int r = 0; r < live[b]; ++r) {
            const std::size_t row = b * rows + static_cast<std::size_t>(r);
            const Vector own(f + row * n, f + (row + 1) * n);
            const double input = x[row * inputs + k % inputs];
            expected += input * input * matrix_of_seeds(c.loss, own)[k / inputs * (n + 1)];
          }
          check_close(sums[b * stride + k], expected, 1e-13, "weight " + std::to_string(k));
        }
      }
    }
  }
}
