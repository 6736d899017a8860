// FedLap (Swaroop et al. 2025; methods.md 4.7): partitioned variational inference with isotropic Gaussians and the delta method.
//   client  min N_k lbar_k(w) + <v_k, w> + s0/2 |w - w_g|^2,   then   v_k := v_k + d s0 (w_k - w_g)
//   server  w_g := sum_k v_k / s0
// v_k is the mean of a site without precision, s0 the precision of prior and server. Clients train on the mean loss, so the terms
// are divided by N_k. As in VB-ADMM the server starts at the prior's mean 0, and the first local training at the network's
// initial weights. Absent clients keep v_k, and a client never visited has none.
#pragma once
#include <numeric>

#include "server/proximal.hpp"

namespace ivory {

inline constexpr AlgorithmTraits fedlap_traits{.site = SiteKind::dual,
                                               .vectors_down = 1,
                                               .vectors_up = 1,
                                               .vectors_per_client = 1,
                                               .vectors_per_client_partial = 1};

inline namespace IVORY_TRANSLATION {

template <class Real>
class FedLap : public Algorithm<Real> {
 public:
  /// Flags that `options` does not have are off.
  explicit FedLap(const Options& options)
      : prior_(options.real("prior_precision")), damping_(options.real("damping")),
        by_size_(flag(options, "damping_by_size")), shared_(flag(options, "ref_shared_scalars")),
        unsquared_(flag(options, "unsquared_prox")) {}

  AlgorithmTraits traits() const override {
    AlgorithmTraits traits = fedlap_traits;
    traits.needs_point = unsquared_;
    return traits;
  }

  void initialise(ServerState<Real>& state) const override { state.mean = Buffer<Real>(*state.device, state.stride); }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms;
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.anchor_mean = state.mean.data();
    terms.anchor_weight = prior_ / state.examples[client];
    terms.unsquared_anchor = unsquared_;
    terms.site_mean = site_mean(state, client);
    terms.site_weight = 1.0 / state.examples[client];
    terms.sum_loss = true;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    if (site.empty()) site = Buffer<Real>(*state.device, state.stride);
    for_each(
        *state.device, state.stride,
        DualStep<Real>{update.mean, state.mean.data(), site.data(), damping_of(state, update.client) * prior_, 1.0});
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>*) const override {
    if (state.site[client].empty()) return;
    for_each(*state.device, state.stride, AddWeighted<Real>{state.site[client].data(), state.sums[0].data(), 1.0});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    for_each(*state.device, state.stride, TakeScaled<Real>{state.sums[0].data(), state.mean.data(), 1.0 / prior_});
    return {};
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }

 private:
  static bool flag(const Options& options, const char* name) { return options.has(name) && options.boolean(name); }

  double damping_of(const ServerState<Real>& state, std::uint32_t client) const {
    const double damping = damping_ > 0 ? damping_ : 1.0 / static_cast<double>(state.clients);
    if (!by_size_) return damping;
    const double own = shared_ ? state.examples.back() : state.examples[client];
    return damping * own / std::accumulate(state.examples.begin(), state.examples.end(), 0.0);
  }

  double prior_, damping_;
  bool by_size_, shared_, unsquared_;
};

}  // namespace IVORY_TRANSLATION

/// "prior_precision" and "damping".
inline std::vector<OptionSpec> fedlap_options() {
  return {{.name = "prior_precision",
           .default_value = 1.0,
           .help = "s0 of the prior N(0, 1/s0), and weight of the squared distance to the server's weights",
           .unit = "1/weight^2",
           .low = 0,
           .low_open = true},
          {.name = "damping",
           .default_value = 0.0,
           .help = "d: share of the dual step taken; 0 = 1/K",
           .unit = "1",
           .low = 0,
           .high = 1}};
}

}  // namespace ivory
