// VB-ADMM (published as BayesADMM, arXiv 2506.13150) in three families of posteriors, chosen by one key. methods.md 2.
//
//   client  q_k = argmin (1/tau) E_q[L_k] + E_q[log t_k] + rho KL(q || q_g),     t_k = exp(<v_k, theta> - 1/2 theta' V_k theta)
//   dual    v_k += d rho (S_k m_k - S_g m_g),   V_k += d rho (S_k - S_g)
//   server  S_g   = (1-alpha) mean_k S_k     + alpha (s0 I + sum_k V_k)
//           eta_g = (1-alpha) mean_k S_k m_k + alpha sum_k v_k,     S_g m_g = eta_g     (prior mean 0)
//
// alpha defaults to 1/(1 + K rho). alpha = 1 with rho = 1 is PVI (damping < 1: damped PVI): q_g is then prior times sites.
// Bregman ADMM (Wang and Banerjee 2014) takes the dual step in expectation parameters mu1 = m, mu2 = S^-1 + m m' (methods.md 3.2).
// Partial participation: absent clients keep (v, V), and the server counts their last (S_k m_k, S_k); a client never visited
// counts as v = V = 0 and q_k = q_g (methods.md 2.3).
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "ivory/algorithm.hpp"

namespace ivory {

enum class DualStep { natural, bregman, bregman_reference_sign };

struct VbAdmm {
  double rho = 0.1;            // weight of the KL to the server, and step size of the dual
  double temperature = 1;      // tau
  double prior_precision = 1;  // s0
  double damping = 1;          // d
  double alpha = 0;            // 0: 1/(1 + K rho)
  DualStep step = DualStep::natural;
  double start_precision = 1;      // of the server before round 1: s0, or 1 (methods.md D2)
  bool reference_average = false;  // posterior averages as in methods.md D1

  double server_step(std::size_t clients) const {
    return alpha > 0 ? alpha : 1.0 / (1.0 + static_cast<double>(clients) * rho);
  }
};

/// q = N(m, 1/s), one precision per parameter.
template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm_diagonal(const VbAdmm& settings);
/// q = N(m, I/s0) with s0 fixed and the delta method: federated ADMM with penalty rho s0 (methods.md 2.4).
template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm_isotropic(const VbAdmm& settings);
/// q = N(m, S^-1) with S a [P x P] matrix (methods.md 2.5).
std::unique_ptr<Algorithm<double>> make_vb_admm_full(const VbAdmm& settings);

AlgorithmTraits vb_admm_diagonal_traits();
AlgorithmTraits vb_admm_isotropic_traits();
AlgorithmTraits vb_admm_full_traits();

/// The options "rho", "temperature", "prior_precision", "damping", "alpha", "posterior", "bregman", "bregman_ref_sign",
/// "ref_bayes_eval" and "ref_start_identity", as many of them as `options` has; the others are as in `preset`. Throws InputError for a contradiction;
/// `tag` begins its message.
template <class Real>
std::unique_ptr<Algorithm<Real>> make_vb_admm(const Options& options, VbAdmm preset, const std::string& tag);

/// The declarations of the options of those names.
std::vector<OptionSpec> vb_admm_options(const std::vector<std::string>& names);
/// The same with another default for one of them.
std::vector<OptionSpec> with_default(std::vector<OptionSpec> options, const std::string& name, double value);

}  // namespace ivory
