// Adam with the weight decay in the gradient (torch.optim.Adam).
#include "clients/adam.hpp"

namespace ivory {

OptimizerPlugin adam_plugin() {
  return adam_like_plugin<WeightDecay::coupled>("adam", "Adam (torch.optim.Adam)", 0.0, "L2 gradient weight_decay * m");
}

}  // namespace ivory
