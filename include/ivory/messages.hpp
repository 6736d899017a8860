// What travels between server and clients, and what a client minimises.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

namespace ivory {

/// The part of a client's objective that is not its data, on the scale of its mean loss lbar_k:
///
///   lbar_k(theta) + site_weight * ( <v, theta> - 1/2 theta' V theta ) + anchor_weight/2 * (theta - m)' S (theta - m)
///
/// v, V is the client's dual, read as a Gaussian site; (m, S) is the server's Gaussian. For a variational client the last
/// term is the KL to N(m, 1/S), and `effective_samples` is IVON's lambda: lambda * E_q[lbar_k] + KL. Null pointers switch a
/// term off: `site_mean`, `site_precision`, `anchor_precision` (with it the whole anchor), `anchor_mean` (then m = 0).
template <class Real>
struct LocalTerms {
  const Real* start = nullptr;             // [stride] where training begins
  const Real* anchor_mean = nullptr;       // [stride] m
  const Real* anchor_precision = nullptr;  // [stride] S
  const Real* site_mean = nullptr;         // [stride] v
  const Real* site_precision = nullptr;    // [stride] V
  double anchor_weight = 0;                // 1/lambda_k for VB-ADMM
  double site_weight = 0;                  // tau/N_k for VB-ADMM
  double effective_samples = 0;            // lambda_k; 0: the optimizer's own option decides
  bool posterior_is_anchor = false;        // a variational client starts from q = N(m, 1/S), that is h = 0
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
  const Real* precision = nullptr;  // [stride]
  double examples = 0;              // N_k
  double steps = 0;
  double train_loss = 0;  // mean over steps
  bool refused = false;   // not finite: it must not be absorbed
};

}  // namespace ivory
