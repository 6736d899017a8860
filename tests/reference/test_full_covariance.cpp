// Full-covariance VB-ADMM, PVI, Bregman ADMM and federated ADMM on ridge regression (bayes_admm_full.h5): server, sites and VON.
#define BOOST_TEST_MODULE reference_full_covariance
#include <map>
#include <set>
#include "tests/support/boost_test.hpp"

#include "tests/reference/reference_files.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/full_quadratic.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// Gradients are H_k theta - b_k of the sum loss; a minimum c_k stands for b_k = H_k c_k.
struct Ridge {
  explicit Ridge(const Hdf5File& file) : X(file.read<double>("X")), y(file.read<double>("y").values) {
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
  /// sum_k f_k + delta/2 |theta|^2, from the examples themselves.
  double loss(const Vector& theta) const {
    double sum = 0;
    for (const double t : theta) sum += problem.prior_precision / 2 * t * t;
    for (std::size_t i = 0; i < y.size(); ++i) {
      double residual = -y[i];
      for (std::size_t j = 0; j < theta.size(); ++j) residual += X.values[i * theta.size() + j] * theta[j];
      sum += residual * residual / 2;
    }
    return sum;
  }

  Hdf5Array<double> X;  // [examples x n]
  Vector y;
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

// The reference solves its client problems by gradient descent, we exactly: 1e-8, as the files' README says.
void check_iterated(const Vector& values, const Hdf5File& file, const std::string& dataset) {
  const Vector reference = file.read<double>(dataset).values;
  BOOST_TEST_REQUIRE(values.size() == reference.size());
  double largest = 0, worst = 0;
  for (const double r : reference) largest = std::max(largest, std::fabs(r));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = std::fabs(values[i] - reference[i]) / std::max(std::fabs(reference[i]), 1e-3 * largest);
    BOOST_TEST_REQUIRE(std::isfinite(error), dataset << " at " << i);
    worst = std::max(worst, error);
  }
  BOOST_TEST(worst <= 1e-8, dataset << ": " << worst);
}

void check_tightly(const Vector& values, const Hdf5File& file, const std::string& dataset) {
  check_against(values, file, dataset);
}

/// Every dataset of the group, but its input and distances that are rounding noise in the end.
void check_all(const Hdf5File& file, const std::string& group, const std::map<std::string, const Vector*>& ours,
               void (*check)(const Vector&, const Hdf5File&, const std::string&)) {
  const std::set<std::string> others{"m_init", "rel_err_m", "rel_err_S"};
  std::size_t compared = 0;
  for (const std::string& recorded : file.datasets(group)) {
    if (others.count(recorded) > 0) continue;
    const auto found = ours.find(recorded);
    BOOST_TEST_REQUIRE((found != ours.end()), group << "/" << recorded << " is compared with nothing");
    check(*found->second, file, group + "/" + recorded);
    ++compared;
  }
  BOOST_TEST(compared == ours.size());
}

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
  Vector server_loss{ridge.loss(start)}, loss_of_client_0{ridge.loss(start)};
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
      if (k == 0) loss_of_client_0.push_back(ridge.loss(sent.mean));
      return sent;
    });
    for (std::uint32_t k = 0; k < clients; ++k) {
      append(site_mean, federation.site_mean(k));
      const double* const V = algorithm->site_precision(federation.state, k);
      append(site_precision, Vector(V, V + n * n));
    }
    append(server, federation.mean());
    append_server_precision();
    server_loss.push_back(ridge.loss(federation.mean()));
    if (group == "onestep_exact_inner_S0_prior") {  // exact after one round, the client after two
      BOOST_TEST(relative_difference(federation.mean(), file.read<double>("m_opt").values) < 1e-12);
      BOOST_TEST(
          relative_difference(Vector(federation.state.precision.data(), federation.state.precision.data() + n * n),
                              file.read<double>("S_opt").values) < 1e-12);
      const double least = file.real("/", "loss_opt"), of_client = loss_of_client_0.back();
      BOOST_TEST((of_client - least < 1e-12 * least) == (round > 0));
    }
  }
  check_all(file, group,
            {{"client_m", &mean},
             {"client_S", &precision},
             {"v", &site_mean},
             {"V", &site_precision},
             {"server_m", &server},
             {"server_S", &server_precision},
             {"loss_server", &server_loss},
             {"loss_client0", &loss_of_client_0}},
            check_tightly);
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
  Vector server_loss{ridge.loss(start)};
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
    server_loss.push_back(ridge.loss(federation.mean()));
  }
  check_all(file, group, {{"client_m", &mean}, {"v", &duals}, {"server_m", &server}, {"loss_server", &server_loss}},
            check_iterated);
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
  BOOST_TEST(count >= 11U);
}
