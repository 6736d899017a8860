// Whole rounds of VB-ADMM, PVI, damped PVI and Bregman ADMM on softmax regression: network, IVON and server together.
#define BOOST_TEST_MODULE reference_rounds
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/network.hpp"
#include "clients/trainer.hpp"
#include "tests/reference/reference_files.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"

using namespace ivory;
using namespace ivory::test;
using Vector = std::vector<double>;

namespace {

// The clients' data: rows [offset[k], offset[k + 1]) of X belong to client k.
struct Clients {
  explicit Clients(const Hdf5File& file) {
    const auto x = file.read<float>("X");  // exact in float, as the files' README says
    data.features = x.shape[1];
    data.x = x.values;
    data.labels = file.read<std::int32_t>("labels").values;
    data.classes = static_cast<int>(file.integer("/", "C"));
    const auto offsets = file.read<std::int64_t>("client_offsets").values;
    for (std::size_t k = 0; k + 1 < offsets.size(); ++k) {
      rows.emplace_back(static_cast<std::size_t>(offsets[k + 1] - offsets[k]));
      std::iota(rows.back().begin(), rows.back().end(), static_cast<std::uint32_t>(offsets[k]));
      examples.push_back(static_cast<double>(rows.back().size()));
      largest = std::max(largest, rows.back().size());
    }
  }
  Dataset data;
  std::vector<std::vector<std::uint32_t>> rows;
  Vector examples;
  std::size_t largest = 0;
};

OptionValues server_options(const Hdf5File& file, const std::string& group, double prior_precision) {
  OptionValues options{{"rho", file.real(group, "rho")},
                       {"temperature", file.real(group, "temperature")},
                       {"damping", file.real(group, "damping")},
                       {"prior_precision", prior_precision}};
  if (flag(file, group, "alpha_given")) options["alpha"] = file.real(group, "alpha");
  return options;
}

Vector negated(Vector x) {
  for (double& v : x) v = -v;
  return x;
}

// The reference's driver: everything of the client's optimizer but the Hessian lives over all rounds. Through the trainer.
bool run_driver(const Hdf5File& file, const std::string& group) {
  const Clients clients(file);
  const auto eps = file.read<double>(group + "/eps");  // [rounds, K, steps, mc, P]
  const std::size_t rounds = eps.shape[0], steps = eps.shape[2], samples = eps.shape[3], size = eps.shape[4];
  const auto rates = file.read<double>(group + "/lr").values;
  const auto device = make_cpu_device();
  const Network<double> network =
      make_mlp<double>(clients.data.features, {}, static_cast<std::size_t>(clients.data.classes), "relu", false);
  BOOST_TEST_REQUIRE(network.layout().size() == size);
  const bool gradsq = file.text(group, "hess_approx") == "gradsq";
  const auto optimizer = make_optimizer<double>("ivon", {{"lr", file.real(group, "lr")},
                                                         {"beta1", file.real(group, "beta1")},
                                                         {"beta2", file.real(group, "beta2")},
                                                         {"hess_init", file.real(group, "hess_init")},
                                                         {"samples", static_cast<std::int64_t>(samples)},
                                                         {"estimator", std::string(gradsq ? "gradsq" : "price")},
                                                         {"gsq_times_lambda", gradsq},
                                                         {"debias", flag(file, group, "debias")},
                                                         {"rescale_lr", flag(file, group, "rescale_lr")},
                                                         {"keep_momentum", true}});
  const auto algorithm =
      make_algorithm<double>("vb_admm", server_options(file, group, file.real(group, "prior_precision")));

  const auto server_reference = file.read<double>(group + "/server").values;
  const Vector start(server_reference.begin(), server_reference.begin() + static_cast<std::ptrdiff_t>(size));
  Federation<double> federation(*device, *algorithm, start, clients.examples);
  // The production schedule must give the rates that the reference's scheduler gave.
  const Options schedule =
      schedule_options(flag(file, group, "use_cosine_scheduler_over_rounds") ? "cosine" : "constant", "constant");
  const LearningRate learning_rate(file.real(group, "lr"), static_cast<std::int64_t>(rounds), schedule);
  std::vector<Vector> kept(clients.rows.size());
  std::vector<std::uint64_t> kept_step(clients.rows.size(), 0);
  Vector stored(network.layout().stride(), 0.0);
  Vector client_mean, client_precision, site_mean, site_precision, momentum, server = start, server_precision;
  for (std::size_t round = 0; round < rounds; ++round) {
    Trainer<double> trainer(*device, network, *optimizer, clients.data,
                            VisitPlan{.steps = static_cast<std::int64_t>(steps), .batch = clients.largest},
                            learning_rate);
    BOOST_TEST(learning_rate.at(round, 0, steps) == rates[round], boost::test_tools::tolerance(1e-12));
    const auto noise = [&](std::uint64_t r, std::uint32_t k, std::uint64_t step, int sample) {
      if (step < steps) {
        const std::size_t at =
            (((r * clients.rows.size() + k) * steps + step) * samples + static_cast<std::size_t>(sample));
        std::copy_n(eps.values.begin() + static_cast<std::ptrdiff_t>(at * size), size, stored.begin());
      }
      return NoiseSource<double>{{}, stored.data()};
    };
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      const Visit<double> visit{{k, round, terms}, clients.rows[k], &kept[k], kept_step[k]};
      trainer.train(std::span(&visit, 1), noise);
      kept[k] = trainer.kept_state(0);
      kept_step[k] = trainer.optimizer_step(0);
      BOOST_TEST(kept_step[k] == (round + 1) * steps);
      momentum.insert(momentum.end(), kept[k].begin(), kept[k].begin() + static_cast<std::ptrdiff_t>(size));
      Vector precision(network.layout().stride());
      trainer.precisions(precision.data());
      precision.resize(size);
      const Sent<double> sent{Vector(trainer.mean(0), trainer.mean(0) + size), precision};
      append(client_mean, sent.mean);
      append(client_precision, sent.precision);
      return sent;
    });
    for (std::uint32_t k = 0; k < clients.rows.size(); ++k) {  // the driver's duals have the opposite sign
      append(site_mean, negated(federation.site_mean(k)));
      append(site_precision, negated(federation.site_precision(k)));
    }
    append(server, federation.mean());
    append(server_precision, federation.precision());
  }
  check_against(client_mean, file, group + "/client");
  check_against(client_precision, file, group + "/client_prec");
  check_against(momentum, file, group + "/momentum");
  check_against(site_mean, file, group + "/dual_mean");
  check_against(site_precision, file, group + "/dual_prec");
  check_against(server, file, group + "/server");
  check_against(server_precision, file, group + "/server_prec");
  return true;
}

// theta is [d, C] in the file and [C, d] in the network.
Vector transposed(const double* x, std::size_t rows, std::size_t columns) {
  Vector out(rows * columns);
  for (std::size_t r = 0; r < rows; ++r)
    for (std::size_t c = 0; c < columns; ++c) out[c * rows + r] = x[r * columns + c];
  return out;
}

// The toy code: a fresh optimizer in every round, h = 0 and the server's mean from the first round on, own rates inside a round.
bool run_toy(const Hdf5File& file, const std::string& group) {
  const Clients clients(file);
  const std::size_t d = clients.data.features, classes = static_cast<std::size_t>(clients.data.classes),
                    size = d * classes;
  const auto eps = file.read<double>("eps");  // [rounds, K, inner, 1, P]
  const std::size_t rounds = eps.shape[0], steps = eps.shape[2], samples = eps.shape[3];
  const auto rates = file.read<double>("lr_schedule").values;
  const auto prior = file.read<double>("s_prior").values;
  if (*std::min_element(prior.begin(), prior.end()) != *std::max_element(prior.begin(), prior.end()))
    return not_compared(group, "a prior precision that differs between coordinates does not exist in Ivory");
  OptionValues options = server_options(file, group, prior[0]);
  if (flag(file, group, "bregman")) options["bregman"] = options["bregman_ref_sign"] = true;
  const auto algorithm = make_algorithm<double>("vb_admm", options);
  const auto optimizer = make_optimizer<double>("ivon", {{"lr", file.real("/", "ivon_lr")},
                                                         {"beta1", file.real("/", "ivon_beta1")},
                                                         {"beta2", file.real("/", "ivon_beta2")},
                                                         {"samples", static_cast<std::int64_t>(samples)},
                                                         {"rescale_lr", false}});
  const auto device = make_cpu_device();
  const Network<double> network = make_mlp<double>(d, {}, classes, "relu", false);
  BOOST_TEST_REQUIRE(network.layout().size() == size);

  const auto m_init = transposed(file.read<double>("m_init").values.data(), d, classes);
  const auto s_init = transposed(file.read<double>("s_init").values.data(), d, classes);
  Federation<double> federation(*device, *algorithm, m_init, clients.examples);
  std::copy(m_init.begin(), m_init.end(), federation.state.mean.data());
  std::copy(s_init.begin(), s_init.end(), federation.state.precision.data());

  // Rows of the data in double, client by client.
  const Vector x(clients.data.x.begin(), clients.data.x.end());
  Workspace<double> workspace = network.make_workspace(*device, 1, clients.largest);
  const auto in_file_order = [&](const Vector& theta) { return transposed(theta.data(), classes, d); };
  Vector client_m, client_s, v, V, server_m, server_s;
  append(server_m, in_file_order(federation.mean()));
  append(server_s, in_file_order(federation.precision()));
  for (std::size_t round = 0; round < rounds; ++round) {
    federation.round([&](std::uint32_t k, LocalTerms<double> terms) {
      terms.start = federation.state.mean.data();
      terms.posterior_is_anchor = true;
      DrivenVisit<double> visit(*device, *optimizer, size);
      visit.block.clients[0].terms = terms;
      visit.block.clients[0].examples = clients.examples[k];
      visit.block.clients[0].batch = clients.examples[k];
      visit.rate = [&](std::size_t step) { return rates[step]; };
      visit.noise = [&](std::size_t, std::size_t step, int sample, double* z) {
        if (step == steps) return;
        const std::size_t at =
            ((round * clients.rows.size() + k) * steps + step) * samples + static_cast<std::size_t>(sample);
        const Vector n = transposed(eps.values.data() + at * size, d, classes);
        std::copy(n.begin(), n.end(), z);
      };
      visit.gradient = [&](std::size_t, const double* theta, double* gradient) {
        const BatchShape shape{1, clients.rows[k].size(), nullptr, network.layout().stride()};
        network.gradient(*device, shape, theta, x.data() + clients.rows[k].front() * d,
                         clients.data.labels.data() + clients.rows[k].front(), workspace, gradient, nullptr);
      };
      visit.run(steps);
      const Sent<double> sent{visit.mean(), visit.precision()};
      append(client_m, in_file_order(sent.mean));
      append(client_s, in_file_order(sent.precision));
      return sent;
    });
    for (std::uint32_t k = 0; k < clients.rows.size(); ++k) {
      append(v, in_file_order(federation.site_mean(k)));
      append(V, in_file_order(federation.site_precision(k)));
    }
    append(server_m, in_file_order(federation.mean()));
    append(server_s, in_file_order(federation.precision()));
  }
  check_against(client_m, file, group + "/client_m");
  check_against(client_s, file, group + "/client_s");
  check_against(v, file, group + "/v");
  check_against(V, file, group + "/V");
  check_against(server_m, file, group + "/server_m");
  check_against(server_s, file, group + "/server_s");
  return true;
}

template <class Run>
void run_file(const std::string& name, const Run& run, std::size_t least) {
  const auto file = open_reference(name);
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& group : configurations(*file)) {
    BOOST_TEST_CONTEXT(name << " " << group) count += run(*file, group) ? 1U : 0U;
  }
  fmt::print("{}: {} groups compared\n", name, count);
  BOOST_TEST(count >= least);
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_experiment_driver) { run_file("fedivon_rounds.h5", run_driver, 3); }
BOOST_AUTO_TEST_CASE(the_toy_code) { run_file("bayes_admm_diag.h5", run_toy, 4); }
