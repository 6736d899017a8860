// Clients that never talk: each goes on from its own weights. The lower bound every federated method is held against.
// There is no common model; the mean below (the plain average of the clients' weights) exists for the log alone.
#include "ivory/algorithm.hpp"
#include "server/sums.hpp"

namespace ivory {
namespace {

constexpr AlgorithmTraits local_traits{
    .personal = true, .vectors_down = 0, .vectors_up = 0, .vectors_per_client = 1, .vectors_per_client_partial = 1};

template <class Real>
class Local final : public Algorithm<Real> {
 public:
  AlgorithmTraits traits() const override { return local_traits; }

  void initialise(ServerState<Real>& state) const override {
    state.mean = Buffer<Real>(*state.device, state.stride);
    state.device->copy(state.mean.data(), state.start.data(), state.stride * sizeof(Real));
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const override {
    LocalTerms<Real> terms;
    terms.start = personal_mean(state, client);
    return terms;
  }

  void update_site(ServerState<Real>& state, const ClientUpdate<Real>& update) const override {
    auto& own = state.site[update.client];
    if (own.empty()) own = Buffer<Real>(*state.device, state.stride);
    state.device->copy(own.data(), update.mean, state.stride * sizeof(Real));
  }

  void open_round(ServerState<Real>& state) const override { open_sums(state, 1); }

  void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>*) const override {
    for_each(*state.device, state.stride, AddWeighted<Real>{personal_mean(state, client), state.sums[0].data(), 1.0});
  }

  AbsorbReport close_round(ServerState<Real>& state) const override {
    for_each(*state.device, state.stride,
             TakeScaled<Real>{state.sums[0].data(), state.mean.data(), 1.0 / static_cast<double>(state.clients)});
    return {};
  }

  const Real* personal_mean(const ServerState<Real>& state, std::uint32_t client) const override {
    return state.site[client].empty() ? state.start.data() : state.site[client].data();
  }
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options&) {
  return std::make_unique<Local<Real>>();
}

}  // namespace

AlgorithmPlugin local_plugin() {
  return {.name = "local",
          .help = "clients that never talk: each keeps training its own model (lower bound)",
          .options = {},
          .traits = local_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
