// What travels between server and clients, and what a client minimises.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "ivory/public_model.hpp"

namespace ivory {

/// Diagonal of the generalised Gauss-Newton matrix of a client's SUM loss at its mean: exact, or its unbiased estimate from labels
/// drawn from the predictions (methods.md 4.8).
enum class Curvature { none, exact, sampled };

/// The part of a client's objective that is not its data, on the scale of its mean loss lbar_k:
///
///   lbar_k(theta) + site_weight * ( <v, theta> - 1/2 theta' V theta ) + common_weight * <c, theta>
///                 + anchor_weight/2 * (theta - m)' S (theta - m)
///                 + public_weight * sum of CE(p(x), softmax f(x; theta)) over the public pool without the client's share
///
/// v, V is the client's dual, read as a Gaussian site; c is a site mean that all clients share; (m, S) is the server's Gaussian;
/// p are soft labels, the server's predictions.
/// For a variational client the last term is the KL to N(m, 1/S), and `effective_samples` is IVON's lambda:
/// lambda * E_q[lbar_k] + KL. An array that is null counts as zero, but S, which then is 1; the anchor is on where its weight is
/// above 0.
template <class Real>
struct LocalTerms {
  const Real* start = nullptr;             // [stride] where training begins
  const Real* anchor_mean = nullptr;       // [stride] m
  const Real* anchor_precision = nullptr;  // [stride] S
  const Real* site_mean = nullptr;         // [stride] v
  const Real* site_precision = nullptr;    // [stride] V
  const Real* common_mean = nullptr;       // [stride] c
  const Real* public_labels = nullptr;     // [examples of the pool x classes] p; null: no such term
  PoolShare public_share{};                // on which the client itself sends predictions
  double anchor_weight = 0;                // 1/lambda_k for VB-ADMM
  double site_weight = 0;                  // tau/N_k for VB-ADMM
  double common_weight = 0;                // 1 for SCAFFOLD
  double public_weight = 0;                // tau_f/N_k for FedLap-Func
  double effective_samples = 0;            // lambda_k; 0: the optimizer's own option decides
  bool full_covariance = false;            // S and V are matrices [P x P]
  bool posterior_is_anchor = false;        // a variational client starts from q = N(m, 1/S), that is h = 0
  bool sum_loss = false;          // the method is stated on N_k times this objective (Optimizer::takes_sum_loss)
  bool unsquared_anchor = false;  // compatibility (methods.md D6): anchor_weight/2 * |theta - m|; point optimizers only
};

/// One client visit, as the server hands it out. Round and learning rate are the same for the whole cohort.
template <class Real>
struct ClientTask {
  std::uint32_t client = 0;
  std::uint64_t round = 0;  // 0-based
  LocalTerms<Real> terms;
};

/// What comes back: the posterior (m_k, s_k), or weights m_k with `precision` null for point methods.
template <class Real>
struct ClientUpdate {
  std::uint32_t client = 0;
  const Real* mean = nullptr;       // [stride]
  const Real* precision = nullptr;  // [stride], or [P x P] with full covariances
  // [stride] gradient of lbar_k at terms.start, over all its examples; null unless AlgorithmTraits::needs_start_gradient
  const Real* start_gradient = nullptr;
  const Real* curvature = nullptr;  // [stride]; null unless AlgorithmTraits::needs_curvature
  // [examples of the pool x classes] probabilities at `mean`, zeros outside of the client's share; null unless
  // AlgorithmTraits::uses_public_pool
  const Real* public_predictions = nullptr;
  double examples = 0;  // N_k, weighted as ServerState::examples
  double steps = 0;
  double rate_sum = 0;    // of the visit's learning rates
  double train_loss = 0;  // mean over steps
  bool refused = false;   // not finite: it must not be absorbed
};

}  // namespace ivory
