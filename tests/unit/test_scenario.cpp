// Scenario files: what is read, and that a resolved scenario reads back.
#define BOOST_TEST_MODULE scenario
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include "tests/support/boost_test.hpp"

#include <unistd.h>

#include "ivory/registry.hpp"
#include "src/scenario_schema.hpp"
#include "tests/support/scenario_text.hpp"

#ifndef IVORY_SOURCE_DIR
#define IVORY_SOURCE_DIR "."
#endif

namespace {

using namespace ivory;
using namespace ivory::test;

std::string shipped(const std::string& name) { return std::string(IVORY_SOURCE_DIR) + "/scenarios/" + name; }

}  // namespace

BOOST_AUTO_TEST_CASE(a_short_scenario_gets_every_default) {
  const Scenario s = parse_one(base);
  BOOST_TEST(s.name == "t");
  BOOST_TEST(s.arm == "");
  BOOST_TEST(s.file == "dir/a.toml");
  BOOST_TEST(s.seed == 1U);
  BOOST_TEST(s.rounds == 3);
  BOOST_TEST(s.optimizer_name == "ivon");
  BOOST_TEST(s.algorithm_name == "vb_admm");
  BOOST_TEST(s.data.text("kind") == "idx");
  BOOST_TEST(s.data.text("directory") == "digits");
  BOOST_TEST(s.partition.text("kind") == "iid");
  BOOST_TEST(s.model.text("kind") == "mlp");
  BOOST_TEST(s.model.reals("hidden") == std::vector<double>{5}, boost::test_tools::per_element());
  BOOST_TEST(s.model.text("activation") == "relu");
  BOOST_TEST(s.model.boolean("bias"));
  BOOST_TEST(s.model.text("init") == "");
  BOOST_TEST(s.clients.integer("count") == 4);
  BOOST_TEST(s.clients.real("participation") == 1.0);
  BOOST_TEST(s.clients.integer("epochs") == 1);
  BOOST_TEST(s.clients.integer("steps") == 0);
  BOOST_TEST(s.clients.integer("batch") == 64);
  BOOST_TEST(s.clients.text("schedule") == "constant");
  BOOST_TEST(s.clients.integer("schedule_step_rounds") == 0);
  BOOST_TEST(s.clients.real("schedule_step_factor") == 0.1);
  BOOST_TEST(s.clients.real("schedule_final") == 0.0);
  BOOST_TEST(s.clients.integer("warmup_rounds") == 0);
  BOOST_TEST(s.clients.text("inner_schedule") == "constant");
  BOOST_TEST(s.clients.integer("inner_step_every") == 0);
  BOOST_TEST(s.clients.real("inner_step_factor") == 0.1);
  BOOST_TEST(s.clients.real("inner_final") == 0.0);
  BOOST_TEST(s.clients.integer("inner_warmup_steps") == 0);
  BOOST_TEST(!s.clients.boolean("keep_opt_state"));
  BOOST_TEST(!s.clients.boolean("pool"));
  BOOST_TEST(s.optimizer.real("lr") == 0.5);
  BOOST_TEST(s.optimizer.real("hess_init") == 0.25);
  BOOST_TEST(!s.optimizer.has("name"));  // it has its own member
  BOOST_TEST(s.algorithm.real("rho") == 2.0);
  BOOST_TEST(!s.algorithm.has("algorithm"));
  BOOST_TEST(s.evaluation.integer("every") == 1);
  BOOST_TEST(s.evaluation.integer("samples") == 32);
  BOOST_TEST(!s.evaluation.boolean("curve"));
  BOOST_TEST(!s.evaluation.boolean("laplace"));
  BOOST_TEST(s.evaluation.real("laplace_prior_precision") == 0.0);
  BOOST_TEST(s.evaluation.integer("bins") == 15);
  BOOST_TEST(s.evaluation.text("clients") == "auto");
  BOOST_TEST(s.evaluation.integer("clients_every") == 10);
  BOOST_TEST(s.evaluation.integer("elbo_samples") == 0);
  BOOST_TEST(s.evaluation.real("target_accuracy") == 0.9);
  BOOST_TEST(s.log.integer("posterior_every") == 10);
  BOOST_TEST(s.log.text("sites") == "none");
}

BOOST_AUTO_TEST_CASE(given_values_carry_their_place) {
  const Scenario s = parse_one(base);
  BOOST_TEST(s.clients.given("count"));
  BOOST_TEST(to_string(s.clients.place("count")) == "dir/a.toml:11:1");
  BOOST_TEST(to_string(s.optimizer.place("hess_init")) == "dir/a.toml:15:1");
  BOOST_TEST(to_string(s.data.place("directory")) == "dir/a.toml:5:1");
  BOOST_TEST(!s.clients.given("batch"));
  BOOST_TEST(s.clients.place("batch").line == 0U);
  BOOST_TEST(s.algorithm.given("rho"));
  BOOST_TEST(!s.algorithm.given("damping"));
}

BOOST_AUTO_TEST_CASE(dotted_keys_and_inline_tables_say_the_same) {
  const std::string other =
      "name = \"t\"\nrounds = 3\ndata = { kind = \"idx\", directory = \"digits\" }\npartition.kind = \"iid\"\n"
      "model.hidden = [5]\nclients.count = 4\nclients.optimizer = { name = \"ivon\", lr = 0.5, hess_init = 0.25 }\n"
      "server.algorithm = \"vb_admm\"\nserver.rho = 2.0\n";
  check_equal(parse_one(base), parse_one(other));
  BOOST_TEST(to_string(parse_one(other).optimizer.place("lr")) == "dir/a.toml:7:38");
}

BOOST_AUTO_TEST_CASE(seeds_reach_up_to_2_53) {
  BOOST_TEST(parse_one("seed = 0\n" + base).seed == 0U);
  BOOST_TEST(parse_one("seed = 9007199254740992\n" + base).seed == std::uint64_t{1} << 53);
  BOOST_TEST(
      starts(refusal("seed = 9007199254740993\n" + base),
             "[scenario] seed must be an integer in [0, 9007199254740992], got 9007199254740993, beyond 2^53, at "
             "dir/a.toml:1:1"));
  BOOST_TEST(
      starts(refusal("seed = -1\n" + base), "[scenario] seed must be an integer in [0, 9007199254740992], got -1"));
}

BOOST_AUTO_TEST_CASE(resolved_scenarios_read_back) {
  check_round_trip(parse_one(base));
  check_round_trip(
      parse_one(base, {"clients.steps=20", "seed=9007199254740992", "clients.participation=0.1",
                       "name=quotes \" and \\ and ü", "model.hidden=[3, 2]", "evaluation.target_accuracy=1"}));
  check_round_trip(parse_one(base, {"clients.schedule=step", "clients.schedule_step_rounds=2"}));
  check_round_trip(parse_one(base, {"clients.schedule=linear", "clients.schedule_final=0.1",
                                    "clients.inner_schedule=step", "clients.inner_step_every=5"}));
  check_round_trip(parse_one(replaced("count = 4\n", "", replaced("kind = \"iid\"", "kind = \"natural\""))));
  const std::string text = to_toml(parse(two_arms).front());
  BOOST_TEST(starts(text, "name = \"t\"\narm = \"fedavg\"\nseed = 1\nrounds = 3\n\n[data]\nkind = \"idx\"\n"));
  BOOST_TEST(contains(text, "\n[clients.optimizer]\nname = \"adam\"\n"));
  BOOST_TEST(contains(text, "\n[server]\nalgorithm = \"fedavg\"\n"));
  BOOST_TEST(contains(text, "\nbatch = 64\n"));                    // defaults too
  const std::vector<Scenario> back = parse(text, {}, {"fedavg"});  // its arm can be asked for
  BOOST_TEST(back.front().arm == "fedavg");
  BOOST_TEST(starts(refusal("arm = \"a b\"\n" + base),
                    "[scenario] arm must be made of letters, digits and _-.,=+, got \"a b\""));
}

namespace {

/// A good value other than the default, where the spec leaves one.
OptionValue other_value(const OptionSpec& spec) {
  const double low = std::isfinite(spec.low) ? spec.low : -3, high = std::isfinite(spec.high) ? spec.high : low + 7;
  struct Change {
    const OptionSpec& spec;
    double low, high;
    OptionValue operator()(bool value) const { return !value; }
    OptionValue operator()(std::int64_t value) const {
      const auto next = static_cast<double>(value + 1);
      const bool fits = spec.high_open ? next < spec.high : next <= spec.high;
      return fits ? value + 1 : value - 1;
    }
    OptionValue operator()(double) const { return low + (high - low) / 3; }  // digits that need all 17 places
    OptionValue operator()(const std::string& value) const {
      for (const std::string& choice : spec.choices) {
        if (choice != value) return choice;
      }
      return spec.choices.empty() ? value + "é\"\n" : value;
    }
    OptionValue operator()(const std::vector<double>&) const {
      if (spec.name == "hidden") return std::vector<double>{3, 2};  // whole numbers only
      return std::vector<double>{low + (high - low) / 3, low + (high - low) / 7};
    }
    OptionValue operator()(const std::vector<std::string>&) const {
      return spec.choices.empty() ? std::vector<std::string>{"é\"\n", ""} : spec.choices;
    }
    OptionValue operator()(const std::vector<OptionTable>&) const {  // layers with every key
      const auto text = [](const std::string& value) { return GivenOption{value, {}}; };
      return std::vector<OptionTable>{
          {{{"layer", text("relu")}, {"name", text("é \" and \\")}}},
          {{{"layer", text("add")}, {"from", text("é \" and \\")}, {"shortcut", text("pad")}}},
          {{{"layer", text("dense")}, {"outputs", {std::int64_t{7}, {}}}, {"bias", {false, {}}}}},
          {{{"layer", text("dropout")}, {"p", {0.1 + 0.2, {}}}}}};
    }
  };
  return std::visit(Change{spec, low, high}, spec.default_value);
}

}  // namespace

BOOST_AUTO_TEST_CASE(every_option_of_every_plugin_reads_back) {
  std::size_t checked = 0;
  for (const ChoiceTable& choice : choice_tables()) {
    BOOST_TEST(!choice.kinds.empty());
    for (const Kind& kind : choice.kinds) {
      Scenario scenario = parse_one(replaced("algorithm = \"vb_admm\"\nrho = 2\n", "algorithm = \"fedavg\"\n"));
      Options options;
      std::set<std::string> seen;
      for (const OptionSpec& spec : choice.specs(kind)) {
        BOOST_TEST_CONTEXT(choice.table << " " << kind.name << " " << spec.name) {
          BOOST_TEST(seen.insert(spec.name).second);  // declared once
          if (spec.name == choice.key) {
            if (choice.key_is_option) options.set(spec.name, {kind.name, {}, true});
            continue;
          }
          BOOST_TEST(!spec.help.empty());
          const OptionValue value = other_value(spec);
          options.set(spec.name, {value, {}, true});
          ++checked;
          // The declaration itself: its default and this value keep its rule.
          const GivenTable given = {{spec.name, {value, {}}}};
          BOOST_CHECK_NO_THROW(resolve_options({spec}, given, choice.table, {}));
          if (!spec.required) {
            const GivenTable as_default = {{spec.name, {spec.default_value, {}}}};
            BOOST_CHECK_NO_THROW(resolve_options({spec}, as_default, choice.table, {}));
          }
        }
      }
      if (choice.table == "data") scenario.data = options;
      if (choice.table == "evaluation.ood") scenario.ood = options;
      if (choice.table == "partition") scenario.partition = options;
      if (choice.table == "model") {
        // noise_precision belongs to one loss and label_smoothing to another.
        scenario.model = options;
        scenario.model.set("loss", {std::string("gaussian"), {}, true});
        scenario.model.set("label_smoothing", {0.0, {}, true});
        check_round_trip(scenario);
        scenario.model = options;
        scenario.model.set("loss", {std::string("softmax"), {}, true});
        scenario.model.set("noise_precision", {1.0, {}, true});
      }
      if (choice.table == "clients.optimizer") {
        scenario.optimizer = options, scenario.optimizer_name = kind.name;
        if (find_optimizer(kind.name)->full_covariance) {  // which has one use alone
          scenario.algorithm_name = "vb_admm";
          scenario.algorithm = resolve_options(find_algorithm("vb_admm")->options,
                                               {{"posterior", {std::string("full"), {}}}}, "server", {});
        }
      }
      if (choice.table == "server") {
        if (options.has("posterior"))
          options.set("posterior", {std::string("diagonal"), {}, true});  // as for Bregman steps
        scenario.algorithm = options, scenario.algorithm_name = kind.name;
        if (find_algorithm(kind.name)->traits.uses_public_pool) {
          // The pool is data.public or what clients share.
          scenario.data.set("public", {std::int64_t{0}, {}, true});
          check_round_trip(scenario);
          options.set("share_inputs", {std::int64_t{0}, {}, true});
          scenario.algorithm = options;
          scenario.data.set("public", {std::int64_t{5}, {}, true});
        }
        if (!find_algorithm(kind.name)
                 ->traits.needs_posterior) {  // plain SGD serves all others, with all their options
          scenario.optimizer_name = "sgd";
          scenario.optimizer = resolve_options(find_optimizer("sgd")->options, {}, "clients.optimizer", {});
        }
      }
      check_round_trip(scenario);
    }
  }
  BOOST_TEST(checked > 20U);
}

BOOST_AUTO_TEST_CASE(the_schema_keeps_its_own_rules) {
  const auto names = table_names();
  const std::set<std::string> known(names.begin(), names.end());
  BOOST_TEST(known.size() == names.size());
  for (const ScenarioTable& table : scenario_tables()) {
    BOOST_TEST((table.name.empty() || known.count(table.name) == 1));
    BOOST_TEST(find_table(table.name) == &table);
    std::set<std::string> seen;
    for (const OptionSpec& spec : table.options) {
      BOOST_TEST_CONTEXT(table.name << " " << spec.name) {
        BOOST_TEST(seen.insert(spec.name).second);
        BOOST_TEST(!spec.help.empty());
        const GivenTable as_default = {{spec.name, {spec.default_value, {}}}},
                         other = {{spec.name, {other_value(spec), {}}}};
        BOOST_CHECK_NO_THROW(resolve_options({spec}, as_default, table.name, {}));
        BOOST_CHECK_NO_THROW(resolve_options({spec}, other, table.name, {}));
      }
    }
  }
  BOOST_TEST(find_table("server") == nullptr);
}

BOOST_AUTO_TEST_CASE(shipped_quickstart) {
  const auto arms = read_scenario(shipped("quickstart.toml"));
  BOOST_REQUIRE_EQUAL(arms.size(), 2U);
  BOOST_TEST(arms[0].arm == "fedavg");
  BOOST_TEST(arms[0].algorithm_name == "fedavg");
  BOOST_TEST(arms[1].arm == "vb-admm");
  BOOST_TEST(arms[1].algorithm_name == "vb_admm");
  for (const Scenario& arm : arms) {
    BOOST_TEST(arm.file == shipped("quickstart.toml"));
    BOOST_TEST(arm.data.text("directory") == "digits");
    BOOST_TEST(arm.data.real("divide_by") == 16.0);
    BOOST_TEST(arm.partition.text("kind") == "dirichlet");
    check_round_trip(arm);
  }
}

BOOST_AUTO_TEST_CASE(shipped_mnist_is_the_published_setting) {
  const auto arms = read_scenario(shipped("mnist-100-clients.toml"));
  BOOST_REQUIRE_EQUAL(arms.size(), 15U);
  for (const Scenario& arm : arms) {
    const bool bound = arm.arm == "pooled" || arm.arm == "local";
    BOOST_TEST(arm.rounds == (bound ? 20 : 100));  // the bounds stop early
    BOOST_TEST(arm.data.real("divide_by") == 255.0);
    BOOST_TEST(arm.partition.text("kind") == "classes");
    BOOST_TEST(arm.partition.integer("classes_per_client") == 2);
    BOOST_TEST(arm.partition.integer("examples_per_class") == 300);
    BOOST_TEST(arm.partition.text("on_shortage") == "repeat");
    BOOST_TEST(arm.model.reals("hidden") == (std::vector<double>{200, 100}), boost::test_tools::per_element());
    BOOST_TEST(arm.model.text("activation") == "sigmoid");
    BOOST_TEST(arm.clients.integer("count") == 100);
    BOOST_TEST(arm.clients.integer("epochs") == 10);
    BOOST_TEST(arm.clients.integer("batch") == 64);
    BOOST_TEST(arm.clients.boolean("pool") == (arm.arm == "pooled"));
    check_round_trip(arm);
    if (arm.arm == "vb-admm" || arm.arm == "scaffold") continue;
    BOOST_TEST(arm.optimizer_name == "adam");
    BOOST_TEST(arm.optimizer.real("lr") == 1e-3);
    BOOST_TEST(arm.clients.text("schedule") == "constant");
    if (bound) BOOST_TEST(arm.algorithm_name == (arm.arm == "local" ? "local" : "fedavg"));
  }
  const auto found = std::find_if(arms.begin(), arms.end(), [](const Scenario& arm) { return arm.arm == "vb-admm"; });
  BOOST_REQUIRE(found != arms.end());
  const Scenario& vb = *found;
  BOOST_TEST(vb.arm == "vb-admm");
  BOOST_TEST(vb.optimizer_name == "ivon");
  BOOST_TEST(vb.optimizer.real("lr") == 0.02);
  BOOST_TEST(vb.optimizer.real("hess_init") == 5e-3);
  BOOST_TEST(vb.optimizer.real("beta2") == 0.9998);
  BOOST_TEST(!vb.optimizer.boolean("rescale_lr"));
  BOOST_TEST(vb.clients.text("schedule") == "cosine");
  BOOST_TEST(vb.algorithm.real("temperature") == 0.01);
  BOOST_TEST(vb.algorithm.real("prior_precision") == 0.01);
  BOOST_TEST(vb.algorithm.real("rho") == 5.0);
  BOOST_TEST(vb.algorithm.real("damping") == 0.1);
}

BOOST_AUTO_TEST_CASE(files_that_cannot_be_read) {
  const auto said = [](const std::string& path) -> std::string {
    try {
      read_scenario(path);
    } catch (const InputError& error) {
      return error.what();
    }
    return {};
  };
  namespace fs = std::filesystem;
  const fs::path folder = fs::temp_directory_path() / ("ivory_test_scenario_" + std::to_string(::getpid()));
  fs::create_directory(folder);
  BOOST_TEST(starts(said((folder / "no.toml").string()), "[scenario] the scenario file must exist, got "));
  BOOST_TEST(starts(said(folder.string()), "[scenario] the scenario must be a file that can be read, got "));
  const fs::path file = folder / "a.toml";
  std::ofstream(file) << "\xef\xbb\xbf"
                      << replaced("\nrounds = 3\n", "\r\nrounds = 3\r\n");  // a byte-order mark, other line ends
  BOOST_TEST(said(file.string()) == "");
  BOOST_TEST(read_scenario(file.string()).front().file == file.string());
  std::ofstream(file) << base << "rh = 1\n";
  BOOST_TEST(contains(said(file.string()), file.string() + ":19:1"));
  std::ofstream(file) << base << std::string((std::size_t{16} << 20) + 1, '\n');
  BOOST_TEST(starts(said(file.string()), "[scenario] a scenario file has at most 16 MiB, got more in "));
  fs::remove_all(folder);
}

BOOST_AUTO_TEST_CASE(damaged_text_is_refused_or_read_but_never_more) {
  const std::string whole = two_arms + "[compare.evaluation]\nbins = 3\n";
  std::size_t refused = 0, read = 0;
  const auto feed = [&](const std::string& text) {
    try {
      parse(text);
      ++read;
    } catch (const InputError& error) {
      ++refused;
      BOOST_REQUIRE(std::string(error.what()).rfind("[scenario] ", 0) == 0U);
    }
  };
  for (std::size_t n = 0; n < whole.size(); ++n) feed(whole.substr(0, n));
  std::mt19937 generator(3);
  for (int i = 0; i < 1500; ++i) {
    std::string text = whole;
    for (int j = 0; j < 2; ++j) text[generator() % text.size()] = static_cast<char>(generator() % 256);
    feed(text);
    text = whole;
    text.erase(generator() % text.size(), 1 + generator() % 8);
    feed(text);
  }
  BOOST_TEST(refused > 1000U);
  BOOST_TEST(read > 20U);
}
