// IVON written once more, plainly and in double, from the equations (docs/methods, sections 1.1 and 1.2): scalar loops, no
// blocks, no fusion. The production optimizer is compared with it.
#pragma once
#include <cmath>
#include <cstddef>
#include <functional>
#include <vector>

namespace ivory::test {

struct IvonReference {
  using Vector = std::vector<double>;

  // Constants.
  double lambda = 1, beta1 = 0.9, beta2 = 0.99, hess_init = 1, clip_radius = 0 /* off */, gradsq_factor = 1;
  bool gradsq = false, debias = true, rescale_lr = false;
  Vector decay;                          // delta, the prior precision over lambda
  Vector prior_mean;                     // m_g
  Vector site_gradient, site_curvature;  // v' and V', on the mean-loss scale

  // State.
  Vector mean, hessian, momentum;
  int t = 0;

  void start(const Vector& mean0, double hessian0) {
    mean = mean0;
    hessian.assign(mean.size(), hessian0);
    momentum.assign(mean.size(), 0.0);
    t = 0;
  }

  /// One step; z[j] is the noise of sample j, `gradient` that of the minibatch mean loss.
  void step(double lr, const std::vector<Vector>& z, const std::function<Vector(const Vector&)>& gradient) {
    const std::size_t size = mean.size();
    Vector average(size, 0.0), statistic(size, 0.0);
    for (const Vector& noise : z) {
      Vector displacement(size), theta(size);
      for (std::size_t i = 0; i < size; ++i) {
        displacement[i] = noise[i] / std::sqrt(lambda * (hessian[i] + decay[i]));
        theta[i] = mean[i] + displacement[i];
      }
      const Vector g = gradient(theta);
      const auto samples = static_cast<double>(z.size());
      for (std::size_t i = 0; i < size; ++i) {
        average[i] += g[i] / samples;
        statistic[i] += (gradsq ? g[i] * g[i] : displacement[i] * g[i]) / samples;
      }
    }
    ++t;
    for (std::size_t i = 0; i < size; ++i) {
      momentum[i] = beta1 * momentum[i] + (1.0 - beta1) * average[i];
      const double precision = hessian[i] + decay[i];
      const double estimate =
          (gradsq ? gradsq_factor * statistic[i] : lambda * precision * statistic[i]) - site_curvature[i];
      const double change = hessian[i] - estimate;
      const double next = beta2 * hessian[i] + (1.0 - beta2) * estimate +
                          0.5 * (1.0 - beta2) * (1.0 - beta2) * change * change / precision;
      const double g = debias ? momentum[i] / (1.0 - std::pow(beta1, t)) : momentum[i];
      double u = (g + site_gradient[i] - site_curvature[i] * mean[i] + decay[i] * (mean[i] - prior_mean[i])) /
                 (next + decay[i]);
      if (clip_radius > 0) u = std::fmax(-clip_radius, std::fmin(clip_radius, u));
      mean[i] -= (rescale_lr ? lr * (hess_init + decay[i]) : lr) * u;
      hessian[i] = next;
    }
  }
};

}  // namespace ivory::test
