#include <algorithm>
#include <cmath>

#include "ivory/elementwise.hpp"
#include "src/verify.hpp"
#include "src/verify_problems.hpp"

namespace ivory {
namespace {

using namespace verify;

// --- VSGD's first step ---------------------------------------------------------------------------------------------------

/// At t = 1 mu = g/(1 + K_g), whatever gamma; the step is at most lr.
void add_vsgd(std::vector<Oracle>& oracles) {
  const double g = 0.7, lr = 0.1, K_g = 30, gamma = 1e-8;
  const auto device = make_cpu_device();
  const auto vsgd = optimizer_of("vsgd", {{"lr", lr}, {"gamma", gamma}, {"variance_ratio", K_g}});
  const Vector start(tile_size, 0.0);
  TrainingBlock<double> block(*device, 1, tile_size, vsgd->vectors());
  block.clients[0].terms.start = start.data();
  block.clients[0].learning_rate = lr;
  block.clients[0].examples = block.clients[0].batch = 1;
  vsgd->begin(block);
  std::fill_n(block.gradient.data(), tile_size, g);
  vsgd->advance(block, 0);
  // sg = 2 gamma/(A-1), sh = 2 K_g gamma/(A-1), A = 2 gamma + 1 + 1e-4; mu = sg g/(sg+sh), variance sg sh/(sg+sh).
  const double a = 2 * gamma + 1e-4, sg = 2 * gamma / a, sh = 2 * K_g * gamma / a;
  const double mu = g / (1 + K_g), variance = sg * sh / (sg + sh);
  oracles.push_back({"VSGD: the first step", "methods.md 5.1", -lr * mu / (std::sqrt(mu * mu + variance) + 1e-8),
                     block.mean.data()[0], 1e-12});
}

// --- Noisy quadratic model -----------------------------------------------------------------------------------------------

constexpr std::size_t coordinates = 4, particles = 4096, entries = coordinates * particles;
static_assert(entries % tile_size == 0);
constexpr double batch = 2;

/// h_c = 1/(c + 1).
IVORY_HD double curvature_of(std::size_t entry) { return 1.0 / static_cast<double>(entry / particles + 1); }

/// Gradient h theta + sqrt(h/B) z of the loss 1/2 h theta^2 with a minibatch's noise.
struct NoisyGradient {
  const double* IVORY_RESTRICT point;
  double* IVORY_RESTRICT gradient;
  IVORY_HD void operator()(std::size_t i, double z) const {
    const double h = curvature_of(i);
    gradient[i] = h * point[i] + math::sqrt(h / batch) * z;
  }
};

/// Particles under the noise of the model; each entry of a vector is one. Moments are over the particles of a coordinate.
class NoisyQuadratic {
 public:
  NoisyQuadratic(Device& device, const Optimizer<double>& optimizer, double rate)
      : device_(device), optimizer_(optimizer), block_(device, 1, entries, optimizer.vectors()), start_(entries) {
    StreamReader random(2, {.purpose = Purpose::data});
    for (double& x : start_) x = random.normal();
    auto& client = block_.clients[0];
    client.terms.start = start_.data();
    client.examples = batch;
    client.batch = batch;
    client.learning_rate = rate;
    client.noise.stream = stream(Purpose::training_noise, 0);
    optimizer.begin(block_);
  }

  void step(std::uint64_t t) {
    for_each_with_noise(device_, entries, NoiseSource<double>{.stream = stream(Purpose::data, t + 1)},
                        NoisyGradient{block_.point.data(), block_.gradient.data()});
    block_.clients[0].noise.stream = stream(Purpose::training_noise, t + 1);
    optimizer_.advance(block_, 0);
  }
  /// Mean of theta^2 over the particles of coordinate c.
  double second_moment(std::size_t c) const {
    double total = 0;
    for (std::size_t i = c * particles; i < (c + 1) * particles; ++i)
      total += block_.mean.data()[i] * block_.mean.data()[i];
    return total / static_cast<double>(particles);
  }
  double mean_of_slot(std::size_t slot, std::size_t c) const {
    double total = 0;
    for (std::size_t i = c * particles; i < (c + 1) * particles; ++i) total += block_.slots[slot].data()[i];
    return total / static_cast<double>(particles);
  }

 private:
  static Stream stream(Purpose purpose, std::uint64_t step) {
    return make_stream(3, {.purpose = purpose, .step = step});
  }

  Device& device_;
  const Optimizer<double>& optimizer_;
  TrainingBlock<double> block_;
  Vector start_;
};

const char* const model = "methods.md 13.1";

std::string named(const char* what, std::size_t c) {
  return std::string(what) + " (h = 1/" + std::to_string(c + 1) + ")";
}

/// s := (1 - lr h)^2 s + lr^2 h/B in every step, from 1.
void add_sgd_moments(std::vector<Oracle>& oracles) {
  const auto device = make_cpu_device();
  const double lr = 0.3;
  const auto sgd = optimizer_of("sgd", {{"lr", lr}});
  NoisyQuadratic problem(*device, *sgd, lr);
  constexpr std::uint64_t steps = 12;
  for (std::uint64_t t = 0; t < steps; ++t) problem.step(t);
  for (const std::size_t c : {0U, 3U}) {
    const double h = 1.0 / static_cast<double>(c + 1);
    double s = 1;
    for (std::uint64_t t = 0; t < steps; ++t) s = (1 - lr * h) * (1 - lr * h) * s + lr * lr * h / batch;
    // The mean of n squares of normals is off by s sqrt(2/n) on average; four times that.
    oracles.push_back({named("SGD in the noisy quadratic model: second moment after 12 steps", c), model, s,
                       problem.second_moment(c), 4 * s * std::sqrt(2.0 / particles)});
  }
}

/// Long-run mean of theta^2, over `steps` steps after as many to settle.
std::vector<double> long_run(NoisyQuadratic& problem, std::uint64_t steps) {
  std::vector<double> moments(coordinates, 0.0);
  for (std::uint64_t t = 0; t < 2 * steps; ++t) {
    problem.step(t);
    if (t < steps || t % 20 != 0) continue;
    for (std::size_t c = 0; c < coordinates; ++c)
      moments[c] += problem.second_moment(c) * 20 / static_cast<double>(steps);
  }
  return moments;
}

/// For small rates s* = lr p/(2B) with the preconditioner p = 1/sqrt(E g^2), E g^2 = h^2 s* + h/B, and Adam's averaging of gradients
/// leaves it as it is.
void add_adam_moments(std::vector<Oracle>& oracles) {
  const auto device = make_cpu_device();
  const double lr = 0.01;
  const auto adam = optimizer_of("adam", {{"lr", lr}});
  NoisyQuadratic problem(*device, *adam, lr);
  const std::vector<double> got = long_run(problem, 1500);
  for (const std::size_t c : {0U, 3U}) {
    const double h = 1.0 / static_cast<double>(c + 1);
    double s = 0;
    for (int i = 0; i < 50; ++i) s = lr / std::sqrt(h * h * s + h / batch) / (2 * batch);
    // The formula leaves out terms of relative size lr p h and the spread of Adam's own average.
    oracles.push_back(
        {named("Adam in the noisy quadratic model: stationary second moment", c), model, s, got[c], 0.05 * s});
  }
}

/// IVON sees the gradient at theta = m + eps, so its noise is h/B + h^2/(lambda (h + delta)); its Hessian goes to h (T4), which
/// makes p = 1/(h + delta), and s* = lr p^2 noise/2.
void add_ivon_moments(std::vector<Oracle>& oracles) {
  const auto device = make_cpu_device();
  const double lr = 0.01, lambda = 50, delta = 0.01;
  const auto ivon = optimizer_of("ivon", {{"lr", lr},
                                          {"ess", lambda},
                                          {"weight_decay", delta},
                                          {"hess_init", 0.5},
                                          {"beta2", 0.999},
                                          {"rescale_lr", false}});
  NoisyQuadratic problem(*device, *ivon, lr);
  const std::vector<double> got = long_run(problem, 3000);
  for (const std::size_t c : {0U, 3U}) {
    const double h = 1.0 / static_cast<double>(c + 1), p = 1 / (h + delta);
    const double noise = h / batch + h * h / (lambda * (h + delta));
    oracles.push_back({named("IVON in the noisy quadratic model: Hessian estimate", c), "methods.md 1.1 T4", h,
                       problem.mean_of_slot(1, c), 0.05 * h});
    oracles.push_back({named("IVON in the noisy quadratic model: stationary second moment", c), model,
                       lr * p * p * noise / 2, got[c], 0.1 * lr * p * p * noise / 2});
  }
}

}  // namespace

void add_client_oracles(std::vector<Oracle>& oracles) {
  add_vsgd(oracles);
  add_sgd_moments(oracles);
  add_adam_moments(oracles);
  add_ivon_moments(oracles);
}

}  // namespace ivory
