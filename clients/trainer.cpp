#include "clients/trainer.hpp"

#include <algorithm>
#include <cassert>
#include <limits>

namespace ivory {
namespace {

constexpr std::size_t most_rows_drawn = std::size_t{1} << 24;  // 64 MiB of row numbers

// Steps whose minibatches, of `rows` rows in a block, are drawn at a time.
std::size_t steps_drawn(std::size_t rows) {
  return std::clamp<std::size_t>(most_rows_drawn / std::max<std::size_t>(rows, 1), 1, most_steps_drawn);
}

template <class Real>
struct NotUsable {
  const Real* mean;
  const Real* precision;
  const Real* start_gradient;
  const Real* curvature;
  IVORY_HD double operator()(std::size_t i) const {
    const bool good = math::is_finite(mean[i]) &&
                      (precision == nullptr || (math::is_finite(precision[i]) && precision[i] > Real(0))) &&
                      (start_gradient == nullptr || math::is_finite(start_gradient[i])) &&
                      (curvature == nullptr || math::is_finite(curvature[i]));
    return good ? 0.0 : 1.0;
  }
};

template <class Real>
struct AddShare {
  const Real* IVORY_RESTRICT gradient;
  Real* IVORY_RESTRICT total;
  Real share;
  IVORY_HD void operator()(std::size_t i) const { total[i] += share * gradient[i]; }
};

template <class Real>
struct Multiply {
  Real* values;
  Real factor;
  IVORY_HD void operator()(std::size_t i) const { values[i] *= factor; }
};

}  // namespace

VisitPlan VisitPlan::for_clients(std::span<const std::vector<std::uint32_t>> examples) const {
  std::size_t largest = 1;
  for (const auto& rows : examples) largest = std::max(largest, rows.size());
  VisitPlan plan = *this;
  plan.batch = std::min(batch, largest);
  return plan;
}

StreamKey VisitPlan::key(Purpose purpose, std::uint64_t round, std::uint32_t client, std::uint64_t step,
                         int sample) const {
  return {.purpose = purpose,
          .round = same_draws ? 0 : round,
          .client = same_draws ? 0 : client,
          .step = step,
          .sample = static_cast<std::uint64_t>(sample)};
}

std::uint64_t VisitPlan::steps_of(std::size_t examples) const {
  if (examples == 0) return 0;
  if (steps > 0) return static_cast<std::uint64_t>(steps);
  return static_cast<std::uint64_t>(epochs) * ((examples + batch - 1) / batch);
}

template <class Real>
struct Trainer<Real>::Order {
  std::vector<std::uint32_t> shuffled;
  std::size_t next = 0;
  std::uint64_t epoch = 0;
};

template <class Real>
Trainer<Real>::Trainer(Device& device, const Network<Real>& network, const Optimizer<Real>& optimizer,
                       const Dataset& data, const VisitPlan& plan, const LearningRate& learning_rate,
                       std::size_t block_size)
    : device_(device), network_(network), optimizer_(optimizer), data_(device, data), data_of_(block_size), plan_(plan),
      learning_rate_(learning_rate), block_(device, block_size, network.layout().stride(), optimizer.vectors(),
                                            network.layout().size(), optimizer.matrices(), optimizer.needs_hessian()),
      step_gradient_(network.layout().size(), plan.clip_norm),
      workspace_(network.make_workspace(device, block_size, plan.batch, plan.curvature != Curvature::none)),
      x_(device, block_size * plan.batch * data.features), labels_(device, block_size * plan.batch),
      values_(device, block_size * plan.batch * data.outputs), row_losses_(device, block_size * plan.batch),
      final_losses_(device, block_size * plan.batch),
      window_(device.shares_host_memory() ? 1 : steps_drawn(block_size * plan.batch)),
      drawn_(block_size * window_ * plan.batch), live_(block_size, 0), drawn_live_(block_size * window_, 0) {
  if (!device.shares_host_memory()) drawn_on_device_ = Buffer<std::uint32_t>(device, drawn_.size());
  if (network.draws()) layer_noise_.resize(block_size);
  if (plan.start_gradients) start_gradient_ = Buffer<Real>(device, block_size * block_.stride);
  if (plan.curvature != Curvature::none) curvature_ = Buffer<Real>(device, block_size * block_.stride);
  if (optimizer.needs_hessian()) curvature_matrix_ = std::make_unique<CurvatureMatrix<Real>>(device, network);
  if (plan.public_pool == nullptr || plan.public_pool->size() == 0) return;
  pool_ = std::make_unique<PublicPool<Real>>(device, network, *plan.public_pool, block_size);
  public_predictions_ = Buffer<Real>(device, block_size * pool_->examples() * pool_->classes());
}

template <class Real>
std::size_t Trainer<Real>::bytes_per_client(const Network<Real>& network, const Optimizer<Real>& optimizer,
                                            const VisitPlan& plan) {
  // Beside point and activations (counted by the network): gradient, mean and slots; targets, row losses, drawn rows.
  const bool diagonal = plan.curvature != Curvature::none;
  const std::size_t vectors = 2 + optimizer.vectors() + (plan.start_gradients ? 1 : 0) + (diagonal ? 1 : 0);
  const std::size_t size = network.layout().size();
  const std::size_t hessians = !optimizer.needs_hessian() ? 0
                                                          : (optimizer.matrices() + 1) * size * size * sizeof(Real) +
                                                                CurvatureMatrix<Real>::bytes(network);
  const std::size_t pool = plan.public_pool == nullptr ? 0 : plan.public_pool->size();
  const std::size_t predictions =
      pool == 0 ? 0 : PublicPool<Real>::bytes_per_client(network, pool) + pool * network.outputs() * sizeof(Real);
  return network.bytes_at_work(plan.batch, diagonal) + vectors * network.layout().stride() * sizeof(Real) + hessians +
         predictions + StepGradient<Real>::bytes_per_client() +
         plan.batch * (sizeof(std::int32_t) + network.target_values() * sizeof(Real) + 2 * sizeof(double) +
                       most_steps_drawn * sizeof(std::uint32_t));
}

// The next `count` minibatches of client b; a new epoch is shuffled by its own key, so no state survives a visit.
template <class Real>
void Trainer<Real>::draw_minibatches(std::size_t b, Order& order, const Visit<Real>& visit, std::size_t count) {
  for (std::size_t place = 0; place < count; ++place) {
    if (order.next == order.shuffled.size()) {
      order.shuffled.assign(visit.examples.begin(), visit.examples.end());
      StreamReader random(seed_of(visit),
                          plan_.key(Purpose::shuffle, visit.task.round, visit.task.client, order.epoch));
      random.shuffle(order.shuffled.begin(), order.shuffled.size());
      order.next = 0;
      ++order.epoch;
    }
    const std::size_t rows = std::min(plan_.batch, order.shuffled.size() - order.next);
    std::copy_n(order.shuffled.data() + order.next, rows, drawn_.data() + (b * window_ + place) * plan_.batch);
    drawn_live_[b * window_ + place] = static_cast<int>(rows);
    order.next += rows;
  }
}

template <class Real>
BatchShape Trainer<Real>::shape() const {
  return {.clients = block_.clients.size(),
          .rows = plan_.batch,
          .live = live_.data(),
          .parameter_stride = block_.stride,
          .nominal = !device_.shares_host_memory()};
}

// The same with random numbers for the layers that draw some. Evaluation and start gradients have none: nothing is dropped there.
template <class Real>
BatchShape Trainer<Real>::training_shape(std::span<const Visit<Real>> visits, std::uint64_t step, int sample) {
  BatchShape out = shape();
  if (layer_noise_.empty()) return out;
  for (std::size_t b = 0; b < visits.size(); ++b) {
    const ClientTask<Real>& task = visits[b].task;
    layer_noise_[b] =
        make_stream(seed_of(visits[b]), plan_.key(Purpose::dropout, task.round, task.client, step, sample));
  }
  out.noise = layer_noise_.data();
  return out;
}

// Puts the minibatches drawn at `place` into x and targets. A client whose visit is over keeps its last one.
template <class Real>
void Trainer<Real>::gather(std::size_t place) {
  const std::uint32_t* const drawn = device_.shares_host_memory() ? drawn_.data() : drawn_on_device_.data();
  const BatchShape now = shape();
  data_.gather(device_, now, x_.data(), labels_.data(), values_.data(), [&](std::size_t b) {
    return Gathered{block_.clients[b].active ? now.work_rows(b) : 0, drawn + (b * window_ + place) * plan_.batch,
                    data_of_[b]};
  });
}

// Client b takes steps[b] steps, each with a minibatch in x and labels. `draw` draws the next `count` of them.
template <class Real>
void Trainer<Real>::repeat_steps(std::span<const std::uint64_t> steps,
                                 const std::function<void(std::size_t b, std::size_t count)>& draw,
                                 const std::function<void(std::uint64_t t)>& step) {
  const std::uint64_t longest = steps.empty() ? 0 : *std::max_element(steps.begin(), steps.end());
  for (std::uint64_t first = 0; first < longest; first += window_) {
    const std::uint64_t here = std::min<std::uint64_t>(window_, longest - first);
    for (std::size_t b = 0; b < steps.size(); ++b) {
      if (first < steps[b]) draw(b, static_cast<std::size_t>(std::min(here, steps[b] - first)));
    }
    if (!device_.shares_host_memory()) drawn_on_device_.from_host(drawn_);
    const auto one = [&](std::uint64_t place) {
      const std::uint64_t t = first + place;
      for (std::size_t b = 0; b < steps.size(); ++b) {
        auto& client = block_.clients[b];
        client.active = t < steps[b];
        live_[b] = client.active ? drawn_live_[b * window_ + place] : 0;
        if (client.active) client.batch = live_[b];
      }
      gather(static_cast<std::size_t>(place));
      step(t);
    };
    if (!waits_in_steps_) {
      device_.repeat(here, one);
    } else {
      for (std::uint64_t place = 0; place < here; ++place) one(place);
    }
  }
  for (std::size_t b = 0; b < block_.clients.size(); ++b) block_.clients[b].active = b < steps.size();
}

// Every client once through its examples in their order, a minibatch at a time.
template <class Real>
void Trainer<Real>::go_through_examples(std::span<const Visit<Real>> visits, const std::function<void()>& step) {
  std::vector<std::uint64_t> steps;
  for (const auto& visit : visits) steps.push_back((visit.examples.size() + plan_.batch - 1) / plan_.batch);
  std::vector<std::size_t> next(visits.size(), 0);
  repeat_steps(
      steps,
      [&](std::size_t b, std::size_t count) {
        for (std::size_t place = 0; place < count; ++place) {
          const std::size_t rows = std::min(plan_.batch, visits[b].examples.size() - next[b]);
          std::copy_n(visits[b].examples.data() + next[b], rows, drawn_.data() + (b * window_ + place) * plan_.batch);
          drawn_live_[b * window_ + place] = static_cast<int>(rows);
          next[b] += rows;
        }
      },
      [&](std::uint64_t) { step(); });
}

// The mean of the minibatches' gradients, each with its share of the examples.
template <class Real>
void Trainer<Real>::take_start_gradients(std::span<const Visit<Real>> visits) {
  device_.clear(start_gradient_.data(), start_gradient_.size() * sizeof(Real));
  for_each_client(device_, block_.clients.size(), block_.stride, [&](std::size_t b) {
    return Share{block_.work(b), StartPoint<Real>{block_.clients[b].terms.start, block_.row(block_.mean, b),
                                                  block_.row(block_.point, b)}};
  });
  go_through_examples(visits, [&] {
    network_.gradient(device_, shape(), block_.point.data(), x_.data(), targets(), workspace_, block_.gradient.data(),
                      nullptr);
    for_each_client(device_, block_.clients.size(), block_.stride, [&](std::size_t b) {
      const auto& client = block_.clients[b];
      return Share{block_.work(b),
                   AddShare<Real>{block_.row(block_.gradient, b), block_.row(start_gradient_, b),
                                  static_cast<Real>(client.active ? client.batch / client.examples : 0.0)}};
    });
  });
}

// Of the sum loss at the returned means (methods.md 4.8), without dropout.
template <class Real>
void Trainer<Real>::take_curvatures(std::span<const Visit<Real>> visits) {
  device_.clear(curvature_.data(), curvature_.size() * sizeof(Real));
  std::vector<Visit<Real>> over(visits.begin(), visits.end());
  if (plan_.curvature_examples != nullptr) {
    for (auto& visit : over) visit.examples = *plan_.curvature_examples;
  }
  if (plan_.curvature == Curvature::exact) {
    return go_through_examples(over, [&] {
      add_curvature_diagonal(device_, network_, shape(), block_.mean.data(), x_.data(), workspace_, curvature_.data());
    });
  }
  std::vector<Stream> draws(block_.clients.size());
  std::uint64_t minibatch = 0;
  go_through_examples(over, [&] {
    const BatchShape now = shape();
    const Real* const outputs = network_.forward(device_, now, block_.mean.data(), x_.data(), workspace_);
    for (std::size_t b = 0; b < visits.size(); ++b) {
      draws[b] = make_stream(seed_of(visits[b]), {.purpose = Purpose::curvature,
                                                  .round = plan_.same_draws ? 0 : visits[b].task.round,
                                                  .client = plan_.same_draws ? 0 : visits[b].task.client,
                                                  .step = minibatch});
    }
    ++minibatch;
    network_.seed_sampled_curvature(device_, now, outputs, draws.data(), workspace_);
    network_.add_squared_gradients(device_, now, block_.mean.data(), x_.data(), workspace_, curvature_.data());
  });
}

// Of the minibatches' mean losses at the points; a wait or two each, so only optimizers with matrices ask for it.
template <class Real>
void Trainer<Real>::take_hessians() {
  const std::size_t size = block_.parameters, entries = size * size;
  for (std::size_t b = 0; b < block_.clients.size(); ++b) {
    if (!block_.clients[b].active) continue;
    Real* const hessian = block_.hessian.data() + b * entries;
    const auto rows = static_cast<std::size_t>(live_[b]);
    curvature_matrix_->compute(block_.row(block_.point, b), x_.data() + b * plan_.batch * network_.inputs(), rows,
                               hessian);
    for_each(device_, entries, Multiply<Real>{hessian, Real(1) / static_cast<Real>(rows)});
  }
}

template <class Real>
void Trainer<Real>::begin_soft_labels(std::span<const Visit<Real>> visits) {
  soft_labels_.clear();
  if (pool_ == nullptr) return;
  const auto labelled = [](const Visit<Real>& visit) { return visit.task.terms.public_labels != nullptr; };
  if (std::none_of(visits.begin(), visits.end(), labelled)) return;
  soft_labels_.resize(block_.clients.size());
  now_ = soft_labels_;
  for (std::size_t b = 0; b < visits.size(); ++b) {
    const LocalTerms<Real>& terms = visits[b].task.terms;
    soft_labels_[b] = {terms.public_labels, static_cast<Real>(terms.public_weight), terms.public_share};
  }
}

// Beside the minibatch's gradient, at the same points: the term has all of its examples in every step.
template <class Real>
void Trainer<Real>::add_soft_label_gradients() {
  if (soft_labels_.empty()) return;
  for (std::size_t b = 0; b < now_.size(); ++b) {
    now_[b] = block_.clients[b].active ? soft_labels_[b] : SoftLabels<Real>{};
  }
  pool_->add_gradients(block_.point.data(), now_, block_.gradient.data());
}

template <class Real>
std::vector<double> Trainer<Real>::losses(const Buffer<double>& row_losses) const {
  return losses_of_rows(row_losses.to_host(), plan_.batch);
}

template <class Real>
std::vector<VisitResult> Trainer<Real>::train(std::span<const Visit<Real>> visits, const Noise& noise,
                                              StepWatch<Real>* watch) {
  const std::size_t count = visits.size(), stride = block_.stride;
  assert(count <= block_.clients.size());
  const auto noise_of = [&](std::size_t b, std::uint64_t step, int sample) -> NoiseSource<Real> {
    const auto& task = visits[b].task;
    if (noise) return noise(task.round, task.client, step, sample);
    return {.stream = make_stream(seed_of(visits[b]),
                                  plan_.key(Purpose::training_noise, task.round, task.client, step, sample))};
  };

  waits_in_steps_ = curvature_matrix_ != nullptr || watch != nullptr;
  std::vector<Order> orders(count);
  std::vector<std::uint64_t> steps(count);
  std::vector<VisitResult> results(count);
  const std::size_t kept = optimizer_.kept_vectors(plan_.keep_state);
  for (std::size_t b = 0; b < block_.clients.size(); ++b) {
    auto& client = block_.clients[b];
    client = {};
    client.active = b < count;
    data_of_[b] = nullptr;  // another run's may be gone
    if (!client.active) continue;
    const Visit<Real>& visit = visits[b];
    if (visit.source != nullptr) data_of_[b] = visit.source->data;
    steps[b] = plan_.steps_of(visit.examples.size());
    client.terms = visit.task.terms;
    client.examples = static_cast<double>(visit.examples.size());
    client.loss_scale = client.terms.sum_loss && optimizer_.takes_sum_loss() ? client.examples : 1.0;
    client.noise = noise_of(b, 0, 0);
    client.resumed = kept > 0 && visit.kept != nullptr && visit.kept->size() == kept * stride;
    if (!client.resumed) continue;
    client.optimizer_step = visit.kept_step;
    for (std::size_t v = 0; v < kept; ++v) {
      device_.upload(block_.row(block_.slots[v], b), visit.kept->data() + v * stride, stride * sizeof(Real));
    }
  }
  device_.clear(row_losses_.data(), row_losses_.size() * sizeof(double));
  device_.clear(final_losses_.data(), final_losses_.size() * sizeof(double));
  if (plan_.start_gradients) take_start_gradients(visits);
  optimizer_.begin(block_);
  step_gradient_.begin(block_, !optimizer_.gives_posterior());
  begin_soft_labels(visits);
  if (watch != nullptr) {
    const std::size_t b = watch->visit(), batch = plan_.batch;
    watch->begin(block_, optimizer_, steps[b], (visits[b].examples.size() + batch - 1) / batch);
  }

  const int samples = optimizer_.samples();
  repeat_steps(
      steps, [&](std::size_t b, std::size_t minibatches) { draw_minibatches(b, orders[b], visits[b], minibatches); },
      [&](std::uint64_t t) {
        for (std::size_t b = 0; b < count; ++b) {
          auto& client = block_.clients[b];
          if (!client.active) continue;
          client.learning_rate = learning_rate_.at(visits[b].task.round, t, steps[b]);
          results[b].rate_sum += client.learning_rate;
        }
        if (watch != nullptr) watch->open_step(t, row_losses_);
        for (int sample = 0; sample < samples; ++sample) {
          network_.gradient(device_, training_shape(visits, t, sample), block_.point.data(), x_.data(), targets(),
                            workspace_, block_.gradient.data(), row_losses_.data());
          if (watch != nullptr) watch->take_gradient(block_);
          if (curvature_matrix_ != nullptr) take_hessians();
          add_soft_label_gradients();
          step_gradient_.apply(block_);
          const bool step_ends = sample + 1 == samples;
          for (std::size_t b = 0; b < count; ++b) {
            if (!block_.clients[b].active) continue;
            block_.clients[b].noise = noise_of(b, step_ends ? t + 1 : t, step_ends ? 0 : sample + 1);
          }
          optimizer_.advance(block_, sample);
        }
        if (watch != nullptr) watch->close_step(block_, row_losses_);
      });

  // A client that has finished early still has its last minibatch in place.
  for (std::size_t b = 0; b < live_.size(); ++b) {
    live_[b] = b < count && steps[b] > 0 ? static_cast<int>(block_.clients[b].batch) : 0;
  }
  network_.loss(device_, shape(), block_.mean.data(), x_.data(), targets(), workspace_, final_losses_.data());

  if (plan_.curvature != Curvature::none) take_curvatures(visits);
  if (pool_ != nullptr) {
    std::vector<PoolShare> shares;
    for (const auto& visit : visits) shares.push_back(visit.task.terms.public_share);
    pool_->predict(block_.mean.data(), shares, public_predictions_.data());
  }

  const std::vector<double> sums = losses(row_losses_), last = losses(final_losses_);
  for (std::size_t b = 0; b < count; ++b) {
    results[b].final_loss = last[b];
    results[b].steps = static_cast<double>(steps[b]);
    results[b].train_loss = steps[b] > 0 ? sums[b] / static_cast<double>(steps[b] * static_cast<std::uint64_t>(samples))
                                         : std::numeric_limits<double>::quiet_NaN();
  }
  return results;
}

template <class Real>
std::vector<double> Trainer<Real>::unusable(std::size_t count, const Real* precisions) const {
  const bool matrices = optimizer_.needs_hessian();
  std::vector<double> unusable = sum_per_client(device_, count, [&](std::size_t b) {
    return Share{network_.layout().size(),
                 NotUsable<Real>{mean(b), precisions != nullptr && !matrices ? precisions + b * block_.stride : nullptr,
                                 start_gradient(b), curvature(b)}};
  });
  const auto count_in = [&](const Real* arrays, std::size_t entries) {  // [count x entries]
    const std::vector<double> more = sum_per_client(device_, count, [&](std::size_t b) {
      return Share{entries, NotUsable<Real>{arrays + b * entries, nullptr, nullptr, nullptr}};
    });
    for (std::size_t b = 0; b < count; ++b) unusable[b] += more[b];
  };
  if (precisions != nullptr && matrices) count_in(precisions, block_.parameters * block_.parameters);
  if (pool_ != nullptr) count_in(public_predictions(0), pool_->examples() * pool_->classes());
  return unusable;
}

template <class Real>
std::vector<Real> Trainer<Real>::kept_state(std::size_t b) const {
  const std::size_t kept = optimizer_.kept_vectors(plan_.keep_state), stride = block_.stride;
  std::vector<Real> state(kept * stride);
  for (std::size_t v = 0; v < kept; ++v) {
    device_.download(state.data() + v * stride, block_.slots[v].data() + b * stride, stride * sizeof(Real));
  }
  return state;
}

template class Trainer<float>;
template class Trainer<double>;

}  // namespace ivory
