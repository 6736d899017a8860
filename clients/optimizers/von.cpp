// VON with a full covariance: variational online Newton (Khan et al. 2018), for the full-covariance family of VB-ADMM
// (methods.md 2.5, in the scaling given there as Ivory's). On the mean-loss scale, with lambda = N_k/(tau rho), H and g the
// averages over samples theta ~ N(m, S^-1) of Hessian and gradient of lbar_k (or their values at theta = m, the delta method):
//
//   S* = S_g + lambda (H - V'),            S := (1-c) S + c S*
//   m  := m - c' S^-1 ( lambda (g + v' - V' m) + S_g (m - m_g) )
//
// c' is the learning rate of the step, c = rate_precision times it. With c = c' = 1 one step solves a quadratic exactly. The
// Hessian is the generalised Gauss-Newton matrix (clients/curvature.hpp). A step whose S is not positive definite is taken with
// c halved until it is. Everything is in double; S is kept symmetric.
#include <algorithm>
#include <string>

#include "ivory/error.hpp"
#include "ivory/full_gaussian.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

constexpr int most_halvings = 40;  // 2^-40 of a step is none

/// to = (1-c) from + c (S_g + lambda (H' - w V)) with H' the symmetric part of H, over the places of [P x P].
struct MixPrecision {
  const double* IVORY_RESTRICT from;
  const double* IVORY_RESTRICT anchor;
  const double* IVORY_RESTRICT hessian;
  const double* IVORY_RESTRICT site;  // any array where there is no site, with site_weight 0
  double* IVORY_RESTRICT to;
  std::size_t size;
  double c, anchor_weight, lambda, site_weight;
  IVORY_HD void operator()(std::size_t row, std::size_t column) const {
    const std::size_t i = row * size + column;
    const double h = 0.5 * (hessian[i] + hessian[column * size + row]);
    const double target = anchor_weight * anchor[i] + lambda * (h - site_weight * site[i]);
    to[i] = (1.0 - c) * from[i] + c * target;
  }
};

struct AddScaled {
  const double* IVORY_RESTRICT from;
  double* IVORY_RESTRICT to;
  double weight;
  bool first;  // then `to` is overwritten
  IVORY_HD void operator()(std::size_t i) const { to[i] = (first ? 0.0 : to[i]) + weight * from[i]; }
};

struct Difference {
  const double* IVORY_RESTRICT a;
  const double* b;  // null: 0
  double* IVORY_RESTRICT to;
  IVORY_HD void operator()(std::size_t i) const { to[i] = a[i] - (b != nullptr ? b[i] : 0.0); }
};

/// direction = lambda (g + w (v - Vm)) + a anchored, where `anchored` is S_g (m - m_g) and Vm is V m.
struct Direction {
  const double* IVORY_RESTRICT gradient;
  const double* IVORY_RESTRICT anchored;
  const double* site_mean;  // null: no site
  const double* site_times_mean;
  double* IVORY_RESTRICT direction;
  double lambda, site_weight, anchor_weight;
  IVORY_HD void operator()(std::size_t i) const {
    const double site = site_mean != nullptr ? site_weight * (site_mean[i] - site_times_mean[i]) : 0.0;
    direction[i] = lambda * (gradient[i] + site) + anchor_weight * anchored[i];
  }
};

struct StepMean {
  const double* IVORY_RESTRICT direction;
  double* IVORY_RESTRICT mean;
  double rate;
  IVORY_HD void operator()(std::size_t i) const { mean[i] -= rate * direction[i]; }
};

class Von final : public Optimizer<double> {
 public:
  explicit Von(const Options& options)
      : samples_(static_cast<int>(options.integer("samples"))), rate_precision_(options.real("rate_precision")) {}

  bool gives_posterior() const override { return true; }
  int samples() const override { return std::max(samples_, 1); }
  std::size_t vectors() const override { return 3; }   // gradient average, two temporaries
  std::size_t matrices() const override { return 3; }  // S, its factor, Hessian average
  std::size_t kept_vectors(bool) const override { return 0; }
  bool needs_hessian() const override { return true; }

  void begin(TrainingBlock<double>& block) const override {
    start_point_optimizer(block, 0);
    const std::size_t bytes = block.parameters * block.parameters * sizeof(double);
    for (std::size_t b = 0; b < block.clients.size(); ++b) {
      if (!block.clients[b].active) continue;
      block.device.copy(block.matrix(precision, b), block.clients[b].terms.anchor_precision, bytes);
      block.device.copy(block.matrix(factor, b), block.matrix(precision, b), bytes);
      if (!block.device.cholesky(block.matrix(factor, b), block.parameters)) {
        const std::string size = std::to_string(block.parameters);
        throw RunError(
            "[von] the precision that a visit begins with must be positive definite and finite, got a matrix of " +
            size + " x " + size + " that is not; lower server.rho or server.damping, or clients.optimizer.lr");
      }
      draw(block, b);
    }
  }

  void advance(TrainingBlock<double>& block, int sample) const override {
    const bool last = sample + 1 == samples();
    for (std::size_t b = 0; b < block.clients.size(); ++b) {
      auto& client = block.clients[b];
      if (!client.active) continue;
      const double weight = 1.0 / samples();
      const std::size_t entries = block.parameters * block.parameters;
      for_each(block.device, block.stride,
               AddScaled{block.row(block.gradient, b), block.row(block.slots[0], b), weight, sample == 0});
      for_each(block.device, entries,
               AddScaled{block.hessian.data() + b * entries, block.matrix(average, b), weight, sample == 0});
      if (last) {
        client.optimizer_step += 1;
        step(block, b);
      }
      draw(block, b);
    }
  }

  /// [clients x P x P].
  void posterior_precisions(const TrainingBlock<double>& block, double* precisions) const override {
    const std::size_t entries = block.parameters * block.parameters;
    block.device.copy(precisions, block.matrices[precision].data(), block.clients.size() * entries * sizeof(double));
  }

 private:
  enum Matrices : std::size_t { precision, factor, average };

  void step(TrainingBlock<double>& block, std::size_t b) const {
    Device& device = block.device;
    const auto& client = block.clients[b];
    const LocalTerms<double>& terms = client.terms;
    const std::size_t size = block.parameters, bytes = size * size * sizeof(double);
    double* const gradient = block.row(block.slots[0], b);
    double* const anchored = block.row(block.slots[1], b);
    double* const work = block.row(block.slots[2], b);
    double* const trial = block.hessian.data() + b * size * size;  // the Hessian itself is in the average by now
    double* const direction = block.row(block.point, b);           // the point is drawn anew after the step
    const double lambda = terms.effective_samples, anchor_weight = lambda * terms.anchor_weight;
    const bool has_site = terms.site_precision != nullptr;
    const double* const site = has_site ? terms.site_precision : terms.anchor_precision;

    double c = std::min(rate_precision_ * client.learning_rate, 1.0);
    for (int halvings = 0;; ++halvings, c *= 0.5) {
      if (halvings == most_halvings) c = 0;
      for_each_client_place(device, 1, size, size, [&](std::size_t) {
        return Share{size,
                     MixPrecision{block.matrix(precision, b), terms.anchor_precision, block.matrix(average, b), site,
                                  trial, size, c, anchor_weight, lambda, has_site ? terms.site_weight : 0.0}};
      });
      device.copy(block.matrix(factor, b), trial, bytes);
      if (device.cholesky(block.matrix(factor, b), size) || halvings == most_halvings) break;
    }
    device.copy(block.matrix(precision, b), trial, bytes);

    for_each(device, block.stride, Difference{block.row(block.mean, b), terms.anchor_mean, work});
    apply_matrix(device, size, terms.anchor_precision, work, anchored);
    if (has_site) apply_matrix(device, size, terms.site_precision, block.row(block.mean, b), work);
    for_each(device, size,
             Direction{gradient, anchored, has_site ? terms.site_mean : nullptr, work, direction, lambda,
                       terms.site_weight, anchor_weight});
    device.solve_triangular(block.matrix(factor, b), false, direction, size, 1);
    device.solve_triangular(block.matrix(factor, b), true, direction, size, 1);
    for_each(device, size, StepMean{direction, block.row(block.mean, b), client.learning_rate});
  }

  // theta = m + L^-T z with S = L L', whose covariance is S^-1; without samples theta = m.
  void draw(TrainingBlock<double>& block, std::size_t b) const {
    double* const point = block.row(block.point, b);
    if (samples_ == 0) {
      block.device.copy(point, block.row(block.mean, b), block.stride * sizeof(double));
      return;
    }
    sample_full(block.device, block.parameters, block.row(block.mean, b), block.matrix(factor, b),
                block.clients[b].noise, block.row(block.slots[2], b), point);
  }

  int samples_;
  double rate_precision_;
};

std::unique_ptr<Optimizer<double>> make(const Options& options) { return std::make_unique<Von>(options); }

}  // namespace

OptimizerPlugin von_plugin() {
  return {.name = "von",
          .help = "variational online Newton with a full covariance, for vb_admm with posterior = \"full\"; in double",
          .options = {{.name = "lr",
                       .default_value = 1.0,
                       .help = "c': share of the Newton step that the mean takes",
                       .unit = "1",
                       .low = 0,
                       .low_open = true},
                      {.name = "rate_precision",
                       .default_value = 1.0,
                       .help = "c over c': the precision goes this many times as far; c is at most 1",
                       .unit = "1",
                       .low = 0,
                       .low_open = true},
                      {.name = "samples",
                       .default_value = std::int64_t{0},
                       .help = "Monte-Carlo samples per step; 0: gradient and Hessian at the mean (delta method)",
                       .unit = "samples",
                       .low = 0,
                       .high = 1024}},
          .gives_posterior = true,
          .full_covariance = true,
          .make_double = make};
}

}  // namespace ivory
