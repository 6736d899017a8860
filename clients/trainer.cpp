#include "clients/trainer.hpp"

#include <algorithm>
#include <cassert>
#include <limits>
#include <numeric>

namespace ivory {
namespace {

// Rows of a minibatch lie anywhere in the data set; asking for the next one early hides the way to memory.
void prefetch(const float* row, std::size_t features) {
  for (std::size_t i = 0; i < features; i += 16) __builtin_prefetch(row + i);
}

}  // namespace

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
    : device_(device), network_(network), optimizer_(optimizer), data_(data), plan_(plan),
      learning_rate_(learning_rate), block_(device, block_size, network.layout().stride(), optimizer.vectors()),
      workspace_(network.make_workspace(device, block_size, plan.batch)),
      x_(device, block_size * plan.batch * data.features), labels_(device, block_size * plan.batch),
      live_(block_size, 0) {}

template <class Real>
std::uint64_t Trainer<Real>::steps_of(std::size_t examples) const {
  if (plan_.steps > 0) return static_cast<std::uint64_t>(plan_.steps);
  return static_cast<std::uint64_t>(plan_.epochs) * ((examples + plan_.batch - 1) / plan_.batch);
}

// Copies the next minibatch of client b; a new epoch is shuffled by its own key, so no state survives a visit.
template <class Real>
void Trainer<Real>::gather(std::size_t b, Order& order, std::span<const std::uint32_t> examples, std::uint64_t round,
                           std::uint32_t client) {
  if (order.next == order.shuffled.size()) {
    order.shuffled.assign(examples.begin(), examples.end());
    StreamReader random(plan_.seed, {.purpose = Purpose::shuffle,
                                     .round = plan_.same_draws ? 0 : round,
                                     .client = plan_.same_draws ? 0 : client,
                                     .step = order.epoch});
    random.shuffle(order.shuffled.begin(), order.shuffled.size());
    order.next = 0;
    ++order.epoch;
  }
  const std::size_t rows = std::min(plan_.batch, order.shuffled.size() - order.next);
  const std::size_t features = data_.features;
  Real* const x = x_.data() + b * plan_.batch * features;
  std::int32_t* const labels = labels_.data() + b * plan_.batch;
  for (std::size_t r = 0; r < rows; ++r) {
    const std::uint32_t example = order.shuffled[order.next + r];
    if (r + 1 < rows) prefetch(data_.row(order.shuffled[order.next + r + 1]), features);
    std::copy_n(data_.row(example), features, x + r * features);
    labels[r] = data_.labels[example];
  }
  order.next += rows;
  live_[b] = static_cast<int>(rows);
}

template <class Real>
std::vector<VisitResult> Trainer<Real>::train(std::span<const Visit<Real>> visits, const Noise& noise) {
  const std::size_t count = visits.size(), stride = block_.stride;
  assert(count <= block_.clients.size());
  const auto noise_of = [&](std::size_t b, std::uint64_t step, int sample) -> NoiseSource<Real> {
    const auto& task = visits[b].task;
    if (noise) return noise(task.round, task.client, step, sample);
    return {.stream = make_stream(plan_.seed, {.purpose = Purpose::training_noise,
                                               .round = plan_.same_draws ? 0 : task.round,
                                               .client = plan_.same_draws ? 0 : task.client,
                                               .step = step,
                                               .sample = static_cast<std::uint64_t>(sample)})};
  };

  std::vector<Order> orders(count);
  std::vector<std::uint64_t> steps(count);
  std::vector<double> loss(block_.clients.size()), loss_sum(count, 0.0);
  const std::size_t kept = optimizer_.kept_vectors(plan_.keep_state);
  std::uint64_t longest = 0;
  bool resumed = false;
  for (std::size_t b = 0; b < block_.clients.size(); ++b) {
    auto& client = block_.clients[b];
    client = {};
    client.active = b < count;
    if (!client.active) continue;
    const Visit<Real>& visit = visits[b];
    steps[b] = visit.examples.empty() ? 0 : steps_of(visit.examples.size());
    longest = std::max(longest, steps[b]);
    client.terms = visit.task.terms;
    client.examples = static_cast<double>(visit.examples.size());
    client.noise = noise_of(b, 0, 0);
    const bool has_kept = visit.kept != nullptr && visit.kept->size() == kept * stride && kept > 0;
    resumed = resumed || has_kept;
    for (std::size_t v = 0; v < kept; ++v) {
      if (has_kept) {
        device_.upload(block_.row(block_.slots[v], b), visit.kept->data() + v * stride, stride * sizeof(Real));
      } else {
        for_each(device_, stride, Fill<Real>{block_.row(block_.slots[v], b), Real(0)});
      }
    }
    client.optimizer_step = has_kept ? visit.kept_step : 0;
  }
  assert(!resumed || count == 1);  // a block starts fresh or resumes as a whole; kept state comes one client at a time
  optimizer_.begin(block_, resumed);

  const int samples = optimizer_.samples();
  for (std::uint64_t t = 0; t < longest; ++t) {
    for (std::size_t b = 0; b < block_.clients.size(); ++b) {
      auto& client = block_.clients[b];
      live_[b] = 0;
      client.active = b < count && t < steps[b];
      if (!client.active) continue;
      gather(b, orders[b], visits[b].examples, visits[b].task.round, visits[b].task.client);
      client.batch = live_[b];
      client.learning_rate = learning_rate_.at(visits[b].task.round, t, steps[b]);
    }
    const BatchShape shape{
        .clients = block_.clients.size(), .rows = plan_.batch, .live = live_.data(), .parameter_stride = stride};
    for (int sample = 0; sample < samples; ++sample) {
      network_.loss_and_gradient(device_, shape, block_.point.data(), x_.data(), labels_.data(), workspace_,
                                 block_.gradient.data(), loss.data());
      const bool step_ends = sample + 1 == samples;
      for (std::size_t b = 0; b < count; ++b) {
        if (!block_.clients[b].active) continue;
        loss_sum[b] += loss[b];
        block_.clients[b].noise = noise_of(b, step_ends ? t + 1 : t, step_ends ? 0 : sample + 1);
      }
      optimizer_.advance(block_, sample);
    }
  }

  // A client that has finished early still has its last minibatch in place.
  for (std::size_t b = 0; b < live_.size(); ++b) {
    live_[b] = b < count && steps[b] > 0 ? static_cast<int>(block_.clients[b].batch) : 0;
  }
  network_.loss(
      device_,
      {.clients = block_.clients.size(), .rows = plan_.batch, .live = live_.data(), .parameter_stride = stride},
      block_.mean.data(), x_.data(), labels_.data(), workspace_, loss.data());

  std::vector<VisitResult> results(count);
  for (std::size_t b = 0; b < count; ++b) {
    block_.clients[b].active = true;
    results[b].final_loss = loss[b];
    results[b].steps = static_cast<double>(steps[b]);
    results[b].train_loss = steps[b] > 0
                                ? loss_sum[b] / static_cast<double>(steps[b] * static_cast<std::uint64_t>(samples))
                                : std::numeric_limits<double>::quiet_NaN();
  }
  return results;
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
