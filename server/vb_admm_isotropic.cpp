// VB-ADMM with isotropic covariances and the delta method, which is federated ADMM (methods.md 2.4). Every precision is the
// scalar s0, so the site is its natural mean v_k alone: ADMM's dual variable. With r = rho s0:
//
//   client  min (1/tau) L_k(theta) + <v_k, theta> + r/2 |theta - m_g|^2
//   dual    v_k += d r (m_k - m_g)
//   server  m_g  = (1-alpha) mean_k m_k + (alpha/s0) sum_k v_k
#include "server/sums.hpp"
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

template <class Real>
struct MoveSite {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  Real* IVORY_RESTRICT site_mean;
  double rate;  // d * rho * s0
  IVORY_HD void operator()(std::size_t i) const {
    const double step = static_cast<double>(client_mean[i]) - static_cast<double>(server_mean[i]);
    site_mean[i] = static_cast<Real>(static_cast<double>(site_mean[i]) + rate * step);
  }
};

constexpr AlgorithmTraits isotropic_traits{.site = SiteKind::dual,
                                           .vectors_down = 1,
                                           .vectors_up = 1,
                                           .vectors_per_client = 1,
                                           .vectors_per_client_partial = 2,
                                           .weighs_losses = true};

template <class Real>
class IsotropicVbAdmm final : public Algorithm<Real> {
 public:
  explicit IsotropicVbAdmm(const VbAdmm& settings) : settings_(settings) {}

  AlgorithmTraits traits() const override { return isotropic_traits; }
  double temperature() const override { return settings_.temperature; }
  double prior_precision() const override { return settings_.prior_precision; }

  void initialise(ServerState<Real>& state) const override { state.mean = Buffer<Real>(*state.device, state.stride); }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    const double scale = settings_.temperature / state.examples[client];
    LocalTerms<Real> terms;
    // As with precisions: round 1 starts from the network's initial weights (methods.md D15).
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.anchor_mean = state.mean.data();
    terms.anchor_weight = scale * penalty();
    terms.site_mean = site_mean(state, client);
    terms.site_weight = scale;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    if (site.empty()) site = Buffer<Real>(*state.device, (state.everyone_takes_part ? 1 : 2) * state.stride);
    for_each(*state.device, state.stride,
             MoveSite<Real>{update.mean, state.mean.data(), site.data(), settings_.damping * penalty()});
    if (state.everyone_takes_part) return;
    state.device->copy(site.data() + state.stride, update.mean, state.stride * sizeof(Real));
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    const double alpha = settings_.server_step(state.clients);
    const auto& site = state.site[client];
    // An absent client counts with its last weights; where none are remembered, with the server's own.
    const Real* mean = state.mean.data();
    if (update != nullptr) {
      mean = update->mean;
    } else if (site.size() == 2 * state.stride) {
      mean = site.data() + state.stride;
    }
    double* const sum = state.sums[0].data();
    for_each(*state.device, state.stride,
             AddWeighted<Real>{mean, sum, (1.0 - alpha) / static_cast<double>(state.clients)});
    if (site.empty()) return;
    for_each(*state.device, state.stride, AddWeighted<Real>{site.data(), sum, alpha / settings_.prior_precision});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    for_each(*state.device, state.stride, TakeScaled<Real>{state.sums[0].data(), state.mean.data(), 1.0});
    return {};
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }

 private:
  double penalty() const { return settings_.rho * settings_.prior_precision; }

  VbAdmm settings_;
};

}  // namespace

AlgorithmTraits vb_admm_isotropic_traits() { return isotropic_traits; }

template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm_isotropic(const VbAdmm& settings) {
  return std::make_unique<IsotropicVbAdmm<Real>>(settings);
}
template std::unique_ptr<Algorithm<float>> make_vb_admm_isotropic(const VbAdmm&);
template std::unique_ptr<Algorithm<double>> make_vb_admm_isotropic(const VbAdmm&);

}  // namespace ivory
