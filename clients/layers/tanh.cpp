// Hyperbolic tangent.
#include "clients/activation.hpp"

namespace ivory {
namespace {

struct Formula {
  static constexpr const char* name = "tanh";
  template <class Real>
  IVORY_HD static Real value(Real x) {
    return math::tanh(x);
  }
  template <class Real>
  IVORY_HD static Real slope_from_output(Real y) {
    return Real(1) - y * y;
  }
};

}  // namespace

LayerPlugin tanh_plugin() { return activation_plugin<Formula>("hyperbolic tangent"); }

}  // namespace ivory
