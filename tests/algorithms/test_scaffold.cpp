// SCAFFOLD (docs/methods 4.5): control variates, both options, on quadratics and through the trainer.
#define BOOST_TEST_MODULE scaffold
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "ivory/error.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/point_clients.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const Vector start{0.4, -0.7, 1.2};

Vector server_variate(const Federation<double>& federation) {
  return federation.head(federation.state.memory[0].data());
}
Vector variate(const Federation<double>& federation, std::uint32_t k) {
  const auto& c_k = federation.state.site[k];
  return c_k.empty() ? Vector(federation.state.parameters, 0.0) : federation.head(c_k.data());
}

}  // namespace

BOOST_AUTO_TEST_CASE(the_servers_variate_is_the_mean_of_the_clients_whatever_they_do) {
  const auto device = make_cpu_device();
  for (const std::string option : {"I", "II"})
    for (const bool everyone : {true, false}) {
      const auto algorithm = make_algorithm<double>("scaffold", {{"option", option}, {"server_lr", 0.7}});
      Federation<double> federation(*device, *algorithm, start, {10, 25, 40, 5}, everyone);
      StreamReader random(3, {.purpose = Purpose::cohort});
      Vector w_g = start;
      for (std::uint64_t round = 0; round < 15; ++round) {
        const auto present = everyone ? std::vector<bool>(4, true) : some_of(4, random, round == 5);
        federation.round(
            [&](std::uint32_t k, const LocalTerms<double>&) {
              Sent<double> sent = anywhere(3, 20 * round + k);
              sent.start_gradient = numbers(3, -1, 1, 20 * round + 10 + k);
              sent.rate_sum = 0.3 * (k + 1);
              return sent;
            },
            present);
        for (std::size_t i = 0; i < 3; ++i) {
          double mean = 0, move = 0;
          for (std::uint32_t k = 0; k < 4; ++k) {
            mean += variate(federation, k)[i] / 4;
            if (present[k]) move += (federation.sent[k].mean[i] - w_g[i]) / static_cast<double>(count(present));
          }
          BOOST_TEST(std::fabs(server_variate(federation)[i] - mean) < 1e-12);
          w_g[i] += 0.7 * move;  // all participants count the same
        }
        BOOST_TEST(largest_difference(federation.mean(), w_g) < 1e-12);
      }
    }
}

BOOST_AUTO_TEST_CASE(one_step_each_is_fedsgd_and_option_two_returns_the_steps_gradient) {
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const auto algorithm = make_algorithm<double>("scaffold", {});
  Federation<double> federation(*device, *algorithm, start, clients.examples);
  const double lr = 0.4;
  for (int round = 0; round < 10; ++round) {
    const Vector before = federation.mean();
    federation.round(clients.sgd(1, lr));
    Vector after = before;
    for (std::uint32_t k = 0; k < 4; ++k) {
      const Vector g = clients.mean_gradient(k, before);
      BOOST_TEST(largest_difference(variate(federation, k), g) < 1e-13);
      for (std::size_t i = 0; i < 3; ++i) after[i] -= lr * g[i] / 4;
    }
    BOOST_TEST(largest_difference(federation.mean(), after) < 1e-13);
  }
}

BOOST_AUTO_TEST_CASE(a_single_client_is_never_corrected) {
  const auto device = make_cpu_device();
  const PointClients clients{QuadraticClients{{10}, {{1, 0.2, 4}}, {{1, -2, 0.5}}}};
  for (const std::string option : {"I", "II"}) {
    const auto algorithm = make_algorithm<double>("scaffold", {{"option", option}});
    Federation<double> federation(*device, *algorithm, start, clients.examples);
    for (int round = 0; round < 6; ++round) {
      federation.round(clients.sgd(3, 0.5));
      BOOST_TEST(largest_difference(server_variate(federation), variate(federation, 0)) < 1e-15);
      BOOST_TEST(largest_magnitude(server_variate(federation)) > 1e-3);
    }
  }
}

BOOST_AUTO_TEST_CASE(drift_is_cancelled_where_fedavg_stops_elsewhere) {
  // Many local steps: FedAvg's fixed point is not the optimum, SCAFFOLD's is.
  const auto device = make_cpu_device();
  const PointClients clients = four_point_clients();
  const Vector optimum = clients.optimum(Vector(4, 1.0));
  for (const std::string option : {"I", "II"}) {
    const auto algorithm = make_algorithm<double>("scaffold", {{"option", option}});
    Federation<double> federation(*device, *algorithm, start, clients.examples);
    for (int round = 0; round < 1500; ++round) federation.round(clients.sgd(20, 0.05));
    BOOST_TEST(largest_difference(federation.mean(), optimum) < 1e-9, "option " << option);
  }
  const auto average = make_algorithm<double>("fedavg", {});
  Federation<double> drifting(*device, *average, start, Vector(4, 1.0));
  for (int round = 0; round < 1500; ++round) drifting.round(clients.sgd(20, 0.05));
  BOOST_TEST(largest_difference(drifting.mean(), optimum) > 0.05);
}

BOOST_AUTO_TEST_CASE(through_the_trainer_it_follows_the_equations) {
  // Softmax regression, minibatches of the whole client, rates that change inside a visit, somebody absent.
  const auto device = make_cpu_device();
  const Dataset data = labelled_noise(60, 6, 3);
  const Network<double> network = make_mlp<double>(6, {}, 3, "relu", true);
  const std::size_t size = network.layout().size();
  const auto optimizer = make_optimizer<double>("sgd", {{"lr", 0.4}});
  const LearningRate rate(0.4, 10, schedule_options("cosine", "linear"));
  std::vector<std::vector<std::uint32_t>> rows(3);
  for (std::uint32_t i = 0; i < 60; ++i) rows[i < 10 ? 0 : (i < 35 ? 1 : 2)].push_back(i);
  const auto gradient = [&](std::uint32_t k, const Vector& theta) {
    std::vector<double> x;
    std::vector<std::int32_t> labels;
    for (const std::uint32_t row : rows[k]) {
      x.insert(x.end(), data.row(row), data.row(row) + data.features);
      labels.push_back(data.labels[row]);
    }
    auto workspace = network.make_workspace(*device, 1, rows[k].size());
    const Vector point = padded<double>(theta);
    Vector g(point.size());
    network.gradient(*device, {.rows = rows[k].size(), .parameter_stride = point.size()}, point.data(), x.data(),
                     labels.data(), workspace, g.data(), nullptr);
    return wide(g, size);
  };
  for (const std::string option : {"I", "II"}) {
    const auto algorithm = make_algorithm<double>("scaffold", {{"option", option}, {"server_lr", 0.8}});
    BOOST_TEST(algorithm->traits().needs_start_gradient == (option == "I"));
    const VisitPlan plan{.steps = 5, .batch = 60, .start_gradients = algorithm->traits().needs_start_gradient};
    Trainer<double> trainer(*device, network, *optimizer, data, plan, rate);
    Vector w_g = wide(network.initialise(3), size), c(size, 0.0);
    std::vector<Vector> c_k(3, Vector(size, 0.0));
    Federation<double> federation(*device, *algorithm, w_g, {10, 25, 25}, false);
    for (std::uint64_t round = 0; round < 6; ++round) {
      std::vector<bool> present(3, true);
      present[round % 4 == 3 ? 0 : 2] = round % 2 == 0;
      federation.round(
          [&](std::uint32_t k, const LocalTerms<double>& terms) {
            const Visit<double> visit{{k, round, terms}, rows[k]};
            Sent<double> sent;
            sent.rate_sum = trainer.train({&visit, 1}).front().rate_sum;
            sent.mean = Vector(trainer.mean(0), trainer.mean(0) + size);
            if (plan.start_gradients)
              sent.start_gradient = Vector(trainer.start_gradient(0), trainer.start_gradient(0) + size);
            return sent;
          },
          present);
      Vector move(size, 0.0), change(size, 0.0);
      for (std::uint32_t k = 0; k < 3; ++k) {
        if (!present[k]) continue;
        Vector w = w_g, mean_gradient(size, 0.0);
        double rates = 0;
        for (std::uint64_t step = 0; step < 5; ++step) {
          const double lr = rate.at(round, step, 5);
          const Vector g = gradient(k, w);
          rates += lr;
          for (std::size_t i = 0; i < size; ++i) {
            mean_gradient[i] += lr * g[i];
            w[i] -= lr * (g[i] - c_k[k][i] + c[i]);
          }
        }
        const Vector at_start = gradient(k, w_g);
        for (std::size_t i = 0; i < size; ++i) {
          const double fresh = option == "I" ? at_start[i] : mean_gradient[i] / rates;
          change[i] += fresh - c_k[k][i];
          c_k[k][i] = fresh;
          move[i] += (w[i] - w_g[i]) / static_cast<double>(count(present));
        }
      }
      for (std::size_t i = 0; i < size; ++i) {
        w_g[i] += 0.8 * move[i];
        c[i] += change[i] / 3;
      }
      BOOST_TEST(relative_difference(federation.mean(), w_g) < 1e-12, "option " << option);
      BOOST_TEST(relative_difference(server_variate(federation), c) < 1e-11);
      for (std::uint32_t k = 0; k < 3; ++k) BOOST_TEST(largest_difference(variate(federation, k), c_k[k]) < 1e-12);
    }
  }
}

BOOST_AUTO_TEST_CASE(costs_and_options) {
  const auto algorithm = make_algorithm<float>("scaffold", {});
  BOOST_TEST((algorithm->traits() == find_algorithm("scaffold")->traits));
  BOOST_TEST(algorithm->traits().needs_plain_sgd);
  BOOST_TEST(algorithm->traits().vectors_down == 2);
  BOOST_TEST(algorithm->traits().vectors_up == 2);
  BOOST_TEST(algorithm->traits().vectors_per_client == 1);
  BOOST_TEST(algorithm->traits().vectors_server == 2);
  BOOST_TEST(make_optimizer<float>("sgd", {})->plain_sgd());
  BOOST_TEST(!make_optimizer<float>("sgd", {{"momentum", 0.5}})->plain_sgd());
  BOOST_TEST(!make_optimizer<float>("adam", {})->plain_sgd());
  BOOST_CHECK_THROW(make_algorithm<double>("scaffold", {{"option", "III"}}), InputError);
}
