// VB-ADMM with full covariances: precisions are symmetric matrices [P x P], row-major, in double (methods.md 2.1, 2.5, 3.2).
#include "ivory/full_gaussian.hpp"
#include "ivory/gaussian.hpp"
#include "server/sums.hpp"
#include "server/vb_admm.hpp"

namespace ivory {
namespace {

/// to += weight (a - b)
struct AddDifference {
  const double* IVORY_RESTRICT a;
  const double* IVORY_RESTRICT b;
  double* IVORY_RESTRICT to;
  double weight;
  IVORY_HD void operator()(std::size_t i) const { to[i] += weight * (a[i] - b[i]); }
};

constexpr AlgorithmTraits full_traits{.needs_posterior = true,
                                      .gives_posterior = true,
                                      .site = SiteKind::gaussian,
                                      .vectors_down = 1,
                                      .vectors_up = 1,
                                      .vectors_per_client = 1,
                                      .vectors_per_client_partial = 2,
                                      .full_covariance = true,
                                      .matrices_down = 1,
                                      .matrices_up = 1,
                                      .matrices_per_client = 1,
                                      .matrices_per_client_partial = 2,
                                      .matrices_server = 3,  // precision, its sum, a factor
                                      .weighs_losses = true};

class FullVbAdmm final : public Algorithm<double> {
 public:
  explicit FullVbAdmm(const VbAdmm& settings) : settings_(settings) {}

  AlgorithmTraits traits() const override { return full_traits; }
  double temperature() const override { return settings_.temperature; }
  double prior_precision() const override { return settings_.prior_precision; }

  void initialise(ServerState<double>& state) const override {
    const std::size_t size = state.parameters;
    state.mean = Buffer<double>(*state.device, state.stride);
    state.precision = Buffer<double>(*state.device, size * size);
    add_to_diagonal(*state.device, size, state.precision.data(), settings_.start_precision);
  }

  LocalTerms<double> local_terms(const ServerState<double>& state, std::uint32_t client) const override {
    const double examples = state.examples[client], lambda = examples / (settings_.temperature * settings_.rho);
    LocalTerms<double> terms;
    // As with diagonal precisions: round 1 starts from the network's initial weights (methods.md D15).
    terms.start = state.round == 0 ? state.start.data() : state.mean.data();
    terms.posterior_is_anchor = state.round > 0;
    terms.full_covariance = true;
    terms.anchor_mean = state.mean.data();
    terms.anchor_precision = state.precision.data();
    terms.anchor_weight = 1.0 / lambda;
    terms.site_mean = site_mean(state, client);
    terms.site_precision = site_precision(state, client);
    terms.site_weight = settings_.temperature / examples;
    terms.effective_samples = lambda;
    return terms;
  }

  // A site is v, V and, where a client may be absent, its last m and S: [stride + P P] each.
  void update_site(ServerState<double>& state, const ClientUpdate<double>& update) const override {
    Device& device = *state.device;
    const std::size_t size = state.parameters, stride = state.stride, entries = size * size;
    auto& site = state.site[update.client];
    if (site.empty()) site = Buffer<double>(device, (state.everyone_takes_part ? 1 : 2) * (stride + entries));
    double* const v = site.data();
    double* const V = v + stride;
    const double rate = settings_.damping * settings_.rho;
    if (settings_.step == DualStep::natural) {
      Buffer<double> natural(device, 2 * stride);
      apply_matrix(device, size, update.precision, update.mean, natural.data());
      apply_matrix(device, size, state.precision.data(), state.mean.data(), natural.data() + stride);
      for_each(device, size, AddDifference{natural.data(), natural.data() + stride, v, rate});
      for_each(device, entries, AddDifference{update.precision, state.precision.data(), V, rate});
    } else {
      Buffer<double> own(device, entries), server(device, entries);
      second_moment(device, size, update.mean, update.precision, own.data());
      second_moment(device, size, state.mean.data(), state.precision.data(), server.data());
      for_each(device, size, AddDifference{update.mean, state.mean.data(), v, rate});
      for_each(device, entries,
               AddDifference{own.data(), server.data(), V, settings_.step == DualStep::bregman ? -2.0 * rate : rate});
    }
    if (state.everyone_takes_part) return;
    double* const last = V + entries;
    device.copy(last, update.mean, stride * sizeof(double));
    device.copy(last + stride, update.precision, entries * sizeof(double));
  }

  void open_round(ServerState<double>& state) const override {
    const std::size_t entries = state.parameters * state.parameters;
    if (state.sums.empty()) {
      state.sums.emplace_back(*state.device, state.stride);
      state.sums.emplace_back(*state.device, entries);
      return;
    }
    for (auto& total : state.sums) state.device->clear(total.data(), total.size() * sizeof(double));
  }

  void absorb(ServerState<double>& state, std::uint32_t client, const ClientUpdate<double>* update) const override {
    Device& device = *state.device;
    const std::size_t size = state.parameters, stride = state.stride, entries = size * size;
    const double alpha = settings_.server_step(state.clients),
                 share = (1.0 - alpha) / static_cast<double>(state.clients);
    // An absent client counts with its last posterior; where none is remembered, with the server's own.
    const double* mean = state.mean.data();
    const double* precision = state.precision.data();
    if (update != nullptr) {
      mean = update->mean;
      precision = update->precision;
    } else if (state.site[client].size() == 2 * (stride + entries)) {
      mean = state.site[client].data() + stride + entries;
      precision = mean + stride;
    }
    Buffer<double> natural(device, stride);
    apply_matrix(device, size, precision, mean, natural.data());
    for_each(device, size, AddWeighted<double>{natural.data(), state.sums[0].data(), share});
    for_each(device, entries, AddWeighted<double>{precision, state.sums[1].data(), share});
    if (state.site[client].empty()) return;
    for_each(device, size, AddWeighted<double>{site_mean(state, client), state.sums[0].data(), alpha});
    for_each(device, entries, AddWeighted<double>{site_precision(state, client), state.sums[1].data(), alpha});
  }

  AbsorbReport close_round(ServerState<double>& state) const override {
    Device& device = *state.device;
    const std::size_t size = state.parameters;
    const double alpha = settings_.server_step(state.clients);
    add_to_diagonal(device, size, state.sums[1].data(), alpha * settings_.prior_precision);
    symmetrise(device, size, state.sums[1].data(), state.precision.data());
    // Where the sum is no precision, as much is added to its diagonal as makes it one; the log counts that round's entries.
    AbsorbReport report;
    Buffer<double> factor(device, size * size);
    if (raise_to_positive(device, size, state.precision.data(), factor.data(),
                          precision_floor * settings_.prior_precision)) {
      report.clamped = static_cast<double>(size);
    }
    device.copy(state.mean.data(), state.sums[0].data(), state.stride * sizeof(double));
    device.solve_triangular(factor.data(), false, state.mean.data(), size, 1);
    device.solve_triangular(factor.data(), true, state.mean.data(), size, 1);
    return report;
  }

  const double* site_mean(const ServerState<double>& state, std::uint32_t client) const override {
    return state.site[client].data();
  }
  const double* site_precision(const ServerState<double>& state, std::uint32_t client) const override {
    const double* const site = state.site[client].data();
    return site == nullptr ? nullptr : site + state.stride;
  }

 private:
  VbAdmm settings_;
};

}  // namespace

AlgorithmTraits vb_admm_full_traits() { return full_traits; }

std::unique_ptr<Algorithm<double>> make_vb_admm_full(const VbAdmm& settings) {
  return std::make_unique<FullVbAdmm>(settings);
}

}  // namespace ivory
