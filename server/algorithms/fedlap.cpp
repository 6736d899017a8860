// FedLap (Swaroop et al. 2025; methods.md 4.7), with its flags.
#include "server/fedlap.hpp"

#include "ivory/error.hpp"

namespace ivory {
namespace {

// The two options that every FedLap has, then the flags.
std::vector<OptionSpec> options() {
  std::vector<OptionSpec> all = fedlap_options();
  all.push_back({.name = "damping_by_size",
                 .default_value = false,
                 .help = "d_k = damping N_k/N: clients with more examples take longer dual steps"});
  all.push_back({.name = "ref_shared_scalars",
                 .default_value = false,
                 .help = "compatibility: all clients have the last one's N_k in damping_by_size (methods.md D7)"});
  all.push_back(unsquared_prox_option());
  return all;
}

template <class Real>
std::unique_ptr<Algorithm<Real>> make(const Options& options) {
  if (options.boolean("ref_shared_scalars") && !options.boolean("damping_by_size")) {
    throw InputError("[fedlap] ref_shared_scalars needs damping_by_size = true, got false, at " +
                     to_string(options.place("ref_shared_scalars")) + "; drop one of them");
  }
  if (options.boolean("damping_by_size") && options.real("damping") == 0) {
    throw InputError("[fedlap] damping_by_size needs damping > 0 (it is the c of c N_k/N), got 0, at " +
                     to_string(options.place("damping_by_size")) + "; set damping, for example to 1");
  }
  return std::make_unique<FedLap<Real>>(options);
}

}  // namespace

AlgorithmPlugin fedlap_plugin() {
  return {
      .name = "fedlap",
      .help = "partitioned variational inference with isotropic Gaussians, a relative of ADMM (Swaroop et al. 2025)",
      .options = options(),
      .traits = fedlap_traits,
      .make_float = make<float>,
      .make_double = make<double>};
}

}  // namespace ivory
