#include "src/diagnostics.hpp"

#include <algorithm>
#include <cmath>

#include "ivory/gaussian.hpp"
#include "server/sums.hpp"

namespace ivory {
namespace {

constexpr std::size_t sums_at_a_time = 128;  // 4 MiB of an accelerator

/// (to - from)^2
template <class Real>
struct SquaredMove {
  const Real* to;
  const Real* from;
  IVORY_HD double operator()(std::size_t i) const {
    const double move = static_cast<double>(to[i]) - static_cast<double>(from[i]);
    return move * move;
  }
};

/// total (to - from)
template <class Real>
struct TimesMove {
  const double* total;
  const Real* to;
  const Real* from;
  IVORY_HD double operator()(std::size_t i) const {
    return total[i] * (static_cast<double>(to[i]) - static_cast<double>(from[i]));
  }
};

/// The server's natural parameter, s or s m, is `precision` times `mean` (null: 1).
template <class Real>
struct SquaredNatural {
  const Real* precision;
  const Real* mean;
  IVORY_HD double value(std::size_t i) const {
    return static_cast<double>(precision[i]) * (mean != nullptr ? static_cast<double>(mean[i]) : 1.0);
  }
  IVORY_HD double operator()(std::size_t i) const { return value(i) * value(i); }
};

/// (server - (prior + sites))^2 of a natural parameter.
template <class Real>
struct SquaredGap {
  SquaredNatural<Real> server;
  const double* sites;
  double prior;
  IVORY_HD double operator()(std::size_t i) const {
    const double gap = server.value(i) - (prior + sites[i]);
    return gap * gap;
  }
};

/// |gap| / |size| of their squares; 0 where both are 0.
double relative(double gap, double size) { return gap == 0.0 ? 0.0 : std::sqrt(gap / size); }

}  // namespace

DiagnosticsKind diagnostics_kind(const AlgorithmTraits& traits) {
  const bool diagonal = traits.gives_posterior && !traits.full_covariance;
  return {.residuals = !traits.personal,
          .sites = diagonal && traits.site == SiteKind::gaussian,
          .kl = diagonal && traits.needs_posterior};
}

template <class Real>
std::size_t RoundDiagnostics<Real>::bytes(std::size_t stride) {
  return stride * (sizeof(Real) + sizeof(double)) + SumsToCome::bytes(sums_at_a_time);
}

template <class Real>
RoundDiagnostics<Real>::RoundDiagnostics(const ServerState<Real>& state, const AlgorithmTraits& traits)
    : kind_(diagnostics_kind(traits)), measured_(state.device->shares_host_memory() ? state.site.size() : 0),
      mean_(*state.device, state.stride), total_(*state.device, state.stride), sums_(*state.device, sums_at_a_time) {}

template <class Real>
void RoundDiagnostics<Real>::open(const ServerState<Real>& state) {
  participants_.clear();
  state.device->copy(mean_.data(), state.mean.data(), state.stride * sizeof(Real));
  state.device->clear(total_.data(), state.stride * sizeof(double));
}

template <class Real>
void RoundDiagnostics<Real>::ask(SumsToCome& sums, const ServerState<Real>& state,
                                 const ClientUpdate<Real>& update) const {
  if (kind_.residuals) sums.add(state.parameters, SquaredMove<Real>{update.mean, mean_.data()});
  if (kind_.kl) {
    sums.add(state.parameters, KlTerm<Real>{mean_.data(), state.precision.data(), update.mean, update.precision});
  }
}

// The answers to `ask`, from sums[at] on.
template <class Real>
typename RoundDiagnostics<Real>::OfClient RoundDiagnostics<Real>::next(const std::vector<double>& sums,
                                                                       std::size_t& at) const {
  OfClient client;
  if (kind_.residuals) client.squares = sums[at++];
  if (kind_.kl) client.divergence = sums[at++];
  return client;
}

template <class Real>
void RoundDiagnostics<Real>::measure(const ServerState<Real>& state, const ClientUpdate<Real>& update) {
  if (measured_.empty()) return ask(sums_, state, update);
  SumsToCome sums(*state.device, 0);
  ask(sums, state, update);
  std::size_t at = 0;
  measured_[update.client] = next(sums.take(), at);
}

template <class Real>
void RoundDiagnostics<Real>::add(const ServerState<Real>& state, const ClientUpdate<Real>& update) {
  participants_.push_back(update.client);
  if (kind_.residuals) {
    for_each(*state.device, state.stride, AddMove<Real>{update.mean, mean_.data(), total_.data()});
  }
}

// Four sums: the squared gap and the squared size of s, then of s m.
template <class Real>
void RoundDiagnostics<Real>::add_site_gaps(const ServerState<Real>& state, const Algorithm<Real>& algorithm) {
  Device& device = *state.device;
  const auto clients = static_cast<std::uint32_t>(state.site.size());
  const auto add = [&](bool precisions, double prior) {
    device.clear(total_.data(), state.stride * sizeof(double));
    for (std::uint32_t k = 0; k < clients; ++k) {
      const Real* const site = precisions ? algorithm.site_precision(state, k) : algorithm.site_mean(state, k);
      if (site != nullptr) for_each(device, state.stride, AddWeighted<Real>{site, total_.data(), 1.0});
    }
    const SquaredNatural<Real> server{state.precision.data(), precisions ? nullptr : state.mean.data()};
    sums_.add(state.parameters, SquaredGap<Real>{server, total_.data(), prior});
    sums_.add(state.parameters, server);
  };
  add(true, algorithm.prior_precision());
  add(false, 0.0);  // of a prior with mean 0
}

template <class Real>
Diagnostics RoundDiagnostics<Real>::close(const ServerState<Real>& state, const Algorithm<Real>& algorithm) {
  if (kind_.residuals) {
    sums_.add(state.parameters, TimesMove<Real>{total_.data(), state.mean.data(), mean_.data()});
    sums_.add(state.parameters, SquaredMove<Real>{state.mean.data(), mean_.data()});
  }
  if (kind_.sites) add_site_gaps(state, algorithm);
  const std::vector<double> sums = sums_.take();

  Diagnostics out;
  std::size_t at = 0;
  double squares = 0;
  std::vector<double> divergences;
  for (const std::uint32_t client : participants_) {
    const OfClient own = measured_.empty() ? next(sums, at) : measured_[client];
    squares += own.squares;
    if (kind_.kl) divergences.push_back(own.divergence);
  }
  if (kind_.residuals) {
    const double along = sums[at++], moved = sums[at++];
    out.dual_residual = std::sqrt(moved);
    // sum_k |m_k - new|^2 = sum_k |d_k|^2 - 2 <sum_k d_k, new - old> + n |new - old|^2 with d_k = m_k - old. NaN stays NaN.
    const auto n = static_cast<double>(participants_.size());
    const double apart = squares - 2 * along + n * moved;
    if (n > 0) out.primal_residual = std::sqrt((apart < 0 ? 0.0 : apart) / n);
  }
  if (kind_.sites) {
    out.site_residual_precision = relative(sums[at], sums[at + 1]);
    out.site_residual_mean = relative(sums[at + 2], sums[at + 3]);
  }
  if (kind_.kl && !participants_.empty()) {
    out.kl = quantiles_of(std::move(divergences));
    out.kl_parameters = static_cast<double>(state.parameters);
  }
  return out;
}

template class RoundDiagnostics<float>;
template class RoundDiagnostics<double>;

}  // namespace ivory
