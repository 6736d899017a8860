// Rectifier max(x, 0); NaN stays NaN so that a diverged client is seen.
#include "clients/activation.hpp"

namespace ivory {
namespace {

struct Formula {
  static constexpr const char* name = "relu";
  template <class Real>
  IVORY_HD static Real value(Real x) {
    return x > Real(0) ? x : (x == x ? Real(0) : x);
  }
  template <class Real>
  IVORY_HD static Real slope_from_output(Real y) {
    return y > Real(0) ? Real(1) : Real(0);
  }
};

}  // namespace

LayerPlugin relu_plugin() { return activation_plugin<Formula>("rectifier max(x, 0)"); }

}  // namespace ivory
