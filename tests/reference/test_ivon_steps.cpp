// IVON's trajectories step by step (ivon_steps.h5), and with prior and dual (ivon_admm_steps.h5), in double and float.
#define BOOST_TEST_MODULE reference_ivon_steps
#include "tests/support/boost_test.hpp"

#include "tests/reference/step_problems.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/visit.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

constexpr std::size_t momentum_slot = 0, hessian_slot = 1;

template <class Real>
bool run(const Hdf5File& file, const std::string& group, bool with_terms) {
  const auto eps = file.read<Real>(group + "/eps");  // [steps, mc, P]
  const std::size_t steps = eps.shape[0], samples = eps.shape[1], size = eps.shape[2];
  const double lambda = file.real(group, "ess"), hess_init = file.real(group, "hess_init");
  const bool gradsq = file.text(group, "hess_approx") == "gradsq";
  const double clip = file.real(group, "clip_radius");
  if (with_terms && file.has_attribute(group, "local_wd") && file.real(group, "local_wd") != 0.0)
    return not_compared(group, "extra local weight decay does not exist in Ivory");

  OptionValues options{{"lr", file.real(group, "lr")},
                       {"beta1", file.real(group, "beta1")},
                       {"beta2", file.real(group, "beta2")},
                       {"hess_init", hess_init},
                       {"samples", static_cast<std::int64_t>(samples)},
                       {"estimator", std::string(gradsq ? "gradsq" : "price")},
                       {"clip_radius", std::isinf(clip) ? 0.0 : clip},
                       {"debias", flag(file, group, "debias")},
                       {"rescale_lr", flag(file, group, "rescale_lr")}};
  if (gradsq) options["gsq_times_lambda"] = true;  // the reference's factor
  if (!with_terms) {
    options["ess"] = lambda;
    options["weight_decay"] = file.real(group, "weight_decay");
  }
  const auto optimizer = make_optimizer<Real>("ivon", options);
  const auto device = make_cpu_device();
  DrivenVisit<Real> visit(*device, *optimizer, size);

  const auto start = read_padded<Real>(file, group + "/mean0");
  std::vector<Real> prior_mean, prior_precision, site_mean, site_precision, hessian0;
  auto& client = visit.block.clients[0];
  client.batch = 1;
  client.terms.start = start.data();
  if (with_terms) {
    prior_precision = read_padded<Real>(file, group + "/prior_prec");
    site_mean = read_padded<Real>(file, group + "/dual_mean");
    site_precision = read_padded<Real>(file, group + "/dual_prec");
    hessian0 = read_padded<Real>(file, group + "/hess0");
    // The files' duals have the opposite sign and are in units of the mean loss.
    for (Real& v : site_mean) v = -v;
    for (Real& v : site_precision) v = -v;
    if (flag(file, group, "has_prior_mean")) {
      prior_mean = read_padded<Real>(file, group + "/prior_mean");
      client.terms.anchor_mean = prior_mean.data();
    }
    client.terms.anchor_precision = prior_precision.data();
    client.terms.anchor_weight = 1.0 / lambda;
    client.terms.site_mean = site_mean.data();
    client.terms.site_precision = site_precision.data();
    client.terms.site_weight = 1.0;
    client.terms.effective_samples = lambda;
  }

  // An initial Hessian that differs by coordinate: it is put into the block after `begin`, which has drawn the first sample with
  // hess_init; the noise handed to `begin` is scaled so that the sample is the one the file's Hessian would have given.
  Vector scale(size, 1.0);
  for (std::size_t i = 0; i < hessian0.size() && i < size; ++i) {
    const double decay = static_cast<double>(prior_precision[i]) / lambda, h = static_cast<double>(hessian0[i]);
    if (h != hess_init) scale[i] = std::sqrt((hess_init + decay) / (h + decay));
  }
  visit.after_begin = [&] {
    for (std::size_t i = 0; i < hessian0.size() && i < size; ++i)
      visit.block.row(visit.block.slots[hessian_slot], 0)[i] = hessian0[i];
  };
  visit.noise = [&](std::size_t, std::size_t step, int sample, Real* z) {
    if (step == steps) return;  // drawn after the last step, never used
    const std::size_t at = (step * samples + static_cast<std::size_t>(sample)) * size;
    for (std::size_t i = 0; i < size; ++i)
      z[i] = step == 0 && sample == 0 ? static_cast<Real>(static_cast<double>(eps.values[at + i]) * scale[i])
                                      : eps.values[at + i];
  };
  const Loss loss(file, file.text(group, "problem"));
  visit.gradient = [&](std::size_t, const Real* theta, Real* gradient) {
    const Vector g = loss.gradient(Vector(theta, theta + size));
    for (std::size_t i = 0; i < size; ++i) gradient[i] = static_cast<Real>(g[i]);
  };
  visit.rate = [&](std::size_t) { return file.real(group, "lr"); };
  std::vector<Real> mean, hessian, momentum, precision;
  visit.after_step = [&](std::size_t) {
    append(mean, visit.mean());
    append(hessian, visit.slot(hessian_slot));
    append(momentum, visit.slot(momentum_slot));
    append(precision, visit.precision());
  };
  visit.run(steps);
  check_against(mean, file, group + "/mean");
  check_against(hessian, file, group + "/hess");
  check_against(momentum, file, group + "/momentum");
  check_against(precision, file, group + "/precision");
  return true;
}

void run_file(const std::string& name, bool with_terms, std::size_t least) {
  const auto file = open_reference(name);
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& group : configurations(*file)) {
    BOOST_TEST_CONTEXT(name << " " << group) {
      const bool single = file->text(group, "dtype") == "float32";
      count += single ? run<float>(*file, group, with_terms) : run<double>(*file, group, with_terms);
    }
  }
  fmt::print("{}: {} groups compared\n", name, count);
  BOOST_TEST(count >= least);
  BOOST_TEST_MESSAGE(name << ": " << count << " configurations");
}

}  // namespace

BOOST_AUTO_TEST_CASE(plain_ivon) { run_file("ivon_steps.h5", false, 13); }
BOOST_AUTO_TEST_CASE(ivon_with_prior_and_dual) { run_file("ivon_admm_steps.h5", true, 10); }
