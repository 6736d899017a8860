// Full-covariance VB-ADMM, PVI, Bregman ADMM and federated ADMM on ridge regression (bayes_admm_full.h5): server, sites and VON.
#define BOOST_TEST_MODULE reference_full_covariance
#include "tests/support/boost_test.hpp"

#include "tests/reference/reference_files.hpp"
#include "tests/support/full_quadratic.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Gradients are H_k theta - b_k of the sum loss; a minimum c_k stands for b_k = H_k c_k.
struct Ridge {
  explicit Ridge(const Hdf5File& file) {
    const auto H = file.read<double>("H"), b = file.read<double>("b");
    const auto offsets = file.read<std::int64_t>("client_offsets").values;
    const std::size_t n = H.shape[1];
    problem.prior_precision = file.real("/", "delta");
    for (std::size_t k = 0; k < H.shape[0]; ++k) {
      const auto from = H.values.begin() + static_cast<std::ptrdiff_t>(k * n * n);
      problem.H.push_back({n, Vector(from, from + static_cast<std::ptrdiff_t>(n * n))});
      slope.emplace_back(b.values.begin() + static_cast<std::ptrdiff_t>(k * n),
                         b.values.begin() + static_cast<std::ptrdiff_t>((k + 1) * n));
      problem.examples.push_back(static_cast<double>(offsets[k + 1] - offsets[k]));
    }
  }
  FullQuadraticClients problem;
  std::vector<Vector> slope;  // b_k

  Sent<double> solve(Device& device, const Optimizer<double>& von, std::uint32_t k, const LocalTerms<double>& terms,
                     std::size_t steps, const DrivenVisit<double>::Rate& rate) const {
    const std::size_t n = problem.size();
    DrivenVisit<double> visit(device, von, n);
    visit.block.clients[0].terms = terms;
    visit.rate = rate;
    visit.gradient = [&](std::size_t, const double* theta, double* g) {
      const Vector product = problem.H[k].times(Vector(theta, theta + n));
      for (std::size_t i = 0; i < n; ++i) g[i] = (product[i] - slope[k][i]) / problem.examples[k];
    };
    visit.hessian = [&](std::size_t, const double*, double* h) {
      for (std::size_t i = 0; i < n * n; ++i) h[i] = problem.H[k].a[i] / problem.examples[k];
    };
    visit.run(steps);
    return {visit.mean(), visit.precision()};
  }
};

void run_full(const Hdf5File& file, const std::string& group) {
  const Ridge ridge(file);
  const std::size_t n = ridge.problem.size(), clients = ridge.slope.size(),
                    rounds = file.read<double>(group + "/v").shape[0];
  const double tau = file.real(group, "temperature"), rho = file.real(group, "rho"), lambda = 1.0 / (tau * rho);
  OptionValues options{{"posterior", std::string("full")},
                       {"rho", rho},
                       {"temperature", tau},
                       {"damping", file.real(group, "damping")},
                       {"prior_precision", file.real("/", "delta")}};
  if (flag(file, group, "alpha_given")) options["alpha"] = file.real(group, "alpha");
  if (flag(file, group, "bregman")) options["bregman"] = options["bregman_ref_sign"] = true;
  const double start_scale = file.real(group, "S_init_scale");
  if (start_scale == 1.0) options["ref_start_identity"] = true;
  const auto device = make_cpu_device();
  // The file's steps von_lr_m and von_lr_S, over 1 + 0.1 t, are our shares times lambda.
  const double lr = file.real(group, "von_lr_m") / lambda;
  const auto von = make_optimizer<double>(
      "von", {{"lr", lr}, {"rate_precision", file.real(group, "von_lr_S") / file.real(group, "von_lr_m")}});
  const auto algorithm = make_algorithm<double>("vb_admm", options);
  const auto start = file.read<double>(group + "/m_init").values;
  Federation<double> federation(*device, *algorithm, start, ridge.problem.examples);
  std::copy(start.begin(), start.end(), federation.state.mean.data());
  BOOST_TEST(federation.state.precision.data()[0] == start_scale);
  const auto steps = static_cast<std::size_t>(file.integer(group, "von_iters_executed"));

  Vector server = federation.mean(), server_precision, mean, precision, site_mean, site_precision;
  const auto append_server_precision = [&] {
    const double* const s = federation.state.precision.data();
    append(server_precision, Vector(s, s + n * n));
  };
  append_server_precision();
  for (std::size_t round = 0; round < rounds; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      const Sent<double> sent = ridge.solve(*device, *von, k, terms, steps,
                                            [&](std::size_t t) { return lr / (1.0 + 0.1 * static_cast<double>(t)); });
      append(mean, sent.mean);
      append(precision, sent.precision);
      return sent;
    });
    for (std::uint32_t k = 0; k < clients; ++k) {
      append(site_mean, federation.site_mean(k));
      const double* const V = algorithm->site_precision(federation.state, k);
      append(site_precision, Vector(V, V + n * n));
    }
    append(server, federation.mean());
    append_server_precision();
  }
  check_against(mean, file, group + "/client_m");
  check_against(precision, file, group + "/client_S");
  check_against(site_mean, file, group + "/v");
  check_against(site_precision, file, group + "/V");
  check_against(server, file, group + "/server_m");
  check_against(server_precision, file, group + "/server_S");
}

// The reference solves its client problems by gradient descent, we exactly: 1e-8, as the files' README says.
void check_iterated(const Vector& values, const Hdf5File& file, const std::string& dataset) {
  const Vector reference = file.read<double>(dataset).values;
  BOOST_TEST_REQUIRE(values.size() == reference.size());
  double largest = 0, worst = 0;
  for (const double r : reference) largest = std::max(largest, std::fabs(r));
  for (std::size_t i = 0; i < values.size(); ++i) {
    worst = std::max(worst, std::fabs(values[i] - reference[i]) / std::max(std::fabs(reference[i]), 1e-3 * largest));
  }
  BOOST_TEST(worst <= 1e-8, dataset << ": " << worst);
}

void run_admm(const Hdf5File& file, const std::string& group) {
  const Ridge ridge(file);
  const std::size_t n = ridge.problem.size(), rounds = file.read<double>(group + "/v").shape[0];
  const double delta = file.real("/", "delta"), penalty = file.real(group, "rho"),
               K = static_cast<double>(ridge.slope.size());
  const double alpha = delta / (delta + K * file.real(group, "rho_server"));
  const auto device = make_cpu_device();
  const auto algorithm = make_algorithm<double>("vb_admm", {{"posterior", std::string("isotropic")},
                                                            {"rho", penalty / delta},
                                                            {"prior_precision", delta},
                                                            {"damping", file.real(group, "damping")},
                                                            {"alpha", alpha}});
  const auto reference = file.read<double>(group + "/server_m").values;
  const Vector start(reference.begin(), reference.begin() + static_cast<std::ptrdiff_t>(n));
  Federation<double> federation(*device, *algorithm, start, ridge.problem.examples);
  std::copy(start.begin(), start.end(), federation.state.mean.data());
  Vector server = start, mean, duals;
  for (std::size_t round = 0; round < rounds; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      // argmin L_k / N + site_weight <v, theta> + anchor_weight/2 |theta - m|^2.
      const double N = ridge.problem.examples[k];
      Dense H = Dense::diagonal(n, terms.anchor_weight);
      H.add(ridge.problem.H[k], 1.0 / N);
      Vector right(n);
      for (std::size_t i = 0; i < n; ++i) {
        const double v = terms.site_mean != nullptr ? terms.site_mean[i] : 0.0;
        right[i] = ridge.slope[k][i] / N - terms.site_weight * v + terms.anchor_weight * terms.anchor_mean[i];
      }
      const Sent<double> sent{H.solve(right), {}};
      append(mean, sent.mean);
      return sent;
    });
    for (std::uint32_t k = 0; k < ridge.slope.size(); ++k) append(duals, federation.site_mean(k));
    append(server, federation.mean());
  }
  check_iterated(mean, file, group + "/client_m");
  check_iterated(duals, file, group + "/v");
  check_iterated(server, file, group + "/server_m");
}

}  // namespace

BOOST_AUTO_TEST_CASE(full_covariance_rounds) {
  const auto file = open_reference("bayes_admm_full.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& group : file->groups("/")) {
    BOOST_TEST_CONTEXT(group) {
      if (file->text(group, "method") == "federated_admm") {
        run_admm(*file, group);
      } else {
        run_full(*file, group);
      }
    }
    ++count;
  }
  BOOST_TEST(count >= 10U);
}
