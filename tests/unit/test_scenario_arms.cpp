// [[compare]] arms and --set: what they override, what they drop, and their mistakes.
#define BOOST_TEST_MODULE scenario_arms
#include "tests/support/boost_test.hpp"

#include "tests/support/scenario_text.hpp"

using namespace ivory;
using namespace ivory::test;

// ---- arms

BOOST_AUTO_TEST_CASE(arms_override_the_base) {
  const auto arms = parse(two_arms);
  BOOST_REQUIRE_EQUAL(arms.size(), 2U);
  const Scenario &fedavg = arms[0], &vb = arms[1];
  BOOST_TEST(fedavg.arm == "fedavg");
  BOOST_TEST(fedavg.name == "t");
  BOOST_TEST(fedavg.algorithm_name == "fedavg");
  BOOST_TEST(fedavg.optimizer_name == "adam");
  BOOST_TEST(fedavg.optimizer.real("epsilon") == 1e-7);
  BOOST_TEST(to_string(fedavg.optimizer.place("epsilon")) == "dir/a.toml:22:38");
  BOOST_TEST(fedavg.optimizer.real("lr") == 0.5);  // both optimizers have it: kept
  BOOST_TEST(!fedavg.optimizer.has("hess_init"));  // IVON's alone: dropped
  BOOST_TEST(!fedavg.algorithm.has("rho"));
  BOOST_TEST(vb.arm == "vb-admm");
  BOOST_TEST(vb.algorithm_name == "vb_admm");
  BOOST_TEST(vb.algorithm.real("rho") == 2.0);  // the plug-in is the same: kept
  BOOST_TEST(vb.algorithm.real("damping") == 0.5);
  BOOST_TEST(vb.optimizer_name == "ivon");
  BOOST_TEST(vb.optimizer.real("hess_init") == 0.25);
  for (const Scenario& arm : arms) check_round_trip(arm);
}

BOOST_AUTO_TEST_CASE(arms_may_use_table_headers_and_change_anything_but_the_name) {
  const Scenario arm =
      parse_one(base +
                "[[compare]]\nname = \"A_1-b\"\nseed = 9\nrounds = 7\nmodel.hidden = []\n[compare.clients]\n"
                "batch = 8\n[compare.clients.optimizer]\nlr = 0.125\n[compare.evaluation]\nbins = 3\n"
                "[compare.log]\nsites = \"last\"\n");
  BOOST_TEST(arm.arm == "A_1-b");
  BOOST_TEST(arm.name == "t");
  BOOST_TEST(arm.seed == 9U);
  BOOST_TEST(arm.rounds == 7);
  BOOST_TEST(arm.model.reals("hidden").empty());
  BOOST_TEST(arm.clients.integer("batch") == 8);
  BOOST_TEST(arm.clients.integer("count") == 4);
  BOOST_TEST(arm.optimizer.real("lr") == 0.125);
  BOOST_TEST(arm.optimizer.real("hess_init") == 0.25);
  BOOST_TEST(arm.evaluation.integer("bins") == 3);
  BOOST_TEST(arm.log.text("sites") == "last");
}

BOOST_AUTO_TEST_CASE(changed_kinds_drop_the_keys_of_the_former) {
  const std::string text = replaced("kind = \"iid\"", "kind = \"dirichlet\"\nalpha_labels = 0.3\nholdout = 0.25") +
                           "[[compare]]\nname = \"two\"\npartition = { kind = \"classes\", classes_per_client = 2 }\n"
                           "[[compare]]\nname = \"data\"\ndata.kind = \"synthetic\"\ndata.alpha = 0.5\n"
                           "[[compare]]\nname = \"same\"\npartition.kind = \"dirichlet\"\n";
  const auto arms = parse(text);
  BOOST_REQUIRE_EQUAL(arms.size(), 3U);
  BOOST_TEST(arms[0].partition.text("kind") == "classes");
  BOOST_TEST(!arms[0].partition.has("alpha_labels"));
  BOOST_TEST(arms[0].partition.integer("classes_per_client") == 2);
  BOOST_TEST(arms[0].partition.real("holdout") == 0.25);  // every kind has it
  BOOST_TEST(arms[1].data.text("kind") == "synthetic");
  BOOST_TEST(!arms[1].data.has("directory"));
  BOOST_TEST(arms[1].data.real("alpha") == 0.5);
  BOOST_TEST(arms[1].partition.real("alpha_labels") == 0.3);
  BOOST_TEST(arms[2].partition.real("alpha_labels") == 0.3);  // named again, not changed
}

BOOST_AUTO_TEST_CASE(misspelt_base_keys_are_not_dropped) {
  // Neither optimizer has it, so no arm makes it right.
  const std::string text =
      replaced("hess_init = 0.25", "hes_init = 0.25") +
      "[[compare]]\nname = \"a\"\nclients.optimizer.name = \"adam\"\nserver.algorithm = \"fedavg\"\n";
  BOOST_TEST(starts(refusal(text), "[scenario] unknown key clients.optimizer.hes_init = 0.25, at dir/a.toml:15:1"));
}

BOOST_AUTO_TEST_CASE(arms_switch_between_epochs_and_steps_and_schedules) {
  const std::string text =
      replaced("count = 4", "count = 4\nepochs = 5\nschedule = \"step\"\nschedule_step_rounds = 2") +
      "[[compare]]\nname = \"steps\"\nclients.steps = 30\n"
      "[[compare]]\nname = \"epochs\"\nclients.epochs = 6\n"
      "[[compare]]\nname = \"cosine\"\nclients.schedule = \"cosine\"\n"
      "[[compare]]\nname = \"both\"\nclients.steps = 30\nclients.epochs = 6\n"
      "[[compare]]\nname = \"falling\"\nclients.schedule = \"linear\"\nclients.schedule_final = 0.1\n"
      "clients.inner_schedule = \"step\"\nclients.inner_step_every = 3\n";
  BOOST_TEST(refusal(text) ==
             "[scenario] clients.epochs and clients.steps exclude each other, got epochs = 6 and steps = 30, at "
             "dir/a.toml:33:9; remove one or set it to 0 [arm both]");
  const auto arms = parse(text, {}, {"steps", "epochs", "cosine", "falling"});
  BOOST_TEST(arms[0].clients.integer("steps") == 30);
  BOOST_TEST(arms[0].clients.integer("epochs") == 0);
  BOOST_TEST(arms[1].clients.integer("steps") == 0);
  BOOST_TEST(arms[1].clients.integer("epochs") == 6);
  BOOST_TEST(arms[1].clients.integer("schedule_step_rounds") == 2);
  BOOST_TEST(arms[2].clients.integer("schedule_step_rounds") == 0);
  BOOST_TEST(arms[3].clients.integer("schedule_step_rounds") == 0);
  BOOST_TEST(arms[3].clients.real("schedule_final") == 0.1);
  // The other way round: a step replaces what only a falling rate reads.
  const std::vector<std::string> overrides = {"clients.schedule=step", "clients.schedule_step_rounds=4",
                                              "clients.inner_schedule=cosine"};
  const Scenario changed = parse(text, overrides, {"falling"}).front();
  BOOST_TEST(changed.clients.real("schedule_final") == 0.0);
  BOOST_TEST(changed.clients.integer("inner_step_every") == 0);
}

BOOST_AUTO_TEST_CASE(names_of_arms) {
  const auto with = [](const std::string& entry) { return base + "[[compare]]\n" + entry; };
  BOOST_TEST(refusal(with("seed = 3\n")) ==
             "[scenario] compare.name is required and must be a text, at dir/a.toml:19:1; each arm has its own");
  BOOST_TEST(refusal(with("name = 3\n")) ==
             "[scenario] compare.name is required and must be a text, at dir/a.toml:20:8; each arm has its own");
  for (const char* name : {"", "a b", "a/b", "a.b", "ü"}) {
    BOOST_TEST(refusal(with(std::string("name = \"") + name + "\"\n")) ==
               std::string("[scenario] compare.name must be made of letters, digits, _ and -, got \"") + name +
                   "\", at dir/a.toml:20:8; it names the arm's log file");
  }
  BOOST_TEST(refusal(with("name = \"a\"\n[[compare]]\nname = \"a\"\n")) ==
             "[scenario] arms must have different names, got \"a\" again, at dir/a.toml:22:8; rename one");
  BOOST_TEST(refusal(with("name = \"a\"\narm = \"b\"\n")) ==
             "[scenario] an arm cannot set arm = \"b\", at dir/a.toml:21:1; its name is the key \"name\"");
  BOOST_TEST(refusal("arm = \"x\"\n" + with("name = \"a\"\n")) ==
             "[scenario] arm and [[compare]] exclude each other, got arm = \"x\", at dir/a.toml:1:1; remove one");
  for (const char* compare :
       {"compare = []\n", "compare = 3\n", "compare = { name = \"a\" }\n", "compare = [1, 2]\n"}) {
    BOOST_TEST(starts(refusal(compare + base), "[scenario] compare must be a list of arms, at dir/a.toml:1:"));
  }
}

BOOST_AUTO_TEST_CASE(mistakes_in_arms) {
  BOOST_TEST(refusal(two_arms + "server.dampin = 1\n") ==
             "[scenario] unknown key server.dampin = 1, at dir/a.toml:26:8; did you mean \"damping\"? [arm vb-admm]");
  BOOST_TEST(refusal(two_arms + "[compare.clint]\nx = 1\n") ==
             "[scenario] unknown table clint, at dir/a.toml:26:10; did you mean \"clients\"?");
  // A mistake of the base is told once, without the arms it concerns all of.
  BOOST_TEST(refusal(replaced("count = 4", "count = -4", two_arms)) ==
             "[scenario] clients.count must be an integer in [0, 16777216] (clients), got -4, at dir/a.toml:11:1");
  // A contradiction that one arm makes names the arm.
  const std::string adam =
      base + "[[compare]]\nname = \"ok\"\n[[compare]]\nname = \"bad\"\nclients.optimizer.name = \"adam\"\n";
  BOOST_TEST(contains(refusal(adam), "got \"adam\", at dir/a.toml:17:1 [arm bad]"));
  // An incomplete base is good where every arm completes it.
  const std::string open = replaced("[server]\nalgorithm = \"vb_admm\"\nrho = 2\n", "");
  parse(open + "[[compare]]\nname = \"a\"\nserver.algorithm = \"fedavg\"\n");
  BOOST_TEST(contains(refusal(open + "[[compare]]\nname = \"a\"\n"), "server.algorithm is required"));
}

BOOST_AUTO_TEST_CASE(only_keeps_named_arms_in_file_order) {
  auto arms = parse(two_arms, {}, {"vb-admm", "fedavg"});
  BOOST_REQUIRE_EQUAL(arms.size(), 2U);
  BOOST_TEST(arms[0].arm == "fedavg");
  arms = parse(two_arms, {}, {"vb-admm"});
  BOOST_REQUIRE_EQUAL(arms.size(), 1U);
  BOOST_TEST(arms[0].arm == "vb-admm");
  BOOST_TEST(refusal(two_arms, {}, {"vb-adm", "zzz"}) ==
             "[scenario] no arm of that name, got \"vb-adm\", in dir/a.toml; did you mean \"vb-admm\"?\n"
             "[scenario] no arm of that name, got \"zzz\", in dir/a.toml; known are fedavg, vb-admm");
  BOOST_TEST(refusal(base, {}, {"a"}) ==
             "[scenario] no arm of that name, got \"a\", in dir/a.toml; the scenario has no [[compare]] arms");
}

// ---- --set

BOOST_AUTO_TEST_CASE(overrides_take_toml_values_and_bare_texts) {
  const Scenario s =
      parse_one(base, {"seed=7", "clients.batch = 16", "model.hidden=[20, 10]", "clients.optimizer.lr=1e-3",
                       "model.activation=tanh", "clients.keep_opt_state=true", "name=\"x y\"", "data.directory=a#b=c",
                       "model.init="});
  BOOST_TEST(s.seed == 7U);
  BOOST_TEST(s.clients.integer("batch") == 16);
  BOOST_TEST(to_string(s.clients.place("batch")) == "--set clients.batch");
  BOOST_TEST(s.clients.given("batch"));
  BOOST_TEST(s.model.reals("hidden") == (std::vector<double>{20, 10}), boost::test_tools::per_element());
  BOOST_TEST(s.optimizer.real("lr") == 1e-3);
  BOOST_TEST(s.model.text("activation") == "tanh");
  BOOST_TEST(s.clients.boolean("keep_opt_state"));
  BOOST_TEST(s.name == "x y");
  BOOST_TEST(s.data.text("directory") == "a#b=c");
  BOOST_TEST(s.model.text("init") == "");
  BOOST_TEST(parse_one(base, {"seed=7", "seed=8"}).seed == 8U);  // the last one counts
  const Scenario table = parse_one(base, {"clients.optimizer={ name = \"ivon\", lr = 2 }"});
  BOOST_TEST(table.optimizer.real("lr") == 2.0);
  BOOST_TEST(table.optimizer.real("hess_init") == 0.25);
  // A line break does not smuggle in a second key: it is part of a text, and texts are refused here.
  BOOST_TEST(refusal(base, {"seed=7\nrounds=9"}) ==
             "[scenario] seed must be an integer in [0, 9007199254740992], got \"7\\nrounds=9\", in --set seed");
}

BOOST_AUTO_TEST_CASE(overrides_come_after_the_arms) {
  const auto arms = parse(two_arms, {"clients.batch=8", "clients.optimizer.lr=0.25"});
  for (const Scenario& arm : arms) {
    BOOST_TEST(arm.clients.integer("batch") == 8);
    BOOST_TEST(arm.optimizer.real("lr") == 0.25);
  }
  const Scenario s = parse_one(base, {"clients.optimizer.name=adam", "server.algorithm=fedavg"});
  BOOST_TEST(s.optimizer_name == "adam");
  BOOST_TEST(s.optimizer.real("lr") == 0.5);
  BOOST_TEST(!s.optimizer.has("hess_init"));  // dropped as in an arm
  BOOST_TEST(!s.algorithm.has("rho"));
  BOOST_TEST(parse_one(base, {"clients.steps=9"}).clients.integer("epochs") == 0);
  BOOST_TEST(parse_one(replaced("count = 4", "count = 4\nepochs = 5"), {"clients.steps=9"}).clients.integer("epochs") ==
             0);
}

BOOST_AUTO_TEST_CASE(overrides_for_one_plugin_pass_by_the_arms_without_it) {
  const auto arms = parse(two_arms, {"server.rho=3", "clients.optimizer.hess_init=0.125"});
  BOOST_TEST(!arms[0].algorithm.has("rho"));
  BOOST_TEST(arms[1].algorithm.real("rho") == 3.0);
  BOOST_TEST(arms[1].optimizer.real("hess_init") == 0.125);
  // No arm that runs can use it: an error.
  const std::string with_rho = those_with("rho", "server");
  BOOST_TEST(refusal(two_arms, {"server.rho=3"}, {"fedavg"}) ==
             "[scenario] server.rho belongs to algorithm = " + with_rho +
                 ", got algorithm = \"fedavg\", in --set server.rho");
  BOOST_TEST(contains(refusal(two_arms, {"clients.optimizer.momentum=0.9"}),
                      "belongs to name = \"sgd\", got name = \"adam\""));
  // An arm's own mistake is not excused by another arm.
  const std::string text = replaced("clients.optimizer = {", "server.rho = 4\nclients.optimizer = {", two_arms);
  BOOST_TEST(contains(refusal(text), "server.rho belongs to algorithm = " + with_rho +
                                         ", got algorithm = \"fedavg\", at dir/a.toml:22:8 [arm fedavg]"));
}

BOOST_AUTO_TEST_CASE(overrides_may_be_for_one_arm) {
  const auto arms = parse(
      two_arms, {"vb-admm:clients.optimizer.lr=0.125", "clients.optimizer.lr=0.25", "fedavg : clients.batch = 8"});
  BOOST_TEST(arms[0].optimizer.real("lr") == 0.25);
  BOOST_TEST(arms[1].optimizer.real("lr") == 0.125);  // its own counts, in whichever order
  BOOST_TEST(arms[0].clients.integer("batch") == 8);
  BOOST_TEST(arms[1].clients.integer("batch") == 64);
  BOOST_TEST(to_string(arms[1].optimizer.place("lr")) == "--set vb-admm:clients.optimizer.lr");
  // What the key for every arm would have dropped stays: it never reaches this arm.
  const auto kept = parse(two_arms, {"clients.optimizer.name=adam", "vb-admm:clients.optimizer.name=ivon"});
  BOOST_TEST(kept[0].optimizer_name == "adam");
  BOOST_TEST(kept[1].optimizer.real("hess_init") == 0.25);
  // Here the arm is meant, so a key that it does not have is a mistake.
  BOOST_TEST(contains(refusal(two_arms, {"fedavg:server.rho=3"}),
                      "server.rho belongs to algorithm = " + those_with("rho", "server") +
                          ", got algorithm = \"fedavg\", in --set fedavg:server.rho"));
  parse(two_arms, {"vb-admm:server.rho=3"}, {"fedavg"});  // an arm that does not run
  BOOST_TEST(refusal(two_arms, {"vb-adm:server.rho=3"}) ==
             "[scenario] no arm of that name, got \"vb-adm\", in --set vb-adm:server.rho; did you mean \"vb-admm\"?");
  BOOST_TEST(refusal(base, {"a:server.rho=3"}) ==
             "[scenario] no arm of that name, got \"a\", in --set a:server.rho; the scenario has no [[compare]] arms");
  for (const char* text : {":server.rho=3", "a b:server.rho=3", "a:b:server.rho=3", "fedavg:=3"}) {
    BOOST_TEST(starts(refusal(two_arms, {text}), "[scenario] --set must be key=value with a dotted key, got \""));
  }
  BOOST_TEST(parse_one(base, {"data.directory=a:b=c"}).data.text("directory") == "a:b=c");  // a colon in a value
}

BOOST_AUTO_TEST_CASE(labels_of_a_sweep_read_back) {
  const Scenario s = parse_one("arm = \"vb-admm,lr=1e-3,hidden=20+10\"\n" + base);
  BOOST_TEST(s.arm == "vb-admm,lr=1e-3,hidden=20+10");
  check_round_trip(s);
}

BOOST_AUTO_TEST_CASE(mistakes_in_overrides) {
  BOOST_TEST(refusal(base, {"clients.bacth=3"}) ==
             "[scenario] unknown key clients.bacth = 3, in --set clients.bacth; did you mean \"batch\"?");
  BOOST_TEST(refusal(base, {"client.batch=3"}) ==
             "[scenario] unknown table client, in --set client.batch; did you mean \"clients\"?");
  BOOST_TEST(
      refusal(base, {"clients.batch=many"}) ==
      "[scenario] clients.batch must be an integer in [1, 1048576] (examples), got \"many\", in --set clients.batch");
  BOOST_TEST(
      refusal(base, {"model.hidden=[1,2"}) ==
      "[scenario] model.hidden must be a list of finite numbers, each in [1, 1048576] (units), got \"[1,2\", in --set "
      "model.hidden; lists stand in [ ]");
  BOOST_TEST(contains(refusal(base, {"clients.optimizer.lr=nan"}), "got nan, in --set clients.optimizer.lr"));
  BOOST_TEST(refusal(base, {"clients=3"}) ==
             "[scenario] clients must be a table, in --set clients; write [clients] with its keys below");
  for (const char* text : {"clients.batch", "=3", "a b=3", "clients..batch=3", ".a=1", "a.=1", "", "\"x\"=1"}) {
    BOOST_TEST(starts(refusal(base, {text}), "[scenario] --set must be key=value with a dotted key, got \""));
  }
  BOOST_TEST(starts(refusal(base, {"arm=x"}), "[scenario] the name of an arm cannot be changed, got \"arm=x\""));
  BOOST_TEST(starts(refusal(base, {"compare.name=x"}), "[scenario] unknown table compare, in --set compare.name"));
  BOOST_TEST(starts(refusal(base, {"name=\xff"}), "[scenario] texts must be UTF-8, in --set name"));
  BOOST_TEST(
      refusal(base, {"evaluation.clients=holdout"}) ==
      "[scenario] evaluation.clients = \"holdout\" needs partition.holdout > 0, got 0.0, in --set evaluation.clients");
}
