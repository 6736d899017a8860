// IVON, improved variational online Newton (Shen et al. 2024, "Variational learning is effective for large deep networks"),
// with the prior and site terms of VB-ADMM. Equations: methods.md 1.1 and 1.2 (docs/methods.md section "IVON").
//
//   sample    theta = m + z / sqrt(lambda (h + d))
//   gradient  g := b1 g + (1-b1) gbar
//   Hessian   hhat = lambda (h + d) mean(eps * ghat) - V'        (Price)      or  c_gsq * mean(ghat^2) - V'   (gradsq)
//             h := b2 h + (1-b2) hhat + (1-b2)^2/2 (h - hhat)^2 / (h + d)
//   mean      m := m - lr' clip( ( g/(1-b1^t) + v' - V' m + d (m - m_g) ) / (h + d) ),   lr' = lr (h0 + d) or lr
//
// d is the prior precision over lambda (weight decay in plain IVON), v' and V' the site on the mean-loss scale. The posterior
// precision is s = lambda (h + d). The perturbation eps is read back as theta - m: it is what the gradient really saw, and it
// saves an array. One pass updates step t and draws the sample of step t+1, so each array is read and written once.
#include <algorithm>
#include <cmath>
#include <limits>

#include "clients/terms.hpp"
#include "ivory/error.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {
namespace {

/// Draws the next evaluation point from the current posterior.
template <class Real, TermKind kind>
struct IvonDraw {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT hessian;
  Real* IVORY_RESTRICT point;
  TermsView<Real, kind> terms;
  Real inverse_lambda;

  IVORY_HD void operator()(std::size_t i, Real z) const {
    point[i] = mean[i] + z * math::sqrt(inverse_lambda / (hessian[i] + terms.precision(i)));
  }
};

/// Adds one sample to the running averages of gradient and curvature statistic (several samples, or squared gradients).
template <class Real>
struct IvonAverage {
  const Real* IVORY_RESTRICT gradient;
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT point;
  Real* IVORY_RESTRICT gradient_average;
  Real* IVORY_RESTRICT curvature_average;
  Real weight;  // 1 / samples
  bool squared, first;

  IVORY_HD void operator()(std::size_t i) const {
    const Real g = gradient[i];
    const Real c = g * (squared ? g : point[i] - mean[i]);
    gradient_average[i] = (first ? Real(0) : gradient_average[i]) + weight * g;
    curvature_average[i] = (first ? Real(0) : curvature_average[i]) + weight * c;
  }
};

/// How the mean moves in a step of a client: m := m - step_size * clip(direction). The log's numbers are made of the same.
template <class Real, TermKind kind>
struct IvonMove {
  TermsView<Real, kind> terms;
  Real inverse_debias, rate, rate_per_precision, clip;  // lr' = rate + rate_per_precision * d

  IVORY_HD Real direction(std::size_t i, Real momentum, Real m, Real inverse) const {
    return (momentum * inverse_debias + terms.gradient(i, m)) * inverse;
  }
  IVORY_HD Real step_size(Real d) const { return rate + rate_per_precision * d; }
};

/// Update of one step and, in the same pass, the sample of the next. `averaged`: gradient and curvature come from IvonAverage.
template <class Real, TermKind kind, bool averaged>
struct IvonStep {
  const Real* IVORY_RESTRICT gradient;
  const Real* IVORY_RESTRICT curvature;  // averaged only
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT momentum;
  Real* IVORY_RESTRICT hessian;
  Real* IVORY_RESTRICT point;
  IvonMove<Real, kind> move;
  Real lambda, inverse_lambda;
  Real squared_factor;                                               // c_gsq; 0 for Price's estimator
  Real beta1, one_minus_beta1, beta2, one_minus_beta2, half_square;  // half_square = (1 - beta2)^2 / 2

  IVORY_HD void operator()(std::size_t i, Real z) const {
    const Real m = mean[i], h = hessian[i], g_hat = gradient[i];
    const Real d = move.terms.precision(i);
    const Real scale = h + d;
    Real estimate;
    if constexpr (averaged) {
      estimate = (squared_factor > Real(0) ? squared_factor : lambda * scale) * curvature[i];
    } else {
      estimate = lambda * scale * ((point[i] - m) * g_hat);
    }
    estimate -= move.terms.curvature(i);
    const Real gap = h - estimate;
    const Real h_next = beta2 * h + one_minus_beta2 * estimate + half_square * gap * gap / scale;
    const Real g = beta1 * momentum[i] + one_minus_beta1 * g_hat;
    const Real inverse = Real(1) / (h_next + d);
    const Real direction = math::clamp(move.direction(i, g, m, inverse), -move.clip, move.clip);
    const Real m_next = m - move.step_size(d) * direction;
    hessian[i] = h_next;
    momentum[i] = g;
    mean[i] = m_next;
    point[i] = m_next + z * math::sqrt(inverse * inverse_lambda);
  }
};

template <class Real, TermKind kind>
struct IvonPrecision {
  const Real* IVORY_RESTRICT hessian;
  Real* IVORY_RESTRICT precision;
  TermsView<Real, kind> terms;
  Real lambda;
  IVORY_HD void operator()(std::size_t i) const { precision[i] = lambda * (hessian[i] + terms.precision(i)); }
};

/// 1 for an entry whose precision is still within 1 % of lambda (first + d), with which the visit began.
template <class Real, TermKind kind>
struct IvonAtStart {
  const Real* IVORY_RESTRICT hessian;
  TermsView<Real, kind> terms;
  Real first;  // h at the start
  IVORY_HD double operator()(std::size_t i) const {
    return math::abs(hessian[i] - first) <= Real(0.01) * (first + terms.precision(i)) ? 1.0 : 0.0;
  }
};

/// 1 for an entry whose direction was clipped in the last step, which led to `mean` with this momentum and Hessian. Where it was
/// clipped, the mean before is known, and the direction from there is the clip or more.
template <class Real, TermKind kind>
struct IvonClipped {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT momentum;
  const Real* IVORY_RESTRICT hessian;
  IvonMove<Real, kind> move;
  IVORY_HD double operator()(std::size_t i) const {
    const Real m = mean[i], g = momentum[i], d = move.terms.precision(i);
    const Real inverse = Real(1) / (hessian[i] + d), longest = move.step_size(d) * move.clip;
    return move.direction(i, g, m + longest, inverse) >= move.clip ||
                   move.direction(i, g, m - longest, inverse) <= -move.clip
               ? 1.0
               : 0.0;
  }
};

/// to[j] := lr' / (h + d), the step per unit of gradient, of parameter j * parameters / taken. Such places fall in step with no
/// layer's rows.
template <class Real, TermKind kind>
struct IvonEffectiveStep {
  const Real* IVORY_RESTRICT hessian;
  Real* IVORY_RESTRICT to;
  IvonMove<Real, kind> move;
  std::size_t parameters, taken;
  IVORY_HD void operator()(std::size_t j) const {
    const std::size_t i = j * parameters / taken;
    const Real d = move.terms.precision(i);
    to[j] = move.step_size(d) / (hessian[i] + d);
  }
};

template <class Real>
struct StartIvon {
  const Real* IVORY_RESTRICT start;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT momentum;
  Real* IVORY_RESTRICT hessian;
  Real first_hessian;
  bool keep_momentum, keep_hessian;
  IVORY_HD void operator()(std::size_t i) const {
    mean[i] = start[i];
    momentum[i] = keep_momentum ? momentum[i] : Real(0);
    hessian[i] = keep_hessian ? hessian[i] : first_hessian;
  }
};

inline constexpr std::size_t most_steps_looked_at = 4096;  // parameters whose effective step is looked at

template <class Real>
class Ivon final : public Optimizer<Real> {
 public:
  explicit Ivon(const Options& options)
      : beta1_(options.real("beta1")), beta2_(options.real("beta2")), hess_init_(options.real("hess_init")),
        decay_(options.real("weight_decay")), ess_(options.real("ess")),
        clip_(options.real("clip_radius") > 0 ? options.real("clip_radius") : std::numeric_limits<double>::infinity()),
        samples_(static_cast<int>(options.integer("samples"))), squared_(options.text("estimator") == "gradsq"),
        debias_(options.boolean("debias")), rescale_(options.boolean("rescale_lr")),
        gsq_times_lambda_(options.boolean("gsq_times_lambda")), keep_momentum_(options.boolean("keep_momentum")) {}

  bool gives_posterior() const override { return true; }
  int samples() const override { return samples_; }
  std::size_t vectors() const override { return averaged() ? 4 : 2; }
  std::size_t kept_vectors(bool keep_state) const override { return keep_momentum_ ? 1 : (keep_state ? 2 : 0); }

  void begin(TrainingBlock<Real>& block) const override {
    for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
      const auto& client = block.clients[b];
      return Share{block.work(b),
                   StartIvon<Real>{client.terms.start, block.row(block.mean, b), block.row(block.slots[0], b),
                                   block.row(block.slots[1], b), static_cast<Real>(first_hessian(client)),
                                   client.resumed, keeps_hessian(client)}};
    });
    for (auto& client : block.clients) {
      if (!client.resumed) client.optimizer_step = 0;
    }
    draw(block);
  }

  void advance(TrainingBlock<Real>& block, int sample) const override {
    if (averaged()) {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        return Share{block.work(b), IvonAverage<Real>{block.row(block.gradient, b), block.row(block.mean, b),
                                                      block.row(block.point, b), block.row(block.slots[2], b),
                                                      block.row(block.slots[3], b), static_cast<Real>(1.0 / samples_),
                                                      squared_, sample == 0}};
      });
    }
    if (sample + 1 < samples_) {
      draw(block);
      return;
    }
    for (auto& client : block.clients) client.optimizer_step += client.active ? 1 : 0;
    with_kind(block, [&]<TermKind kind>() {
      if (averaged()) {
        step<kind, true>(block);
      } else {
        step<kind, false>(block);
      }
    });
  }

  void posterior_precisions(const TrainingBlock<Real>& block, Real* precisions) const override {
    with_kind(block, [&]<TermKind kind>() {
      for_each_client(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        return Share{block.work(b), IvonPrecision<Real, kind>{
                                        block.row(block.slots[1], b), precisions + b * block.stride,
                                        view_of<Real, kind>(client.terms, decay_), static_cast<Real>(lambda(client))}};
      });
    });
  }

  double precision_gap_closed(double steps) const override { return 1.0 - std::pow(beta2_, steps); }

  std::vector<OptimizerHealth> health(const TrainingBlock<Real>& block, std::size_t clients) const override {
    std::vector<OptimizerHealth> out(clients);
    with_kind(block, [&]<TermKind kind>() { take_health<kind>(block, out); });
    return out;
  }

 private:
  using Client = typename TrainingBlock<Real>::Client;

  // q = N(m_g, 1/s_g) means h = s_g/lambda - d = 0; a fresh start has h = h0 (methods.md D15).
  double first_hessian(const Client& client) const { return client.terms.posterior_is_anchor ? 0.0 : hess_init_; }
  bool keeps_hessian(const Client& client) const {
    return client.resumed && hessian_is_kept_ && !client.terms.posterior_is_anchor;
  }

  bool averaged() const { return samples_ > 1 || squared_; }
  double lambda(const Client& client) const {
    if (client.terms.effective_samples > 0) return client.terms.effective_samples;
    return ess_ > 0 ? ess_ : client.examples;
  }

  void draw(TrainingBlock<Real>& block) const {
    with_kind(block, [&]<TermKind kind>() {
      for_each_client_with_noise(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
        const auto& client = block.clients[b];
        return NoisyShare{
            block.work(b),
            IvonDraw<Real, kind>{block.row(block.mean, b), block.row(block.slots[1], b), block.row(block.point, b),
                                 view_of<Real, kind>(client.terms, decay_), static_cast<Real>(1.0 / lambda(client))},
            client.noise};
      });
    });
  }

  template <TermKind kind>
  IvonMove<Real, kind> move_of(const Client& client) const {
    const double t = static_cast<double>(client.optimizer_step), lr = client.learning_rate;
    return {.terms = view_of<Real, kind>(client.terms, decay_),
            .inverse_debias = static_cast<Real>(debias_ ? 1.0 / (1.0 - std::pow(beta1_, t)) : 1.0),
            .rate = static_cast<Real>(rescale_ ? lr * hess_init_ : lr),
            .rate_per_precision = static_cast<Real>(rescale_ ? lr : 0.0),
            .clip = static_cast<Real>(clip_)};
  }

  template <TermKind kind>
  void take_health(const TrainingBlock<Real>& block, std::vector<OptimizerHealth>& out) const {
    const std::size_t count = block.parameters;
    const std::vector<double> at_start = sum_per_client(block.device, out.size(), [&](std::size_t b) {
      const auto& client = block.clients[b];
      return Share{count,
                   IvonAtStart<Real, kind>{block.row(block.slots[1], b), view_of<Real, kind>(client.terms, decay_),
                                           static_cast<Real>(first_hessian(client))}};
    });
    std::vector<double> clipped(out.size(), 0.0);
    if (std::isfinite(clip_)) {
      clipped = sum_per_client(block.device, out.size(), [&](std::size_t b) {
        return Share{count, IvonClipped<Real, kind>{block.row(block.mean, b), block.row(block.slots[0], b),
                                                    block.row(block.slots[1], b), move_of<kind>(block.clients[b])}};
      });
    }
    const std::size_t taken = std::min(count, most_steps_looked_at);
    Buffer<Real> steps(block.device, out.size() * taken);
    for_each_client(block.device, out.size(), taken, [&](std::size_t b) {
      return Share{taken, IvonEffectiveStep<Real, kind>{block.row(block.slots[1], b), steps.data() + b * taken,
                                                        move_of<kind>(block.clients[b]), count, taken}};
    });
    const std::vector<Real> host = steps.to_host();
    for (std::size_t b = 0; b < out.size(); ++b) {
      const auto all = static_cast<double>(count);
      const auto first = host.begin() + static_cast<std::ptrdiff_t>(b * taken);
      // What a kept Hessian was at the start is not known any more.
      if (!keeps_hessian(block.clients[b])) out[b].hessian_at_start = at_start[b] / all;
      out[b].clip_rate = clipped[b] / all;
      out[b].effective_step = quantiles_of(std::vector<Real>(first, first + static_cast<std::ptrdiff_t>(taken)));
    }
  }

  template <TermKind kind, bool is_averaged>
  void step(TrainingBlock<Real>& block) const {
    const auto real = [](double x) { return static_cast<Real>(x); };
    for_each_client_with_noise(block.device, block.clients.size(), block.stride, [&](std::size_t b) {
      const auto& client = block.clients[b];
      const double l = lambda(client);
      return NoisyShare{block.work(b),
                        IvonStep<Real, kind, is_averaged>{
                            .gradient = block.row(is_averaged ? block.slots[2] : block.gradient, b),
                            .curvature = is_averaged ? block.row(block.slots[3], b) : nullptr,
                            .mean = block.row(block.mean, b),
                            .momentum = block.row(block.slots[0], b),
                            .hessian = block.row(block.slots[1], b),
                            .point = block.row(block.point, b),
                            .move = move_of<kind>(client),
                            .lambda = real(l),
                            .inverse_lambda = real(1.0 / l),
                            .squared_factor = real(squared_ ? (gsq_times_lambda_ ? l : client.batch) : 0.0),
                            .beta1 = real(beta1_),
                            .one_minus_beta1 = real(1.0 - beta1_),
                            .beta2 = real(beta2_),
                            .one_minus_beta2 = real(1.0 - beta2_),
                            .half_square = real(0.5 * (1.0 - beta2_) * (1.0 - beta2_))},
                        client.noise};
    });
  }

  double beta1_, beta2_, hess_init_, decay_, ess_, clip_;
  int samples_;
  bool squared_, debias_, rescale_, gsq_times_lambda_, keep_momentum_;
  bool hessian_is_kept_ = !keep_momentum_;  // keep_momentum keeps g and t alone; keep_opt_state keeps h as well
};

template <class Real>
std::unique_ptr<Optimizer<Real>> make(const Options& options) {
  if (options.real("hess_init") + options.real("weight_decay") <= 0) {
    throw InputError("[ivon] hess_init + weight_decay must be > 0 (it is the first precision over lambda), got 0, at " +
                     to_string(options.place("hess_init")) + "; set hess_init, for example to 1e-3");
  }
  if (options.boolean("gsq_times_lambda") && options.text("estimator") != "gradsq") {
    throw InputError("[ivon] gsq_times_lambda needs estimator = \"gradsq\", got \"" + options.text("estimator") +
                     "\", at " + to_string(options.place("gsq_times_lambda")) + "; drop one of them");
  }
  return std::make_unique<Ivon<Real>>(options);
}

}  // namespace

OptimizerPlugin ivon_plugin() {
  return {
      .name = "ivon",
      .help = "improved variational online Newton: a diagonal Gaussian posterior at Adam-like cost",
      .options =
          {{.name = "lr", .default_value = 0.1, .help = "learning rate", .unit = "1", .low = 0, .low_open = true},
           {.name = "beta1",
            .default_value = 0.9,
            .help = "decay of the gradient average",
            .unit = "1",
            .low = 0,
            .high = 1,
            .high_open = true},
           {.name = "beta2",
            .default_value = 0.99999,
            .help = "decay of the Hessian average",
            .unit = "1",
            .low = 0,
            .high = 1},
           {.name = "hess_init",
            .default_value = 1.0,
            .help = "h at a fresh start (round 1 of VB-ADMM)",
            .unit = "curvature of the mean loss",
            .low = 0},
           {.name = "weight_decay",
            .default_value = 1e-4,
            .help = "prior precision over lambda where the algorithm sends no prior",
            .unit = "curvature of the mean loss",
            .low = 0},
           {.name = "ess",
            .default_value = 0.0,
            .help = "effective sample size lambda where the algorithm does not set it; 0 = the client's examples",
            .unit = "examples",
            .low = 0},
           {.name = "samples",
            .default_value = std::int64_t{1},
            .help = "Monte-Carlo samples per step",
            .unit = "samples",
            .low = 1,
            .high = 1024},
           {.name = "estimator",
            .default_value = std::string("price"),
            .help = "Hessian estimator: Price's reparameterisation, or squared gradients",
            .choices = {"price", "gradsq"}},
           {.name = "clip_radius",
            .default_value = 0.0,
            .help = "cap on every entry of the step direction; 0 = none",
            .unit = "1",
            .low = 0},
           {.name = "debias", .default_value = true, .help = "divide the gradient average by 1 - beta1^t"},
           {.name = "rescale_lr",
            .default_value = true,
            .help = "multiply lr by hess_init + prior precision / lambda (published VB-ADMM settings switch it off)"},
           {.name = "gsq_times_lambda",
            .default_value = false,
            .help = "compatibility: scale squared gradients by lambda instead of the batch size (methods.md D12)"},
           {.name = "keep_momentum",
            .default_value = false,
            .help = "compatibility: carry gradient average and step count over rounds (methods.md D15)"}},
      .gives_posterior = true,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
