// FedProx (Li et al. 2020; methods.md 4.2): FedAvg with a proximal pull against client drift.
//   client  min lbar_k(w) + mu/2 |w - w_g|^2          server  as FedAvg
#include "server/averaging.hpp"
#include "server/proximal.hpp"

namespace ivory {
namespace {

constexpr AlgorithmTraits fedprox_traits{.vectors_down = 1, .vectors_up = 1, .weighs_losses = true};

template <class Real>
class FedProx final : public Averaging<Real> {
 public:
  explicit FedProx(const Options& options)
      : mu_(options.real("mu")), unsquared_(options.boolean("unsquared_prox")),
        free_first_round_(options.boolean("ref_round1_no_prox")) {}

  AlgorithmTraits traits() const override {
    AlgorithmTraits traits = fedprox_traits;
    traits.needs_point = unsquared_;
    return traits;
  }

  LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t) const override {
    LocalTerms<Real> terms;
    terms.start = state.mean.data();
    if (free_first_round_ && state.round == 0) return terms;
    terms.anchor_mean = state.mean.data();
    terms.anchor_weight = mu_;
    terms.unsquared_anchor = unsquared_;
    return terms;
  }

 private:
  double mu_;
  bool unsquared_, free_first_round_;
};

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  return std::make_unique<FedProx<Real>>(options);
}

}  // namespace

AlgorithmPlugin fedprox_plugin() {
  return {.name = "fedprox",
          .help = "FedAvg with a pull of every client towards the server's weights (Li et al. 2020)",
          .options = {{.name = "mu",
                       .default_value = 0.01,
                       .help = "weight of the squared distance to the server's weights: mu/2 |w - w_g|^2",
                       .unit = "curvature of the mean loss",
                       .low = 0},
                      unsquared_prox_option(),
                      {.name = "ref_round1_no_prox",
                       .default_value = false,
                       .help = "compatibility: no proximal term in round 1, as in the reference code (methods.md D7)"}},
          .traits = fedprox_traits,
          .make_float = make<float>,
          .make_double = make<double>};
}

}  // namespace ivory
