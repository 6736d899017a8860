// FedLap-Func (docs/methods 4.9): soft labels on a public pool, through network, trainer and server.
#define BOOST_TEST_MODULE fedlap_func
#include <array>
#include <cmath>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/public_pool.hpp"
#include "clients/trainer.hpp"
#include "ivory/error.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/compare.hpp"
#include "tests/support/federation.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/quickstart.hpp"

using namespace ivory;
using namespace ivory::test;
using Vector = std::vector<double>;

namespace {

constexpr std::size_t features = 3, classes = 3;

Dataset rows_of(const Dataset& data, std::size_t first, std::size_t count) {
  Dataset part = data;
  const auto from = [](const auto& array, std::size_t begin, std::size_t size) {
    const auto start = array.begin() + static_cast<std::ptrdiff_t>(begin);
    return std::decay_t<decltype(array)>(start, start + static_cast<std::ptrdiff_t>(size));
  };
  part.x = from(data.x, first * data.features, count * data.features);
  part.labels = from(data.labels, first, count);
  return part;
}

/// Three clients of unequal size with softmax regression, trained by full batches of SGD, and a pool.
struct Regression {
  explicit Regression(std::size_t pool_size = 20)
      : pool(rows_of(labelled_noise(80, features, classes), 40, pool_size)) {
    for (const auto& [first, count] : {std::pair{0U, 12U}, {12U, 9U}, {21U, 15U}}) {
      rows.emplace_back(count);
      std::iota(rows.back().begin(), rows.back().end(), first);
      examples.push_back(count);
    }
    start = network.initialise(9);
    start.resize(network.layout().size());
  }

  Federation<double>::Train train(Trainer<double>& trainer) const {
    return [&](std::uint32_t k, const LocalTerms<double>& terms) {
      const Visit<double> visit{.task = {.client = k, .terms = terms}, .examples = rows[k]};
      trainer.train({&visit, 1});
      Sent<double> sent{Vector(trainer.mean(0), trainer.mean(0) + start.size())};
      const double* const p = trainer.public_predictions(0);
      if (p != nullptr) sent.public_predictions.assign(p, p + pool.size() * classes);
      return sent;
    };
  }
  Trainer<double> trainer(std::int64_t steps, bool with_pool = true) {
    return Trainer<double>(*device, network, *sgd, data,
                           {.seed = 2, .steps = steps, .batch = 15, .public_pool = with_pool ? &pool : nullptr},
                           LearningRate(0.1));
  }
  double cross_entropy(const Vector& targets, const Vector& parameters, const PoolShare& left_out = {}) {
    Vector p(targets.size());
    PublicPool<double> model(*device, network, pool, 1);
    const PoolShare all{0, 1};
    model.predict(padded<double>(parameters).data(), {&all, 1}, p.data());
    double sum = 0;
    for (std::size_t i = 0; i < p.size(); ++i) {
      if (!left_out.holds(i / classes)) sum -= targets[i] * std::log(p[i]);
    }
    return sum;
  }

  std::unique_ptr<Device> device = make_cpu_device();
  Dataset data = labelled_noise(40, features, classes), pool;
  Network<double> network = make_mlp<double>(features, {}, classes, "relu", true);
  std::unique_ptr<Optimizer<double>> sgd = make_optimizer<double>("sgd", {});
  std::vector<std::vector<std::uint32_t>> rows;
  Vector examples, start;
};

/// Distributions, and every seventh row of zeros: no label.
Vector some_targets(std::size_t rows) {
  StreamReader random(8, {.purpose = Purpose::data});
  Vector targets;
  for (std::size_t r = 0; r < rows; ++r) {
    std::array<double, classes> row{};
    double total = 0;
    for (double& p : row) total += p = random.uniform();
    for (const double p : row) targets.push_back(r % 7 == 6 ? 0.0 : p / total);
  }
  return targets;
}

}  // namespace

BOOST_AUTO_TEST_CASE(shares_divide_the_pool) {
  for (const std::size_t examples : {0U, 1U, 4U, 5U, 53U})
    for (const std::size_t clients : {1U, 3U, 7U}) {
      std::vector<int> held(examples, 0);
      for (std::size_t k = 0; k < clients; ++k) {
        const PoolShare share{k, clients};
        std::size_t count = 0;
        for (std::size_t i = 0; i < examples; ++i) {
          if (share.holds(i)) ++held[i], ++count;
        }
        BOOST_TEST(share.size(examples) == count);
      }
      BOOST_TEST((held == std::vector<int>(examples, 1)));
    }
  BOOST_TEST(!PoolShare{}.holds(0));
  BOOST_TEST(PoolShare{}.size(5) == 0U);
}

BOOST_AUTO_TEST_CASE(soft_label_gradients_are_those_of_finite_differences) {
  // 300 examples go through the network in pieces; clients leave out their shares, and one of them is absent.
  const auto device = make_cpu_device();
  const Dataset pool = labelled_noise(300, features, classes);
  const Network<double> network = make_mlp<double>(features, std::vector<std::size_t>{4}, classes, "tanh", true);
  const std::size_t size = network.layout().size(), stride = network.layout().stride();
  const Vector targets = some_targets(300);
  Vector parameters;
  for (std::uint64_t b = 0; b < 3; ++b) {
    const Vector own = network.initialise(5 + b);
    parameters.insert(parameters.end(), own.begin(), own.end());
  }
  const std::vector<SoftLabels<double>> labels{{targets.data(), 0.3, {1, 4}}, {}, {targets.data(), 2.0, {}}};
  PublicPool<double> model(*device, network, pool, 3);
  Vector gradient(3 * stride, 0.5);
  model.add_gradients(parameters.data(), labels, gradient.data());
  const std::vector<PoolShare> everything(3, PoolShare{0, 1});
  const auto loss = [&](std::size_t b) {
    Vector p(3 * targets.size());
    model.predict(parameters.data(), everything, p.data());
    double sum = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
      if (!labels[b].left_out.holds(i / classes)) sum -= targets[i] * std::log(p[b * targets.size() + i]);
    }
    return labels[b].weight * sum;
  };
  for (const std::size_t b : {0U, 2U}) {
    for (std::size_t i = 0; i < size; ++i) {
      double& w = parameters[b * stride + i];
      const double here = w, h = 1e-5;
      w = here + h;
      const double above = loss(b);
      w = here - h;
      const double below = loss(b);
      w = here;
      // Central differences: h^2 times a third derivative of a sum over 300 examples.
      BOOST_TEST(std::abs(gradient[b * stride + i] - 0.5 - (above - below) / (2 * h)) < 1e-6, b << ", " << i);
    }
    // A client alone gets the bits that it has in a block.
    PublicPool<double> alone(*device, network, pool, 1);
    Vector own(stride, 0.5);
    alone.add_gradients(parameters.data() + b * stride, {&labels[b], 1}, own.data());
    BOOST_TEST((own == Vector(gradient.begin() + static_cast<std::ptrdiff_t>(b * stride),
                              gradient.begin() + static_cast<std::ptrdiff_t>((b + 1) * stride))));
  }
  for (std::size_t i = 0; i < stride; ++i) BOOST_TEST(gradient[stride + i] == 0.5);
}

BOOST_AUTO_TEST_CASE(labels_have_no_gradient_at_the_weights_that_made_them) {
  Regression r;
  PoolModel<double> model(*r.device, r.network, r.pool);
  Vector labels(r.pool.size() * classes), gradient(r.network.layout().stride(), 1.0);
  model.predict(padded<double>(r.start).data(), labels.data());
  for (std::size_t i = 0; i < r.pool.size(); ++i) {
    double total = 0;
    for (std::size_t c = 0; c < classes; ++c) total += labels[i * classes + c];
    BOOST_TEST(std::abs(total - 1) < 1e-14);
  }
  model.gradient(padded<double>(r.start).data(), labels.data(), gradient.data());
  for (const double g : gradient) BOOST_TEST(g == 0.0);
}

BOOST_AUTO_TEST_CASE(the_trainer_adds_the_term_and_sends_the_predictions_of_the_share) {
  Regression r;
  const Vector labels = some_targets(r.pool.size());
  const Vector from = padded<double>(r.start);
  const PoolShare share{2, 3};
  const auto trained = [&](Trainer<double>& trainer, const Vector* given) {
    Visit<double> visit{.task = {.client = 2, .terms = {}}, .examples = r.rows[2]};
    visit.task.terms.start = from.data();
    visit.task.terms.public_share = share;
    visit.task.terms.public_weight = 0.7;
    if (given != nullptr) visit.task.terms.public_labels = given->data();
    trainer.train({&visit, 1});
    return Vector(trainer.mean(0), trainer.mean(0) + r.start.size());
  };
  auto trainer = r.trainer(1), without = r.trainer(1, false);
  const Vector with_term = trained(trainer, &labels), plain = trained(without, nullptr);
  BOOST_TEST(without.public_predictions(0) == nullptr);
  const Vector sent(trainer.public_predictions(0), trainer.public_predictions(0) + labels.size());
  BOOST_TEST((trained(trainer, nullptr) == plain));
  Vector gradient(from.size(), 0.0);
  PublicPool<double> pool(*r.device, r.network, r.pool, 1);
  const SoftLabels<double> term{labels.data(), 0.7, share};
  pool.add_gradients(from.data(), {&term, 1}, gradient.data());
  Vector expected = plain;
  for (std::size_t i = 0; i < plain.size(); ++i) expected[i] -= 0.1 * gradient[i];
  BOOST_TEST(largest_difference(with_term, expected) < 1e-14);
  BOOST_TEST(largest_difference(with_term, plain) > 0.01);

  Vector p(labels.size());
  PoolModel<double>(*r.device, r.network, r.pool).predict(padded<double>(with_term).data(), p.data());
  for (std::size_t i = 0; i < p.size(); ++i) BOOST_TEST(sent[i] == (i / classes % 3 == 2 ? p[i] : 0.0));
}

BOOST_AUTO_TEST_CASE(without_weight_or_pool_it_is_fedlap) {
  for (const bool everyone : {true, false}) {
    Regression r, none(0);
    const OptionValues base{{"prior_precision", 2.0}, {"damping", 0.4}};
    OptionValues off = base, on = base;
    off["tau_f"] = 0.0;
    const auto lap = make_algorithm<double>("fedlap", base), weightless = make_algorithm<double>("fedlap_func", off),
               func = make_algorithm<double>("fedlap_func", on);
    PoolModel<double> model(*r.device, r.network, r.pool), empty(*r.device, r.network, none.pool);
    Federation<double> a(*r.device, *lap, r.start, r.examples, everyone),
        b(*r.device, *weightless, r.start, r.examples, everyone, &model),
        c(*r.device, *func, r.start, r.examples, everyone, &empty), d(*r.device, *func, r.start, r.examples, everyone),
        e(*r.device, *func, r.start, r.examples, everyone, &model);
    auto plain = r.trainer(5, false), pooled = r.trainer(5), poolless = none.trainer(5);
    for (int round = 0; round < 6; ++round) {
      std::vector<bool> present;
      if (!everyone) present = {round % 2 == 0, true, round > 3};
      a.round(r.train(plain), present);
      b.round(r.train(pooled), present);
      c.round(none.train(poolless), present);
      d.round(r.train(plain), present);
      e.round(r.train(pooled), present);
      BOOST_TEST((a.mean() == b.mean()));
      BOOST_TEST((a.mean() == c.mean()));
      BOOST_TEST((a.mean() == d.mean()));
      for (std::uint32_t k = 0; k < 3; ++k) BOOST_TEST((a.site_mean(k) == b.site_mean(k)));
      BOOST_TEST(largest_difference(a.mean(), e.mean()) > 1e-3);  // with both it is another method
    }
  }
}

BOOST_AUTO_TEST_CASE(fedlaps_fixed_point_stays_one) {
  Regression r;
  const OptionValues base{{"prior_precision", 5.0}};
  OptionValues strong = base;
  strong["tau_f"] = 3.0, strong["server_steps"] = std::int64_t{50};
  const auto lap = make_algorithm<double>("fedlap", base), func = make_algorithm<double>("fedlap_func", strong);
  auto plain = r.trainer(400, false), pooled = r.trainer(400);
  Federation<double> a(*r.device, *lap, r.start, r.examples);
  for (int round = 0; round < 150; ++round) a.round(r.train(plain));
  const Vector fixed = a.mean();
  a.round(r.train(plain));
  BOOST_TEST(largest_difference(a.mean(), fixed) < 1e-12);
  BOOST_TEST(largest_difference(fixed, r.start) > 0.1);

  PoolModel<double> model(*r.device, r.network, r.pool);
  Federation<double> b(*r.device, *func, r.start, r.examples, true, &model);
  const auto go_there = [&](double away) {
    Vector mean = padded<double>(fixed);
    mean[0] += away;
    b.state.mean.from_host(mean);
    b.state.end_round(true);  // training starts at the mean
    for (std::uint32_t k = 0; k < 3; ++k) {
      b.state.site[k] = Buffer<double>(*r.device, padded<double>(a.site_mean(k)));
    }
  };
  go_there(0);
  for (int round = 0; round < 3; ++round) b.round(r.train(pooled));
  BOOST_TEST(largest_difference(b.mean(), fixed) < 1e-11);
  for (std::uint32_t k = 0; k < 3; ++k) BOOST_TEST(largest_difference(b.site_mean(k), a.site_mean(k)) < 1e-11);
  go_there(0.5);
  b.round(r.train(pooled));
  BOOST_TEST(largest_difference(b.mean(), fixed) > 1e-3);
}

BOOST_AUTO_TEST_CASE(the_server_minimises_its_objective_with_the_predictions_it_has) {
  // Client 1 is absent in round 2, client 2 always: it counts nothing.
  Regression r;
  const double s0 = 2, tau = 1.5;
  const auto algorithm = make_algorithm<double>(
      "fedlap_func",
      {{"prior_precision", s0}, {"tau_f", tau}, {"server_steps", std::int64_t{3000}}, {"server_lr", 0.003}});
  PoolModel<double> model(*r.device, r.network, r.pool);
  Federation<double> federation(*r.device, *algorithm, r.start, r.examples, false, &model);
  auto trainer = r.trainer(8);
  Vector targets(r.pool.size() * classes, 0.0), labels(targets.size());
  for (int round = 0; round < 2; ++round) {
    model.predict(federation.state.mean.data(), labels.data());
    const auto train = r.train(trainer);
    federation.round(
        [&](std::uint32_t k, const LocalTerms<double>& terms) {
          BOOST_TEST(terms.public_weight == tau / r.examples[k]);
          BOOST_TEST(terms.public_share.client == k);
          BOOST_TEST(terms.public_share.clients == 3U);
          BOOST_TEST((Vector(terms.public_labels, terms.public_labels + labels.size()) == labels));
          return train(k, terms);
        },
        {true, round == 0, false});
    for (std::size_t i = 0; i < targets.size(); ++i) {
      const std::size_t owner = i / classes % 3;
      if (owner == 0 || (owner == 1 && round == 0)) targets[i] = federation.sent[owner].public_predictions[i];
    }
    BOOST_TEST((federation.state.public_predictions.to_host() == targets));
    BOOST_TEST(targets[2 * classes] == 0.0);

    Vector u(r.start.size(), 0.0);
    for (std::uint32_t k = 0; k < 3; ++k) {
      const Vector v = federation.site_mean(k);
      for (std::size_t i = 0; i < u.size(); ++i) u[i] += v[i] / s0;
    }
    const auto objective = [&](const Vector& w) {
      double squares = 0;
      for (std::size_t i = 0; i < w.size(); ++i) squares += (w[i] - u[i]) * (w[i] - u[i]);
      return s0 / 2 * squares + tau * r.cross_entropy(targets, w);
    };
    const auto slope = [&](Vector w, std::size_t i) {
      const double h = 1e-5, here = w[i];
      w[i] = here + h;
      const double above = objective(w);
      w[i] = here - h;
      return (above - objective(w)) / (2 * h);
    };
    double steepest = 0, steepest_at_u = 0;
    for (std::size_t i = 0; i < u.size(); ++i) {
      steepest = std::max(steepest, std::abs(slope(federation.mean(), i)));
      steepest_at_u = std::max(steepest_at_u, std::abs(slope(u, i)));
    }
    BOOST_TEST(steepest < 1e-4 * steepest_at_u, steepest << " of " << steepest_at_u);
    BOOST_TEST(objective(federation.mean()) < objective(u));
  }
}

BOOST_AUTO_TEST_CASE(costs_and_refusals) {
  const auto algorithm = make_algorithm<float>("fedlap_func", {});
  BOOST_TEST((algorithm->traits() == find_algorithm("fedlap_func")->traits));
  BOOST_TEST(algorithm->traits().values_down(1000, 53, 10) == 1530.0);
  BOOST_TEST(algorithm->traits().values_up(1000, 6, 10) == 1060.0);
  BOOST_TEST((make_algorithm<float>("fedlap_func", {{"tau_f", 0.0}})->traits() == find_algorithm("fedlap")->traits));
  const std::string quickstart = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";
  const auto run = [&](std::vector<std::string> overrides) {
    overrides.insert(overrides.end(), {"server.algorithm=fedlap_func", "rounds=1", "evaluation.clients=none"});
    RunSettings settings;
    settings.threads = 2;
    return run_arm(quickstart, "fedavg", overrides, settings).back();
  };
  // 64-50-10: 3760 parameters. Down goes the whole pool to ten clients, up come shares that make one pool.
  const RoundRecord record = run({"data.public=53"});
  BOOST_TEST(record.bytes_down == 4.0 * 10 * (3760 + 53 * 10));
  BOOST_TEST(record.bytes_up == 4.0 * (10 * 3760 + 53 * 10));
  BOOST_TEST(run({"server.tau_f=0"}).bytes_up == 4.0 * 10 * 3760);
  const auto refused = [&](const std::vector<std::string>& overrides, const std::string& rule, const std::string& fix) {
    BOOST_CHECK_EXCEPTION(run(overrides), InputError, [&](const InputError& error) {
      const std::string text = error.what();
      return text.find("[scenario] server.algorithm = \"fedlap_func\" needs " + rule) == 0 &&
             text.find(fix) != std::string::npos;
    });
  };
  refused({}, "data.public >= 1", "set data.public");
  refused({"data.public=53", "model.loss=binary"}, "model.loss = \"softmax\"", "take \"fedlap\"");
}
