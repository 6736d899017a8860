// What every accelerator does the same way, on the emulated one: loops and sums as on the CPU, tables on their way to
// the device, recorded steps and what they refuse, and the memory that a run counts on.
#define BOOST_TEST_MODULE staged_device
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <csignal>

#include "tests/support/boost_test.hpp"

#include "clients/trainer.hpp"
#include "ivory/elementwise.hpp"
#include "ivory/error.hpp"
#include "src/experiment.hpp"
#include "src/log_reader.hpp"
#include "src/memory_plan.hpp"
#include "src/scenario_reader.hpp"
#include "tests/support/block_training.hpp"
#include "tests/support/emulated_device.hpp"
#include "tests/support/plugins.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;
using Counts = std::vector<std::size_t>;
using Word = std::uint32_t;

std::unique_ptr<Device> emulated() { return make_emulated_device(make_emulated_memory()); }

// Exact, and different for every order of the calls.
struct Mix {
  Word* to;
  Word value;
  IVORY_HD void operator()(std::size_t i) const { to[i] = to[i] * 31U + value + static_cast<Word>(i); }
};

template <class Real>
std::vector<Real> some_values(std::size_t size) {
  std::vector<Real> values;
  StreamReader random(8, {.purpose = Purpose::data});
  for (std::size_t i = 0; i < size; ++i) values.push_back(static_cast<Real>(random.normal()));
  return values;
}

/// Runs `loop(device, x, y)` on both devices, where x(b) and y(b) are client b's rows: the same bits in the first
/// touched[b] entries of y(b), and no other entry written.
template <class Real, class Loop>
void check_loop(const Counts& touched, std::size_t read, const Loop& loop) {
  constexpr Real untouched(-7.25);
  const std::size_t row = std::max(read, *std::max_element(touched.begin(), touched.end())) + 70;  // a tile and more
  const auto on = [&](Device& device) {
    const Buffer<Real> x(device, some_values<Real>(touched.size() * row));
    Buffer<Real> y(device, std::vector<Real>(x.size(), untouched));
    loop(
        device, [&](std::size_t b) { return x.data() + b * row; }, [&](std::size_t b) { return y.data() + b * row; });
    return y.to_host();
  };
  const std::vector<Real> here = on(*emulated()), there = on(*make_cpu_device());
  std::size_t other_bits = 0, not_written = 0, wrongly_written = 0;
  for (std::size_t i = 0; i < here.size(); ++i) {
    if (i % row < touched[i / row]) {
      other_bits += here[i] == there[i] && std::signbit(here[i]) == std::signbit(there[i]) ? 0 : 1;
      not_written += here[i] == untouched ? 1 : 0;
    } else {
      wrongly_written += here[i] != untouched || there[i] != untouched ? 1 : 0;
    }
  }
  BOOST_TEST(other_bits == 0U);
  BOOST_TEST(not_written == 0U);
  BOOST_TEST(wrongly_written == 0U);
}

template <class Real>
struct Column {
  const Real* from;
  Real* sum;
  std::size_t columns;
  IVORY_HD Real operator()(std::size_t r, std::size_t c) const { return from[r * columns + c]; }
};

// Every functor adds to what is there, so that an index taken twice shows.
template <class Real>
void check_loops(const Counts& counts, std::size_t most) {
  const std::size_t clients = counts.size();
  check_loop<Real>(counts, 0, [&](Device& device, const auto& x, const auto& y) {
    for_each_client(device, clients, most, [&](std::size_t b) {
      return Share{counts[b], [from = x(b), to = y(b), b](std::size_t i) {
                     to[i] += math::fma(static_cast<Real>(b) + Real(0.3), math::exp(from[i]), from[i]);
                   }};
    });
  });
  for (const bool stored : {false, true}) {
    check_loop<Real>(counts, 0, [&](Device& device, const auto& x, const auto& y) {
      for_each_client_with_noise(device, clients, most, [&](std::size_t b) {
        const Stream stream = make_stream(3, {.purpose = Purpose::training_noise, .client = b});
        return NoisyShare{counts[b],
                          [from = x(b), to = y(b)](std::size_t i, Real z) { to[i] += math::fma(from[i], z, Real(3)); },
                          stored ? NoiseSource<Real>{.stored = x(b)} : NoiseSource<Real>{.stream = stream}};
      });
    });
  }
  for (const std::size_t columns : {1U, 7U, 65U}) {
    Counts places = counts;
    for (std::size_t& count : places) count *= columns;
    check_loop<Real>(places, 0, [&](Device& device, const auto& x, const auto& y) {
      for_each_client_place(device, clients, most, columns, [&](std::size_t b) {
        return Share{counts[b], [from = x(b), to = y(b), columns](std::size_t r, std::size_t c) {
                       const std::size_t i = r * columns + c;
                       to[i] += math::fma(Real(0.7), from[i], static_cast<Real>(100 * r + c));
                     }};
      });
    });
    check_loop<Real>(Counts(clients, columns), most * columns, [&](Device& device, const auto& x, const auto& y) {
      sum_columns_per_client(device, clients, most, columns, [&](std::size_t b) {
        return Share{counts[b], Column<Real>{x(b), y(b), columns}};
      });
    });
  }
}

/// Steps of all that a device does in a step. What they leave depends on their order and on each step's numbers.
class Steps {
 public:
  Steps(Device& device, std::size_t clients)
      : device_(device), clients_(clients), words_(device, clients * width), copied_(device, words_.size()),
        cleared_(device, 3), noise_(device, clients * width), products_(device, 16) {}

  void step(std::uint64_t t) {
    const auto count = [&](std::size_t b) {  // in about a third of the steps a client does nothing
      return (t + b) % 3 == 1 ? 0 : static_cast<std::size_t>(37 * t + 101 * b) % (width + 1);
    };
    const auto number = static_cast<Word>(t);
    for_each_client(device_, clients_, width, [&](std::size_t b) {
      return Share{count(b), Mix{words_.data() + b * width, 7 * number + static_cast<Word>(b)}};
    });
    device_.copy(copied_.data(), words_.data(), words_.size() * sizeof(Word));
    device_.clear(cleared_.data(), 2 * sizeof(Word));
    for_each(device_, 3, Mix{cleared_.data(), number});
    for_each_client_with_noise(device_, clients_, width, [&](std::size_t b) {
      const Stream stream = make_stream(1, {.purpose = Purpose::training_noise, .client = b, .step = t});
      return NoisyShare{width - count(b), [y = noise_.data() + b * width](std::size_t i, float z) { y[i] += z; },
                        NoiseSource<float>{.stream = stream}};
    });
    MatrixProduct<float> product{.accumulate = true, .m = 4, .n = 4, .k = 3, .lda = 3, .ldb = 4, .ldc = 4};
    product.a = noise_.data(), product.b = noise_.data() + 12, product.c = products_.data();
    device_.multiply(product);
  }

  std::vector<Word> outcome() const {
    std::vector<Word> all;
    for (const Buffer<Word>* words : {&words_, &copied_, &cleared_}) {
      const auto host = words->to_host();
      all.insert(all.end(), host.begin(), host.end());
    }
    for (const Buffer<float>* floats : {&noise_, &products_}) {
      for (const float x : floats->to_host()) all.push_back(math::to_bits(x));
    }
    return all;
  }

 private:
  static constexpr std::size_t width = 70;
  Device& device_;
  std::size_t clients_;
  Buffer<Word> words_, copied_, cleared_;
  Buffer<float> noise_, products_;
};

std::vector<Word> after_plain_steps(std::size_t clients, std::uint64_t count) {
  const auto device = emulated();
  Steps steps(*device, clients);
  for (std::uint64_t t = 0; t < count; ++t) steps.step(t);
  return steps.outcome();
}

// A row of 4 KiB, whose first and last word count.
struct Heavy {
  Word* to;
  Word values[1021];
  IVORY_HD void operator()(std::size_t i) const { to[i] = to[i] * 31U + values[i * 1020]; }
};

void mix_clients(Device& device, Buffer<Word>& words, std::size_t clients, std::uint64_t t) {
  for_each_client(device, clients, 2, [&](std::size_t b) {
    return Share{1 + (t + b) % 2, Mix{words.data() + 2 * b, static_cast<Word>(t)}};
  });
}

/// A loop over three clients and a clear, or something else.
void step(Device& device, Buffer<Word>& words, std::uint64_t t, const std::string& wrong = "") {
  const std::size_t clients = wrong == "a larger table" ? 4 : wrong == "a smaller table" ? 1 : 3;
  if (wrong != "a loop less") mix_clients(device, words, clients, t);
  if (wrong != "an operation less") device.clear(words.data() + 2, sizeof(Word));
  if (wrong == "an operation more") device.clear(words.data() + 2, sizeof(Word));
  if (wrong == "a loop more") mix_clients(device, words, 1, t);
  if (wrong == "steps of its own") device.repeat(1, [](std::uint64_t) {});
  if (wrong == "an upload") words.from_host(std::vector<Word>(words.size(), 5));
  if (wrong == "a download") words.to_host();
  if (wrong == "a wait") device.synchronise();
  if (wrong == "a failure of its own") throw InputError(wrong);
}

std::vector<Word> after_steps(Device& device, bool repeated) {
  Buffer<Word> words(device, 8);
  const auto right = [&](std::uint64_t t) { step(device, words, t); };
  if (repeated) device.repeat(20, right);
  for (std::uint64_t t = 0; !repeated && t < 20; ++t) right(t);
  return words.to_host();
}

/// In a child process; 0 where it ends by itself.
template <class Act>
int signal_that_ends(const Act& act) {
  std::fflush(nullptr);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{};
    setrlimit(RLIMIT_CORE, &no_core);
    std::signal(SIGSEGV, SIG_DFL);  // Boost.Test has its own
    act();
    _exit(0);
  }
  int status = 0;
  BOOST_REQUIRE((child > 0 && waitpid(child, &status, 0) == child));
  return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

}  // namespace

BOOST_AUTO_TEST_CASE(loops_give_the_bits_of_the_cpu_and_end_at_their_count) {
  const std::vector<Counts> blocks = {{1}, {63}, {64}, {65}, {1000}, {65, 0, 1, 1000, 63, 64}, {0, 17, 0}, {0}};
  for (const Counts& counts : blocks) {
    const std::size_t longest = *std::max_element(counts.begin(), counts.end());
    for (const std::size_t most : {longest, longest + 77}) {
      BOOST_TEST_CONTEXT(counts.size() << " clients, the longest with " << longest << ", room for " << most) {
        check_loops<float>(counts, most);
        check_loops<double>(counts, most);
      }
    }
    check_loop<float>({longest}, 0, [&](Device& device, const auto& x, const auto& y) {
      for_each(device, longest, [from = x(0), to = y(0)](std::size_t i) { to[i] += math::fma(0.7F, from[i], 2.0F); });
      const NoiseSource<float> noise{.stream = make_stream(4, {.purpose = Purpose::data})};
      for_each_with_noise(device, longest, noise, [to = y(0)](std::size_t i, float z) { to[i] += z; });
    });
  }
}

BOOST_AUTO_TEST_CASE(sums_are_those_of_the_cpu_and_of_the_client_alone) {
  const auto device = emulated(), cpu = make_cpu_device();
  const Counts counts = {1000, 0, 1, 63, 64, 65, 4095, 4097, 20000};
  constexpr std::size_t row = 20000;
  const std::vector<float> values = some_values<float>(counts.size() * row);
  const Buffer<float> here(*device, values), there(*cpu, values);
  const auto value = [](const float* x) { return [x](std::size_t i) { return x[i]; }; };
  const auto seventh = [](std::size_t i) { return i % 7 == 0 ? 1.0 : 0.0; };
  const auto sums = [&](Device& on, const Buffer<float>& x) {
    return sum_per_client(on, counts.size(), [&](std::size_t b) {
      return Share{counts[b], value(x.data() + b * row)};
    });
  };
  const auto block = sums(*device, here), expected = sums(*cpu, there);
  const auto ones = sum_per_client(*device, counts.size(), [&](std::size_t b) { return Share{counts[b], seventh}; });
  for (std::size_t b = 0; b < counts.size(); ++b) {
    BOOST_TEST_CONTEXT("a sum of " << counts[b]) {
      double magnitude = 0;
      for (std::size_t i = 0; i < counts[b]; ++i) magnitude += std::abs(static_cast<double>(values[b * row + i]));
      // n additions in either order, each within 2^-53 of a partial sum.
      BOOST_TEST(std::abs(block[b] - expected[b]) <= static_cast<double>(counts[b]) * 0x1p-52 * magnitude);
      BOOST_TEST(sum(*device, counts[b], value(here.data() + b * row)) == block[b]);
      const std::size_t sevenths = (counts[b] + 6) / 7;
      BOOST_TEST(ones[b] == static_cast<double>(sevenths));
      BOOST_TEST(sum(*device, counts[b], seventh) == ones[b]);
    }
  }
}

BOOST_AUTO_TEST_CASE(repeated_steps_do_what_plain_ones_do) {
  for (const std::uint64_t count : {0U, 1U, 3U, 4U, 5U, 9U, 17U, 100U}) {
    BOOST_TEST_CONTEXT(count << " steps") {
      const auto device = emulated();
      Steps steps(*device, 5);
      std::uint64_t asked = 0;
      std::size_t waits = 0;
      device->repeat(count, [&](std::uint64_t t) {
        BOOST_TEST(t == asked++);
        if (t == 1) waits = work_of(*device).waits;
        steps.step(t);
      });
      const EmulatedWork work = work_of(*device);
      if (count >= 4) BOOST_TEST(work.waits == waits);  // once the tables have their room, nobody waits for a step
      BOOST_TEST(work.recordings == (count < 4 ? 0U : 1U));
      BOOST_TEST(work.replays == (count < 4 ? 0U : count - 1));
      BOOST_TEST(asked == count);
      BOOST_TEST(bool(steps.outcome() == after_plain_steps(5, count)));
    }
  }
}

BOOST_AUTO_TEST_CASE(repeats_follow_one_another_with_other_tables) {
  // Wider, narrower and longer ones, of which none waits for the last: what the one before sent must have arrived.
  const std::vector<std::pair<std::size_t, std::uint64_t>> repeats = {{40, 100}, {2, 17},  {2, 9}, {39, 5}, {1, 300},
                                                                      {40, 100}, {60, 64}, {5, 3}, {60, 65}};
  const auto device = emulated();
  std::vector<std::unique_ptr<Steps>> all;
  for (const auto& repeat : repeats) all.push_back(std::make_unique<Steps>(*device, repeat.first));
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    device->repeat(repeats[i].second, [&](std::uint64_t t) { all[i]->step(t); });
  }
  for (std::size_t i = 0; i < repeats.size(); ++i) {
    BOOST_TEST(bool(all[i]->outcome() == after_plain_steps(repeats[i].first, repeats[i].second)), "repeat " << i);
  }
}

BOOST_AUTO_TEST_CASE(tables_of_many_steps_take_turns_in_limited_room) {
  constexpr std::size_t mebibyte = std::size_t{1} << 20;
  // 100 MiB of tables in 64 versions of 1 MiB; 120 MiB in the 16 versions that there are at least.
  for (const std::size_t clients : {256U, 1280U}) {
    const std::size_t count = clients == 256 ? 100 : 24, room = (clients == 256 ? 64 : 80) * mebibyte;
    const auto run = [&](Device& device) {
      Buffer<Word> words(device, 2 * clients);
      device.repeat(count, [&](std::uint64_t t) {
        for_each_client(device, clients, 2, [&](std::size_t b) {
          Share<Heavy> share{2, {.to = words.data() + 2 * b, .values = {}}};
          share.functor.values[0] = static_cast<Word>(t * 1000 + b);
          share.functor.values[1020] = static_cast<Word>(b * 1000 + t);
          return share;
        });
      });
      return words.to_host();
    };
    const auto memory = make_emulated_memory();
    BOOST_TEST(bool(run(*make_emulated_device(memory)) == run(*make_cpu_device())), count << " steps");
    const std::size_t ring = 8 * clients * sizeof(Share<Heavy>);
    BOOST_TEST(most_allocated_bytes(*memory) <= room + ring + mebibyte);
  }
}

BOOST_AUTO_TEST_CASE(a_refused_step_leaves_a_device_that_works) {
  const std::vector<Word> expected = after_steps(*make_cpu_device(), false);
  for (const std::uint64_t at : {1U, 2U, 11U}) {  // while recording, in the first chunk of steps, in the second
    for (const std::string wrong :
         {"a larger table", "a smaller table", "a loop less", "a loop more", "an operation less", "an operation more",
          "steps of its own", "an upload", "a download", "a wait", "a failure of its own"}) {
      BOOST_TEST_CONTEXT(wrong << " in step " << at) {
        const auto device = emulated();
        Buffer<Word> words(*device, 8);
        const auto repeat = [&] {
          device->repeat(20, [&](std::uint64_t t) { step(*device, words, t, t == at ? wrong : ""); });
        };
        if (wrong == "a failure of its own") {
          BOOST_CHECK_THROW(repeat(), InputError);
        } else {
          BOOST_CHECK_THROW(repeat(), std::logic_error);
        }
        BOOST_TEST(after_steps(*device, false) == expected, boost::test_tools::per_element());
        BOOST_TEST(after_steps(*device, true) == expected, boost::test_tools::per_element());
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(tables_keep_their_place_until_they_have_arrived) {
  // 10 MB of tables without a wait by the caller, in a ring of 1 MiB; then one of 2.4 MB, and more small ones.
  const auto run = [](Device& device) {
    Buffer<Word> words(device, 200000);
    for (std::size_t n = 0; n < 4000; ++n) {
      mix_clients(device, words, n == 3500 ? 100000 : 1 + 7 * n % 200, n);
    }
    const std::size_t waits = device.accelerator() != nullptr ? work_of(device).waits : 0;
    return std::pair{words.to_host(), waits};
  };
  const auto [here, waits] = run(*emulated());
  const auto [there, none] = run(*make_cpu_device());
  BOOST_TEST(bool(here == there));
  BOOST_TEST(waits >= 24U);   // six times around the ring's four parts
  BOOST_TEST(waits <= 100U);  // and not at every launch
}

BOOST_AUTO_TEST_CASE(emulated_memory_is_strict) {
  const auto device = emulated();
  const auto all_nan = [&](const float* from) {
    std::vector<float> values(1000, 0.0F);
    device->download(values.data(), from, values.size() * sizeof(float));
    return std::all_of(values.begin(), values.end(), [](float x) { return std::isnan(x); });
  };
  auto* const memory = static_cast<float*>(device->allocate(4000));
  volatile float* const touched = memory;
  BOOST_TEST(signal_that_ends([&] { touched[999] = 1; }) == SIGSEGV);
  BOOST_TEST(all_nan(memory));
  for_each(*device, 1000, Fill<float>{memory, 2.0F});
  BOOST_TEST(!all_nan(memory));
  BOOST_TEST(signal_that_ends([] {}) == 0);
  BOOST_TEST(signal_that_ends([&] { (void)touched[0]; }) == SIGSEGV);
  BOOST_TEST(signal_that_ends([&] { touched[999] = 1; }) == SIGSEGV);
  device->release(memory);
  BOOST_TEST(signal_that_ends([&] { (void)touched[0]; }) == SIGSEGV);
  auto* const again = static_cast<float*>(device->allocate(4000));
  BOOST_TEST(again == memory);
  BOOST_TEST(all_nan(again));
  device->release(again);
}

BOOST_AUTO_TEST_CASE(a_client_of_a_block_takes_what_was_counted) {
  const Dataset data = labelled_noise(100, 64, 10);
  const Network<float> network = make_mlp<float>(64, std::vector<std::size_t>{50}, 10, "relu", true);
  const VisitPlan plan{.seed = 1, .batch = 64};
  for (const OptimizerPlugin& plugin : optimizer_plugins()) {
    if (plugin.full_covariance) continue;  // it exists in double alone
    const auto optimizer = make_optimizer<float>(plugin.name, {});
    const auto bytes = [&](std::size_t block) {
      const auto memory = make_emulated_memory();
      const auto device = make_emulated_device(memory);
      const Trainer<float> trainer(*device, network, *optimizer, data, plan, LearningRate(0.1), block);
      return static_cast<double>(allocated_bytes(*memory));
    };
    // Blocks of multiples of 16 fill whole pages here.
    const double taken = (bytes(48) - bytes(32)) / 16;
    const auto counted = static_cast<double>(Trainer<float>::bytes_per_client(network, *optimizer, plan));
    BOOST_TEST(taken <= counted, plugin.name << ": " << taken << " of " << counted);
    BOOST_TEST(taken >= 0.8 * counted, plugin.name << ": " << taken << " of " << counted);
  }
}
