// A client optimizer, for a block of clients. Training alternates: the network puts gradients at `block.point` into
// `block.gradient`; `advance` consumes them and moves `block.point` to where the next gradient is wanted.
#pragma once
#include <cstddef>
#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "ivory/buffer.hpp"
#include "ivory/elementwise.hpp"
#include "ivory/messages.hpp"
#include "ivory/options.hpp"
#include "ivory/record.hpp"

namespace ivory {

/// Working arrays of a block of clients under training; every array is [clients x stride], matrices [clients x P x P].
template <class Real>
struct TrainingBlock {
  struct Client {
    LocalTerms<Real> terms;
    double examples = 0;               // N_k
    double loss_scale = 1;             // N_k where a method on the sum loss meets takes_sum_loss(), else 1
    double batch = 0;                  // examples in the minibatch of this step
    double learning_rate = 0;          // of this step, schedules applied
    std::uint64_t optimizer_step = 0;  // t of bias corrections: steps taken since the state was fresh
    NoiseSource<Real> noise;           // of the NEXT sample to be drawn
    bool active = true;                // false: the client's visit is over and its arrays stay as they are
    bool resumed = false;              // its kept slots and optimizer_step are those of its last visit
  };

  TrainingBlock(Device& device_, std::size_t clients_, std::size_t stride_, std::size_t vectors,
                std::size_t parameters_ = 0, std::size_t matrices_ = 0, bool with_hessian = false)
      : device(device_), stride(stride_), parameters(parameters_), clients(clients_),
        point(device_, clients_ * stride_), gradient(device_, clients_ * stride_), mean(device_, clients_ * stride_),
        hessian(device_, with_hessian ? clients_ * parameters_ * parameters_ : 0) {
    for (std::size_t i = 0; i < vectors; ++i) slots.emplace_back(device_, clients_ * stride_);
    for (std::size_t i = 0; i < matrices_; ++i) matrices.emplace_back(device_, clients_ * parameters_ * parameters_);
  }

  Device& device;
  std::size_t stride, parameters;  // parameters is P
  std::vector<Client> clients;
  Buffer<Real> point;     // parameters at which the gradient is taken
  Buffer<Real> gradient;  // of the minibatch mean loss at `point`
  Buffer<Real> mean;      // the optimizer's parameters m
  Buffer<Real> hessian;   // of the minibatch mean loss at `point`, where the optimizer needs it
  std::vector<Buffer<Real>> matrices;
  std::vector<Buffer<Real>> slots;  // the optimizer's other arrays; the first kept_vectors() may survive between visits

  Real* row(Buffer<Real>& array, std::size_t b) { return array.data() + b * stride; }
  const Real* row(const Buffer<Real>& array, std::size_t b) const { return array.data() + b * stride; }
  Real* matrix(std::size_t i, std::size_t b) { return matrices[i].data() + b * parameters * parameters; }
  /// Entries of client b that an operation goes over: none once its visit is over.
  std::size_t work(std::size_t b) const { return clients[b].active ? stride : 0; }
};

template <class Real>
class Optimizer {
 public:
  virtual ~Optimizer() = default;
  virtual bool gives_posterior() const { return false; }
  /// Every step is m := m - lr * (gradient + weight decay), so a visit's mean gradient can be read off the way it went.
  virtual bool plain_sgd() const { return false; }
  /// A method that is stated on the sum loss (LocalTerms::sum_loss) is minimised on that scale: constants that are compared with
  /// gradients (epsilon, weight decay, a norm to clip at) mean gradients N_k (`loss_scale`) times those of the block. Where it is
  /// false the objective is divided by N_k.
  virtual bool takes_sum_loss() const { return false; }
  /// Gradients per step (Monte-Carlo samples of a variational client).
  virtual int samples() const { return 1; }
  /// Arrays of the block beside point, gradient and mean.
  virtual std::size_t vectors() const = 0;
  /// Matrices of the block beside the Hessian.
  virtual std::size_t matrices() const { return 0; }
  /// Every gradient comes with the Hessian of the same loss (clients/curvature.hpp). Such an optimizer may factorise and wait: its
  /// steps are not recorded.
  virtual bool needs_hessian() const { return false; }
  /// How many of the first slots carry over from one visit of a client to its next; `keep_state` is [clients] keep_opt_state.
  virtual std::size_t kept_vectors(bool keep_state) const = 0;

  /// Starts the visits from `terms.start`: sets mean, point and, for clients not `resumed`, fresh state.
  virtual void begin(TrainingBlock<Real>& block) const = 0;
  /// Uses block.gradient, taken at `sample` of samples(). After the last sample of a step it updates mean and state (with
  /// t := ++optimizer_step); then it moves block.point.
  virtual void advance(TrainingBlock<Real>& block, int sample) const = 0;
  /// Writes the posterior precisions s_k, [clients x stride], or [clients x P x P] with a full covariance (only where
  /// gives_posterior()).
  virtual void posterior_precisions(const TrainingBlock<Real>& /*block*/, Real* /*precisions*/) const {}
  /// Mean share of the precision's way to its fixed point that this many steps closed; NaN where it has no meaning.
  virtual double precision_gap_closed(double /*steps*/) const;
  /// After the visits of the block's first `clients`: how each ended. Empty where the optimizer has nothing to tell. Waits.
  virtual std::vector<OptimizerHealth> health(const TrainingBlock<Real>& /*block*/, std::size_t /*clients*/) const {
    return {};
  }
};

template <class Real>
double Optimizer<Real>::precision_gap_closed(double) const {
  return std::numeric_limits<double>::quiet_NaN();
}

inline namespace IVORY_TRANSLATION {

template <class Real>
struct StartPoint {
  const Real* IVORY_RESTRICT start;
  Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT point;
  IVORY_HD void operator()(std::size_t i) const { mean[i] = point[i] = start[i]; }
};

/// What every point optimizer's begin does: mean and point at terms.start, the first `vectors` slots zero unless resumed.
template <class Real>
void start_point_optimizer(TrainingBlock<Real>& block, std::size_t vectors) {
  const std::size_t clients = block.clients.size();
  for_each_client(block.device, clients, block.stride, [&](std::size_t b) {
    return Share{block.work(b),
                 StartPoint<Real>{block.clients[b].terms.start, block.row(block.mean, b), block.row(block.point, b)}};
  });
  for (std::size_t v = 0; v < vectors; ++v) {
    for_each_client(block.device, clients, block.stride, [&](std::size_t b) {
      const bool fresh = block.clients[b].active && !block.clients[b].resumed;
      return Share{fresh ? block.stride : 0, Fill<Real>{block.row(block.slots[v], b), Real(0)}};
    });
  }
  for (auto& client : block.clients) {
    if (!client.resumed) client.optimizer_step = 0;
  }
}

}  // namespace IVORY_TRANSLATION

struct OptimizerPlugin {
  std::string name;
  std::string help;
  std::vector<OptionSpec> options;
  bool gives_posterior = false;
  bool full_covariance = false;  // its posterior has a precision matrix; it exists in double alone
  std::unique_ptr<Optimizer<float>> (*make_float)(const Options&) = nullptr;
  std::unique_ptr<Optimizer<double>> (*make_double)(const Options&) = nullptr;
};

}  // namespace ivory
