// Checkpoints on disk: what is read is what was written, and nothing half written or of another program is believed.
#define BOOST_TEST_MODULE checkpoint
#include "src/checkpoint.hpp"

#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "ivory/device.hpp"
#include "ivory/error.hpp"
#include "src/run_state.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/temporary_folder.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

const std::string device = "cpu (test)";

struct Fixture {
  TemporaryFolder folder;
  std::string log = folder / "run.h5";
};

void save(Checkpoints& checkpoints, std::uint64_t round, const std::vector<float>& values,
          const std::string& wrote = device) {
  CheckpointWriter writer = checkpoints.next();
  Checkpoints::write_header(writer, round, wrote);
  writer.array("values", std::span<const float>(values));
  writer.finish();
}

std::string bytes_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

void put(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary) << bytes; }

}  // namespace

BOOST_FIXTURE_TEST_CASE(the_newest_that_the_log_has_the_rounds_of_is_taken, Fixture) {
  Checkpoints checkpoints(log);
  BOOST_CHECK(!checkpoints.exist());
  BOOST_CHECK(!checkpoints.newest(10, device));
  save(checkpoints, 2, {2});
  save(checkpoints, 4, {4, 4});
  save(checkpoints, 6, {6, 6, 6});  // takes the place of round 2
  BOOST_CHECK(checkpoints.exist());
  for (const auto& [rounds, expected] : std::vector<std::pair<std::uint64_t, std::uint64_t>>{{9, 6}, {6, 6}, {5, 4}}) {
    auto found = Checkpoints(log).newest(rounds, device);
    BOOST_REQUIRE(found);
    BOOST_TEST(found->round == expected);
    BOOST_TEST(found->reader.array<float>("values").size() == expected / 2);
  }
  BOOST_CHECK(!Checkpoints(log).newest(3, device));
  // The run that goes on after round 4 replaces the other one.
  Checkpoints again(log);
  BOOST_REQUIRE(again.newest(5, device));
  save(again, 5, {5});
  BOOST_TEST(Checkpoints(log).newest(4, device)->round == 4U);
  BOOST_TEST(Checkpoints(log).newest(5, device)->round == 5U);
  again.remove();
  BOOST_CHECK(!again.exist());
}

BOOST_FIXTURE_TEST_CASE(a_checkpoint_that_is_not_whole_is_none, Fixture) {
  {
    Checkpoints checkpoints(log);
    save(checkpoints, 2, {2});
    save(checkpoints, 4, {4, -4});
  }
  const std::string newer = log + ".checkpoint-b", whole = bytes_of(newer);
  BOOST_REQUIRE(!whole.empty());
  for (std::size_t i = 0; i < whole.size(); ++i) {
    put(newer, whole.substr(0, i));
    BOOST_TEST(Checkpoints(log).newest(9, device)->round == 2U, "cut at byte " << i);
    std::string changed = whole;
    changed[i] = static_cast<char>(changed[i] ^ 0x10);
    put(newer, changed);
    BOOST_TEST(Checkpoints(log).newest(9, device)->round == 2U, "byte " << i << " changed");
  }
  put(newer, whole);
  BOOST_TEST(Checkpoints(log).newest(9, device)->round == 4U);
}

BOOST_FIXTURE_TEST_CASE(of_an_interrupted_write_the_file_before_stays, Fixture) {
  Checkpoints checkpoints(log);
  save(checkpoints, 2, {2});
  save(checkpoints, 4, {4});
  {
    CheckpointWriter writer = checkpoints.next();
    Checkpoints::write_header(writer, 6, device);
  }
  BOOST_TEST(Checkpoints(log).newest(9, device)->round == 4U);
  BOOST_TEST(Checkpoints(log).newest(3, device)->round == 2U);
  BOOST_TEST(!std::filesystem::exists(log + ".checkpoint-a.new"));
}

BOOST_FIXTURE_TEST_CASE(another_device_is_refused, Fixture) {
  Checkpoints checkpoints(log);
  save(checkpoints, 2, {2}, "cuda (SOME)");
  BOOST_CHECK_EXCEPTION((void)checkpoints.newest(9, device), InputError, [](const InputError& error) {
    return std::string(error.what()).find("cpu (test) after cuda (SOME)") != std::string::npos;
  });
}

BOOST_FIXTURE_TEST_CASE(arrays_come_in_the_order_they_were_written, Fixture) {
  Checkpoints checkpoints(log);
  save(checkpoints, 2, {2});
  BOOST_CHECK_THROW(checkpoints.newest(9, device)->reader.array<float>("other"), RunError);
  BOOST_CHECK_THROW(checkpoints.newest(9, device)->reader.array<double>("values"), RunError);
  BOOST_CHECK_EXCEPTION(checkpoints.newest(9, device)->reader.array<float>("other"), RunError,
                        [&](const RunError& error) {
                          const std::string text = error.what();
                          return text.find("remove " + log + ".checkpoint-a and -b, then") != std::string::npos &&
                                 text.find("run without --resume, compare and sweep with --fresh") != std::string::npos;
                        });
}

BOOST_FIXTURE_TEST_CASE(checkpoints_move_with_their_log, Fixture) {
  const std::string other = log + ".1";
  Checkpoints checkpoints(log);
  checkpoints.move_to(other);  // there are none
  BOOST_TEST(!Checkpoints(other).exist());
  save(checkpoints, 2, {2});
  checkpoints.move_to(other);
  BOOST_TEST(!checkpoints.exist());
  BOOST_TEST(Checkpoints(other).newest(9, device)->round == 2U);
  save(checkpoints, 3, {3});
  save(checkpoints, 4, {4});
  std::filesystem::remove_all(other + ".checkpoint-a");
  std::filesystem::create_directory(other + ".checkpoint-a");
  BOOST_CHECK_EXCEPTION(checkpoints.move_to(other), RunError, [&](const RunError& error) {
    return std::string(error.what()).find(log + ".checkpoint-a -> " + other) != std::string::npos;
  });
}

BOOST_FIXTURE_TEST_CASE(a_state_comes_back_as_it_was, Fixture) {
  const auto cpu = make_cpu_device();
  const auto filled = [&](ServerState<float>& state) {
    state.start.from_host({1, 2, 3, 4});
    state.mean = Buffer<float>(*cpu, std::vector<float>{5, 6, 7, 8});
    state.memory.push_back(Buffer<float>(*cpu, std::vector<float>{9, 10}));
    state.site[1] = Buffer<float>(*cpu, std::vector<float>{11, 12, 13});
    state.visited = {0, 1, 0};
  };
  ServerState<float> before(*cpu, 4, 4, {1, 1, 1}, true), after(*cpu, 4, 4, {1, 1, 1}, true);
  filled(before);
  {
    CheckpointWriter writer(log);
    visit_state(before, StateWriter(writer));
    writer.finish();
  }
  // What was there goes where the checkpoint has nothing.
  after.site[0] = Buffer<float>(*cpu, std::vector<float>{1});
  const float* const place = after.start.data();
  CheckpointReader reader(log);
  visit_state(after, StateReader(reader, *cpu));
  BOOST_TEST(after.start.to_host() == (std::vector<float>{1, 2, 3, 4}));
  BOOST_TEST(after.start.data() == place);
  BOOST_TEST(after.mean.to_host() == (std::vector<float>{5, 6, 7, 8}));
  BOOST_TEST(after.precision.empty());
  BOOST_TEST(after.memory.at(0).to_host() == (std::vector<float>{9, 10}));
  BOOST_TEST(after.site[0].empty());
  BOOST_TEST(after.site[1].to_host() == (std::vector<float>{11, 12, 13}));
  BOOST_TEST(after.site[2].empty());
  BOOST_TEST(after.visited == (std::vector<std::uint8_t>{0, 1, 0}));
}

BOOST_FIXTURE_TEST_CASE(a_state_of_another_run_is_refused, Fixture) {
  const auto cpu = make_cpu_device();
  const auto message = [&](const auto& write, const auto& read) -> std::string {
    {
      CheckpointWriter writer(log);
      write(writer);
      writer.finish();
    }
    CheckpointReader reader(log);
    try {
      read(StateReader(reader, *cpu));
    } catch (const RunError& error) {
      return error.what();
    }
    return "";
  };
  const std::vector<float> four = {1, 2, 3, 4};
  const auto write_four = [&](CheckpointWriter& writer) { writer.array("mean", std::span<const float>(four)); };
  Buffer<float> same(*cpu, four), shorter(*cpu, std::vector<float>{1, 2}), none;
  BOOST_TEST(message(write_four, [&](const StateReader& read) { read("mean", same); }) == "");
  BOOST_TEST(message(write_four, [&](const StateReader& read) { read("mean", none); }) == "");
  const std::string buffer = message(write_four, [&](const StateReader& read) { read("mean", shorter); });
  BOOST_TEST(buffer.find("mean has 4 values where the run has 2") != std::string::npos, buffer);
  BOOST_TEST(buffer.find(log) != std::string::npos, buffer);
  std::vector<float> list = {1};
  BOOST_TEST(message(write_four, [&](const StateReader& read) {
               read("mean", list);
             }).find("4 values where the run has 1") != std::string::npos);
  // Lengths that were never written are not allocated.
  for (const std::uint64_t length : {std::uint64_t{1} << 40, ~std::uint64_t{0}, std::uint64_t{1000}}) {
    std::vector<Buffer<float>> sites;
    const std::string refused = message([&](CheckpointWriter& writer) { writer.value("site", length); },
                                        [&](const StateReader& read) { read("site", sites); });
    BOOST_TEST(refused.find("site has more arrays than the file has room for") != std::string::npos, refused);
    BOOST_TEST(sites.empty());
  }
}

BOOST_FIXTURE_TEST_CASE(what_is_no_file_is_no_checkpoint, Fixture) {
  BOOST_REQUIRE(mkfifo((log + ".checkpoint-a").c_str(), 0600) == 0);
  BOOST_REQUIRE(std::filesystem::create_directory(log + ".checkpoint-b"));
  BOOST_CHECK(Checkpoints(log).exist());
  BOOST_CHECK(!Checkpoints(log).newest(9, device));
}
