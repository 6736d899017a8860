// FedLap-Cov (Swaroop et al. 2025; methods.md 4.8): partitioned variational inference with diagonal Gaussians and the delta
// method. The precisions come from the Gauss-Newton diagonal H_k of the client's own sum loss at its new weights (D9; ref_full_data_ggn
// takes the examples of all clients instead).
//
//   client  min N_k lbar_k(w) + <v_k, w> - 1/2 w' V_k w + 1/2 (w - w_g)' S_g (w - w_g)
//   dual    S_k = H_k - V_k + S_g;   v_k += d (S_k w_k - S_g w_g),   V_k := (1-d) V_k + d H_k
//   server  S_g = s0 + sum_k V_k,   w_g = sum_k v_k / S_g
//
// H_k >= 0, so S_g >= s0 and no floor is needed. As Gaussian sites this is VB-ADMM with rho = alpha = tau = 1 whose clients have
// point estimates and add their curvature afterwards.
#include "ivory/algorithm.hpp"
#include "server/sums.hpp"

namespace ivory {
namespace {

AlgorithmTraits traits_of(Curvature curvature, bool full_data = false) {
  AlgorithmTraits traits;
  traits.gives_posterior = true;
  traits.site = SiteKind::gaussian;
  traits.needs_curvature = curvature;
  traits.full_data_curvature = full_data;
  traits.vectors_down = traits.vectors_up = 2;
  traits.vectors_per_client = traits.vectors_per_client_partial = 2;
  traits.vectors_server = 2;
  traits.sums_server = 2;
  return traits;
}

template <class Real>
struct MoveSite {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT curvature;
  const Real* IVORY_RESTRICT server_mean;
  const Real* IVORY_RESTRICT server_precision;
  Real* IVORY_RESTRICT site_mean;
  Real* IVORY_RESTRICT site_precision;
  double damping;

  IVORY_HD void operator()(std::size_t i) const {
    const double w = client_mean[i], h = curvature[i], w_g = server_mean[i], s_g = server_precision[i];
    const double v = site_mean[i], V = site_precision[i];
    const double s = h - V + s_g;
    site_mean[i] = static_cast<Real>(v + damping * (s * w - s_g * w_g));
    site_precision[i] = static_cast<Real>((1.0 - damping) * V + damping * h);
  }
};

template <class Real>
struct TakePosterior {
  const double* IVORY_RESTRICT eta_sum;
  const double* IVORY_RESTRICT precision_sum;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT precision;
  double prior;
  IVORY_HD void operator()(std::size_t i) const {
    const double s = prior + precision_sum[i];
    precision[i] = static_cast<Real>(s);
    mean[i] = static_cast<Real>(eta_sum[i] / s);
  }
};

template <class Real>
class FedLapCov final : public Algorithm<Real> {
 public:
  explicit FedLapCov(const Options& options)
      : prior_(options.real("prior_precision")), damping_(options.real("damping")),
        curvature_(options.text("curvature") == "sampled" ? Curvature::sampled : Curvature::exact),
        free_start_(options.boolean("ref_free_start")), full_data_(options.boolean("ref_full_data_ggn")) {}

  AlgorithmTraits traits() const override { return traits_of(curvature_, full_data_); }
  double temperature() const override { return 1.0; }
  double prior_precision() const override { return prior_; }

  void initialise(ServerState<Real>& state) const override {
    state.mean = Buffer<Real>(*state.device, state.stride);
    state.precision = Buffer<Real>(*state.device, state.stride);
    for_each(*state.device, state.stride,
             Fill<Real>{state.precision.data(), static_cast<Real>(free_start_ ? 0.0 : prior_)});
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    const double weight = 1.0 / state.examples[client];
    LocalTerms<Real> terms;
    terms.sum_loss = true;
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.anchor_mean = state.mean.data();
    terms.anchor_precision = state.precision.data();
    terms.anchor_weight = weight;
    terms.site_mean = site_mean(state, client);
    terms.site_precision = site_precision(state, client);
    terms.site_weight = weight;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    if (site.empty()) site = Buffer<Real>(*state.device, 2 * state.stride);
    for_each(*state.device, state.stride,
             MoveSite<Real>{update.mean, update.curvature, state.mean.data(), state.precision.data(), site.data(),
                            site.data() + state.stride, damping_});
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 2); }

  // Absent clients count with the sites they have.
  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>*) const override {
    if (state.site[client].empty()) return;
    for_each(*state.device, state.stride, AddWeighted<Real>{site_mean(state, client), state.sums[0].data(), 1.0});
    for_each(*state.device, state.stride, AddWeighted<Real>{site_precision(state, client), state.sums[1].data(), 1.0});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    for_each(*state.device, state.stride,
             TakePosterior<Real>{state.sums[0].data(), state.sums[1].data(), state.mean.data(), state.precision.data(),
                                 prior_});
    return {};
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }
  const Real* site_precision(const ServerState<Real>& state, std::uint32_t client) const override {
    const Real* const site = state.site[client].data();
    return site == nullptr ? nullptr : site + state.stride;
  }

 private:
  double prior_, damping_;
  Curvature curvature_;
  bool free_start_, full_data_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<FedLapCov<Real>>(options);
}

}  // namespace

AlgorithmPlugin fedlap_cov_plugin() {
  return {
      .name = "fedlap_cov",
      .help = "FedLap with learned diagonal precisions from the clients' Gauss-Newton diagonals (Swaroop et al. 2025)",
      .options = {{.name = "prior_precision",
                   .default_value = 1.0,
                   .help = "s0 of the prior N(0, 1/s0)",
                   .unit = "1/weight^2",
                   .low = 0,
                   .low_open = true},
                  {.name = "damping",
                   .default_value = 0.1,
                   .help = "d: share of the dual step taken",
                   .unit = "1",
                   .low = 0,
                   .high = 1,
                   .low_open = true},
                  {.name = "curvature",
                   .default_value = std::string("exact"),
                   .help = "Gauss-Newton diagonal: exact (a backward pass per class), or sampled (one, with labels "
                           "drawn from the predictions; unbiased)",
                   .choices = {"exact", "sampled"}},
                  {.name = "ref_free_start",
                   .default_value = false,
                   .help = "compatibility: no regulariser in round 1, S_g = 0, as in the reference code"},
                  {.name = "ref_full_data_ggn",
                   .default_value = false,
                   .help = "compatibility: each client's Gauss-Newton diagonal is that of all clients' examples, as in "
                           "the reference's CIFAR runs (methods.md, D9)"}},
      .traits = traits_of(Curvature::exact),
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
