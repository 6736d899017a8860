// Sweeps: grids and their settings, and the selection, which sees the validation set alone.
#define BOOST_TEST_MODULE sweep
#include "tests/support/boost_test.hpp"

#include <fmt/format.h>

#include <cmath>
#include <fstream>
#include <set>

#include "src/sweep_grid.hpp"
#include "src/sweep_table.hpp"
#include "tests/support/sample_course.hpp"
#include "tests/support/scenario_text.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

/// The message of the InputError; empty where there is none.
template <class Work>
std::string refused(const Work& work) {
  try {
    work();
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

std::vector<SweepArm> expand(const Texts& grids, const std::string& text = two_arms, const Texts& set = {},
                             const Texts& only = {}) {
  const TemporaryFolder folder;
  const std::string file = folder / "a.toml";
  std::ofstream(file) << text;
  return expand_grid(file, set, only, parse_grids(grids));
}

Texts labels(const SweepArm& arm) {
  Texts out;
  for (const SweepSetting& setting : arm.settings) out.push_back(setting.label);
  return out;
}

Course course(const std::string& arm, std::uint64_t seed, double test, double validation) {
  Course made;
  made.arm = arm;
  made.seed = seed;
  made.rounds = 4;
  made.accuracy.assign(4, test);
  made.validation.assign(4, validation);
  made.validation_nll.assign(4, 1 - validation);
  return made;
}

/// One arm "a" with these settings, as if it came from a grid.
SweepArm arm_with(const Texts& settings) {
  SweepArm arm{"a", {}};
  for (const std::string& label : settings) {
    SweepSetting setting{label, {}};
    setting.scenario.arm = "a," + label;
    arm.settings.push_back(setting);
  }
  return arm;
}

}  // namespace

// ---- grids

BOOST_AUTO_TEST_CASE(grids_are_read) {
  const GridAxis plain = parse_grid("clients.optimizer.lr = 0.1, 1e-3");
  BOOST_TEST(plain.arm == "");
  BOOST_TEST(plain.key == "clients.optimizer.lr");
  BOOST_TEST(plain.values == (Texts{"0.1", "1e-3"}), boost::test_tools::per_element());
  const GridAxis own = parse_grid("vb-admm:server.rho=1");
  BOOST_TEST(own.arm == "vb-admm");
  BOOST_TEST(own.values == (Texts{"1"}), boost::test_tools::per_element());
  const GridAxis nested = parse_grid("a.b=[1,2],\"x,y\",'p,q',{k = [1,2], l = \"}\"},plain");
  BOOST_TEST(nested.values == (Texts{"[1,2]", "\"x,y\"", "'p,q'", "{k = [1,2], l = \"}\"}", "plain"}),
             boost::test_tools::per_element());
  BOOST_TEST(parse_grid("model.init=a:b=c").values.front() == "a:b=c");
}

BOOST_AUTO_TEST_CASE(mistakes_in_grids) {
  for (const char* text : {"", "lr", "=1,2", ":lr=1", "a:=1"}) {
    BOOST_TEST(starts(refused([&] { parse_grid(text); }), "[sweep] --grid must be KEY=V1,V2,... or ARM:KEY=V1,V2,..."));
  }
  for (const char* text : {"lr=", "lr=1,", "lr=1,,2", "lr= ,1"}) {
    BOOST_TEST(contains(refused([&] { parse_grid(text); }), "got an empty one in --grid " + std::string(text)));
  }
  BOOST_TEST(contains(refused([] { parse_grid("lr=1,2,1"); }), "the values of a grid must differ, got 1 twice"));
  BOOST_TEST(contains(refused([] { parse_grid("seed=1,2"); }), "--seed and --seeds choose the seeds"));
  BOOST_TEST(contains(refused([] { parse_grid("a:name=x,y"); }), "name is the run's own; leave it out"));
  for (const char* key : {"data.seed", "data.validation", "data.label_noise", "data.limit_train", "partition.seed",
                          "partition.alpha_labels", "rounds", "clients.count", "clients.pool", "clients.without",
                          "clients", "evaluation.samples", "evaluation.ood.kind", "log.sites", "log", "evaluation"}) {
    const std::string message = refused([&] { parse_grid(fmt::format("vb-admm:{}=1,2", key)); });
    BOOST_TEST(
        starts(message, fmt::format("[sweep] a grid changes settings that can be compared, got --grid vb-admm:{}=1,2: "
                                    "{} changes ",
                                    key, key)));
    BOOST_TEST(contains(message, "; set it for all of them with --set"));
  }
  BOOST_TEST(parse_grid("evaluation.laplace_prior_precision=1,10").values.size() == 2U);
  BOOST_TEST(parse_grid("data.divide_by=1,16").values.size() == 2U);
  BOOST_TEST(parse_grid("data.public=10,50").values.size() == 2U);
  const Texts twice = {"lr=1", "a:lr=2", "lr=3"};
  BOOST_TEST(contains(refused([&] { parse_grids(twice); }), "a key has one grid, got lr twice"));
  BOOST_TEST(parse_grids(Texts{"lr=1", "a:lr=2"}).size() == 2U);
}

BOOST_AUTO_TEST_CASE(every_arm_gets_the_product) {
  const auto arms = expand({"clients.optimizer.lr=0.1,0.2", "model.hidden=[5],[4,3],[]"});
  BOOST_REQUIRE(arms.size() == 2U);
  BOOST_TEST(arms[0].name == "fedavg");
  const Texts expected = {"lr=0.1,hidden=5", "lr=0.1,hidden=4+3", "lr=0.1,hidden=v3",
                          "lr=0.2,hidden=5", "lr=0.2,hidden=4+3", "lr=0.2,hidden=v3"};
  for (const SweepArm& arm : arms) BOOST_TEST(labels(arm) == expected, boost::test_tools::per_element());
  const Scenario& one = arms[1].settings[4].scenario;
  BOOST_TEST(one.arm == "vb-admm,lr=0.2,hidden=4+3");
  BOOST_TEST(one.optimizer.real("lr") == 0.2);
  BOOST_TEST(one.model.reals("hidden") == (std::vector<double>{4, 3}), boost::test_tools::per_element());
  BOOST_TEST(one.algorithm.real("damping") == 0.5);  // the arm's own keys stay
  check_round_trip(one);
}

BOOST_AUTO_TEST_CASE(a_grid_may_be_for_one_arm) {
  const auto arms =
      expand({"clients.optimizer.lr=0.1,0.2,0.3", "vb-admm:clients.optimizer.lr=0.01", "vb-admm:server.rho=1,2"});
  BOOST_TEST(labels(arms[0]) == (Texts{"lr=0.1", "lr=0.2", "lr=0.3"}), boost::test_tools::per_element());
  BOOST_TEST(labels(arms[1]) == (Texts{"lr=0.01,rho=1", "lr=0.01,rho=2"}), boost::test_tools::per_element());
  BOOST_TEST(arms[1].settings[1].scenario.optimizer.real("lr") == 0.01);
  BOOST_TEST(arms[1].settings[1].scenario.algorithm.real("rho") == 2.0);
  BOOST_TEST(budget_text(arms).find("settings of each arm: fedavg 3, vb-admm 2\nwarning: ") == 0U);
  BOOST_TEST(
      starts(refused([&] { check_budgets(arms); }), "[sweep] every arm must have as many settings as the others"));
  BOOST_TEST(contains(refused([&] { check_budgets(arms); }), "got fedavg 3, vb-admm 2; give each as many"));
  // A key that one arm lacks passes by it: one setting, without the key in its name.
  const auto partly = expand({"server.rho=1,2", "clients.batch=8,16"});
  BOOST_TEST(labels(partly[0]) == (Texts{"batch=8", "batch=16"}), boost::test_tools::per_element());
  BOOST_TEST(labels(partly[1]).size() == 4U);
  const auto none = expand({"vb-admm:server.rho=1,2"});
  BOOST_TEST(labels(none[0]) == (Texts{"-"}), boost::test_tools::per_element());
  BOOST_TEST(none[0].settings[0].scenario.arm == "fedavg");
  const auto chosen = expand({"clients.batch=8,16"}, two_arms, {}, {"vb-admm"});
  BOOST_REQUIRE(chosen.size() == 1U);
  BOOST_TEST(chosen[0].name == "vb-admm");
  BOOST_TEST(budget_text(chosen) == "settings of each arm: vb-admm 2\n");
  check_budgets(chosen);
}

BOOST_AUTO_TEST_CASE(a_scenario_without_arms_has_one) {
  const auto arms = expand({"clients.batch=8,16", "clients.optimizer.name=ivon"}, base, {"rounds=7"});
  BOOST_REQUIRE(arms.size() == 1U);
  BOOST_TEST(arms[0].name == "t");
  BOOST_TEST(arms[0].settings[1].scenario.arm == "batch=16,optimizer=ivon");
  BOOST_TEST(arms[0].settings[1].scenario.rounds == 7);
}

BOOST_AUTO_TEST_CASE(two_keys_of_one_word_are_called_in_full) {
  const std::string adam = replaced("algorithm = \"vb_admm\"\nrho = 2\n", "algorithm = \"fedadam\"\n");
  const auto arms = expand({"server.beta2=0.5,0.75", "clients.optimizer.beta2=0.9"}, adam);
  BOOST_TEST(labels(arms[0]) == (Texts{"server.beta2=0.5,clients.optimizer.beta2=0.9",
                                       "server.beta2=0.75,clients.optimizer.beta2=0.9"}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(mistakes_in_settings) {
  BOOST_TEST(contains(refused([] { expand({"clients.bacth=8,16"}); }),
                      "unknown key clients.bacth = 8, in --grid clients.bacth; did you mean \"batch\"?"));
  BOOST_TEST(contains(refused([] { expand({"clients.batch=8,0"}); }), "got 0, in --grid clients.batch"));
  BOOST_TEST(contains(refused([] { expand({"vb:clients.batch=8"}); }), "no arm of that name, got \"vb\", in --grid"));
  BOOST_TEST(contains(refused([] { expand({"fedavg:server.rho=1,2"}); }),
                      "got algorithm = \"fedavg\", in --grid fedavg:server.rho"));
  BOOST_TEST(contains(refused([] { expand({"clients.optimizer.lr=0.1,1e-1"}); }),
                      "two settings must differ, got lr=0.1 and lr=1e-1 for fedavg"));
  std::string many = "clients.batch=1";
  for (int i = 2; i <= 101; ++i) many += "," + std::to_string(i);
  std::string wide = many;
  wide.replace(0, std::string("clients.batch").size(), "clients.epochs");
  BOOST_TEST(contains(refused([&] { expand({many, wide}); }), "a sweep has at most 10000 settings"));
  BOOST_TEST(contains(refused([] { check_validation(expand({"clients.batch=8,16"})); }),
                      "data.validation must be > 0, got 0 for fedavg; write validation = 0.1 below [data]"));
  BOOST_TEST(refused([] { check_validation(expand({"clients.batch=8"}, two_arms, {"data.validation=0.1"})); }) == "");
}

BOOST_AUTO_TEST_CASE(a_budget_draws_the_same_settings_for_equal_grids) {
  const Texts grids = {"clients.batch=1,2,3,4,5,6,7,8,9,10", "vb-admm:server.rho=1"};
  auto arms = expand(grids), again = arms, other = arms;
  draw_settings(arms, 4, 1);
  for (const SweepArm& arm : arms) BOOST_TEST(arm.settings.size() == 4U);
  for (std::size_t i = 0; i < 4; ++i) {
    BOOST_TEST(arms[0].settings[i].scenario.clients.integer("batch") ==
               arms[1].settings[i].scenario.clients.integer("batch"));
    if (i > 0) {
      BOOST_TEST(arms[0].settings[i - 1].scenario.clients.integer("batch") <
                 arms[0].settings[i].scenario.clients.integer("batch"));
    }
  }
  draw_settings(again, 4, 1);
  BOOST_TEST(labels(again[0]) == labels(arms[0]), boost::test_tools::per_element());
  std::set<Texts> drawn;
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    auto copy = other;
    draw_settings(copy, 4, seed);
    drawn.insert(labels(copy[0]));
  }
  BOOST_TEST(drawn.size() > 1U);  // 5 draws of 210 subsets
  draw_settings(other, 10, 1);
  BOOST_TEST(other[0].settings.size() == 10U);
}

// ---- selection

BOOST_AUTO_TEST_CASE(the_test_set_does_not_select) {
  const TemporaryFolder folder;
  std::vector<std::string> paths;
  for (const std::uint64_t seed : {1U, 2U}) {
    // On the test set the first setting is far better, on the validation set the second.
    paths.push_back(write_course(folder, course("a,lr=1", seed, 0.95, 0.5)));
    paths.push_back(write_course(folder, course("a,lr=2", seed, 0.25, 0.625)));
    paths.push_back(write_course(folder, course("a,lr=3", seed, 0.5, 0.375)));
  }
  const std::vector<LogSummary> runs = read_summaries(paths);
  const Selection selection = parse_selection("validation/accuracy");
  const auto swept = select_settings({arm_with({"lr=1", "lr=2", "lr=3"})}, runs, selection);
  BOOST_REQUIRE(swept.size() == 1U);
  BOOST_REQUIRE(swept[0].selected.has_value());
  BOOST_TEST(*swept[0].selected == 1U);
  const std::vector<LogSummary> selected = selected_runs(swept);
  BOOST_REQUIRE(selected.size() == 2U);
  for (const LogSummary& run : selected) BOOST_TEST(run.arm == "a,lr=2");
  BOOST_TEST(selected_title(swept, "a") == "a,lr=2");
  const std::string table = settings_table(swept, selection);
  for (const char* part :
       {"50.00 ±0.00  0.5000 ±0.0000", "62.50 ±0.00  0.3750 ±0.0000      2  selected\n", "selected by accuracy"}) {
    BOOST_TEST(contains(table, part));
  }
  BOOST_TEST(table.find("95.00") == std::string::npos);  // nothing of the test set is shown
  BOOST_TEST(table.find("25.00") == std::string::npos);
  const std::string csv = settings_csv(swept);
  BOOST_TEST(
      contains(csv, "sample,\"a,lr=2\",vb_admm,mean,validation_accuracy,last_3,1,0.625,0,2,1:0.625;2:0.625,,\n"));
  BOOST_TEST(contains(csv, "sample,\"a,lr=2\",vb_admm,,selected,share,1,1,0,2,1:1;2:1,,\n"));
  BOOST_TEST(contains(csv, "sample,\"a,lr=1\",vb_admm,,selected,share,1,0,0,2,1:0;2:0,,\n"));
  BOOST_TEST(csv.find("0.95") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(the_last_three_evaluated_rounds_select) {
  const TemporaryFolder folder;
  Course early = course("a,lr=1", 1, 0.5, 0.5), late = course("a,lr=2", 1, 0.5, 0.5);
  early.validation = {1.0, 0.25, 0.25, 0.25};
  late.validation = {0.0, 0.5, 0.25, 0.25};
  const std::vector<std::string> paths = {write_course(folder, early), write_course(folder, late)};
  const std::vector<LogSummary> runs = read_summaries(paths);
  BOOST_TEST(*select_settings({arm_with({"lr=1", "lr=2"})}, runs, parse_selection("accuracy"))[0].selected == 1U);
}

BOOST_AUTO_TEST_CASE(what_selects_is_chosen) {
  const TemporaryFolder folder;
  Course plain = course("a,lr=1", 1, 0.5, 0.75), average = course("a,lr=2", 1, 0.5, 0.5);
  plain.validation_nll.assign(4, 0.5);
  average.validation_nll.assign(4, 0.25);
  plain.accuracy_bayes = average.accuracy_bayes = {.5, .5, .5, .5};
  plain.validation_bayes.assign(4, 0.625);
  average.validation_bayes.assign(4, 0.875);
  const std::vector<std::string> paths = {write_course(folder, plain), write_course(folder, average)};
  const std::vector<LogSummary> runs = read_summaries(paths);
  const auto selected = [&](const char* by) {
    return *select_settings({arm_with({"lr=1", "lr=2"})}, runs, parse_selection(by))[0].selected;
  };
  BOOST_TEST(selected("accuracy") == 0U);
  BOOST_TEST(selected("nll") == 1U);  // less is better
  BOOST_TEST(selected("accuracy_bayes") == 1U);
  BOOST_TEST(selected("validation/nll_bayes") == 0U);  // 0.5 for both: the first of the grid
  for (const char* text : {"test/accuracy", "ece", "validation/", "_bayes"}) {
    BOOST_TEST(contains(refused([&] { parse_selection(text); }), "the test set never selects"));
  }
  // An arm without a posterior average is judged by its mean model.
  const std::vector<std::string> means = {write_course(folder, course("a,lr=1", 2, 0.5, 0.25)),
                                          write_course(folder, course("a,lr=2", 2, 0.5, 0.5))};
  BOOST_TEST(
      *select_settings({arm_with({"lr=1", "lr=2"})}, read_summaries(means), parse_selection("nll_bayes"))[0].selected ==
      1U);
}

BOOST_AUTO_TEST_CASE(what_selected_is_said) {
  const TemporaryFolder folder;
  Course with = course("a,lr=1", 1, 0.5, 0.75);
  with.accuracy_bayes = {.5, .5, .5, .5};
  with.validation_bayes.assign(4, 0.625);
  const std::vector<std::string> paths = {write_course(folder, with),
                                          write_course(folder, course("b,lr=1", 1, 0.5, 0.5))};
  const std::vector<LogSummary> runs = read_summaries(paths);
  SweepArm b = arm_with({"lr=1"});
  b.name = "b";
  b.settings[0].scenario.arm = "b,lr=1";
  const auto said = [&](const std::vector<SweepArm>& arms, const char* by) {
    const std::string table = settings_table(select_settings(arms, runs, parse_selection(by)), parse_selection(by));
    const std::size_t at = table.find("selected by");
    return table.substr(at, table.find('\n') - at);
  };
  const SweepArm a = arm_with({"lr=1"});
  BOOST_TEST(said({a}, "nll_bayes") == "selected by nll of the posterior average");
  BOOST_TEST(said({b}, "nll_bayes") == "selected by nll of the mean model, since no run has a posterior average");
  BOOST_TEST(said({a, b}, "nll_bayes") ==
             "selected by nll of the posterior average, of the mean model for b (no posterior average)");
  BOOST_TEST(said({a, b}, "nll") == "selected by nll");
}

BOOST_AUTO_TEST_CASE(every_setting_must_have_what_selects) {
  const auto message = [](const char* loss, const char* by) {
    std::vector<SweepArm> arms = {arm_with({"lr=1", "lr=2"})};
    for (SweepSetting& setting : arms[0].settings) {
      setting.scenario.model.set("loss", {std::string("softmax"), {}, false});
    }
    arms[0].settings[1].scenario.model.set("loss", {std::string(loss), {}, true});
    return refused([&] { check_selection(arms, parse_selection(by)); });
  };
  for (const char* by : {"", "nll", "nll_bayes"}) BOOST_TEST(message("gaussian", by) == "");
  for (const char* by : {"accuracy", "accuracy_bayes"}) {
    BOOST_TEST(message("binary", by) == "");
    BOOST_TEST(
        contains(message("gaussian", by), "got accuracy with model.loss = \"gaussian\" (regression) for a; take rmse"));
  }
  BOOST_TEST(contains(message("binary", "rmse"),
                      "got rmse with model.loss = \"softmax\" (classification) for a; take accuracy"));
}

BOOST_AUTO_TEST_CASE(a_regression_is_selected_by_its_rmse) {
  std::vector<LogSummary> runs(2);
  for (std::size_t i = 0; i < 2; ++i) {
    runs[i].name = "r";
    runs[i].arm = i == 0 ? "a,lr=1" : "a,lr=2";
    runs[i].seed = 1;
    runs[i].mean.rmse.best = runs[i].mean.rmse.final = 1.0 - 0.5 * static_cast<double>(i);
    runs[i].validation.rmse.last = 0.25 + 0.5 * static_cast<double>(i);
    runs[i].validation.nll.last = 2.0 - static_cast<double>(i);
  }
  const auto selected = [&](const char* by) {
    return *select_settings({arm_with({"lr=1", "lr=2"})}, runs, parse_selection(by))[0].selected;
  };
  BOOST_TEST(selected("") == 0U);  // less is better, and the test set says otherwise
  BOOST_TEST(selected("rmse") == 0U);
  BOOST_TEST(selected("nll") == 1U);
  const auto swept = select_settings({arm_with({"lr=1", "lr=2"})}, runs, parse_selection(""));
  const std::string table = settings_table(swept, parse_selection(""));
  for (const char* part : {"selected by rmse\n", "RMSE  NLL [nat]", "lr=1     0.2500     2.0000      1  selected\n"}) {
    BOOST_TEST(contains(table, part));
  }
  BOOST_TEST(table.find("accuracy") == std::string::npos);
}

BOOST_AUTO_TEST_CASE(a_setting_with_failed_runs_loses_and_is_reported) {
  const TemporaryFolder folder;
  Course lost = course("a,lr=1", 2, 0.5, 0.5);
  lost.participants = 0;
  const std::vector<std::string> paths = {
      write_course(folder, course("a,lr=1", 1, 0.5, 1.0)), write_course(folder, lost),
      write_course(folder, course("a,lr=2", 1, 0.5, 0.25)), write_course(folder, course("a,lr=2", 2, 0.5, 0.25))};
  std::vector<LogSummary> runs = read_summaries(paths);
  const Selection selection = parse_selection("accuracy");
  const auto swept = select_settings({arm_with({"lr=1", "lr=2"})}, runs, selection);
  BOOST_TEST(*swept[0].selected == 1U);
  const std::string table = settings_table(swept, selection);
  BOOST_TEST(contains(table, "a lr=1: 1 of 2 runs failed; seed 2: [run] some client's update must be usable"));
  BOOST_TEST(contains(table, "100.00 (1/2)"));
  BOOST_TEST(contains(table, "  1/2\n"));

  for (LogSummary& run : runs) {
    run.validation = {};
    run.failure = "[run] lost";
  }
  const auto none = select_settings({arm_with({"lr=1", "lr=2"})}, runs, selection);
  BOOST_TEST(!none[0].selected.has_value());
  const std::vector<LogSummary> failed_arm = selected_runs(none);
  BOOST_REQUIRE(failed_arm.size() == 2U);  // one per seed
  BOOST_TEST(failed_arm[0].arm == "a");
  BOOST_TEST(contains(failed_arm[0].failure, "no setting of the arm has a value"));
  BOOST_TEST(contains(comparison_table(failed_arm), "a: 2 of 2 runs failed; seed 1, 2:"));
}
