// Point-estimate methods on softmax regression (baselines.h5), through the trainer, with SGD and Adam.
#define BOOST_TEST_MODULE reference_baselines
#include <map>
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

// The scenario's algorithm for a recorded group: the flags that its attributes ask for. Null for a method that we do not know.
std::unique_ptr<Algorithm<double>> algorithm_of(const Hdf5File& file, const std::string& group) {
  const std::string method = file.text(group, "method");
  const bool reference = file.text(group, "origin") == "reference code executed";
  const bool unsquared = file.text(group, "prox_norm") == "unsquared";
  const double rho = file.real(group, "rho");
  if (method == "FedAvg") return make_algorithm<double>("fedavg", {});
  if (method == "FedProx") {
    const bool free_start = !flag(file, group, "prox_in_first_round");
    return make_algorithm<double>("fedprox",
                                  {{"mu", rho}, {"unsquared_prox", unsquared}, {"ref_round1_no_prox", free_start}});
  }
  if (method == "FedADMM") {
    return make_algorithm<double>("fedadmm", {{"rho", rho},
                                              {"alpha", file.real(group, "global_step_size")},
                                              {"unsquared_prox", unsquared},
                                              {"ref_round1_zero_anchor", reference}});
  }
  if (method == "FedDyn") {
    const bool no_history = !flag(file, group, "history_updated_in_first_round");
    return make_algorithm<double>("feddyn", {{"alpha", rho},
                                             {"scaling", "ref_N"},
                                             {"ref_shared_scalars", reference},
                                             {"unsquared_prox", unsquared},
                                             {"ref_round1_zero_anchor", reference},
                                             {"ref_round1_no_history", no_history}});
  }
  if (method == "FedLap") {
    return make_algorithm<double>("fedlap", {{"prior_precision", rho},
                                             {"damping", file.real(group, "dual_update_damping")},
                                             {"unsquared_prox", unsquared}});
  }
  if (method == "FedLapCov") {
    const double first = file.real(group, "first_round_precision");
    BOOST_TEST_REQUIRE((first == 0.0 || first == rho), group << ": no option starts at the precision " << first);
    return make_algorithm<double>("fedlap_cov", {{"prior_precision", rho},
                                                 {"damping", file.real(group, "dual_update_damping")},
                                                 {"curvature", "exact"},
                                                 {"ref_free_start", first == 0.0}});
  }
  return nullptr;
}

void run_method(const Hdf5File& file, const std::string& group, const Algorithm<double>& algorithm) {
  const auto x = file.read<float>("X");
  const Dataset data{
      x.shape[1], static_cast<int>(file.integer("/", "C")), x.values, file.read<std::int32_t>("labels").values, {}};
  const auto offsets = file.read<std::int64_t>("client_offsets").values;
  std::vector<std::vector<std::uint32_t>> rows;
  Vector examples;
  for (std::size_t k = 0; k + 1 < offsets.size(); ++k) {
    rows.emplace_back(static_cast<std::size_t>(offsets[k + 1] - offsets[k]));
    std::iota(rows.back().begin(), rows.back().end(), static_cast<std::uint32_t>(offsets[k]));
    examples.push_back(static_cast<double>(rows.back().size()));
  }
  const auto device = make_cpu_device();
  const Network<double> network =
      make_mlp<double>(data.features, {}, static_cast<std::size_t>(data.classes), "relu", false);
  const std::size_t size = network.layout().size();
  const double lr = file.real(group, "lr");
  const std::string name = file.text(group, "optimizer") == "Adam" ? "adam" : "sgd";
  const auto optimizer = make_optimizer<double>(name, {{"lr", lr}, {"weight_decay", file.real(group, "weight_decay")}});
  const bool keep = file.text(group, "optimizer_state") == "kept over rounds";
  Trainer<double> trainer(*device, network, *optimizer, data,
                          VisitPlan{.steps = file.integer(group, "local_steps"),
                                    .batch = data.size(),
                                    .keep_state = keep,
                                    .curvature = algorithm.traits().needs_curvature},
                          LearningRate(lr));
  const auto reference = file.read<double>(group + "/server");
  Vector server(reference.values.begin(), reference.values.begin() + static_cast<std::ptrdiff_t>(size));
  Vector server_precision, client, curvature, dual, dual_precision, anchor_weights, history;
  Federation<double> federation(*device, algorithm, server, examples);
  // The reference's FedLap keeps its sites divided by the prior precision.
  const double dual_scale = file.text(group, "method") == "FedLap" ? 1.0 / file.real(group, "rho") : 1.0;
  std::vector<Vector> kept(rows.size());
  std::vector<std::uint64_t> kept_step(rows.size(), 0);
  for (std::size_t round = 0; round + 1 < reference.shape[0]; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      const Visit<double> visit{{k, round, terms}, rows[k], keep ? &kept[k] : nullptr, kept_step[k]};
      trainer.train(std::span(&visit, 1));
      if (round == 0) anchor_weights.push_back(terms.anchor_weight);
      if (keep) {
        kept[k] = trainer.kept_state(0);
        kept_step[k] = trainer.optimizer_step(0);
      }
      const Vector mean(trainer.mean(0), trainer.mean(0) + size);
      append(client, mean);
      Sent<double> sent{mean};
      if (trainer.curvature(0) != nullptr) {
        sent.curvature.assign(trainer.curvature(0), trainer.curvature(0) + size);
        append(curvature, sent.curvature);
      }
      return sent;
    });
    append(server, federation.mean());
    if (algorithm.traits().gives_posterior) append(server_precision, federation.precision());
    for (std::uint32_t k = 0; k < rows.size(); ++k) {
      for (const double v : federation.site_mean(k)) dual.push_back(dual_scale * v);
      append(dual_precision, federation.site_precision(k));
    }
    // Our h is the negative of the reference's.
    for (const auto& kept_by_server : federation.state.memory) {
      for (const double h : federation.head(kept_by_server.data())) history.push_back(-h);
    }
  }
  const std::map<std::string, const Vector*> ours{
      {"client", &client},  {"server", &server},  {"server_prec", &server_precision}, {"hess", &curvature},
      {"dual", &dual},      {"dual_mean", &dual}, {"dual_prec", &dual_precision},     {"alpha_k", &anchor_weights},
      {"history", &history}};
  BOOST_TEST_REQUIRE(file.has_dataset(group + "/client"));  // the server's was read above
  for (const std::string& recorded : file.datasets(group)) {
    const auto found = ours.find(recorded);
    BOOST_TEST_REQUIRE((found != ours.end()), group << "/" << recorded << " is compared with nothing");
    check_against(*found->second, file, group + "/" + recorded);
  }
}

}  // namespace

BOOST_AUTO_TEST_CASE(baselines) {
  const auto file = open_reference("baselines.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& method : file->groups("/")) {
    for (const std::string& variant : file->groups(method)) {
      const std::string group = method + "/" + variant;
      const auto algorithm = algorithm_of(*file, group);
      // Nothing is passed over: a method that is not here has to come here.
      BOOST_TEST_REQUIRE((algorithm != nullptr), "no algorithm for " << group << ": add its comparison to this test");
      BOOST_TEST_CONTEXT(group) run_method(*file, group, *algorithm);
      ++count;
    }
  }
  fmt::print("{} groups compared\n", count);
  BOOST_TEST(count >= 30U);
}
