// Logistic sigmoid 1 / (1 + exp(-x)).
#include "clients/activation.hpp"

namespace ivory {
namespace {

struct Formula {
  static constexpr const char* name = "sigmoid";
  template <class Real>
  IVORY_HD static Real value(Real x) {
    return math::sigmoid(x);
  }
  template <class Real>
  IVORY_HD static Real slope_from_output(Real y) {
    return y * (Real(1) - y);
  }
};

}  // namespace

LayerPlugin sigmoid_plugin() { return activation_plugin<Formula>("logistic sigmoid 1 / (1 + exp(-x))"); }

}  // namespace ivory
