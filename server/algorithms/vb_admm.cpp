// VB-ADMM with diagonal covariances (published as BayesADMM, arXiv 2506.13150; with IVON inside: IVON-ADMM). methods.md 2.1-2.3.
//
//   client  q_k = argmin (1/tau) E_q[L_k] + E_q[log t_k] + rho KL(q || q_g),     t_k = exp(<v_k, theta> - 1/2 theta' V_k theta)
//   dual    v_k += d rho (s_k m_k - s_g m_g),   V_k += d rho (s_k - s_g)
//   server  s_g   = (1-alpha) mean_k s_k     + alpha (s0 + sum_k V_k)
//           eta_g = (1-alpha) mean_k s_k m_k + alpha sum_k v_k,     m_g = eta_g / s_g     (prior mean 0)
//
// alpha defaults to 1/(1 + K rho). alpha = 1 with rho = 1 is PVI (damping < 1: damped PVI): q_g is then prior times sites.
// Bregman ADMM (Wang and Banerjee 2014) takes the dual step in expectation parameters mu1 = m, mu2 = 1/s + m^2 (methods.md 3.2).
// Partial participation: absent clients keep (v, V), and the server counts their last (s_k m_k, s_k); a client never visited
// counts as v = V = 0 and q_k = q_g (methods.md 2.3).
#include "ivory/algorithm.hpp"
#include "ivory/error.hpp"
#include "ivory/gaussian.hpp"
#include "server/sums.hpp"

namespace ivory {
namespace {

enum class DualStep { natural, bregman, bregman_reference_sign };

template <class Real>
struct UpdateSite {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT client_precision;
  const Real* IVORY_RESTRICT server_mean;
  const Real* IVORY_RESTRICT server_precision;
  Real* IVORY_RESTRICT site_mean;
  Real* IVORY_RESTRICT site_precision;
  double rate;  // d * rho
  DualStep step;

  IVORY_HD void operator()(std::size_t i) const {
    const double m = client_mean[i], s = client_precision[i], m_g = server_mean[i], s_g = server_precision[i];
    double v_step = 0, precision_step = 0;
    if (step == DualStep::natural) {
      v_step = s * m - s_g * m_g;
      precision_step = s - s_g;
    } else {
      const double second_moment = 1.0 / s + m * m - (1.0 / s_g + m_g * m_g);
      v_step = m - m_g;
      precision_step = step == DualStep::bregman ? -2.0 * second_moment : second_moment;
    }
    site_mean[i] = static_cast<Real>(static_cast<double>(site_mean[i]) + rate * v_step);
    site_precision[i] = static_cast<Real>(static_cast<double>(site_precision[i]) + rate * precision_step);
  }
};

/// eta_sum += a s m + b v and precision_sum += a s + b V: one client's share of the server's sums.
template <class Real>
struct AddClient {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT precision;
  const Real* IVORY_RESTRICT site_mean;
  const Real* IVORY_RESTRICT site_precision;
  double* IVORY_RESTRICT eta_sum;
  double* IVORY_RESTRICT precision_sum;
  double posterior_weight, site_weight;

  IVORY_HD void operator()(std::size_t i) const {
    const double s = precision[i], m = mean[i];
    eta_sum[i] += posterior_weight * (s * m) + site_weight * static_cast<double>(site_mean[i]);
    precision_sum[i] += posterior_weight * s + site_weight * static_cast<double>(site_precision[i]);
  }
};

template <class Real>
struct TakePrecision {
  const double* IVORY_RESTRICT precision_sum;
  Real* IVORY_RESTRICT precision;
  double prior;  // alpha * s0
  IVORY_HD void operator()(std::size_t i) const { precision[i] = static_cast<Real>(precision_sum[i] + prior); }
};

template <class Real>
struct TakeMean {
  const double* IVORY_RESTRICT eta_sum;
  const Real* IVORY_RESTRICT precision;
  Real* IVORY_RESTRICT mean;
  IVORY_HD void operator()(std::size_t i) const {
    mean[i] = static_cast<Real>(eta_sum[i] / static_cast<double>(precision[i]));
  }
};

constexpr AlgorithmTraits vb_admm_traits{.needs_posterior = true,
                                         .gives_posterior = true,
                                         .vectors_down = 2,
                                         .vectors_up = 2,
                                         .vectors_per_client = 2,
                                         .vectors_per_client_partial = 4,
                                         .vectors_server = 2,
                                         .sums_server = 2};

template <class Real>
class VbAdmm final : public Algorithm<Real> {
 public:
  explicit VbAdmm(const Options& options)
      : rho_(options.real("rho")), tau_(options.real("temperature")), prior_(options.real("prior_precision")),
        damping_(options.real("damping")), alpha_(options.real("alpha")),
        step_(!options.boolean("bregman")           ? DualStep::natural
              : options.boolean("bregman_ref_sign") ? DualStep::bregman_reference_sign
                                                    : DualStep::bregman) {}

  AlgorithmTraits traits() const override { return vb_admm_traits; }
  double temperature() const override { return tau_; }
  double prior_precision() const override { return prior_; }

  void initialise(ServerState<Real>& state) const override {
    state.mean = Buffer<Real>(*state.device, state.stride);
    state.precision = Buffer<Real>(*state.device, state.stride);
    for_each(*state.device, state.stride, Fill<Real>{state.precision.data(), static_cast<Real>(prior_)});
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    const double examples = state.examples[client];
    const double lambda = examples / (tau_ * rho_);
    LocalTerms<Real> terms;
    // Round 1 starts from the network's initial weights with h = h0, anchored at the prior; later rounds from q_g (D15).
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.posterior_is_anchor = state.round > 0;
    terms.anchor_mean = state.mean.data();
    terms.anchor_precision = state.precision.data();
    terms.anchor_weight = 1.0 / lambda;
    terms.site_mean = site_mean(state, client);
    terms.site_precision = site_precision(state, client);
    terms.site_weight = tau_ / examples;
    terms.effective_samples = lambda;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    const std::size_t stride = state.stride;
    if (site.empty()) site = Buffer<Real>(*state.device, (state.everyone_takes_part ? 2 : 4) * stride);
    for_each(*state.device, stride,
             UpdateSite<Real>{update.mean, update.precision, state.mean.data(), state.precision.data(), site.data(),
                              site.data() + stride, damping_ * rho_, step_});
    if (state.everyone_takes_part) return;
    state.device->copy(site.data() + 2 * stride, update.mean, stride * sizeof(Real));
    state.device->copy(site.data() + 3 * stride, update.precision, stride * sizeof(Real));
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 2); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    const double alpha = alpha_of(state);
    const auto& site = state.site[client];
    const std::size_t stride = state.stride;
    // An absent client counts with its last posterior; where none is remembered, with the server's own.
    const Real* mean = state.mean.data();
    const Real* precision = state.precision.data();
    if (update != nullptr) {
      mean = update->mean;
      precision = update->precision;
    } else if (site.size() == 4 * stride) {
      mean = site.data() + 2 * stride;
      precision = site.data() + 3 * stride;
    }
    // Without a site v = V = 0: any finite array times 0.
    const bool has_site = !site.empty();
    for_each(*state.device, stride,
             AddClient<Real>{mean, precision, has_site ? site_mean(state, client) : mean,
                             has_site ? site_precision(state, client) : precision, state.sums[0].data(),
                             state.sums[1].data(), (1.0 - alpha) / static_cast<double>(state.clients),
                             has_site ? alpha : 0.0});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    const double alpha = alpha_of(state);
    for_each(*state.device, state.stride,
             TakePrecision<Real>{state.sums[1].data(), state.precision.data(), alpha * prior_});
    AbsorbReport report;
    report.clamped = floor_precision(*state.device, state.parameters, state.stride, state.precision.data(),
                                     static_cast<Real>(1e-3 * prior_));
    for_each(*state.device, state.stride,
             TakeMean<Real>{state.sums[0].data(), state.precision.data(), state.mean.data()});
    return report;
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }
  const Real* site_precision(const ServerState<Real>& state, std::uint32_t client) const override {
    const Real* const site = state.site[client].data();
    return site == nullptr ? nullptr : site + state.stride;
  }

 private:
  double alpha_of(const ServerState<Real>& state) const {
    return alpha_ > 0 ? alpha_ : 1.0 / (1.0 + static_cast<double>(state.clients) * rho_);
  }

  double rho_, tau_, prior_, damping_, alpha_;
  DualStep step_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  if (options.boolean("bregman_ref_sign") && !options.boolean("bregman")) {
    throw InputError("[vb_admm] bregman_ref_sign needs bregman = true, got false, at " +
                     to_string(options.place("bregman_ref_sign")) + "; drop one of them");
  }
  return std::make_unique<VbAdmm<Real>>(options);
}

}  // namespace

AlgorithmPlugin vb_admm_plugin() {
  return {
      .name = "vb_admm",
      .help = "variational Bayes ADMM with diagonal covariances; PVI and Bregman ADMM are settings of it",
      .options = {{.name = "rho",
                   .default_value = 0.1,
                   .help = "weight of the KL to the server, and step size of the dual",
                   .unit = "1",
                   .low = 0,
                   .low_open = true},
                  {.name = "temperature",
                   .default_value = 1.0,
                   .help = "tau: the likelihood counts 1/tau-fold",
                   .unit = "1",
                   .low = 0,
                   .low_open = true},
                  {.name = "prior_precision",
                   .default_value = 1.0,
                   .help = "s0 of the prior N(0, 1/s0)",
                   .unit = "1/weight^2",
                   .low = 0,
                   .low_open = true},
                  {.name = "damping",
                   .default_value = 1.0,
                   .help = "d: share of the dual step taken",
                   .unit = "1",
                   .low = 0,
                   .high = 1,
                   .low_open = true},
                  {.name = "alpha",
                   .default_value = 0.0,
                   .help = "server step; 0 = 1/(1 + K rho). With rho = 1, alpha = 1 is PVI (damping < 1: damped PVI)",
                   .unit = "1",
                   .low = 0,
                   .high = 1},
                  {.name = "bregman",
                   .default_value = false,
                   .help = "dual step in expectation parameters (Bregman ADMM)"},
                  {.name = "bregman_ref_sign",
                   .default_value = false,
                   .help = "compatibility: the reference code's sign of the Bregman precision step (methods.md D4)"}},
      .traits = vb_admm_traits,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
