#include <cmath>

#include "clients/network.hpp"
#include "clients/trainer.hpp"
#include "src/verify.hpp"
#include "src/verify_problems.hpp"

namespace ivory {
namespace {

using namespace verify;

constexpr double rounding = 1e-10;  // of some ten operations on numbers between 0.1 and 100, with room

const Vector start{0.5, -0.5, 0.1};

Federation::Train exact(const Quadratics& problem) {
  return [&problem](std::uint32_t k, const LocalTerms<double>& terms) { return solve(problem, k, terms); };
}

/// Ridge regression with `size` coefficients: the clients' examples, and the exact posterior by its normal equations.
struct Ridge {
  static constexpr std::size_t size = 8, clients = 5;
  static constexpr double prior = 5;

  Ridge() {
    StreamReader random(1, {.purpose = Purpose::data});
    data.features = size, data.classes = 1, data.outputs = 1;
    for (std::size_t k = 0; k < clients; ++k) {
      const std::size_t n = 12 + 5 * k;
      for (std::size_t i = 0; i < n; ++i) {
        rows[k].push_back(static_cast<std::uint32_t>(data.labels.size()));
        for (std::size_t j = 0; j < size; ++j) data.x.push_back(static_cast<float>(random.normal()));
        data.targets.push_back(static_cast<float>(2 * random.normal()));
        data.labels.push_back(0);
      }
      examples.push_back(static_cast<double>(n));
    }
    precision.assign(size * size, 0.0);
    natural_mean.assign(size, 0.0);
    for (std::size_t i = 0; i < data.size(); ++i) {
      const float* const x = data.row(i);
      for (std::size_t a = 0; a < size; ++a) {
        natural_mean[a] += static_cast<double>(x[a]) * static_cast<double>(data.targets[i]);
        for (std::size_t b = 0; b < size; ++b) {
          precision[a * size + b] += static_cast<double>(x[a]) * static_cast<double>(x[b]);
        }
      }
    }
    for (std::size_t a = 0; a < size; ++a) precision[a * size + a] += prior;
  }

  Dataset data;
  std::vector<std::uint32_t> rows[clients];
  Vector examples, precision, natural_mean;
};

/// Network, Gauss-Newton matrices, VON and server together: rho = 1/K from the prior is exact after one round (methods.md T2).
void add_ridge(std::vector<Oracle>& oracles) {
  const Ridge ridge;
  const auto device = make_cpu_device();
  std::vector<std::unique_ptr<Layer<double>>> layers;
  const LayerPlugin* const dense = find_layer("dense");
  layers.push_back(dense->make_double(
      options_of(dense->options, {{"outputs", std::int64_t{1}}, {"bias", false}}, "model"), ridge.size));
  const Network<double> network(std::move(layers), {}, Loss{.kind = Loss::Kind::gaussian});
  const auto von = optimizer_of("von", {});
  const auto vb_admm = algorithm_of(
      "vb_admm",
      {{"posterior", std::string("full")}, {"rho", 1.0 / Ridge::clients}, {"prior_precision", Ridge::prior}});
  Federation federation(*device, *vb_admm, Vector(Ridge::size, 0.3), ridge.examples);
  Trainer<double> trainer(*device, network, *von, ridge.data, VisitPlan{.steps = 1, .batch = ridge.data.size()},
                          LearningRate(1.0));
  federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
    const Visit<double> visit{.task = {.client = k, .round = 0, .terms = terms}, .examples = ridge.rows[k]};
    trainer.train({&visit, 1});
    Sent sent{Vector(trainer.mean(0), trainer.mean(0) + Ridge::size), Vector(Ridge::size * Ridge::size), {}};
    trainer.precisions(sent.precision.data());
    return sent;
  });
  // The normal equations themselves: no second solver is trusted.
  const Vector m = federation.mean(), S = federation.precision();
  Vector residual = ridge.natural_mean;
  for (std::size_t a = 0; a < Ridge::size; ++a)
    for (std::size_t b = 0; b < Ridge::size; ++b) residual[a] -= ridge.precision[a * Ridge::size + b] * m[b];
  const char* const source = "methods.md 2.1 T2";
  oracles.push_back({"full-covariance VB-ADMM, ridge regression, one round: largest error of the precision", source, 0,
                     largest_difference(S, ridge.precision), 1e-9});
  oracles.push_back({"full-covariance VB-ADMM, ridge regression, one round: residual of the normal equations", source,
                     0, largest_difference(residual, Vector(Ridge::size, 0.0)), 1e-9});
}

/// Federated ADMM written out: penalty rho s0, server step 1/(s0 + K penalty).
void add_isotropic(std::vector<Oracle>& oracles) {
  const Quadratics problem;
  const auto device = make_cpu_device();
  const double rho = 0.7, s0 = problem.prior_precision, penalty = rho * s0, K = 4, a = 1 / (s0 + K * penalty);
  const auto vb_admm =
      algorithm_of("vb_admm", {{"posterior", std::string("isotropic")}, {"rho", rho}, {"prior_precision", s0}});
  Federation federation(*device, *vb_admm, start, problem.examples);
  Vector m(3, 0.0);
  std::vector<Vector> v(4, Vector(3, 0.0));
  double worst = 0;
  for (int round = 0; round < 20; ++round) {
    federation.round(exact(problem));
    Vector mean(3, 0.0), duals(3, 0.0);
    for (std::size_t k = 0; k < 4; ++k) {
      for (std::size_t i = 0; i < 3; ++i) {
        const double h = problem.H[k][i], theta = (h * problem.c[k][i] - v[k][i] + penalty * m[i]) / (h + penalty);
        v[k][i] += penalty * (theta - m[i]);
        mean[i] += theta / K;
        duals[i] += v[k][i];
      }
    }
    for (std::size_t i = 0; i < 3; ++i) m[i] = (1 - s0 * a) * mean[i] + a * duals[i];
    worst = worse(worst, largest_difference(federation.mean(), m));
  }
  oracles.push_back({"isotropic VB-ADMM against federated ADMM: largest difference in 20 rounds", "methods.md 2.4", 0,
                     worst, rounding});
}

double posterior_error(const Quadratics& problem, const Federation& federation) {
  double worst = 0;
  for (std::size_t i = 0; i < problem.size(); ++i) {
    worst = worse(worst, std::abs(federation.precision()[i] - problem.posterior_precision(i)));
    worst = worse(worst, std::abs(federation.mean()[i] - problem.posterior_mean(i)));
  }
  return worst;
}

void add_one_round(std::vector<Oracle>& oracles) {
  const Quadratics problem;
  const auto device = make_cpu_device();
  const Values prior{{"prior_precision", problem.prior_precision}};
  const auto one_round = [&](const std::string& name, const Values& more, const char* what, const char* source) {
    Values values = prior;
    values.insert(values.end(), more.begin(), more.end());
    const auto algorithm = algorithm_of(name, values);
    Federation federation(*device, *algorithm, start, problem.examples);
    federation.round(exact(problem));
    oracles.push_back({what, source, 0, posterior_error(problem, federation), rounding});
  };
  one_round("vb_admm", {{"rho", 0.25}}, "diagonal VB-ADMM, rho = 1/K, quadratics, one round: error of the posterior",
            "methods.md 2.1 T2");
  one_round("pvi", {}, "PVI, quadratics, one round: error of the posterior", "methods.md 3.1");
  one_round("fedlap_cov", {{"damping", 1.0}}, "FedLap-Cov, quadratics, one round: error of the posterior",
            "methods.md 4.8");
}

/// Errors after round 1 are (1 - K rho)/(1 + K rho) sum_k site_k and shrink by K rho/(1 + K rho) per round.
void add_contraction(std::vector<Oracle>& oracles) {
  const Quadratics problem;
  const auto device = make_cpu_device();
  const double K = 4;
  for (const double rho : {1.0, 0.1}) {
    const auto vb_admm = algorithm_of("vb_admm", {{"rho", rho}, {"prior_precision", problem.prior_precision}});
    Federation federation(*device, *vb_admm, start, problem.examples);
    const auto error = [&] { return federation.precision()[0] - problem.posterior_precision(0); };
    federation.round(exact(problem));
    double sites = 0;
    for (const Vector& h : problem.H) sites += h[0];
    const double first = error();
    for (int round = 0; round < 3; ++round) federation.round(exact(problem));
    oracles.push_back({"VB-ADMM, rho = " + std::string(rho == 1.0 ? "1" : "0.1") + ": error after round 1",
                       "methods.md 2.1 T3", (1 - K * rho) / (1 + K * rho) * sites, first, rounding});
    oracles.push_back({"VB-ADMM, rho = " + std::string(rho == 1.0 ? "1" : "0.1") + ": contraction per round",
                       "methods.md 2.1 T3", K * rho / (1 + K * rho), std::cbrt(error() / first), rounding});
  }
}

/// A client that takes full-batch SGD steps on its loss and the terms.
Sent descend(const Quadratics& problem, std::uint32_t k, const LocalTerms<double>& terms, int steps, double rate) {
  Sent sent{{terms.start, terms.start + problem.size()}, {}, {}};
  for (int step = 0; step < steps; ++step) {
    for (std::size_t i = 0; i < problem.size(); ++i) {
      double g = problem.gradient(k, i, sent.mean[i]);
      if (terms.site_mean != nullptr) g += terms.site_weight * terms.site_mean[i];
      if (terms.common_mean != nullptr) g += terms.common_weight * terms.common_mean[i];
      if (terms.anchor_weight > 0) g += terms.anchor_weight * (sent.mean[i] - terms.anchor_mean[i]);
      sent.mean[i] -= rate * g;
    }
  }
  sent.rate_sum = steps * rate;
  return sent;
}

void add_reductions(std::vector<Oracle>& oracles) {
  const Quadratics problem;
  const auto device = make_cpu_device();
  const auto ten_rounds = [&](const std::string& name, const Values& values) {
    const auto algorithm = algorithm_of(name, values);
    Federation federation(*device, *algorithm, start, problem.examples);
    for (int round = 0; round < 10; ++round) {
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) { return descend(problem, k, terms, 7, 0.3); });
    }
    return federation.mean();
  };
  const Vector fedavg = ten_rounds("fedavg", {});
  oracles.push_back({"FedProx with mu = 0 against FedAvg, 10 rounds", "methods.md 4.2", 0,
                     largest_difference(ten_rounds("fedprox", {{"mu", 0.0}}), fedavg), 0});
  oracles.push_back({"FedAvgM with beta = 0, server_lr = 1 against FedAvg, 10 rounds", "methods.md 4.6", 0,
                     largest_difference(ten_rounds("fedavgm", {{"beta", 0.0}, {"server_lr", 1.0}}), fedavg), rounding});
}

void add_fixed_points(std::vector<Oracle>& oracles) {
  const Quadratics problem;
  const auto device = make_cpu_device();
  const auto residual = [&](const std::string& name, const Values& values, int rounds, const Federation::Train& train) {
    const auto algorithm = algorithm_of(name, values);
    Federation federation(*device, *algorithm, start, problem.examples);
    for (int round = 0; round < rounds; ++round) federation.round(train);
    return problem.largest_gradient(federation.mean());
  };
  const auto sgd = [&](std::uint32_t k, const LocalTerms<double>& terms) { return descend(problem, k, terms, 5, 0.2); };
  oracles.push_back({"FedDyn: sum of the clients' gradients at its fixed point", "methods.md 4.4", 0,
                     residual("feddyn", {{"alpha", 0.1}}, 2000, exact(problem)), 1e-9});
  oracles.push_back({"FedADMM: sum of the clients' gradients at its fixed point", "methods.md 4.3", 0,
                     residual("fedadmm", {{"rho", 0.1}}, 2000, exact(problem)), 1e-9});
  oracles.push_back({"SCAFFOLD, 5 local steps: sum of the clients' gradients at its fixed point", "methods.md 4.5", 0,
                     residual("scaffold", {}, 4000, sgd), 1e-9});
  // What the same local steps give without control variates: the drift that the line above does not have.
  const double drift = residual("fedavg", {}, 4000, sgd);
  oracles.push_back({"FedAvg, the same steps: it has no such fixed point (1 where its residual is above 1e-3)",
                     "methods.md 4.1", 1, drift > 1e-3 ? 1.0 : 0.0, 0});
}

}  // namespace

void add_server_oracles(std::vector<Oracle>& oracles) {
  add_ridge(oracles);
  add_isotropic(oracles);
  add_one_round(oracles);
  add_contraction(oracles);
  add_reductions(oracles);
  add_fixed_points(oracles);
}

}  // namespace ivory
