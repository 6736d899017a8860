// What happens to the network's gradients before the optimizer sees them, where a run asks for it: clipping by the global norm,
// and the unsquared anchor. Both need a norm over a client's whole vector in the middle of a step, so it stays on the device.
#pragma once
#include <vector>

#include "clients/terms.hpp"

namespace ivory {

/// For the blocks of one trainer. Without clipping and unsquared anchors it does nothing and takes no memory.
///
///   unsquared anchor  anchor_weight/2 * (m - m_g)/|m - m_g|, and 0 at m = m_g                                (methods.md D6)
///   clipping          g := g * min(1, clip_norm/|g|)
///
/// For point optimizers g is the gradient of the whole objective but for weight decay, as in torch.nn.utils.clip_grad_norm_
/// before a step (without its 1e-6); for optimizers with a posterior it is that of the minibatch loss. Where a client's loss_scale
/// is not 1, clip_norm is on that scale.
template <class Real>
class StepGradient {
 public:
  /// For vectors of `size` parameters; what pads them is left alone. `clip_norm` 0: no clipping.
  StepGradient(std::size_t size, double clip_norm) : size_(size), clip_norm_(clip_norm) {}

  /// At the start of visits, outside of steps. With point optimizers (`fold`) that need it, the terms of the block's clients move
  /// here, and `apply` adds their gradients.
  void begin(TrainingBlock<Real>& block, bool fold);
  /// In a step, between the network and the optimizer; the operations are the same ones in every step of the visits.
  void apply(TrainingBlock<Real>& block) const;

  static constexpr std::size_t bytes_per_client() { return (slots + 1) * sizeof(double); }

 private:
  static constexpr std::size_t slots = 256;  // partial sums, fixed, so that a norm depends on its vector alone

  double* partial(std::size_t b) const { return partial_ + b * slots; }
  std::size_t rows() const { return (size_ + slots - 1) / slots; }  // of a vector as [rows x slots]
  void add_terms(TrainingBlock<Real>& block) const;
  void add_unsquared_anchors(TrainingBlock<Real>& block) const;
  void clip(TrainingBlock<Real>& block) const;

  std::size_t size_;
  double clip_norm_;
  std::vector<LocalTerms<Real>> folded_;  // per client; empty where the optimizer adds the terms
  TermKind kind_ = TermKind::none;        // of them
  bool unsquared_ = false;                // some client's anchor
  Buffer<double> memory_;                 // [clients x slots] partial sums, then [clients] factors
  double* partial_ = nullptr;
  double* factor_ = nullptr;
};

}  // namespace ivory
