// VB-ADMM with diagonal covariances; with IVON inside it is IVON-ADMM. methods.md 2.1-2.3; the equations are in vb_admm.hpp.
#include "ivory/gaussian.hpp"
#include "server/natural_steps.hpp"
#include "server/sums.hpp"
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

constexpr AlgorithmTraits vb_admm_traits{.needs_posterior = true,
                                         .gives_posterior = true,
                                         .site = SiteKind::gaussian,
                                         .vectors_down = 2,
                                         .vectors_up = 2,
                                         .vectors_per_client = 2,
                                         .vectors_per_client_partial = 4,
                                         .vectors_server = 2,
                                         .sums_server = 2,
                                         .weighs_losses = true};

template <class Real>
class DiagonalVbAdmm final : public Algorithm<Real> {
 public:
  explicit DiagonalVbAdmm(const VbAdmm& settings) : settings_(settings) {}

  AlgorithmTraits traits() const override { return vb_admm_traits; }
  double temperature() const override { return settings_.temperature; }
  double prior_precision() const override { return settings_.prior_precision; }
  NaturalStep natural_step() const override {
    return {.known = true,
            .rho = settings_.rho,
            .damping = settings_.damping,
            .alpha = settings_.alpha,
            .natural_dual = settings_.step == DualStep::natural};
  }

  double average_precision(double examples, double hess_init) const override {
    if (!settings_.reference_average) return Algorithm<Real>::average_precision(examples, hess_init);
    return examples * hess_init / (settings_.temperature * settings_.rho) + settings_.prior_precision;
  }

  void initialise(ServerState<Real>& state) const override {
    state.mean = Buffer<Real>(*state.device, state.stride);
    state.precision = Buffer<Real>(*state.device, state.stride);
    for_each(*state.device, state.stride,
             Fill<Real>{state.precision.data(), static_cast<Real>(settings_.start_precision)});
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    const double examples = state.examples[client];
    const double lambda = examples / (settings_.temperature * settings_.rho);
    LocalTerms<Real> terms;
    // Round 1 starts from the network's initial weights with h = h0, anchored at the prior; later rounds from q_g (D15).
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.posterior_is_anchor = state.round > 0;
    terms.anchor_mean = state.mean.data();
    terms.anchor_precision = state.precision.data();
    terms.anchor_weight = 1.0 / lambda;
    terms.site_mean = site_mean(state, client);
    terms.site_precision = site_precision(state, client);
    terms.site_weight = settings_.temperature / examples;
    terms.effective_samples = lambda;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    const std::size_t stride = state.stride;
    if (site.empty()) site = Buffer<Real>(*state.device, (state.everyone_takes_part ? 2 : 4) * stride);
    for_each(*state.device, stride,
             UpdateSite<Real>{update.mean, update.precision, state.mean.data(), state.precision.data(), site.data(),
                              site.data() + stride, settings_.damping * settings_.rho, settings_.step});
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
             TakePrecision<Real>{state.sums[1].data(), state.precision.data(), alpha * settings_.prior_precision});
    AbsorbReport report;
    report.clamped = floor_precision(*state.device, state.parameters, state.stride, state.precision.data(),
                                     static_cast<Real>(precision_floor * settings_.prior_precision));
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
  double alpha_of(const ServerState<Real>& state) const { return settings_.server_step(state.clients); }

  VbAdmm settings_;
};

}  // namespace

AlgorithmTraits vb_admm_diagonal_traits() { return vb_admm_traits; }

template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm_diagonal(const VbAdmm& settings) {
  return std::make_unique<DiagonalVbAdmm<Real>>(settings);
}
template std::unique_ptr<Algorithm<float>> make_vb_admm_diagonal(const VbAdmm&);
template std::unique_ptr<Algorithm<double>> make_vb_admm_diagonal(const VbAdmm&);

}  // namespace ivory
