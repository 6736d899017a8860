// Local training of a block of clients in lockstep: gather minibatches, take gradients at the optimizer's points, advance.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "clients/curvature.hpp"
#include "clients/network.hpp"
#include "clients/public_pool.hpp"
#include "clients/resident_data.hpp"
#include "clients/schedule.hpp"
#include "clients/step_gradient.hpp"
#include "clients/step_watch.hpp"
#include "ivory/dataset.hpp"
#include "ivory/messages.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {

/// Steps whose minibatches are drawn at a time, at most; then an accelerator records its step anew.
inline constexpr std::size_t most_steps_drawn = 256;

/// How long and on what a visit trains.
struct VisitPlan {
  std::uint64_t seed = 0;
  std::int64_t epochs = 1;       // used when steps == 0
  std::int64_t steps = 0;        // optimizer steps per visit
  std::size_t batch = 64;        // examples; the last batch of an epoch holds the rest
  bool keep_state = false;       // [clients] keep_opt_state
  bool same_draws = false;       // [clients] ref_same_seed: noise and minibatch order are those of client 0 in round 0
  double clip_norm = 0;          // [clients] clip_norm: largest norm of a step's gradient; 0: any (StepGradient)
  bool health = false;           // [log] diagnostics: Trainer::health
  bool start_gradients = false;  // what AlgorithmTraits::needs_start_gradient asks for
  Curvature curvature = Curvature::none;  // what AlgorithmTraits::needs_curvature asks for
  // Rows of the data set over which every visit's curvature is taken (AlgorithmTraits::full_data_curvature); null: its own
  // examples. Outlives the trainers.
  const std::vector<std::uint32_t>* curvature_examples = nullptr;
  const Dataset* public_pool = nullptr;  // what AlgorithmTraits::uses_public_pool asks for; outlives the trainers

  /// The plan with a batch no larger than the largest client: working memory follows the clients, and nothing else changes.
  VisitPlan for_clients(std::span<const std::vector<std::uint32_t>> examples) const;
  /// The key of a visit's random numbers; with same_draws that of client 0 in round 0.
  StreamKey key(Purpose purpose, std::uint64_t round, std::uint32_t client, std::uint64_t step, int sample = 0) const;
  /// Steps that a visit with so many examples takes.
  std::uint64_t steps_of(std::size_t examples) const;
};

/// What a visit brings along where its run is not the trainer's own. Runs that share a block differ in nothing else.
struct VisitSource {
  std::uint64_t seed = 0;
  const ResidentData* data = nullptr;  // on the trainer's device
};

/// One client of a block: its task and its examples, and the state it kept from its last visit (null or empty: none).
template <class Real>
struct Visit {
  ClientTask<Real> task;
  std::span<const std::uint32_t> examples;  // rows of the data set
  const std::vector<Real>* kept = nullptr;  // [kept_vectors x stride]
  std::uint64_t kept_step = 0;
  const VisitSource* source = nullptr;  // null: the trainer's own seed and data
};

struct VisitResult {
  double steps = 0;
  double rate_sum = 0;    // of the steps' learning rates
  double train_loss = 0;  // mean over steps (and samples) of the minibatch mean loss; NaN when it diverged
  double final_loss = 0;  // of the returned mean on the last minibatch: shows a last step that went astray
};

/// Owns the working memory of one block; used by one thread.
template <class Real>
class Trainer {
 public:
  using Noise =
      std::function<NoiseSource<Real>(std::uint64_t round, std::uint32_t client, std::uint64_t step, int sample)>;

  Trainer(Device& device, const Network<Real>& network, const Optimizer<Real>& optimizer, const Dataset& data,
          const VisitPlan& plan, const LearningRate& learning_rate, std::size_t block_size = 1);

  /// Trains the visits (at most block_size of them). A visit's result depends on that visit alone. `noise` replaces the Philox
  /// streams in tests. `watch` (may be null) looks at one of the visits and changes nothing.
  std::vector<VisitResult> train(std::span<const Visit<Real>> visits, const Noise& noise = {},
                                 StepWatch<Real>* watch = nullptr);

  /// After `train`: m_k of visit b (on the device), s_k of all visits into [block x stride] (on the device; only with a
  /// posterior), and the state to keep of visit b (on the host).
  const Real* mean(std::size_t b) const { return block_.row(block_.mean, b); }
  void precisions(Real* to) const { optimizer_.posterior_precisions(block_, to); }
  /// Null unless the plan asks for it: [stride] gradient of visit b's mean loss at terms.start.
  const Real* start_gradient(std::size_t b) const {
    return start_gradient_.empty() ? nullptr : block_.row(start_gradient_, b);
  }
  /// Null unless the plan asks for it: [stride] diagonal curvature of visit b's SUM loss at its mean (clients/curvature.hpp).
  const Real* curvature(std::size_t b) const { return curvature_.empty() ? nullptr : block_.row(curvature_, b); }
  /// Null unless the plan has a public pool: [examples of the pool x classes] probabilities at visit b's mean, zeros outside of
  /// its share.
  const Real* public_predictions(std::size_t b) const {
    return public_predictions_.empty() ? nullptr
                                       : public_predictions_.data() + b * pool_->examples() * pool_->classes();
  }
  std::vector<Real> kept_state(std::size_t b) const;
  /// How the first `count` visits ended; empty where the plan does not ask for it or the optimizer has nothing to tell.
  std::vector<OptimizerHealth> health(std::size_t count) const {
    return plan_.health ? optimizer_.health(block_, count) : std::vector<OptimizerHealth>{};
  }
  /// Per visit of the first `count`: how many entries of its mean, start gradient, curvature or public predictions are not finite,
  /// or of its precision ([count x stride], null: none) not finite and above 0. Of a precision matrix ([count x P x P]) the entries
  /// need be finite.
  std::vector<double> unusable(std::size_t count, const Real* precisions) const;
  std::uint64_t optimizer_step(std::size_t b) const { return block_.clients[b].optimizer_step; }

  /// Device memory that each client of a block takes.
  static std::size_t bytes_per_client(const Network<Real>& network, const Optimizer<Real>& optimizer,
                                      const VisitPlan& plan);

 private:
  struct Order;  // the shuffled examples of one client and the place in them
  std::uint64_t seed_of(const Visit<Real>& visit) const {
    return visit.source != nullptr ? visit.source->seed : plan_.seed;
  }
  void draw_minibatches(std::size_t b, Order& order, const Visit<Real>& visit, std::size_t count);
  void gather(std::size_t place);
  Targets<Real> targets() const { return {labels_.data(), values_.data()}; }
  BatchShape shape() const;
  BatchShape training_shape(std::span<const Visit<Real>> visits, std::uint64_t step, int sample);
  void repeat_steps(std::span<const std::uint64_t> steps,
                    const std::function<void(std::size_t b, std::size_t count)>& draw,
                    const std::function<void(std::uint64_t t)>& step);
  void go_through_examples(std::span<const Visit<Real>> visits, const std::function<void()>& step);
  void take_start_gradients(std::span<const Visit<Real>> visits);
  void take_curvatures(std::span<const Visit<Real>> visits);
  void take_hessians();
  void begin_soft_labels(std::span<const Visit<Real>> visits);
  void add_soft_label_gradients();
  std::vector<double> losses(const Buffer<double>& row_losses) const;

  Device& device_;
  const Network<Real>& network_;
  const Optimizer<Real>& optimizer_;
  ResidentData data_;
  std::vector<const ResidentData*> data_of_;  // [block] of the visits; null: data_
  VisitPlan plan_;
  LearningRate learning_rate_;
  TrainingBlock<Real> block_;
  StepGradient<Real> step_gradient_;
  Buffer<Real> start_gradient_, curvature_;                  // [block x stride] where the plan asks for it
  std::unique_ptr<CurvatureMatrix<Real>> curvature_matrix_;  // where the optimizer needs Hessians
  std::unique_ptr<PublicPool<Real>> pool_;                   // where the plan has one
  Buffer<Real> public_predictions_;                          // [block x examples of the pool x classes]
  std::vector<SoftLabels<Real>> soft_labels_, now_;  // [block] of the visits, of this step; empty: no visit has any
  Workspace<Real> workspace_;
  Buffer<Real> x_;                            // [block x batch x features]
  Buffer<std::int32_t> labels_;               // [block x batch]
  Buffer<Real> values_;                       // [block x batch x outputs], regression only
  Buffer<double> row_losses_, final_losses_;  // [block x batch]
  std::size_t window_;                        // steps whose minibatches are drawn at a time
  std::vector<std::uint32_t> drawn_;          // [block x window x batch] rows of the data set
  Buffer<std::uint32_t> drawn_on_device_;     // the same, where the device has memory of its own
  std::vector<int> live_, drawn_live_;        // [block] of this step, [block x window]
  std::vector<Stream> layer_noise_;           // [block] of this step, where a layer draws
  bool waits_in_steps_ = false;               // factors, and who watches, wait for a step: it cannot be recorded
};

}  // namespace ivory
