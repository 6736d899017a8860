// FedADMM (Gong et al. 2022; methods.md 4.3): dual variables take away the bias that unlike clients give local training.
//   client  min lbar_k(w) + <y_k, w> + rho/2 |w - w_g|^2,   then   y_k := y_k + rho (w_k - w_g)
//   server  w_g := w_g + alpha/|S| sum_S ( (w_k + y_k/rho) - (their last ones) ),   which the dual step makes
//           w_g := w_g + alpha/|S| sum_S ( 2 w_k - (last w_k) - w_g )
// y_k is the mean of a site without precision. Absent clients keep y_k and their last weights.
#include "server/averaging.hpp"
#include "server/proximal.hpp"

namespace ivory {
namespace {

/// total += 2 w - previous - w_g, and the client's weights become its previous ones.
template <class Real>
struct AddAugmentedMove {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  Real* IVORY_RESTRICT previous;
  double* IVORY_RESTRICT total;
  double server_factor;
  IVORY_HD void operator()(std::size_t i) const {
    const double w = client_mean[i];
    total[i] += 2.0 * w - static_cast<double>(previous[i]) - server_factor * static_cast<double>(server_mean[i]);
    previous[i] = client_mean[i];
  }
};

constexpr AlgorithmTraits fedadmm_traits{.site = SiteKind::dual,
                                         .vectors_down = 1,
                                         .vectors_up = 1,
                                         .vectors_per_client = 2,
                                         .vectors_per_client_partial = 2};

template <class Real>
class FedAdmm final : public Algorithm<Real> {
 public:
  explicit FedAdmm(const Options& options)
      : rho_(options.real("rho")), alpha_(options.real("alpha")), unsquared_(options.boolean("unsquared_prox")),
        zero_anchor_(options.boolean("ref_round1_zero_anchor")) {}

  AlgorithmTraits traits() const override {
    AlgorithmTraits traits = fedadmm_traits;
    traits.needs_point = unsquared_;
    return traits;
  }

  void initialise(ServerState<Real>& state) const override { start_at_initial_weights(state); }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    terms.anchor_mean = anchored_at_zero(state) ? nullptr : state.mean.data();
    terms.anchor_weight = rho_;
    terms.unsquared_anchor = unsquared_;
    terms.site_mean = site_mean(state, client);
    terms.site_weight = 1;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    const std::size_t stride = state.stride;
    if (site.empty()) {
      site = Buffer<Real>(*state.device, 2 * stride);
      if (!zero_anchor_) state.device->copy(site.data() + stride, state.start.data(), stride * sizeof(Real));
    }
    for_each(*state.device, stride,
             DualStep<Real>{update.mean, state.mean.data(), site.data(), rho_, server_factor(state)});
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    if (update == nullptr) return;
    state.weight_sum += 1;
    for_each(*state.device, state.stride,
             AddAugmentedMove<Real>{update->mean, state.mean.data(), state.site[client].data() + state.stride,
                                    state.sums[0].data(), server_factor(state)});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    if (state.weight_sum > 0) {
      for_each(*state.device, state.stride,
               MoveBy<Real>{state.sums[0].data(), state.mean.data(), alpha_ / state.weight_sum});
    }
    return {};
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }

 private:
  bool anchored_at_zero(const ServerState<Real>& state) const { return zero_anchor_ && state.round == 0; }
  double server_factor(const ServerState<Real>& state) const { return anchored_at_zero(state) ? 0.0 : 1.0; }

  double rho_, alpha_;
  bool unsquared_, zero_anchor_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<FedAdmm<Real>>(options);
}

}  // namespace

AlgorithmPlugin fedadmm_plugin() {
  return {.name = "fedadmm",
          .help = "ADMM: every client has a dual variable, and the server adds up their steps (Gong et al. 2022)",
          .options =
              {{.name = "rho",
                .default_value = 0.01,
                .help = "weight of the squared distance to the server's weights, and step size of the dual",
                .unit = "curvature of the mean loss",
                .low = 0,
                .low_open = true},
               {.name = "alpha", .default_value = 1.0, .help = "server step", .unit = "1", .low = 0, .low_open = true},
               unsquared_prox_option(),
               round1_zero_anchor_option()},
          .traits = fedadmm_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
