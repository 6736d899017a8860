// Merging models and posteriors after training, without any more of it (methods.md 6). Tasks t are clients: N(m_t, 1/s_t), or
// weights m_t alone, with a weight w_t >= 0 each; the base N(m_0, 1/s_0) is what they were trained from.
#pragma once
#include <cstddef>
#include <limits>
#include <span>
#include <vector>

namespace ivory {

/// A diagonal Gaussian, [P] each; `precision` is empty for weights alone.
template <class Real>
struct GaussianView {
  std::span<const Real> mean, precision;
};

template <class Real>
struct Merged {
  std::vector<Real> mean;
  std::vector<Real> precision;  // empty where the rule gives none
  double clamped = 0;           // entries of the precision that were raised to the floor
  double objective =
      std::numeric_limits<double>::quiet_NaN();  // mixture: log density of the product at `mean`, but for a constant
};

/// sum_t w_t m_t / sum_t w_t.
template <class Real>
Merged<Real> merge_average(std::span<const GaussianView<Real>> tasks, std::span<const double> weights);

/// Task arithmetic: m_0 + scale sum_t w_t (m_t - m_0). With scale 1 it is the isotropic product of posteriors.
template <class Real>
Merged<Real> merge_task_vectors(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                                std::span<const double> weights, double scale);

/// Uncertainty-based gradient matching (Daheim et al. 2024), on the sum-loss scale:
///   m = m_0 + sum_t w_t (H_0 + H_t + delta) (m_t - m_0) / (H_0 + delta + sum_t w_t H_t).
/// A task's `precision` is s_t = H_t + delta, as IVON has it; `base.precision` is H_0, empty for 0. Denominators are at least
/// `floor`; the result's precision is the denominator.
template <class Real>
Merged<Real> merge_by_uncertainty(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                                  std::span<const double> weights, double delta, double floor);

/// The product p_0 prod_t (q_t/p_0)^w_t of diagonal Gaussians, p_0 the base:
///   s = s_0 + sum_t w_t (s_t - s_0),   m = m_0 + sum_t w_t s_t (m_t - m_0) / s,   s at least `floor`.
template <class Real>
Merged<Real> merge_posteriors(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                              std::span<const double> weights, double floor);

/// A client after its visit in natural parameters: its site (v, V) too.
template <class Real>
struct ClientWithSite {
  GaussianView<Real> posterior;
  std::span<const Real> site_mean, site_precision;
};

/// The server's step of VB-ADMM (methods.md 2.1 E), with client k counting w_k times:
///   s   = (1-alpha) sum_k w_k s_k / W     + alpha ( s0 + sum_k w_k V_k ),   W = sum_k w_k
///   eta = (1-alpha) sum_k w_k s_k m_k / W + alpha sum_k w_k v_k,            m = eta/s
/// and alpha = 1/(1 + W rho) where it is 0: the minimiser of KL(q || p_0) plus w_k times client k's terms. alpha = 1: prior times
/// sites, the server of PVI. Before it the dual step is taken with rho d in place of `rate_taken`, from the base (the server that
/// the clients had): (v_k, V_k) += (rho d - rate_taken) (nat_k - nat_base), which is nothing where both are equal.
struct ServerStep {
  double rho = 1, damping = 1, alpha = 0, prior_precision = 1;
  double rate_taken = 1;  // rho d of the dual step that the sites have behind them
};
/// `base` may be empty where the dual step is as taken. The floor is 0.001 s0.
template <class Real>
Merged<Real> merge_by_server_step(const GaussianView<Real>& base, std::span<const ClientWithSite<Real>> clients,
                                  std::span<const double> weights, const ServerStep& step);

/// Whose responsibilities r_tj = softmax_j( log pi_tj N(theta; m_tj, 1/s_tj) ) are: those of the whole vector, or of each part by
/// itself (the mixture is then a product over parts); or tempered, softmax_j( log(.)/P ) of the whole vector.
enum class Responsibilities { whole, parts, tempered };

struct MixtureSettings {
  Responsibilities kind = Responsibilities::whole;
  std::vector<std::size_t> parts = {};  // where each part begins, increasing, the first 0; for `parts`
  int most_steps = 200;
  double tolerance = 1e-10;  // of the objective's gain in a step, relative
  double floor = 0;          // of the precision
};

/// The mode of p_0 prod_t (q_t/p_0)^w_t where q_t = mean over j of N(m_tj, 1/s_tj): tasks[t][j], equal pi. By EM:
///   theta := ( c_0 s_0 m_0 + sum_t w_t sum_j r_tj s_tj m_tj ) / ( c_0 s_0 + sum_t w_t sum_j r_tj s_tj ),  c_0 = 1 - sum_t w_t,
/// from the product of all j-th components for each j, and from that of equal responsibilities; the best end is kept. The
/// denominator at the end is the result's precision. `trace`, where it is given, gets the objective after every step of the best
/// run; it never falls unless the floor is used.
template <class Real>
Merged<Real> merge_mixtures(const GaussianView<Real>& base, std::span<const std::vector<GaussianView<Real>>> tasks,
                            std::span<const double> weights, const MixtureSettings& settings,
                            std::vector<double>* trace = nullptr);

}  // namespace ivory
