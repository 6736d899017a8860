// A federated algorithm: which terms a client minimises, how its dual (site) moves after training, and how the server puts
// the updates together. Algorithms hold options only; all state of a run is one ServerState value.
#pragma once
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivory/buffer.hpp"
#include "ivory/messages.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// Everything a run carries from round to round, except optimizer state that clients keep on request.
template <class Real>
struct ServerState {
  /// `examples_[k]` is N_k.
  ServerState(Device& device_, std::size_t parameters_, std::size_t stride_, std::vector<double> examples_,
              bool everyone_takes_part_)
      : device(&device_), parameters(parameters_), stride(stride_), clients(examples_.size()),
        examples(std::move(examples_)), everyone_takes_part(everyone_takes_part_), start(device_, stride_),
        site(clients), visited(clients, 0) {}

  Device* device;
  std::size_t parameters, stride;
  std::size_t clients;  // K, those that take part at all; a run may leave some out ([clients] without)
  std::vector<double>
      examples;  // N_k by number of the client, times its weight where there are weights; 0 for those left out
  bool everyone_takes_part;          // full participation: no client's last update need be remembered
  std::uint64_t round = 0;           // rounds finished
  Buffer<Real> start;                // [stride] where local training begins: the initial weights, later the server mean
  Buffer<Real> mean, precision;      // [stride] the server's Gaussian; `precision` empty for point methods, or [P x P]
  std::vector<Buffer<Real>> memory;  // [stride] each: what else the server keeps (momentum, control variate ...)
  std::vector<Buffer<double>> sums;  // [stride] each: sums over clients of the round under way
  double weight_sum = 0;
  PublicModel<Real>* public_model = nullptr;  // the network on the public pool; null where the algorithm uses none
  // [examples of the pool x classes]: what the server predicts in the round under way, and what clients predicted last
  Buffer<Real> public_labels, public_predictions;
  std::vector<Buffer<Real>> site;  // per client [vectors x stride] (and matrices); empty until the algorithm needs it
  std::vector<std::uint8_t> visited;  // client has had an accepted update
};

/// What the server keeps of each client as its site: nothing; a vector v_k alone, which is ADMM's dual variable; or a Gaussian
/// (v_k, V_k).
enum class SiteKind : std::uint8_t { none, dual, gaussian };

/// Costs and needs that other parts must know before a run.
struct AlgorithmTraits {
  bool needs_posterior = false;       // clients must send a precision
  bool needs_point = false;           // no optimizer with a posterior can minimise its terms
  bool needs_plain_sgd = false;       // every local step must be the rate times the gradient (Optimizer::plain_sgd)
  bool needs_start_gradient = false;  // clients send ClientUpdate::start_gradient
  Curvature needs_curvature = Curvature::none;  // clients send ClientUpdate::curvature
  bool full_data_curvature = false;             // compatibility (methods.md D9): taken over all clients' examples
  bool uses_public_pool = false;                // predictions on the public pool go both ways
  bool gives_posterior = false;                 // the server has one
  SiteKind site = SiteKind::none;               // what site_mean and site_precision give
  bool personal = false;                        // each client ends with its own model; there is no common one
  int vectors_down = 1, vectors_up = 1;         // messages per participant, in vectors of P
  int vectors_per_client = 0;                   // kept between rounds, full participation
  int vectors_per_client_partial = 0;
  int vectors_server = 1;  // the server's mean, precision and memory
  int sums_server = 1;     // ServerState::sums
  // With full covariances every precision is a symmetric matrix [P x P], of which a message holds P (P + 1) / 2 numbers.
  bool full_covariance = false;
  int matrices_down = 0, matrices_up = 0;
  int matrices_per_client = 0, matrices_per_client_partial = 0;
  int matrices_server = 0;  // with sums
  // N_k stands for the client's whole loss, so that [clients] weights, which multiplies it, weighs the losses.
  bool weighs_losses = false;

  /// Numbers in one message of a model with P parameters and so many classes. The server sends predictions on the whole public
  /// pool, a client on its share; what they predict on is known before.
  double values_down(double P, double pool = 0, double classes = 0) const {
    return vectors_down * P + matrices_down * P * (P + 1) / 2 + (uses_public_pool ? pool * classes : 0);
  }
  double values_up(double P, double share = 0, double classes = 0) const {
    return vectors_up * P + matrices_up * P * (P + 1) / 2 + (uses_public_pool ? share * classes : 0);
  }

  /// Clients keep a site (v, V) with a diagonal V each, and the server's posterior is made of them and of their own.
  bool has_sites() const { return needs_posterior && site == SiteKind::gaussian && !full_covariance; }

  bool operator==(const AlgorithmTraits&) const = default;
};

/// What the server step reports for the log.
struct AbsorbReport {
  double clamped = 0;  // precision entries raised to their floor
};

/// How natural parameters (precision times mean, precision) move in VB-ADMM with diagonal covariances (methods.md 2.1), for those
/// who take the server's step again from a log.
struct NaturalStep {
  bool known = false;  // false: the method takes other steps
  double rho = 1, damping = 1;
  double alpha = 0;          // 0: 1/(1 + K rho)
  bool natural_dual = true;  // false: the dual step is taken in expectation parameters
};

template <class Real>
class Algorithm {
 public:
  virtual ~Algorithm() = default;
  virtual AlgorithmTraits traits() const = 0;

  /// Called once; `state.start` holds the initial weights.
  virtual void initialise(ServerState<Real>& state) const = 0;
  /// Which terms client k minimises this round. Reads the server's broadcast and the client's own site.
  virtual LocalTerms<Real> local_terms(const ServerState<Real>& state, std::uint32_t client) const = 0;
  /// The dual step after training. Touches only this client's site, so clients may run side by side.
  virtual void update_site(ServerState<Real>&, const ClientUpdate<Real>&) const {}

  /// The server step in three parts: `open_round`, then `absorb` for EVERY client in increasing order (`update` is null for an
  /// absent or refused one), then `close_round`.
  virtual void open_round(ServerState<Real>& state) const = 0;
  virtual void absorb(ServerState<Real>& state, std::uint32_t client, const ClientUpdate<Real>* update) const = 0;
  virtual AbsorbReport close_round(ServerState<Real>& state) const = 0;

  /// The site of a client in our sign (v, V), null where it has none (yet).
  virtual const Real* site_mean(const ServerState<Real>&, std::uint32_t /*client*/) const { return nullptr; }
  virtual const Real* site_precision(const ServerState<Real>&, std::uint32_t /*client*/) const { return nullptr; }
  /// For personal algorithms: the client's own weights.
  virtual const Real* personal_mean(const ServerState<Real>&, std::uint32_t /*client*/) const { return nullptr; }
  /// tau and s0 of the global objective (negative ELBO), where the method has one; NaN otherwise.
  virtual double temperature() const { return std::numeric_limits<double>::quiet_NaN(); }
  virtual double prior_precision() const { return std::numeric_limits<double>::quiet_NaN(); }
  virtual NaturalStep natural_step() const { return {}; }
  /// Compatibility (methods.md D1): the one precision that networks of posterior averages are drawn with, of N = sum N_k examples
  /// and IVON's h0; NaN: they are drawn from the server's own.
  virtual double average_precision(double /*examples*/, double /*hess_init*/) const {
    return std::numeric_limits<double>::quiet_NaN();
  }
};

struct AlgorithmPlugin {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
  AlgorithmTraits traits;
  std::unique_ptr<Algorithm<float>> (*make_float)(const Options&) = nullptr;
  std::unique_ptr<Algorithm<double>> (*make_double)(const Options&) = nullptr;
};

}  // namespace ivory
