// ivory plan: what a run would take, before it runs.
#include <fmt/format.h>
#include <omp.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <memory>
#include <numeric>

#include "ivory/error.hpp"
#include "src/cli.hpp"
#include "src/cli_common.hpp"
#include "src/devices.hpp"
#include "src/evaluation.hpp"
#include "src/log_plan.hpp"
#include "src/model.hpp"
#include "src/run_parts.hpp"
#include "src/sensitivity.hpp"

namespace ivory {
namespace {

constexpr const char* examples = R"(Examples:
  ivory plan scenarios/quickstart.toml
  ivory plan scenarios/mnist-100-clients.toml --device cpu --threads 8
  ivory plan scenarios/mnist-100-clients.toml --gpu-memory 80
  ivory plan scenarios/quickstart.toml --set model.hidden=[4000,4000]

Counts memory and traffic, and measures a few local steps on the device. Exit code 2 where something cannot fit.)";

struct Flags {
  ScenarioFlags scenario;
  RunFlags run;
  double gpu_memory = 0;  // GiB of a GPU that is not here
};

constexpr std::uint64_t measured_steps = 12;

std::string bytes_text(double bytes) {
  for (const char* unit : {"bytes", "KiB", "MiB", "GiB"}) {
    if (bytes < 1024) return fmt::format("{:.{}f} {}", bytes, bytes < 10 && unit[0] != 'b' ? 1 : 0, unit);
    bytes /= 1024;
  }
  return fmt::format("{:.1f} TiB", bytes);
}

void line(const std::string& name, const std::string& value) { fmt::print("  {:<26}{}\n", name, value); }

/// Local steps of all participants of a mean round.
template <class Real>
double steps_of_round(const RunParts<Real>& parts) {
  double steps = 0;
  for (const auto& rows : parts.examples) steps += static_cast<double>(parts.visit_plan.steps_of(rows.size()));
  return steps * static_cast<double>(parts.participants) / static_cast<double>(parts.clients.size());
}

/// Seconds of one local step of `block` clients of the largest size, without terms of the server.
template <class Real>
double measure_step(const RunParts<Real>& parts, Device& device, std::size_t block, const Scenario& scenario) {
  const auto largest = std::max_element(parts.examples.begin(), parts.examples.end(),
                                        [](const auto& a, const auto& b) { return a.size() < b.size(); });
  VisitPlan plan = parts.visit_plan;
  plan.steps = measured_steps;
  const std::vector<float> weights = initial_weights(scenario, parts.network);
  const Buffer<Real> start(device, std::vector<Real>(weights.begin(), weights.end()));
  Trainer<Real> trainer(device, parts.training_network, *parts.optimizer, parts.data.train, plan, LearningRate(1e-3),
                        block);
  std::vector<Visit<Real>> visits(block, Visit<Real>{.task = {}, .examples = *largest});
  // An optimizer with a precision matrix starts from the server's.
  Buffer<Real> anchor;
  if (parts.traits.full_covariance) {
    const std::size_t size = parts.network.layout().size();
    std::vector<Real> unit(size * size, Real(0));
    for (std::size_t i = 0; i < size; ++i) unit[i * size + i] = Real(1);
    anchor = Buffer<Real>(device, unit);
  }
  // Rows of zeros are no labels, and take as long as others.
  const Buffer<Real> no_labels(device,
                               plan.public_pool != nullptr ? plan.public_pool->size() * parts.network.outputs() : 0);
  for (auto& visit : visits) {
    LocalTerms<Real>& terms = visit.task.terms;
    terms.public_labels = no_labels.data();
    terms.start = terms.anchor_mean = start.data();
    if (anchor.empty()) continue;
    terms.anchor_precision = anchor.data();
    terms.anchor_weight = terms.effective_samples = 1;
  }
  trainer.train(visits);
  const auto began = std::chrono::steady_clock::now();
  trainer.train(visits);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count() / measured_steps;
}

void say_time(double seconds) {
  line("time per round",
       fmt::format("{} of local training, from {} measured steps", show_duration(seconds), measured_steps));
}

template <class Real>
void plan_cpu(const RunParts<Real>& parts, const MemoryPlan& memory, double steps, const Scenario& scenario,
              int threads) {
  const auto lanes = static_cast<std::size_t>(threads);
  const std::size_t available = available_memory();
  fmt::print("\n on the CPU, {}\n", show_count(threads, "thread"));
  line("clients at a time", fmt::format("{}", lanes));
  line("memory", fmt::format("{} of {} available", bytes_text(static_cast<double>(memory.on_cpu(lanes))),
                             bytes_text(static_cast<double>(available))));
  check_cpu_memory(memory, lanes, available);
  const auto device = make_cpu_device();
  say_time(measure_step(parts, *device, 1, scenario) * steps / threads);
}

template <class Real>
void plan_gpu(const RunParts<Real>& parts, const MemoryPlan& memory, const Scenario& scenario, const RunFlags& flags,
              const DeviceChoice& devices, double gpu_memory) {
  const std::size_t lanes = std::max<std::size_t>(devices.lanes.size(), 1);
  std::unique_ptr<Device> device;
  std::size_t free = static_cast<std::size_t>(gpu_memory * 1024 * 1024 * 1024);
  if (gpu_memory == 0) {
    device = devices.lanes.front()(product_precision(scenario));
    free = device->free_memory();
  }
  const std::size_t block = largest_block(
      memory, free, lanes, most_in_a_block(parts.participants, lanes, static_cast<std::size_t>(flags.block)));
  const std::size_t total = memory.on_accelerator(lanes, block);
  fmt::print("\n on {}, {} free\n", device ? device->describe() : "a GPU", bytes_text(static_cast<double>(free)));
  line("clients at a time", fmt::format("{} in blocks of {}", std::min(lanes * block, parts.participants), block));
  line("memory", bytes_text(static_cast<double>(total)));
  if (!device) {
    line("time per round", "not measured: this GPU is not here");
    return;
  }
  const std::size_t rounds = (parts.participants + lanes * block - 1) / (lanes * block);
  say_time(measure_step(parts, *device, block, scenario) * static_cast<double>(parts.longest_visit() * rounds));
}

/// What comes to the disk, and what the probes of single examples take.
template <class Real>
void say_files(const Scenario& arm, const RunParts<Real>& parts, const MemoryPlan& memory, int threads) {
  const LogPlan plan = plan_log(arm, parts);
  const LogSize log = size_of_log(plan);
  line("log", bytes_text(static_cast<double>(log.total)));
  for (const auto& [name, bytes] : log.parts) line("  " + name, bytes_text(static_cast<double>(bytes)));
  const bool regularly = arm.log.integer("checkpoint_every") > 0;
  line("checkpoints", fmt::format("two of at most {}{}", bytes_text(static_cast<double>(memory.checkpoint)),
                                  regularly ? "" : ", only where the run is told to stop"));
  if (!plan.sensitivity_rows.empty()) {
    const auto network = make_network<double>(arm, parts.data.train);
    line("sensitivity",
         fmt::format(
             "{} of memory for {} examples",
             bytes_text(static_cast<double>(SensitivityProbe::bytes(network, plan.sensitivity_rows.size(), threads))),
             plan.sensitivity_rows.size()));
  }
  if (!plan.label_noise_rows.empty()) {
    line("label-noise probe", fmt::format("{} of memory for {} examples",
                                          bytes_text(static_cast<double>(Predictor::label_noise_bytes(
                                              parts.network, plan.label_noise_rows.size(), threads))),
                                          plan.label_noise_rows.size()));
  }
}

/// Prints one arm's plan; false where it does not fit.
template <class Real>
bool plan_arm(const Scenario& arm, const Flags& flags, const DeviceChoice& devices, int threads) {
  bool fits = true;
  const RunParts<Real> parts(arm);
  const MemoryPlan memory = parts.memory();
  const double steps = steps_of_round(parts);
  const std::size_t size = parts.network.layout().size();
  const double messages =
      sizeof(Real) * static_cast<double>(parts.participants) * (arm.clients.boolean("pool") ? 0 : 1);
  double up = 0;  // of a mean client
  for (const std::uint32_t k : parts.clients) up += parts.values_up(k) / static_cast<double>(parts.clients.size());
  fmt::print("{}\n", arm.arm.empty() ? arm.name : arm.arm);
  line("parameters", fmt::format("{}, {} per vector", size, bytes_text(static_cast<double>(size * sizeof(Real)))));
  line("clients per round", fmt::format("{} of {}", parts.participants, parts.clients.size()));
  line("local steps per round", fmt::format("{:.0f}, at most {} per client", steps, parts.longest_visit()));
  line("bytes per round",
       fmt::format("{} down, {} up", bytes_text(messages * parts.values_down()), bytes_text(messages * up)));
  line("bytes per client",
       fmt::format("{} in training, {} kept between rounds", bytes_text(static_cast<double>(memory.per_client)),
                   bytes_text(static_cast<double>(memory.clients_state) / static_cast<double>(parts.clients.size()))));
  line("training data", bytes_text(static_cast<double>(memory.data)));
  say_files(arm, parts, memory, threads);
  const auto refusing = [&fits](const auto& planning) {
    try {
      planning();
    } catch (const MemoryError& error) {
      std::fflush(stdout);
      fmt::print(stderr, "ivory: {}\n", error.what());
      fits = false;
    }
  };
  refusing([&] { plan_cpu(parts, memory, steps, arm, threads); });
  if (devices.lanes.empty() && flags.gpu_memory == 0) {
    if (!devices.why_cpu.empty()) fmt::print("\n no GPU: {}\n", devices.why_cpu);
  } else {
    refusing([&] { plan_gpu(parts, memory, arm, flags.run, devices, flags.gpu_memory); });
  }
  fmt::print("\n");
  return fits;
}

int plan(const Flags& flags) {
  if (flags.gpu_memory > 0 && !flags.run.device.empty()) {
    throw InputError("[command line] --gpu-memory plans for a GPU that is not here, got --device as well; drop one");
  }
  const int threads = flags.run.threads > 0 ? flags.run.threads : omp_get_max_threads();
  const DeviceChoice devices = flags.gpu_memory > 0 ? DeviceChoice{} : choose_devices(flags.run.device);
  bool fits = true;
  for (const Scenario& arm : flags.scenario.read()) {
    const bool fits_too = runs_in_double(arm) ? plan_arm<double>(arm, flags, devices, threads)
                                              : plan_arm<float>(arm, flags, devices, threads);
    fits = fits && fits_too;
  }
  return fits ? 0 : 2;
}

}  // namespace

void add_plan(CLI::App& app, Action& chosen) {
  CLI::App* verb = app.add_subcommand("plan", "Say what memory and time a scenario would take");
  const auto flags = std::make_shared<Flags>();
  add_scenario_flags(*verb, flags->scenario);
  add_device_flags(*verb, flags->run);
  verb->add_option("--gpu-memory", flags->gpu_memory, "Plan for a GPU with so many GiB free")
      ->option_text("GIB")
      ->check(CLI::Range(0.001, 1e6));
  verb->footer(examples);
  verb->final_callback([flags, &chosen] { chosen = [flags] { return plan(*flags); }; });
}

}  // namespace ivory
