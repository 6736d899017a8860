// Options: what is taken, what is refused with which words, and that values survive being written.
#define BOOST_TEST_MODULE options
#include <bit>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <random>
#include <stdexcept>
#include "tests/support/boost_test.hpp"

#include "ivory/error.hpp"
#include "ivory/options.hpp"

namespace {

using namespace ivory;
using Reals = std::vector<double>;
using Texts = std::vector<std::string>;

const SourcePlace table_place{"a.toml", 3, 1};

std::vector<OptionSpec> specs() {
  return {
      {.name = "lr", .default_value = 0.1, .low = 0, .low_open = true},
      {.name = "share", .default_value = 0.5, .unit = "1", .low = 0, .high = 1, .high_open = true},
      {.name = "batch", .default_value = std::int64_t{64}, .unit = "examples", .low = 1, .high = 1024},
      {.name = "offset", .default_value = std::int64_t{0}, .high = 5, .high_open = true},
      {.name = "free", .default_value = std::int64_t{7}},
      {.name = "debias", .default_value = true},
      {.name = "file", .default_value = std::string("x.h5")},
      {.name = "shape", .default_value = std::string("cosine"), .choices = {"constant", "cosine", "step"}},
      {.name = "widths", .default_value = Reals{3, 4}, .low = 1},
      {.name = "layers", .default_value = Texts{"a"}},
      {.name = "rules", .default_value = Texts{}, .choices = {"average", "diagonal"}},
  };
}

Options resolve(const std::string& key, OptionValue value) {
  return resolve_options(specs(), {{key, {std::move(value), {"a.toml", 5, 9}}}}, "clients", table_place);
}

/// The message of the InputError that `call` throws; the test fails where it throws nothing.
template <class Call>
std::string message(const Call& call) {
  try {
    call();
  } catch (const InputError& error) {
    return error.what();
  }
  BOOST_ERROR("no InputError");
  return {};
}

std::string refusal(const std::string& key, OptionValue value) {
  return message([&] { resolve(key, std::move(value)); });
}

std::int64_t whole(long long value) { return value; }
const std::string of_place = ", at a.toml:5:9";

}  // namespace

BOOST_AUTO_TEST_CASE(defaults_fill_every_key) {
  const Options options = resolve_options(specs(), {}, "clients", table_place);
  BOOST_TEST(options.rows().size() == specs().size());
  for (const OptionSpec& spec : specs()) {
    BOOST_TEST((options.rows().at(spec.name).value == spec.default_value));
    BOOST_TEST(!options.given(spec.name));
    BOOST_TEST(options.place(spec.name).line == 0U);
  }
  BOOST_TEST(to_string(options.place("lr")) == "the default of clients.lr");
}

BOOST_AUTO_TEST_CASE(lists_of_texts) {
  BOOST_TEST(resolve("layers", Texts{"0", "2.bias"}).texts("layers") == (Texts{"0", "2.bias"}),
             boost::test_tools::per_element());
  BOOST_TEST(resolve("layers", Reals{}).texts("layers").empty());  // [] has no type of its own
  BOOST_TEST(refusal("layers", Reals{1}) == "[scenario] clients.layers must be a list of texts, got [1]" + of_place);
  BOOST_TEST(refusal("layers", std::string("0")) ==
             "[scenario] clients.layers must be a list of texts, got \"0\"" + of_place + "; write [\"0\"]");
  BOOST_TEST(
      refusal("rules", Texts{"average", "diaglnal"}) ==
      "[scenario] clients.rules must be a list of texts, each \"average\" or \"diagonal\", got \"diaglnal\" (entry "
      "2 of [\"average\", \"diaglnal\"])" +
          of_place + "; did you mean \"diagonal\"?");
  BOOST_TEST(refusal("widths", Texts{"3"}) ==
             "[scenario] clients.widths must be a list of finite numbers, each >= 1, got [\"3\"]" + of_place +
                 "; lists stand in [ ]");
  BOOST_TEST(to_toml(OptionValue(Texts{"a\"", "b"})) == R"(["a\"", "b"])");
  BOOST_TEST(to_toml(OptionValue(Texts{})) == "[]");
}

BOOST_AUTO_TEST_CASE(given_values_are_kept_with_their_place) {
  const Options options = resolve("batch", whole(32));
  BOOST_TEST(options.integer("batch") == 32);
  BOOST_TEST(options.given("batch"));
  BOOST_TEST(to_string(options.place("batch")) == "a.toml:5:9");
  BOOST_TEST(!options.given("lr"));
  BOOST_TEST(resolve("debias", false).boolean("debias") == false);
  BOOST_TEST(resolve("file", std::string("ü \"q\"")).text("file") == "ü \"q\"");
  BOOST_TEST(resolve("shape", std::string("step")).text("shape") == "step");
  BOOST_TEST(resolve("widths", Reals{}).reals("widths").empty());
  BOOST_TEST(resolve("widths", Reals{1, 2.5}).reals("widths") == (Reals{1, 2.5}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(only_integers_become_reals) {
  const Options options = resolve("lr", whole(2));
  BOOST_TEST(options.real("lr") == 2.0);
  BOOST_TEST(std::holds_alternative<double>(options.rows().at("lr").value));
  BOOST_TEST(refusal("lr", true) == "[scenario] clients.lr must be a finite number > 0, got true" + of_place);
  BOOST_TEST(refusal("lr", std::string("0.1")) ==
             "[scenario] clients.lr must be a finite number > 0, got \"0.1\"" + of_place);
  BOOST_TEST(refusal("batch", 32.0) ==
             "[scenario] clients.batch must be an integer in [1, 1024] (examples), got 32.0" + of_place + "; write 32");
  BOOST_TEST(refusal("batch", 32.5) ==
             "[scenario] clients.batch must be an integer in [1, 1024] (examples), got 32.5" + of_place);
  BOOST_TEST(refusal("debias", whole(1)) == "[scenario] clients.debias must be true or false, got 1" + of_place);
  BOOST_TEST(refusal("file", whole(3)) ==
             "[scenario] clients.file must be a text, got 3" + of_place + "; texts stand in quotes");
  BOOST_TEST(refusal("widths", whole(200)) ==
             "[scenario] clients.widths must be a list of finite numbers, each >= 1, got 200" + of_place +
                 "; lists stand in [ ]");
  BOOST_TEST(refusal("lr", Reals{0.1}) == "[scenario] clients.lr must be a finite number > 0, got [0.1]" + of_place);
}

BOOST_AUTO_TEST_CASE(ranges_are_open_or_closed_as_declared) {
  const double tiny = std::numeric_limits<double>::denorm_min(), below_one = std::nextafter(1.0, 0.0);
  BOOST_TEST(resolve("lr", tiny).real("lr") == tiny);
  BOOST_TEST(refusal("lr", 0.0) == "[scenario] clients.lr must be a finite number > 0, got 0.0" + of_place);
  BOOST_TEST(refusal("lr", whole(0)) == "[scenario] clients.lr must be a finite number > 0, got 0.0" + of_place);
  BOOST_TEST(resolve("share", 0.0).real("share") == 0.0);
  BOOST_TEST(resolve("share", below_one).real("share") == below_one);
  BOOST_TEST(refusal("share", 1.0) == "[scenario] clients.share must be a finite number in [0, 1), got 1.0" + of_place);
  BOOST_TEST(refusal("share", -tiny) ==
             "[scenario] clients.share must be a finite number in [0, 1), got -5e-324" + of_place);
  BOOST_TEST(resolve("batch", whole(1)).integer("batch") == 1);
  BOOST_TEST(resolve("batch", whole(1024)).integer("batch") == 1024);
  BOOST_TEST(refusal("batch", whole(0)) ==
             "[scenario] clients.batch must be an integer in [1, 1024] (examples), got 0" + of_place);
  BOOST_TEST(refusal("batch", whole(1025)) ==
             "[scenario] clients.batch must be an integer in [1, 1024] (examples), got 1025" + of_place);
  BOOST_TEST(resolve("offset", whole(4)).integer("offset") == 4);
  BOOST_TEST(refusal("offset", whole(5)) == "[scenario] clients.offset must be an integer < 5, got 5" + of_place);
  BOOST_TEST(
      refusal("widths", Reals{7, 0.5, 1}) ==
      "[scenario] clients.widths must be a list of finite numbers, each >= 1, got 0.5 (entry 2 of [7.0, 0.5, 1.0])" +
          of_place);
}

BOOST_AUTO_TEST_CASE(not_finite_and_inexact_numbers_are_refused) {
  const double inf = std::numeric_limits<double>::infinity();
  BOOST_TEST(refusal("lr", inf) == "[scenario] clients.lr must be a finite number > 0, got inf" + of_place);
  BOOST_TEST(refusal("share", -inf) ==
             "[scenario] clients.share must be a finite number in [0, 1), got -inf" + of_place);
  BOOST_TEST(refusal("lr", std::nan("")) == "[scenario] clients.lr must be a finite number > 0, got nan" + of_place);
  BOOST_TEST(refusal("widths", Reals{1, inf}) ==
             "[scenario] clients.widths must be a list of finite numbers, each >= 1, got inf (entry 2 of [1.0, inf])" +
                 of_place);
  const std::int64_t most = std::int64_t{1} << 53;
  BOOST_TEST(resolve("free", most).integer("free") == most);
  BOOST_TEST(resolve("free", -most).integer("free") == -most);
  BOOST_TEST(refusal("free", most + 1) ==
             "[scenario] clients.free must be an integer, got 9007199254740993, beyond 2^53" + of_place);
  BOOST_TEST(refusal("free", std::numeric_limits<std::int64_t>::min()) ==
             "[scenario] clients.free must be an integer, got -9223372036854775808, beyond 2^53" + of_place);
  BOOST_TEST(refusal("lr", most + 1) ==
             "[scenario] clients.lr must be a finite number > 0, got 9007199254740993, beyond 2^53" + of_place);
}

BOOST_AUTO_TEST_CASE(choices_and_unknown_keys_name_the_nearest) {
  BOOST_TEST(refusal("shape", std::string("cosin")) ==
             "[scenario] clients.shape must be \"constant\", \"cosine\" or \"step\", got \"cosin\"" + of_place +
                 "; did you mean \"cosine\"?");
  BOOST_TEST(refusal("shape", std::string("hexagon")) ==
             "[scenario] clients.shape must be \"constant\", \"cosine\" or \"step\", got \"hexagon\"" + of_place);
  BOOST_TEST(refusal("bacth", whole(32)) ==
             "[scenario] unknown key clients.bacth = 32" + of_place + "; did you mean \"batch\"?");
  BOOST_TEST(refusal("zzzzzz", true) ==
             "[scenario] unknown key clients.zzzzzz = true" + of_place +
                 "; known are lr, share, batch, offset, free, debias, file, shape, widths, layers, "
                 "rules");
}

BOOST_AUTO_TEST_CASE(required_keys_must_be_given) {
  const std::vector<OptionSpec> needs = {
      {.name = "count", .default_value = std::int64_t{1}, .unit = "clients", .low = 1, .required = true},
      {.name = "name", .default_value = std::string(), .choices = {"a", "b"}, .required = true}};
  BOOST_TEST(message([&] { resolve_options(needs, {}, "t", table_place); }) ==
             "[scenario] t.count is required and must be an integer >= 1 (clients), got nothing, at a.toml:3:1\n"
             "[scenario] t.name is required and must be \"a\" or \"b\", got nothing, at a.toml:3:1");
  const GivenTable given = {{"count", {whole(3), {"--set count", 0, 0}}}, {"name", {std::string("b"), {}}}};
  const Options options = resolve_options(needs, given, "", table_place);
  BOOST_TEST(options.integer("count") == 3);
  BOOST_TEST(to_string(options.place("count")) == "--set count");
}

BOOST_AUTO_TEST_CASE(all_mistakes_of_a_table_are_reported) {
  const GivenTable given = {{"batch", {whole(0), {"a.toml", 1, 1}}},
                            {"larning", {0.5, {"a.toml", 2, 2}}},
                            {"lr", {-1.0, {"--set clients.lr", 0, 0}}}};
  BOOST_TEST(
      message([&] { resolve_options(specs(), given, "", table_place); }) ==
      "[scenario] unknown key larning = 0.5, at a.toml:2:2; known are lr, share, batch, offset, free, debias, file, "
      "shape, widths, layers, rules\n"
      "[scenario] lr must be a finite number > 0, got -1.0, in --set clients.lr\n"
      "[scenario] batch must be an integer in [1, 1024] (examples), got 0, at a.toml:1:1");
}

BOOST_AUTO_TEST_CASE(long_values_are_cut_between_letters) {
  std::string text;
  for (int i = 0; i < 100; ++i)
    text += "ü";  // two bytes each, behind a quote: a plain cut at 100 bytes would halve one
  const std::string said = refusal("shape", text);
  const auto from = said.find("got ") + 4;
  BOOST_TEST(said.substr(from, said.find("...") - from) == "\"" + text.substr(0, 98));
}

BOOST_AUTO_TEST_CASE(getters_assert_declaration_and_type) {
  const Options options = resolve_options(specs(), {}, "clients", table_place);
  BOOST_TEST(options.has("lr"));
  BOOST_TEST(!options.has("nothing"));
  BOOST_CHECK_THROW(options.real("nothing"), std::logic_error);
  BOOST_CHECK_THROW(options.given("nothing"), std::logic_error);
  BOOST_CHECK_THROW(options.place("nothing"), std::logic_error);
  BOOST_CHECK_THROW(options.real("batch"), std::logic_error);
  BOOST_CHECK_THROW(options.integer("lr"), std::logic_error);
  BOOST_CHECK_THROW(options.text("debias"), std::logic_error);
  BOOST_CHECK_THROW(options.boolean("file"), std::logic_error);
  BOOST_CHECK_THROW(options.reals("lr"), std::logic_error);
}

BOOST_AUTO_TEST_CASE(nearest_names) {
  const std::vector<std::string> known = {"lr",           "learning_rate", "batch", "hess_init",
                                          "weight_decay", "beta1",         "beta2"};
  BOOST_TEST(nearest_name("bacth", known) == "batch");   // two letters swapped
  BOOST_TEST(nearest_name("batchs", known) == "batch");  // one too many
  BOOST_TEST(nearest_name("btch", known) == "batch");    // one missing
  BOOST_TEST(nearest_name("Batch", known) == "batch");   // case
  BOOST_TEST(nearest_name("weight-decay", known) == "weight_decay");
  BOOST_TEST(nearest_name("weightdekay", known) == "weight_decay");
  BOOST_TEST(nearest_name("hess", known) == "hess_init");  // a beginning
  BOOST_TEST(nearest_name("beta2", known) == "beta2");
  BOOST_TEST(nearest_name("beta", known) == "beta1");  // the first of equals
  BOOST_TEST(nearest_name("rounds", known) == "");
  BOOST_TEST(nearest_name("", known) == "");
  BOOST_TEST(nearest_name("x", {"y"}) == "");  // nothing in common
  BOOST_TEST(nearest_name("batch", {}) == "");
}

BOOST_AUTO_TEST_CASE(values_as_toml) {
  BOOST_TEST(to_toml(OptionValue(whole(1))) == "1");
  BOOST_TEST(to_toml(OptionValue(whole(-9007199254740992))) == "-9007199254740992");
  BOOST_TEST(to_toml(OptionValue(0.1)) == "0.1");
  BOOST_TEST(to_toml(OptionValue(1.0)) == "1.0");  // stays a real for any TOML reader
  BOOST_TEST(to_toml(OptionValue(-0.0)) == "-0.0");
  BOOST_TEST(to_toml(OptionValue(1e22)) == "1e+22");
  BOOST_TEST(to_toml(OptionValue(true)) == "true");
  BOOST_TEST(to_toml(OptionValue(false)) == "false");
  BOOST_TEST(to_toml(OptionValue(std::string("a"))) == "\"a\"");
  BOOST_TEST(to_toml(OptionValue(std::string("a\"b\\c\n\t\x01\x7fü"))) == R"("a\"b\\c\n\t\u0001\u007Fü")");
  BOOST_TEST(to_toml(OptionValue(Reals{200, 100})) == "[200, 100]");
  BOOST_TEST(to_toml(OptionValue(Reals{})) == "[]");
  BOOST_TEST(to_toml(OptionValue(Reals{1, 0.5})) == "[1.0, 0.5]");
  BOOST_TEST(to_toml(OptionValue(Reals{-0.0})) == "[-0.0]");
  BOOST_TEST(to_toml(OptionValue(Reals{1e300})) == "[1e+300]");
}

BOOST_AUTO_TEST_CASE(reals_round_trip) {
  std::mt19937_64 generator(7);  // fixed seed: the same doubles on every run
  for (int i = 0; i < 20000; ++i) {
    const auto bits = generator();
    const double value = std::bit_cast<double>(bits);
    if (!std::isfinite(value)) continue;
    const std::string text = to_toml(OptionValue(value));
    BOOST_REQUIRE_EQUAL(std::bit_cast<std::uint64_t>(std::strtod(text.c_str(), nullptr)), bits);
    BOOST_REQUIRE(text.find_first_of(".e") != std::string::npos);
  }
}

BOOST_AUTO_TEST_CASE(places_as_text) {
  BOOST_TEST(to_string(SourcePlace{"a.toml", 12, 3}) == "a.toml:12:3");
  BOOST_TEST(to_string(SourcePlace{"--set a.b", 0, 0}) == "--set a.b");
  BOOST_TEST(to_string(SourcePlace{}) == "");
}
