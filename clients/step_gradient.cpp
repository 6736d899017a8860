#include "clients/step_gradient.hpp"

namespace ivory {
namespace {

/// The vector as [rows x slots], row-major: slot c adds up the squares of its column.
template <class Real>
struct SquaredEntry {
  const Real* IVORY_RESTRICT vector;
  double* IVORY_RESTRICT sum;
  std::size_t size, slots;
  IVORY_HD double operator()(std::size_t r, std::size_t c) const {
    const std::size_t i = r * slots + c;
    const double x = i < size ? static_cast<double>(vector[i]) : 0.0;
    return x * x;
  }
};

template <class Real>
struct SquaredDistance {
  const Real* IVORY_RESTRICT vector;
  const Real* IVORY_RESTRICT centre;
  double* IVORY_RESTRICT sum;
  double centre_factor;  // 0: the distance from 0
  std::size_t size, slots;
  IVORY_HD double operator()(std::size_t r, std::size_t c) const {
    const std::size_t i = r * slots + c;
    const double x = i < size ? static_cast<double>(vector[i]) - centre_factor * static_cast<double>(centre[i]) : 0.0;
    return x * x;
  }
};

IVORY_HD double norm_of(const double* partial, std::size_t slots) {
  double total = 0;
  for (std::size_t c = 0; c < slots; ++c) total += partial[c];
  return math::sqrt(total);
}

/// A norm that is not a number leaves the gradient as it is: it holds what a diverged client is noticed by.
struct ClippingFactor {
  const double* IVORY_RESTRICT partial;
  double* IVORY_RESTRICT factor;
  double most;
  std::size_t slots;
  IVORY_HD void operator()(std::size_t) const {
    const double norm = norm_of(partial, slots);
    *factor = norm > most ? most / norm : 1.0;
  }
};

struct UnsquaredFactor {
  const double* IVORY_RESTRICT partial;
  double* IVORY_RESTRICT factor;
  double half_weight;
  std::size_t slots;
  IVORY_HD void operator()(std::size_t) const {
    const double norm = norm_of(partial, slots);
    *factor = norm > 0 ? half_weight / norm : 0.0;
  }
};

template <class Real>
struct ScaleGradient {
  const double* IVORY_RESTRICT factor;
  Real* IVORY_RESTRICT gradient;
  IVORY_HD void operator()(std::size_t i) const { gradient[i] *= static_cast<Real>(*factor); }
};

template <class Real, TermKind kind>
struct AddTerms {
  const Real* IVORY_RESTRICT mean;
  Real* IVORY_RESTRICT gradient;
  TermsView<Real, kind> terms;
  IVORY_HD void operator()(std::size_t i) const { gradient[i] += terms.gradient(i, mean[i]); }
};

template <class Real>
struct AddDisplacement {
  const Real* IVORY_RESTRICT mean;
  const Real* IVORY_RESTRICT anchor_mean;
  const double* IVORY_RESTRICT factor;
  Real* IVORY_RESTRICT gradient;
  Real anchor_mean_factor;
  IVORY_HD void operator()(std::size_t i) const {
    gradient[i] += static_cast<Real>(*factor) * (mean[i] - anchor_mean_factor * anchor_mean[i]);
  }
};

}  // namespace

template <class Real>
void StepGradient<Real>::begin(TrainingBlock<Real>& block, bool fold) {
  unsquared_ = false;
  for (const auto& client : block.clients) unsquared_ = unsquared_ || client.terms.unsquared_anchor;
  folded_.clear();
  if (clip_norm_ == 0 && !unsquared_) return;
  if (memory_.empty()) {
    const std::size_t clients = block.clients.size();
    memory_ = Buffer<double>(block.device, clients * (slots + 1));
    partial_ = memory_.data();
    factor_ = partial_ + clients * slots;
  }
  if (!fold) return;
  kind_ = kind_of(block);
  for (auto& client : block.clients) {
    folded_.push_back(client.terms);
    client.terms = {};
    client.terms.start = folded_.back().start;
  }
}

template <class Real>
void StepGradient<Real>::apply(TrainingBlock<Real>& block) const {
  if (!folded_.empty()) {
    add_terms(block);
    if (unsquared_) add_unsquared_anchors(block);
  }
  if (clip_norm_ > 0) clip(block);
}

template <class Real>
void StepGradient<Real>::add_terms(TrainingBlock<Real>& block) const {
  with_kind(kind_, [&]<TermKind kind>() {
    if constexpr (kind != TermKind::none) {
      for_each_client(block.device, block.clients.size(), size_, [&](std::size_t b) {
        LocalTerms<Real> terms = folded_[b];
        if (terms.unsquared_anchor) terms.anchor_weight = 0;
        return Share{block.clients[b].active ? size_ : 0,
                     AddTerms<Real, kind>{block.row(block.mean, b), block.row(block.gradient, b),
                                          view_of<Real, kind>(terms, 0.0)}};
      });
    }
  });
}

template <class Real>
void StepGradient<Real>::add_unsquared_anchors(TrainingBlock<Real>& block) const {
  const std::size_t clients = block.clients.size();
  const auto concerned = [&](std::size_t b) {
    return block.clients[b].active && folded_[b].unsquared_anchor && folded_[b].anchor_weight > 0;
  };
  const auto centre = [&](std::size_t b) {
    return folded_[b].anchor_mean != nullptr ? folded_[b].anchor_mean : folded_[b].start;
  };
  const auto centre_factor = [&](std::size_t b) { return folded_[b].anchor_mean != nullptr ? 1.0 : 0.0; };
  sum_columns_per_client(block.device, clients, rows(), slots, [&](std::size_t b) {
    return Share{concerned(b) ? rows() : 0, SquaredDistance<Real>{block.row(block.mean, b), centre(b), partial(b),
                                                                  centre_factor(b), size_, slots}};
  });
  for_each_client(block.device, clients, 1, [&](std::size_t b) {
    return Share{std::size_t{concerned(b) ? 1U : 0U},
                 UnsquaredFactor{partial(b), factor_ + b, 0.5 * folded_[b].anchor_weight, slots}};
  });
  for_each_client(block.device, clients, size_, [&](std::size_t b) {
    return Share{concerned(b) ? size_ : 0,
                 AddDisplacement<Real>{block.row(block.mean, b), centre(b), factor_ + b, block.row(block.gradient, b),
                                       static_cast<Real>(centre_factor(b))}};
  });
}

template <class Real>
void StepGradient<Real>::clip(TrainingBlock<Real>& block) const {
  const std::size_t clients = block.clients.size();
  sum_columns_per_client(block.device, clients, rows(), slots, [&](std::size_t b) {
    return Share{block.clients[b].active ? rows() : 0,
                 SquaredEntry<Real>{block.row(block.gradient, b), partial(b), size_, slots}};
  });
  for_each_client(block.device, clients, 1, [&](std::size_t b) {
    const auto& client = block.clients[b];
    return Share{std::size_t{client.active ? 1U : 0U},
                 ClippingFactor{partial(b), factor_ + b, clip_norm_ / client.loss_scale, slots}};
  });
  for_each_client(block.device, clients, size_, [&](std::size_t b) {
    return Share{block.clients[b].active ? size_ : 0, ScaleGradient<Real>{factor_ + b, block.row(block.gradient, b)}};
  });
}

template class StepGradient<float>;
template class StepGradient<double>;

}  // namespace ivory
