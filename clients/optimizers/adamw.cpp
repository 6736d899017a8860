// AdamW: Adam with the weight decay beside the gradient (torch.optim.AdamW).
#include "clients/adam.hpp"

namespace ivory {

OptimizerPlugin adamw_plugin() {
  return adam_like_plugin<WeightDecay::decoupled>("adamw", "Adam with decoupled weight decay (torch.optim.AdamW)", 1e-2,
                                                  "m := (1 - lr * weight_decay) * m before each step");
}

}  // namespace ivory
