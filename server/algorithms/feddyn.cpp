// FedDyn (Acar et al. 2021; methods.md 4.4): a dynamic regulariser that makes local optima agree with the global one.
//   client  min lbar_k(w) + <y_k, w> + a_k/2 |w - w_g|^2,   then   y_k := y_k + a_k (w_k - w_g)
//   server  h := h - 1/K sum_S a (w_k - w_g),   w_g := mean_S w_k - h/a
// y_k is the mean of a site without precision. a_k = a unless `scaling` says otherwise; in the server step a_k takes the place of
// the first a for "ref_N", as in the code it comes from. Absent clients keep y_k.
#include <numeric>

#include "ivory/error.hpp"
#include "server/averaging.hpp"
#include "server/proximal.hpp"

namespace ivory {
namespace {

enum class Scaling { none, inverse_size, size };

/// sum += w_k and moves += weight (w_k - w_g).
template <class Real>
struct AddClient {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  double* IVORY_RESTRICT sum;
  double* IVORY_RESTRICT moves;
  double weight, server_factor;
  IVORY_HD void operator()(std::size_t i) const {
    const double w = client_mean[i];
    sum[i] += w;
    moves[i] += weight * (w - server_factor * static_cast<double>(server_mean[i]));
  }
};

template <class Real>
struct ServerStep {
  const double* IVORY_RESTRICT sum;
  const double* IVORY_RESTRICT moves;
  Real* IVORY_RESTRICT history;
  Real* IVORY_RESTRICT mean;
  double history_weight, mean_weight, inverse_alpha;
  IVORY_HD void operator()(std::size_t i) const {
    const double h = static_cast<double>(history[i]) - history_weight * moves[i];
    history[i] = static_cast<Real>(h);
    mean[i] = static_cast<Real>(mean_weight * sum[i] - inverse_alpha * h);
  }
};

constexpr AlgorithmTraits feddyn_traits{.site = SiteKind::dual,
                                        .vectors_down = 1,
                                        .vectors_up = 1,
                                        .vectors_per_client = 1,
                                        .vectors_per_client_partial = 1,
                                        .vectors_server = 2,
                                        .sums_server = 2};

template <class Real>
class FedDyn final : public Algorithm<Real> {
 public:
  explicit FedDyn(const Options& options)
      : alpha_(options.real("alpha")), scaling_(options.text("scaling") == "none"       ? Scaling::none
                                                : options.text("scaling") == "ref_invN" ? Scaling::inverse_size
                                                                                        : Scaling::size),
        shared_(options.boolean("ref_shared_scalars")), unsquared_(options.boolean("unsquared_prox")),
        zero_anchor_(options.boolean("ref_round1_zero_anchor")),
        no_first_history_(options.boolean("ref_round1_no_history")) {}

  AlgorithmTraits traits() const override {
    AlgorithmTraits traits = feddyn_traits;
    traits.needs_point = unsquared_;
    return traits;
  }

  void initialise(ServerState<Real>& state) const override {
    start_at_initial_weights(state);
    open_memory(state, 1);  // h
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    terms.anchor_mean = anchored_at_zero(state) ? nullptr : state.mean.data();
    terms.anchor_weight = alpha_of(state, client);
    terms.unsquared_anchor = unsquared_;
    terms.site_mean = site_mean(state, client);
    terms.site_weight = 1;
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& site = state.site[update.client];
    if (site.empty()) site = Buffer<Real>(*state.device, state.stride);
    for_each(*state.device, state.stride,
             DualStep<Real>{update.mean, state.mean.data(), site.data(), alpha_of(state, update.client),
                            server_factor(state)});
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 2); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    if (update == nullptr) return;
    state.weight_sum += 1;
    for_each(*state.device, state.stride,
             AddClient<Real>{update->mean, state.mean.data(), state.sums[0].data(), state.sums[1].data(),
                             scaling_ == Scaling::size ? alpha_of(state, client) : alpha_, server_factor(state)});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    if (state.weight_sum == 0) return {};
    const bool history = !(no_first_history_ && state.round == 0);
    for_each(*state.device, state.stride,
             ServerStep<Real>{state.sums[0].data(), state.sums[1].data(), state.memory[0].data(), state.mean.data(),
                              history ? 1.0 / static_cast<double>(state.clients) : 0.0, 1.0 / state.weight_sum,
                              1.0 / alpha_});
    return {};
  }

  const Real* site_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }

 private:
  double alpha_of(const ServerState<Real>& state, std::uint32_t client) const {
    if (scaling_ == Scaling::none) return alpha_;
    const double all = std::accumulate(state.examples.begin(), state.examples.end(), 0.0);
    const double own = shared_ ? state.examples.back() : state.examples[client];
    return scaling_ == Scaling::size ? alpha_ * own / all : alpha_ * all / (static_cast<double>(state.clients) * own);
  }
  bool anchored_at_zero(const ServerState<Real>& state) const { return zero_anchor_ && state.round == 0; }
  double server_factor(const ServerState<Real>& state) const { return anchored_at_zero(state) ? 0.0 : 1.0; }

  double alpha_;
  Scaling scaling_;
  bool shared_, unsquared_, zero_anchor_, no_first_history_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  if (options.boolean("ref_shared_scalars") && options.text("scaling") != "ref_N") {
    throw InputError("[feddyn] ref_shared_scalars needs scaling = \"ref_N\", got \"" + options.text("scaling") +
                     "\", at " + to_string(options.place("ref_shared_scalars")) + "; drop one of them");
  }
  return std::make_unique<FedDyn<Real>>(options);
}

}  // namespace

AlgorithmPlugin feddyn_plugin() {
  return {
      .name = "feddyn",
      .help = "dynamic regularisation: dual variables at the clients and their sum at the server (Acar et al. 2021)",
      .options = {{.name = "alpha",
                   .default_value = 0.01,
                   .help = "a: weight of the squared distance to the server's weights, and step size of the dual",
                   .unit = "curvature of the mean loss",
                   .low = 0,
                   .low_open = true},
                  {.name = "scaling",
                   .default_value = std::string("none"),
                   .help = "a_k of client k: a; a N_k/N as in the reference code; a N/(K N_k) as in the authors' code",
                   .choices = {"none", "ref_N", "ref_invN"}},
                  {.name = "ref_shared_scalars",
                   .default_value = false,
                   .help = "compatibility: all clients have the last one's N_k in scaling = \"ref_N\" (methods.md D7)"},
                  unsquared_prox_option(),
                  round1_zero_anchor_option(),
                  {.name = "ref_round1_no_history",
                   .default_value = false,
                   .help = "compatibility: the server's history h stays 0 in round 1 (methods.md D7)"}},
      .traits = feddyn_traits,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
