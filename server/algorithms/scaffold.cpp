// SCAFFOLD (Karimireddy et al. 2020; methods.md 4.5): control variates c_k and c cancel the drift of local steps.
//   client  n plain SGD steps w := w - lr (grad - c_k + c) from w_g
//           option II  c_k' = c_k - c + (w_g - w_k)/(sum of the steps' rates);   option I  c_k' = grad lbar_k(w_g)
//   server  w_g := w_g + server_lr mean_S (w_k - w_g),   c := c + 1/K sum_S (c_k' - c_k)
// All start at 0. c = mean_k c_k at all times. Absent clients keep c_k.
#include "server/averaging.hpp"

namespace ivory {
namespace {

/// Option II: the gradient that the client took its steps with, minus what was added to it.
template <class Real>
struct VariateOfSteps {
  const Real* IVORY_RESTRICT client_mean;
  const Real* IVORY_RESTRICT server_mean;
  const Real* IVORY_RESTRICT server_variate;
  Real* IVORY_RESTRICT variate;
  double* IVORY_RESTRICT change;
  double inverse_rate_sum;
  IVORY_HD void operator()(std::size_t i) const {
    const double way = static_cast<double>(server_mean[i]) - static_cast<double>(client_mean[i]);
    const double old = variate[i];
    const Real next = static_cast<Real>(old - static_cast<double>(server_variate[i]) + way * inverse_rate_sum);
    change[i] += static_cast<double>(next) - old;
    variate[i] = next;
  }
};

/// Option I.
template <class Real>
struct VariateOfStart {
  const Real* IVORY_RESTRICT start_gradient;
  Real* IVORY_RESTRICT variate;
  double* IVORY_RESTRICT change;
  IVORY_HD void operator()(std::size_t i) const {
    change[i] += static_cast<double>(start_gradient[i]) - static_cast<double>(variate[i]);
    variate[i] = start_gradient[i];
  }
};

constexpr AlgorithmTraits scaffold_traits{.needs_plain_sgd = true,
                                          .vectors_down = 2,
                                          .vectors_up = 2,
                                          .vectors_per_client = 1,
                                          .vectors_per_client_partial = 1,
                                          .vectors_server = 2,
                                          .sums_server = 2};

template <class Real>
class Scaffold final : public Algorithm<Real> {
 public:
  explicit Scaffold(const Options& options)
      : server_lr_(options.real("server_lr")), from_start_(options.text("option") == "I") {}

  AlgorithmTraits traits() const override {
    AlgorithmTraits traits = scaffold_traits;
    traits.needs_start_gradient = from_start_;
    return traits;
  }

  void initialise(ServerState<Real>& state) const override {
    start_at_initial_weights(state);
    open_memory(state, 1);  // c
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    terms.site_mean = state.site[client].data();
    terms.site_weight = -1;
    terms.common_mean = state.memory[0].data();
    terms.common_weight = 1;
    return terms;
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 2); }

  // c_k moves here rather than in update_site, because the server adds up its change.
  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const override {
    if (update == nullptr) return;
    Device& device = *state.device;
    const std::size_t stride = state.stride;
    auto& variate = state.site[client];
    if (variate.empty()) variate = Buffer<Real>(device, stride);
    state.weight_sum += 1;
    for_each(device, stride, AddMove<Real>{update->mean, state.mean.data(), state.sums[0].data()});
    if (from_start_) {
      for_each(device, stride, VariateOfStart<Real>{update->start_gradient, variate.data(), state.sums[1].data()});
    } else {
      for_each(device, stride,
               VariateOfSteps<Real>{update->mean, state.mean.data(), state.memory[0].data(), variate.data(),
                                    state.sums[1].data(), 1.0 / update->rate_sum});
    }
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    if (state.weight_sum == 0) return {};
    for_each(*state.device, state.stride,
             MoveBy<Real>{state.sums[0].data(), state.mean.data(), server_lr_ / state.weight_sum});
    for_each(*state.device, state.stride,
             MoveBy<Real>{state.sums[1].data(), state.memory[0].data(), 1.0 / static_cast<double>(state.clients)});
    return {};
  }

 private:
  double server_lr_;
  bool from_start_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<Scaffold<Real>>(options);
}

}  // namespace

AlgorithmPlugin scaffold_plugin() {
  return {
      .name = "scaffold",
      .help = "control variates against client drift; clients must train with plain SGD (Karimireddy et al. 2020)",
      .options = {server_lr_option(1.0),
                  {.name = "option",
                   .default_value = std::string("II"),
                   .help =
                       "a client's new control variate: I, its full-batch gradient at the server's weights (one more "
                       "pass over its examples); II, the mean gradient of its steps",
                   .choices = {"I", "II"}}},
      .traits = scaffold_traits,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
