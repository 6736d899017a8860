// Watching a visit changes no bit of it, and what is seen is what happens: on the CPU and on an accelerator.
#define BOOST_TEST_MODULE step_watch
#include <cmath>
#include <numeric>
#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/emulated_device.hpp"

namespace {

using namespace ivory;

struct Seen {
  std::vector<float> mean, precision;  // [block x stride] after the visits
  std::vector<VisitResult> results;
  std::vector<StepReport> reports;
  std::vector<float> start;
  std::size_t size = 0, stride = 0;
};

std::unique_ptr<Optimizer<float>> make(const std::string& name, const GivenTable& given) {
  const OptimizerPlugin* plugin = find_optimizer(name);
  return plugin->make_float(resolve_options(plugin->options, given, "clients.optimizer", {}));
}

// Three clients of 33, 5 and 16 examples with an anchor and a site, in one block; `every` 0: nobody watches the first.
Seen train(Device& device, const Optimizer<float>& optimizer, const VisitPlan& plan, std::uint64_t every) {
  const Dataset data = test::labelled_noise(200, 7, 4);
  const Network<float> network = make_mlp<float>(7, std::vector<std::size_t>{6, 5}, 4, "tanh", true);
  Seen seen;
  seen.size = network.layout().size(), seen.stride = network.layout().stride();
  seen.start = network.initialise(9);
  const Buffer<float> start(device, seen.start), ones(device, std::vector<float>(seen.stride, 1.0F));
  std::vector<std::vector<std::uint32_t>> examples;
  std::vector<Visit<float>> visits;
  for (const std::uint32_t count : {33U, 5U, 16U}) {
    auto& rows = examples.emplace_back(count);
    std::iota(rows.begin(), rows.end(), 20U * static_cast<std::uint32_t>(examples.size()));
  }
  for (std::uint32_t k = 0; k < 3; ++k) {
    Visit<float> visit{.task = {.client = k, .round = 4, .terms = {}}, .examples = examples[k]};
    LocalTerms<float>& terms = visit.task.terms;
    terms.start = start.data(), terms.anchor_mean = start.data(), terms.anchor_precision = ones.data();
    terms.anchor_weight = 0.01, terms.site_mean = ones.data(), terms.site_weight = 0.02, terms.effective_samples = 50;
    visits.push_back(visit);
  }
  Trainer<float> trainer(device, network, optimizer, data, plan, LearningRate(0.05), 3);
  StepWatch<float> watch(0, every, [&](const StepReport& report) { seen.reports.push_back(report); });
  seen.results = trainer.train(visits, {}, every > 0 ? &watch : nullptr);
  seen.mean.resize(3 * seen.stride);
  device.download(seen.mean.data(), trainer.mean(0), seen.mean.size() * sizeof(float));
  if (optimizer.gives_posterior()) {
    Buffer<float> precisions(device, 3 * seen.stride);
    trainer.precisions(precisions.data());
    seen.precision = precisions.to_host();
  }
  return seen;
}

std::vector<std::unique_ptr<Device>> devices() {
  std::vector<std::unique_ptr<Device>> all;
  all.push_back(make_cpu_device());
  all.push_back(test::make_emulated_device(test::make_emulated_memory()));
  return all;
}

std::vector<std::unique_ptr<Optimizer<float>>> optimizers() {
  std::vector<std::unique_ptr<Optimizer<float>>> all;
  const auto two = GivenOption{std::int64_t{2}, {}};
  all.push_back(make("sgd", {}));
  all.push_back(make("adam", {}));
  all.push_back(make("ivon", {}));
  all.push_back(make("ivon", {{"samples", two}}));
  all.push_back(make("vsgd", {}));
  return all;
}

const VisitPlan plan{.seed = 5, .epochs = 3, .batch = 8, .clip_norm = 0.5, .start_gradients = true};

}  // namespace

BOOST_AUTO_TEST_CASE(watching_changes_no_bit) {
  for (const auto& device : devices()) {
    for (const auto& optimizer : optimizers()) {
      const Seen alone = train(*device, *optimizer, plan, 0), watched = train(*device, *optimizer, plan, 1);
      BOOST_TEST(alone.mean == watched.mean, boost::test_tools::per_element());
      BOOST_TEST(alone.precision == watched.precision, boost::test_tools::per_element());
      for (std::size_t b = 0; b < 3; ++b) BOOST_TEST(alone.results[b].train_loss == watched.results[b].train_loss);
      BOOST_TEST(alone.reports.empty());
      BOOST_TEST(watched.reports.size() == 15U);  // 3 epochs of ceil(33/8) steps
    }
  }
}

BOOST_AUTO_TEST_CASE(the_reports_add_up_to_the_visit) {
  for (const auto& device : devices()) {
    for (const auto& optimizer : optimizers()) {
      const Seen seen = train(*device, *optimizer, plan, 1);
      double loss = 0;
      for (std::size_t t = 0; t < seen.reports.size(); ++t) {
        const StepReport& report = seen.reports[t];
        loss += report.loss / static_cast<double>(seen.reports.size());
        BOOST_TEST(report.step == t + 1);
        BOOST_TEST(report.epoch == t / 5 + 1);
        BOOST_TEST(report.examples == (t % 5 == 4 ? 1 : 8));
        BOOST_TEST(report.learning_rate == 0.05);
        BOOST_TEST(report.gradient_norm > 0);
      }
      BOOST_TEST(loss == seen.results[0].train_loss, boost::test_tools::tolerance(1e-12));
      double square = 0, total = 0, least = INFINITY;
      for (std::size_t i = 0; i < seen.size; ++i) {
        square += std::pow(static_cast<double>(seen.mean[i]) - static_cast<double>(seen.start[i]), 2);
        if (seen.precision.empty()) continue;
        total += static_cast<double>(seen.precision[i]);
        least = std::min(least, static_cast<double>(seen.precision[i]));
      }
      const StepReport& last = seen.reports.back();
      BOOST_TEST(last.distance == std::sqrt(square), boost::test_tools::tolerance(1e-12));
      if (seen.precision.empty()) {
        BOOST_TEST(std::isnan(last.precision_mean));
        BOOST_TEST(std::isnan(last.precision_least));
      } else {
        BOOST_TEST(last.precision_mean == total / static_cast<double>(seen.size), boost::test_tools::tolerance(1e-12));
        BOOST_TEST(last.precision_least == least);
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(the_norm_is_that_of_the_gradient_before_clipping) {
  // Without terms a step of SGD moves the mean by rate times gradient; clipped, by rate times clip_norm.
  const Dataset data = test::labelled_noise(40, 3, 2);
  const Network<float> network = make_mlp<float>(3, {}, 2, "relu", true);
  const auto device = make_cpu_device();
  const Buffer<float> start(*device, network.initialise(1));
  std::vector<std::uint32_t> rows(40);
  std::iota(rows.begin(), rows.end(), 0U);
  const auto optimizer = make("sgd", {});
  const auto first_step = [&](double clip_norm) {
    Trainer<float> trainer(*device, network, *optimizer, data,
                           {.seed = 2, .steps = 1, .batch = 40, .clip_norm = clip_norm}, LearningRate(0.5));
    Visit<float> visit{.task = {}, .examples = rows};
    visit.task.terms.start = start.data();
    StepReport seen;
    StepWatch<float> watch(0, 1, [&](const StepReport& report) { seen = report; });
    trainer.train({&visit, 1}, {}, &watch);
    return seen;
  };
  const StepReport free = first_step(0), clipped = first_step(1e-3);
  BOOST_TEST(free.distance == 0.5 * free.gradient_norm, boost::test_tools::tolerance(1e-5));
  BOOST_TEST(clipped.gradient_norm == free.gradient_norm);
  BOOST_TEST(clipped.distance == 0.5 * 1e-3, boost::test_tools::tolerance(1e-3));
}

BOOST_AUTO_TEST_CASE(every_other_step_and_the_last_one) {
  const auto device = make_cpu_device();
  const Seen all = train(*device, *make("ivon", {}), plan, 1), some = train(*device, *make("ivon", {}), plan, 4);
  BOOST_TEST(all.mean == some.mean, boost::test_tools::per_element());
  BOOST_REQUIRE_EQUAL(some.reports.size(), 4U);
  const std::vector<std::uint64_t> steps = {4, 8, 12, 15};
  for (std::size_t i = 0; i < steps.size(); ++i) {
    BOOST_TEST(some.reports[i].step == steps[i]);
    BOOST_TEST(some.reports[i].loss == all.reports[steps[i] - 1].loss);
    BOOST_TEST(some.reports[i].gradient_norm == all.reports[steps[i] - 1].gradient_norm);
  }
}
