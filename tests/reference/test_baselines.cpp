// Point-estimate methods on softmax regression (baselines.h5), through the trainer, with SGD and Adam.
#define BOOST_TEST_MODULE reference_baselines
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

void run_fedavg(const Hdf5File& file, const std::string& group) {
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
  const auto algorithm = make_algorithm<double>("fedavg", {});
  const bool keep = file.text(group, "optimizer_state") == "kept over rounds";
  Trainer<double> trainer(
      *device, network, *optimizer, data,
      VisitPlan{.steps = file.integer(group, "local_steps"), .batch = data.size(), .keep_state = keep},
      LearningRate(lr));
  const auto reference = file.read<double>(group + "/server");
  Vector server(reference.values.begin(), reference.values.begin() + static_cast<std::ptrdiff_t>(size)), client;
  Federation<double> federation(*device, *algorithm, server, examples);
  std::vector<Vector> kept(rows.size());
  std::vector<std::uint64_t> kept_step(rows.size(), 0);
  for (std::size_t round = 0; round + 1 < reference.shape[0]; ++round) {
    federation.round([&](std::uint32_t k, const LocalTerms<double>& terms) {
      const Visit<double> visit{{k, round, terms}, rows[k], keep ? &kept[k] : nullptr, kept_step[k]};
      trainer.train(std::span(&visit, 1));
      if (keep) {
        kept[k] = trainer.kept_state(0);
        kept_step[k] = trainer.optimizer_step(0);
      }
      const Vector mean(trainer.mean(0), trainer.mean(0) + size);
      append(client, mean);
      return Sent<double>{mean, {}};
    });
    append(server, federation.mean());
  }
  check_against(client, file, group + "/client");
  check_against(server, file, group + "/server");
}

}  // namespace

BOOST_AUTO_TEST_CASE(baselines) {
  const auto file = open_reference("baselines.h5");
  if (!file) return;
  std::size_t count = 0;
  for (const std::string& method : file->groups("/")) {
    std::string algorithm = method;
    std::transform(method.begin(), method.end(), algorithm.begin(), [](unsigned char c) { return std::tolower(c); });
    for (const std::string& variant : file->groups(method)) {
      const std::string group = method + "/" + variant;
      if (find_algorithm(algorithm) == nullptr) {
        skipped("baselines.h5 " + group, "this method does not exist yet");
        continue;
      }
      // A method that comes into being must be compared here.
      BOOST_TEST_REQUIRE(algorithm == "fedavg",
                         "the algorithm " << algorithm << " exists: add its comparison to this test");
      BOOST_TEST_CONTEXT(group) run_fedavg(*file, group);
      ++count;
    }
  }
  BOOST_TEST(count > 0U);
}
