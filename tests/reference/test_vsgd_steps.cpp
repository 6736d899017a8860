// VSGD's trajectories step by step (vsgd_steps.h5), in double and float.
#define BOOST_TEST_MODULE reference_vsgd_steps
#include "tests/support/boost_test.hpp"

#include "tests/reference/step_problems.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t filtered_slot = 0, drift_slot = 1, noise_slot = 2;

template <class Real>
void run(const Hdf5File& file, const std::string& group) {
  const auto noise = file.read<double>(group + "/noise");  // [steps, P]
  const auto start = read_padded<Real>(file, group + "/theta0");
  const std::size_t steps = noise.shape[0], size = noise.shape[1];
  const auto optimizer = make_optimizer<Real>("vsgd", {{"lr", file.real(group, "lr")},
                                                       {"gamma", file.real(group, "ps")},
                                                       {"variance_ratio", file.real(group, "ghattg")},
                                                       {"kappa1", file.real(group, "tau1")},
                                                       {"kappa2", file.real(group, "tau2")},
                                                       {"epsilon", file.real(group, "eps")},
                                                       {"weight_decay", file.real(group, "weight_decay")}});
  const auto device = make_cpu_device();
  DrivenVisit<Real> visit(*device, *optimizer, size);
  visit.block.clients[0].terms.start = start.data();
  visit.rate = [&](std::size_t) { return file.real(group, "lr"); };
  const Loss loss(file, file.text(group, "problem"));
  const double sigma = file.real(group, "sigma");
  std::vector<Real> theta, gradients, filtered, drift, observed;
  std::size_t now = 0;
  visit.gradient = [&](std::size_t, const Real* point, Real* gradient) {
    const Vector g = loss.gradient(Vector(point, point + size));
    for (std::size_t i = 0; i < size; ++i) {
      gradient[i] = static_cast<Real>(g[i] + sigma * noise.values[now * size + i]);
      gradients.push_back(gradient[i]);
    }
  };
  visit.after_step = [&](std::size_t step) {
    append(theta, visit.mean());
    append(filtered, visit.slot(filtered_slot));
    append(drift, visit.slot(drift_slot));
    append(observed, visit.slot(noise_slot));
    now = step + 1;
  };
  visit.run(steps);
  check_against(theta, file, group + "/theta");
  check_against(gradients, file, group + "/ghat");
  check_against(filtered, file, group + "/mug");
  check_against(drift, file, group + "/bg");
  check_against(observed, file, group + "/bhg");
}

}  // namespace

BOOST_AUTO_TEST_CASE(vsgd) {
  const auto file = open_reference("vsgd_steps.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& group : configurations(*file)) {
    BOOST_TEST_CONTEXT("vsgd_steps.h5 " << group) {
      if (file->text(group, "dtype") == "float32")
        run<float>(*file, group);
      else
        run<double>(*file, group);
    }
    ++count;
  }
  BOOST_TEST(count >= 7U);
  BOOST_TEST_MESSAGE("vsgd_steps.h5: " << count << " configurations");
}
