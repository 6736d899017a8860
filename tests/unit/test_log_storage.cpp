// What is kept of vectors: chosen layers, float32 or float16.
#define BOOST_TEST_MODULE log_storage
#include <cmath>
#include <numeric>

#include "ivory/error.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/sample_log.hpp"
#include "tests/support/sample_log_check.hpp"
#include "tests/support/text.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

}  // namespace

BOOST_AUTO_TEST_CASE(chosen_layers_and_float16_are_what_is_kept_of_vectors) {
  const struct {
    std::vector<std::string> layers;
    std::vector<std::size_t> kept;
  } cases[] = {{{"0"}, {}}, {{"0.bias"}, {28, 29, 30, 31}}, {{"0.weight", "0.bias"}, {}}};
  for (const auto& [layers, some] : cases) {
    std::vector<std::size_t> kept = some;
    if (kept.empty()) {
      kept.resize(SampleRun::parameters);
      std::iota(kept.begin(), kept.end(), std::size_t{0});
    }
    for (const std::string storage : {"float32", "float16"}) {
      BOOST_TEST_CONTEXT(storage << ", " << layers.front() << " of " << layers.size()) {
        TemporaryFolder folder;
        SampleRun run;
        SampleRun::set(run.scenario.log, "layers", layers);
        SampleRun::set(run.scenario.log, "storage", storage);
        write_log(folder / "a.h5", run, 6);
        const LogReader log(folder / "a.h5");
        const auto chosen = [&](const std::vector<float>& whole) {
          std::vector<float> part;
          for (const std::size_t i : kept) {
            const int last_bit = std::ilogb(whole.at(i)) - (storage == "float16" ? 10 : 23);
            part.push_back(std::ldexp(std::nearbyint(std::ldexp(whole.at(i), -last_bit)), last_bit));
          }
          return part;
        };
        const Hdf5File& file = log.file();
        check_same("parameter", file.read<double>("/posterior/parameter").values, kept);
        check_same("clients' parameter", file.read<double>("/clients/parameter").values, kept);
        for (std::size_t row = 0; row < 2; ++row) {
          const int round = log.posterior_rounds().at(row);
          check_same("mean", file.read_rows<float>("/posterior/mean", row, 1).values, chosen(sample_vector(round, 20)));
          check_same("precision", file.read_rows<float>("/posterior/precision", row, 1).values,
                     chosen(sample_vector(round, 21)));
          const auto sites = file.read_rows<float>("/clients/site_mean", row, 1).values;
          const std::vector<float> none(kept.size(), std::nanf(""));
          std::vector<float> expected = chosen(sample_vector(round, 2));
          expected.insert(expected.end(), none.begin(), none.end());
          const std::vector<float> last = chosen(sample_vector(round, 10));
          expected.insert(expected.end(), last.begin(), last.end());
          check_same("site_mean", sites, expected);
        }
        if (kept.size() < SampleRun::parameters) {
          const auto refused = [](const InputError& error) {
            return contains(error.what(), "all 32 parameters must be recorded") && contains(error.what(), "got 4");
          };
          BOOST_CHECK_EXCEPTION(log.posterior_mean(0), InputError, refused);
          BOOST_CHECK_EXCEPTION(log.client_vectors("mean", 0), InputError, refused);
        } else if (storage == "float32") {
          check_vectors(log, "every", true);
        }
      }
    }
  }
}

BOOST_AUTO_TEST_CASE(what_float16_cannot_hold_is_infinite_and_counted) {
  TemporaryFolder folder;
  SampleRun run;
  SampleRun::set(run.scenario.log, "storage", std::string("float16"));
  RunLog log(folder / "a.h5", run.wired());
  std::vector<float> mean(SampleRun::parameters, 0.1F);
  mean[3] = 1e5F;
  mean[4] = -2e9F;
  log.write_posterior(4, mean, {});
  log.close();
  BOOST_TEST(log.overflows() == 2U);
  const auto written = Hdf5File::open(folder / "a.h5").read_rows<float>("/posterior/mean", 0, 1).values;
  BOOST_TEST(written[2] == 0.0999755859375F);  // the float16 next to 0.1
  BOOST_TEST(written[3] == INFINITY);
  BOOST_TEST(written[4] == -INFINITY);
}

BOOST_AUTO_TEST_CASE(an_unknown_layer_is_refused) {
  SampleRun run;
  SampleRun::set(run.scenario.log, "layers", std::vector<std::string>{"0", "0.wieght"});
  BOOST_CHECK_EXCEPTION(run.wired(), InputError, [](const InputError& error) {
    return contains(error.what(), "log.layers must name layers or slices of the network, got \"0.wieght\"") &&
           contains(error.what(), "did you mean \"0.weight\"?");
  });
}
