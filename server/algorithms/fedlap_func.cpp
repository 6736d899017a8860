// FedLap-Func: FedLap with predictions on a public pool M, example i of which belongs to client i mod K (methods.md 4.9:
// Ivory's variant).
//   client  FedLap's objective + tau_f sum over x in M without M_k of CE(p_g(x), softmax f(x; w)),   p_g the server's predictions;
//           FedLap's dual step, and p_k(x) for x in M_k goes to the server
//   server  u := sum_k v_k / s0,   w_g := argmin s0/2 |w - u|^2 + tau_f sum_k sum_{x in M_k} CE(p_k(x), softmax f(x; w))
//           by some steps of Adam from u, with epsilon = server_lr (s0 + tau_f |M|): close to the minimum these are steps of
//           gradient descent, where Adam with a small epsilon would go on by steps of server_lr
// Where all weights agree the function-space terms have gradient 0, so FedLap's fixed point stays one. Absent clients count with
// the predictions they sent last, and examples whose client never sent any count nothing. Without a pool it is FedLap.
#include <cmath>

#include "server/fedlap.hpp"

namespace ivory {
namespace {

constexpr double beta1 = 0.9, beta2 = 0.999;

/// A step of Adam on prior/2 |w - u|^2 + weight * (what `slope` is the gradient of).
template <class Real>
struct Descend {
  const Real* IVORY_RESTRICT centre;
  const Real* IVORY_RESTRICT slope;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT first;
  Real* IVORY_RESTRICT second;
  double prior, weight, step_size, inverse_root_correction, epsilon;
  IVORY_HD void operator()(std::size_t i) const {
    const double m = mean[i];
    const double g = prior * (m - static_cast<double>(centre[i])) + weight * static_cast<double>(slope[i]);
    const double a = beta1 * static_cast<double>(first[i]) + (1.0 - beta1) * g;
    const double v = beta2 * static_cast<double>(second[i]) + (1.0 - beta2) * g * g;
    first[i] = static_cast<Real>(a);
    second[i] = static_cast<Real>(v);
    mean[i] = static_cast<Real>(m - step_size * a / (math::sqrt(v) * inverse_root_correction + epsilon));
  }
};

/// The rows of one client's share, [examples x classes].
template <class Real>
struct TakeShare {
  const Real* IVORY_RESTRICT from;
  Real* IVORY_RESTRICT to;
  PoolShare share;
  std::size_t classes;
  IVORY_HD void operator()(std::size_t i) const {
    if (share.holds(i / classes)) to[i] = from[i];
  }
};

AlgorithmTraits traits_of(double tau) {
  AlgorithmTraits traits = fedlap_traits;
  if (tau == 0) return traits;
  traits.uses_public_pool = true;
  traits.vectors_server = 5;  // the mean; u, the gradient and Adam's moments
  return traits;
}

template <class Real>
class FedLapFunc final : public FedLap<Real> {
 public:
  explicit FedLapFunc(const Options& options)
      : FedLap<Real>(options), prior_(options.real("prior_precision")), tau_(options.real("tau_f")),
        rate_(options.real("server_lr")), steps_(static_cast<int>(options.integer("server_steps"))) {}

  AlgorithmTraits traits() const override { return traits_of(tau_); }

  void initialise(ServerState<Real>& state) const override {
    FedLap<Real>::initialise(state);
    if (tau_ == 0) return;
    for (int i = 0; i < 4; ++i) state.memory.emplace_back(*state.device, state.stride);
    state.public_labels = Buffer<Real>(*state.device, values(state));
    state.public_predictions = Buffer<Real>(*state.device, values(state));
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms = FedLap<Real>::local_terms(state, client);
    terms.public_labels = state.public_labels.data();
    terms.public_weight = tau_ / state.examples[client];
    terms.public_share = {client, state.clients};
    return terms;
  }

  void open_round(ServerState<Real>& state) const override {
    FedLap<Real>::open_round(state);
    if (values(state) > 0) state.public_model->predict(state.mean.data(), state.public_labels.data());
  }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    FedLap<Real>::absorb(state, client, update);
    if (update == nullptr || values(state) == 0) return;
    for_each(*state.device, values(state),
             TakeShare<Real>{update->public_predictions, state.public_predictions.data(),
                             PoolShare{client, state.clients}, state.public_model->classes()});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    const AbsorbReport report = FedLap<Real>::close_round(state);
    if (values(state) > 0) fit_predictions(state);
    return report;
  }

 private:
  // Numbers that predictions on the whole pool are; 0 where there is none.
  std::size_t values(const ServerState<Real>& state) const {
    if (tau_ == 0 || state.public_model == nullptr) return 0;
    return state.public_model->examples() * state.public_model->classes();
  }

  // From u, which `mean` is.
  void fit_predictions(ServerState<Real>& state) const {
    Device& device = *state.device;
    const std::size_t bytes = state.stride * sizeof(Real);
    auto &centre = state.memory[0], &slope = state.memory[1], &first = state.memory[2], &second = state.memory[3];
    device.copy(centre.data(), state.mean.data(), bytes);
    device.clear(first.data(), bytes);
    device.clear(second.data(), bytes);
    const double epsilon = rate_ * (prior_ + tau_ * static_cast<double>(state.public_model->examples()));
    for (int t = 1; t <= steps_; ++t) {
      state.public_model->gradient(state.mean.data(), state.public_predictions.data(), slope.data());
      for_each(device, state.stride,
               Descend<Real>{centre.data(), slope.data(), state.mean.data(), first.data(), second.data(), prior_, tau_,
                             rate_ / (1.0 - std::pow(beta1, t)), 1.0 / std::sqrt(1.0 - std::pow(beta2, t)), epsilon});
    }
  }

  double prior_, tau_, rate_;
  int steps_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<FedLapFunc<Real>>(options);
}

std::vector<OptionSpec> options() {
  std::vector<OptionSpec> all = fedlap_options();
  all.push_back({.name = "tau_f",
                 .default_value = 1.0,
                 .help = "weight of the predictions on the public pool; 0: FedLap, and no pool is needed",
                 .unit = "1",
                 .low = 0});
  all.push_back(
      {.name = "share_inputs",
       .default_value = std::int64_t{0},
       .help = "in place of data.public: so many examples of every client become the pool, and so leave it; 0: none",
       .unit = "examples",
       .low = 0,
       .high = 1 << 20});
  all.push_back({.name = "server_steps",
                 .default_value = std::int64_t{10},
                 .help = "steps of Adam with which the server fits the clients' predictions in each round",
                 .unit = "steps",
                 .low = 0,
                 .high = 1e6});
  all.push_back({.name = "server_lr",
                 .default_value = 1e-3,
                 .help = "learning rate of these steps",
                 .unit = "1",
                 .low = 0,
                 .low_open = true});
  return all;
}

}  // namespace

AlgorithmPlugin fedlap_func_plugin() {
  return {
      .name = "fedlap_func",
      .help = "FedLap whose clients and server also exchange predictions on a public pool (after Swaroop et al. 2025)",
      .options = options(),
      .traits = traits_of(1.0),
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
