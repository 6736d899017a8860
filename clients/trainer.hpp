// Local training of a block of clients in lockstep: gather minibatches, take gradients at the optimizer's points, advance.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "clients/network.hpp"
#include "clients/schedule.hpp"
#include "ivory/dataset.hpp"
#include "ivory/messages.hpp"
#include "ivory/optimizer.hpp"

namespace ivory {

/// How long and on what a visit trains.
struct VisitPlan {
  std::uint64_t seed = 0;
  std::int64_t epochs = 1;  // used when steps == 0
  std::int64_t steps = 0;   // optimizer steps per visit
  std::size_t batch = 64;   // examples; the last batch of an epoch holds the rest
  bool keep_state = false;  // [clients] keep_opt_state
  bool same_draws = false;  // [clients] ref_same_seed: noise and minibatch order are those of client 0 in round 0
};

/// One client of a block: its task and its examples, and the state it kept from its last visit (null or empty: none).
template <class Real>
struct Visit {
  ClientTask<Real> task;
  std::span<const std::uint32_t> examples;  // rows of the data set
  const std::vector<Real>* kept = nullptr;  // [kept_vectors x stride]
  std::uint64_t kept_step = 0;
};

struct VisitResult {
  double steps = 0;
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
  /// streams in tests.
  std::vector<VisitResult> train(std::span<const Visit<Real>> visits, const Noise& noise = {});

  /// After `train`: m_k, s_k (only with a posterior) and the state to keep, of visit b.
  Buffer<Real>& means() { return block_.mean; }
  const Real* mean(std::size_t b) const { return block_.mean.data() + b * block_.stride; }
  void precision(std::size_t b, Real* to) const { optimizer_.posterior_precision(block_, b, to); }
  std::vector<Real> kept_state(std::size_t b) const;
  std::uint64_t optimizer_step(std::size_t b) const { return block_.clients[b].optimizer_step; }

  /// Steps a visit with `examples` examples takes.
  std::uint64_t steps_of(std::size_t examples) const;

 private:
  struct Order;  // the shuffled examples of one client and the place in them
  void gather(std::size_t b, Order& order, std::span<const std::uint32_t> examples, std::uint64_t round,
              std::uint32_t client);

  Device& device_;
  const Network<Real>& network_;
  const Optimizer<Real>& optimizer_;
  const Dataset& data_;
  VisitPlan plan_;
  LearningRate learning_rate_;
  TrainingBlock<Real> block_;
  Workspace<Real> workspace_;
  Buffer<Real> x_;               // [block x batch x features]
  Buffer<std::int32_t> labels_;  // [block x batch]
  std::vector<int> live_;
};

}  // namespace ivory
