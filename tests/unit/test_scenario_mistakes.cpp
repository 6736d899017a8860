// What every kind of mistake in a scenario file is told: the place, the rule, the value and what to do.
#define BOOST_TEST_MODULE scenario_mistakes
#include "tests/support/boost_test.hpp"

#include "tests/support/scenario_text.hpp"

using namespace ivory;
using namespace ivory::test;

BOOST_AUTO_TEST_CASE(text_that_is_not_toml) {
  BOOST_TEST(starts(refusal("name = \"t\"\nrounds = = 3\n"), "[scenario] the file must be TOML, got: "));
  BOOST_TEST(contains(refusal("name = \"t\"\nrounds = = 3\n"), ", at dir/a.toml:2:10"));
  BOOST_TEST(contains(refusal("a = 1\na = 2\n"), ", at dir/a.toml:2:5"));  // twice
  BOOST_TEST(contains(refusal("seed = 99999999999999999999\n"), "not representable in 64 bits"));
  BOOST_TEST(contains(refusal("name = \"\xff\"\n"), ", at dir/a.toml:1:8"));  // no UTF-8
  BOOST_TEST(contains(refusal("[a]\n[a]\n"), ", at dir/a.toml:2:1"));
  BOOST_TEST(contains(refusal("a = [1,"), ", at dir/a.toml:1:8"));
}

BOOST_AUTO_TEST_CASE(unknown_keys) {
  BOOST_TEST(refusal("round = 3\n" + base) ==
             "[scenario] unknown key round = 3, at dir/a.toml:1:1; did you mean \"rounds\"?");
  BOOST_TEST(refusal(replaced("count = 4\n", "count = 4\nbacth = 32\n")) ==
             "[scenario] unknown key clients.bacth = 32, at dir/a.toml:12:1; did you mean \"batch\"?");
  BOOST_TEST(refusal(replaced("lr = 0.5", "  learn = 0.5"))
                 .find("[scenario] unknown key clients.optimizer.learn = 0.5, at "
                       "dir/a.toml:14:3; known are lr, ") == 0U);
  BOOST_TEST(refusal(base + "rh = 1\n") ==
             "[scenario] unknown key server.rh = 1, at dir/a.toml:19:1; did you mean \"rho\"?");
  BOOST_TEST(refusal(replaced("directory = \"digits\"\n", "directory = \"digits\"\ndivideby = 16\n")) ==
             "[scenario] unknown key data.divideby = 16, at dir/a.toml:6:1; did you mean \"divide_by\"?");
  BOOST_TEST(refusal(replaced("hidden = [5]\n", "hidden = [5]\nactivations = \"relu\"\n")) ==
             "[scenario] unknown key model.activations = \"relu\", at dir/a.toml:10:1; did you mean \"activation\"?");
  BOOST_TEST(refusal(base + "[evaluation]\nsample = 3\n") ==
             "[scenario] unknown key evaluation.sample = 3, at dir/a.toml:20:1; did you mean \"samples\"?");
  BOOST_TEST(refusal(base + "[log]\nsite = \"last\"\n") ==
             "[scenario] unknown key log.site = \"last\", at dir/a.toml:20:1; did you mean \"sites\"?");
}

BOOST_AUTO_TEST_CASE(quoted_keys) {
  // The same key; but dots and line breaks inside quotes belong to the name, and messages stay on one line.
  BOOST_TEST(parse_one(replaced("count = 4", "\"count\" = 5")).clients.integer("count") == 5);
  BOOST_TEST(
      starts(refusal(base + "\"a\\nb\" = 1\n"), "[scenario] unknown key server.\"a\\nb\" = 1, at dir/a.toml:19:1; "));
  BOOST_TEST(starts(refusal("\"clients.optimizer\" = { name = \"sgd\" }\n" + base),
                    "[scenario] unknown table \"clients.optimizer\", at dir/a.toml:1:1; "));
}

BOOST_AUTO_TEST_CASE(keys_in_the_wrong_table) {
  BOOST_TEST(refusal("batch = 32\n" + base) ==
             "[scenario] unknown key batch = 32, at dir/a.toml:1:1; did you mean \"clients.batch\"?");
  BOOST_TEST(refusal(replaced("count = 4\n", "count = 4\nhess_init = 0.1\n")) ==
             "[scenario] unknown key clients.hess_init = 0.1, at dir/a.toml:12:1; did you mean "
             "\"clients.optimizer.hess_init\"?");
  BOOST_TEST(
      refusal(base + "participation = 0.5\n") ==
      "[scenario] unknown key server.participation = 0.5, at dir/a.toml:19:1; did you mean \"clients.participation\"?");
}

BOOST_AUTO_TEST_CASE(keys_of_another_kind) {
  BOOST_TEST(
      refusal(replaced("kind = \"iid\"\n", "kind = \"iid\"\nalpha_labels = 0.3\n")) ==
      "[scenario] partition.alpha_labels belongs to kind = \"dirichlet\", got kind = \"iid\", at dir/a.toml:8:1");
  BOOST_TEST(refusal(replaced("algorithm = \"vb_admm\"", "algorithm = \"fedavg\"")) ==
             "[scenario] server.rho belongs to algorithm = " + those_with("rho", "server") +
                 ", got algorithm = \"fedavg\", at dir/a.toml:18:1");
  BOOST_TEST(refusal(replaced("hess_init = 0.25", "epsilon = 1e-8")) ==
             "[scenario] clients.optimizer.epsilon belongs to name = " + those_with("epsilon", "clients.optimizer") +
                 ", got name = \"ivon\", at dir/a.toml:15:1");
}

BOOST_AUTO_TEST_CASE(unknown_tables) {
  BOOST_TEST(refusal(base + "[evalution]\nevery = 1\n") ==
             "[scenario] unknown table evalution, at dir/a.toml:19:2; did you mean \"evaluation\"?");
  BOOST_TEST(
      contains(refusal(base + "[xyzzy]\n"), "[scenario] unknown table xyzzy, at dir/a.toml:19:2; known are data, "));
  BOOST_TEST(refusal(base + "[clients.optimiser]\nlr = 1\n") ==
             "[scenario] unknown table clients.optimiser, at dir/a.toml:19:10; did you mean \"clients.optimizer\"?");
  BOOST_TEST(starts(refusal(base + "rho2 = { a = 1 }\n"), "[scenario] unknown table server.rho2, at dir/a.toml:19:1"));
}

BOOST_AUTO_TEST_CASE(tables_and_values_mixed_up) {
  BOOST_TEST(refusal("server = \"fedavg\"\n" + base.substr(0, base.find("[server]"))) ==
             "[scenario] server must be a table, at dir/a.toml:1:1; write [server] with its keys below");
  const std::string flat = replaced("count = 4\n[clients.optimizer]\nname = \"ivon\"\nlr = 0.5\nhess_init = 0.25\n",
                                    "count = 4\noptimizer = \"adam\"\n");
  BOOST_TEST(refusal(flat) ==
             "[scenario] clients.optimizer must be a table, at dir/a.toml:12:1; write [clients.optimizer] with its "
             "keys below");
  BOOST_TEST(refusal(base + "[[log]]\nsites = \"last\"\n") ==
             "[scenario] log must be a table, at dir/a.toml:19:3; write [log] with its keys below");
}

BOOST_AUTO_TEST_CASE(values_no_key_has) {
  const std::string rule = " must be true, false, a number, a text, or a list of numbers within 2^53 or of texts, got ";
  BOOST_TEST(refusal(replaced("count = 4", "count = 1979-05-27")) ==
             "[scenario] clients.count" + rule + "a date, at dir/a.toml:11:1");
  BOOST_TEST(refusal(replaced("count = 4", "count = 07:32:00")) ==
             "[scenario] clients.count" + rule + "a time, at dir/a.toml:11:1");
  BOOST_TEST(refusal(replaced("count = 4", "count = 1979-05-27T07:32:00Z")) ==
             "[scenario] clients.count" + rule + "a date and time, at dir/a.toml:11:1");
  for (const char* list : {"[true]", "[[5]]", "[5, \"x\"]", "[9007199254740993]", "[{a = 1}, 2]"}) {
    BOOST_TEST(refusal(replaced("hidden = [5]", std::string("hidden = ") + list)) ==
               "[scenario] model.hidden" + rule + "a list of other things, at dir/a.toml:9:1");
  }
  BOOST_TEST(refusal(replaced("hidden = [5]", "hidden = [\"5\"]")) ==
             "[scenario] model.hidden must be a list of finite numbers, each in [1, 1048576] (units), got [\"5\"], at "
             "dir/a.toml:9:1; lists stand in [ ]");
  BOOST_TEST(
      refusal(replaced("hidden = [5]", "hidden = [{ a = 1 }]")) ==
      "[scenario] model.hidden must be a list of finite numbers, each in [1, 1048576] (units), got [{ a = 1 }], at "
      "dir/a.toml:9:1; lists stand in [ ]");
}

BOOST_AUTO_TEST_CASE(wrong_types) {
  BOOST_TEST(refusal(replaced("rounds = 3", "rounds = 3.0")) ==
             "[scenario] rounds must be an integer in [1, 16777215] (rounds), got 3.0, at dir/a.toml:2:1; write 3");
  BOOST_TEST(refusal(replaced("name = \"t\"", "name = 1")) ==
             "[scenario] name must be a text, got 1, at dir/a.toml:1:1; texts stand in quotes");
  BOOST_TEST(refusal(replaced("hidden = [5]", "hidden = 5")) ==
             "[scenario] model.hidden must be a list of finite numbers, each in [1, 1048576] (units), got 5, at "
             "dir/a.toml:9:1; lists stand in [ ]");
  BOOST_TEST(refusal(replaced("count = 4", "count = 4\npool = \"yes\"")) ==
             "[scenario] clients.pool must be true or false, got \"yes\", at dir/a.toml:12:1");
  BOOST_TEST(contains(refusal(replaced("lr = 0.5", "lr = \"0.5\"")), "clients.optimizer.lr must be a finite number"));
  BOOST_TEST(starts(refusal(replaced("kind = \"idx\"", "kind = 3")), "[scenario] data.kind must be \"idx\""));
}

BOOST_AUTO_TEST_CASE(ranges) {
  struct Case {
    const char *good, *bad, *said;
  };
  const Case clients[] = {
      {"participation = 1", "participation = 0", "participation must be a finite number in (0, 1], got 0.0"},
      {"participation = 1e-9", "participation = 1.0000001",
       "participation must be a finite number in (0, 1], got 1.0000001"},
      {"batch = 1048576", "batch = 1048577", "batch must be an integer in [1, 1048576] (examples), got 1048577"},
      {"batch = 1", "batch = 0", "batch must be an integer in [1, 1048576] (examples), got 0"},
      {"epochs = 1000000", "epochs = 1000001", "epochs must be an integer in [0, 1000000] (epochs), got 1000001"},
      {"steps = 1000000000", "steps = 1000000001",
       "steps must be an integer in [0, 1000000000] (steps), got 1000000001"},
      {"epochs = 1", "epochs = -1", "epochs must be an integer in [0, 1000000] (epochs), got -1"},
      {"schedule = \"step\"\nschedule_step_rounds = 2\nschedule_step_factor = 1", "schedule_step_factor = 0",
       "schedule_step_factor must be a finite number in (0, 1], got 0.0"},
      {"warmup_rounds = 0", "warmup_rounds = -1", "warmup_rounds must be an integer in [0, 16777215] (rounds), got -1"},
      {"inner_warmup_steps = 7", "inner_warmup_steps = -1",
       "inner_warmup_steps must be an integer in [0, 1000000000] (steps), got -1"},
      {"schedule = \"linear\"", "schedule = \"square\"",
       "schedule must be \"constant\", \"cosine\", \"linear\" or \"step\", got \"square\""},
      {"inner_schedule = \"linear\"", "inner_schedule = \"square\"",
       "inner_schedule must be \"constant\", \"cosine\", \"linear\" or \"step\", got \"square\""},
      {"schedule = \"cosine\"\nschedule_final = 1", "schedule_final = 1.1",
       "schedule_final must be a finite number in [0, 1], got 1.1"},
      {"inner_schedule = \"cosine\"\ninner_final = 1", "inner_final = -0.1",
       "inner_final must be a finite number in [0, 1], got -0.1"},
      {"inner_schedule = \"step\"\ninner_step_every = 1000000000", "inner_step_every = 1000000001",
       "inner_step_every must be an integer in [0, 1000000000] (steps), got 1000000001"},
      {"inner_schedule = \"step\"\ninner_step_every = 1\ninner_step_factor = 1", "inner_step_factor = 0",
       "inner_step_factor must be a finite number in (0, 1], got 0.0"},
      {"participation = 0.5", "participation = nan", "participation must be a finite number in (0, 1], got nan"},
      {"participation = 0.5", "participation = -inf", "participation must be a finite number in (0, 1], got -inf"},
  };
  for (const Case& c : clients) {
    parse(replaced("count = 4", std::string("count = 4\n") + c.good));
    BOOST_TEST(starts(refusal(replaced("count = 4", std::string("count = 4\n") + c.bad)),
                      std::string("[scenario] clients.") + c.said + ", at dir/a.toml:12:1"));
  }
  const Case evaluation[] = {
      {"every = 1", "every = 0", "every must be an integer in [1, 16777215] (rounds), got 0"},
      {"samples = 0", "samples = -1", "samples must be an integer in [0, 65535] (samples), got -1"},
      {"samples = 65535", "samples = 65536", "samples must be an integer in [0, 65535] (samples), got 65536"},
      {"bins = 1", "bins = 0", "bins must be an integer in [1, 1000] (bins), got 0"},
      {"clients_every = 1", "clients_every = 0", "clients_every must be an integer in [1, 16777215] (rounds), got 0"},
      {"elbo_samples = 65535", "elbo_samples = 65536",
       "elbo_samples must be an integer in [0, 65535] (samples), got 65536"},
      {"laplace = true", "laplace = \"evidence\"", "laplace must be true or false, got \"evidence\""},
      {"laplace_prior_precision = 0", "laplace_prior_precision = -1",
       "laplace_prior_precision must be a finite number in [0, 1e+30] (1/weight^2), got -1.0"},
      {"target_accuracy = 0", "target_accuracy = -0.1", "target_accuracy must be a finite number in [0, 1], got -0.1"},
      {"target_accuracy = 1", "target_accuracy = 90", "target_accuracy must be a finite number in [0, 1], got 90.0"},
      {"clients = \"none\"", "clients = \"test\"",
       "clients must be \"auto\", \"none\", \"train\" or \"holdout\", got \"test\""},
  };
  for (const Case& c : evaluation) {
    parse(base + "[evaluation]\n" + c.good);
    BOOST_TEST(starts(refusal(base + "[evaluation]\n" + c.bad),
                      std::string("[scenario] evaluation.") + c.said + ", at dir/a.toml:20:1"));
  }
  BOOST_TEST(parse_one(base + "[log]\nposterior_every = 0\nsites = \"every\"\n").log.text("sites") == "every");
  BOOST_TEST(refusal(base + "[log]\nposterior_every = -1\n") ==
             "[scenario] log.posterior_every must be an integer in [0, 16777215] (rounds), got -1, at dir/a.toml:20:1");
  BOOST_TEST(parse_one(replaced("hidden = [5]", "hidden = []")).model.reals("hidden").empty());
  BOOST_TEST(contains(refusal(replaced("hidden = [5]", "hidden = [5, 0]")), "got 0.0 (entry 2 of [5, 0])"));
  BOOST_TEST(contains(refusal(replaced("rounds = 3", "rounds = 0")), "rounds must be an integer in [1, 16777215]"));
  BOOST_TEST(contains(refusal(replaced("rounds = 3", "rounds = 16777216")), "got 16777216, at dir/a.toml:2:1"));
  BOOST_TEST(contains(refusal(replaced("count = 4", "count = 16777217")), "clients.count must be"));
}

BOOST_AUTO_TEST_CASE(unknown_choices_name_the_nearest) {
  BOOST_TEST(refusal(replaced("name = \"ivon\"", "name = \"ivn\"")).find("; did you mean \"ivon\"?") !=
             std::string::npos);
  BOOST_TEST(contains(refusal(replaced("name = \"ivon\"", "name = \"ivn\"")), "got \"ivn\", at dir/a.toml:13:1"));
  BOOST_TEST(contains(refusal(replaced("algorithm = \"vb_admm\"", "algorithm = \"vb-adm\"")),
                      "got \"vb-adm\", at dir/a.toml:17:1; did you mean \"vb_admm\"?"));
  BOOST_TEST(contains(refusal(replaced("kind = \"iid\"", "kind = \"dirichlett\"")),
                      "got \"dirichlett\", at dir/a.toml:7:1; did you mean \"dirichlet\"?"));
  BOOST_TEST(contains(refusal(replaced("kind = \"idx\"", "kind = \"idxx\"")), "; did you mean \"idx\"?"));
  BOOST_TEST(
      contains(refusal(replaced("hidden = [5]", "hidden = [5]\nactivation = \"rellu\"")),
               "model.activation must be \"relu\", \"sigmoid\" or \"tanh\", got \"rellu\", at dir/a.toml:10:1; did you "
               "mean \"relu\"?"));
}

BOOST_AUTO_TEST_CASE(missing_keys_and_tables) {
  const std::string empty = refusal("");
  for (const char* key : {"name", "rounds", "data.kind", "partition.kind", "model.hidden", "clients.optimizer.name",
                          "server.algorithm"}) {
    BOOST_TEST(contains(empty, std::string("[scenario] ") + key + " is required and must be "));
  }
  BOOST_TEST(lines(empty) == 7U);
  BOOST_TEST(contains(empty, "name is required and must be a text, got nothing, in dir/a.toml"));
  BOOST_TEST(
      refusal(replaced("hidden = [5]\n", "")) ==
      "[scenario] model.hidden is required and must be a list of finite numbers, each in [1, 1048576] (units), got "
      "nothing, at dir/a.toml:8:1");
  BOOST_TEST(
      starts(refusal(replaced("name = \"ivon\"\n", "")), "[scenario] clients.optimizer.name is required and must be "));
  BOOST_TEST(contains(refusal(replaced("name = \"ivon\"\n", "")), ", got nothing, at dir/a.toml:12:1"));
}

BOOST_AUTO_TEST_CASE(every_mistake_is_reported_once) {
  std::string text = replaced("rounds = 3", "rounds = 0");
  text = replaced("kind = \"iid\"", "kind = \"nothing\"", text);
  text = replaced("count = 4", "count = 4\nbatch = 0\nepoch = 1", text);
  text = replaced("lr = 0.5", "lr = -1", text) + "[logs]\n";
  // Tables that no scenario has come first and alone: keys may be in them.
  BOOST_TEST(refusal(text) == "[scenario] unknown table logs, at dir/a.toml:21:2; did you mean \"log\"?");
  text = replaced("[logs]\n", "", text);
  const std::string said = refusal(text);
  BOOST_TEST(lines(said) == 5U);
  for (const char* part : {"rounds must be", "partition.kind must be", "clients.batch must be",
                           "unknown key clients.epoch", "clients.optimizer.lr must be"}) {
    BOOST_TEST(contains(said, part));
  }
}

BOOST_AUTO_TEST_CASE(names_must_serve_as_folders) {
  parse(replaced("name = \"t\"", "name = \"MNIST, 100 clients (2 × 300)\""));
  for (const char* name : {"", "a/b", ".hidden", "..", "a\\nb"}) {
    BOOST_TEST(
        starts(refusal(replaced("name = \"t\"", std::string("name = \"") + name + "\"")),
               std::string("[scenario] name must be usable as a folder: not empty, no leading dot, slash or control "
                           "character, got \"") +
                   name + "\", at dir/a.toml:1:1"));
  }
}

BOOST_AUTO_TEST_CASE(epochs_or_steps) {
  const Scenario steps = parse_one(replaced("count = 4", "count = 4\nsteps = 20"));
  BOOST_TEST(steps.clients.integer("steps") == 20);
  BOOST_TEST(steps.clients.integer("epochs") == 0);
  BOOST_TEST(!steps.clients.given("epochs"));
  BOOST_TEST(parse_one(replaced("count = 4", "count = 4\nepochs = 0\nsteps = 20")).clients.integer("steps") == 20);
  BOOST_TEST(parse_one(replaced("count = 4", "count = 4\nepochs = 2\nsteps = 0")).clients.integer("epochs") == 2);
  BOOST_TEST(refusal(replaced("count = 4", "count = 4\nepochs = 2\nsteps = 20")) ==
             "[scenario] clients.epochs and clients.steps exclude each other, got epochs = 2 and steps = 20, at "
             "dir/a.toml:13:1; remove one or set it to 0");
  BOOST_TEST(refusal(replaced("count = 4", "count = 4\nepochs = 0")) ==
             "[scenario] clients must train: epochs or steps must be >= 1, got 0 for both, at dir/a.toml:12:1");
}

BOOST_AUTO_TEST_CASE(plain_sgd_where_control_variates_need_it) {
  const auto with = [](const std::string& optimizer, const std::string& server) {
    std::string text = replaced("algorithm = \"vb_admm\"\nrho = 2\n", server);
    const std::size_t at = text.find("[clients.optimizer]"), end = text.find("[server]");
    return text.substr(0, at) + "[clients.optimizer]\n" + optimizer + text.substr(end);
  };
  const std::string scaffold = "algorithm = \"scaffold\"\n";
  parse(with("name = \"sgd\"\n", scaffold));
  BOOST_TEST(
      starts(refusal(with("name = \"adam\"\n", scaffold)),
             "[scenario] server.algorithm = \"scaffold\" needs clients.optimizer.name = \"sgd\" with momentum = 0"));
  BOOST_TEST(contains(refusal(with("name = \"adam\"\n", scaffold)), ", got \"adam\", at dir/a.toml:"));
  BOOST_TEST(
      contains(refusal(with("name = \"sgd\"\nmomentum = 0.9\n", scaffold)), ", got momentum = 0.9, at dir/a.toml:14:"));
  const std::string unsquared = "algorithm = \"fedprox\"\nunsquared_prox = true\n";
  parse(with("name = \"adam\"\n", unsquared));
  parse(with("name = \"ivon\"\n", "algorithm = \"fedprox\"\n"));
  BOOST_TEST(starts(refusal(with("name = \"ivon\"\n", unsquared)),
                    "[scenario] server.algorithm = \"fedprox\" with server.unsquared_prox = true needs an optimizer "
                    "without a posterior, got clients.optimizer.name = \"ivon\", at dir/a.toml:"));
}

BOOST_AUTO_TEST_CASE(the_references_posterior_average_needs_ivon_and_samples) {
  const std::string flagged = base + "ref_bayes_eval = true\n";
  BOOST_TEST(parse_one(flagged).algorithm.boolean("ref_bayes_eval"));
  BOOST_TEST(refusal(flagged + "[evaluation]\nsamples = 0\n") ==
             "[scenario] server.ref_bayes_eval needs evaluation.samples >= 1 (posterior averages), got 0, at "
             "dir/a.toml:19:1; leave it out");
  std::string vsgd = flagged;
  vsgd.replace(vsgd.find("name = \"ivon\"\nlr = 0.5\nhess_init = 0.25\n"), 40, "name = \"vsgd\"\n");
  BOOST_TEST(contains(refusal(vsgd),
                      "[scenario] server.ref_bayes_eval needs clients.optimizer.name = \"ivon\" (its hess_init is part "
                      "of the precision), got \"vsgd\", at dir/a.toml:"));
}

BOOST_AUTO_TEST_CASE(posteriors_where_they_are_needed) {
  const std::string adam = replaced("name = \"ivon\"\nlr = 0.5\nhess_init = 0.25\n", "name = \"adam\"\n");
  BOOST_TEST(starts(refusal(adam),
                    "[scenario] server.algorithm = \"vb_admm\" with posterior = \"diagonal\" needs "
                    "clients.optimizer.name = \"ivon\""));
  BOOST_TEST(contains(refusal(adam), ", whose clients send a precision, got \"adam\", at dir/a.toml:15:1"));
  // The converse is fine: FedAvg averages the means of variational clients.
  parse(replaced("algorithm = \"vb_admm\"\nrho = 2\n", "algorithm = \"fedavg\"\n"));
}

BOOST_AUTO_TEST_CASE(other_contradictions) {
  const auto clients = [](const std::string& keys) { return replaced("count = 4", "count = 4\n" + keys); };
  BOOST_TEST(refusal(clients("pool = true\nparticipation = 0.5")) ==
             "[scenario] clients.pool trains one client on all examples, so participation must be 1, got 0.5, at "
             "dir/a.toml:13:1");
  parse(clients("pool = true\nkeep_opt_state = true\nparticipation = 1"));
  BOOST_TEST(refusal(clients("schedule = \"step\"")) ==
             "[scenario] clients.schedule = \"step\" needs schedule_step_rounds >= 1, got 0, at dir/a.toml:12:1");
  BOOST_TEST(refusal(clients("inner_schedule = \"step\"")) ==
             "[scenario] clients.inner_schedule = \"step\" needs inner_step_every >= 1, got 0, at dir/a.toml:12:1");
  // Keys of one shape beside another shape; a default beside it is what a resolved scenario says.
  struct ScheduleCase {
    std::string schedule, shape, key, value, default_value, needed;
  };
  for (const auto& [schedule, shape, key, value, default_value, needed] :
       {ScheduleCase{"schedule", "cosine", "schedule_step_rounds", "5", "0", "\"step\""},
        {"schedule", "linear", "schedule_step_factor", "0.5", "0.1", "\"step\""},
        {"schedule", "step", "schedule_final", "0.5", "0.0", "\"cosine\" or \"linear\""},
        {"schedule", "constant", "schedule_final", "0.5", "0.0", "\"cosine\" or \"linear\""},
        {"inner_schedule", "cosine", "inner_step_every", "5", "0", "\"step\""},
        {"inner_schedule", "linear", "inner_step_factor", "0.5", "0.1", "\"step\""},
        {"inner_schedule", "step", "inner_final", "0.5", "0.0", "\"cosine\" or \"linear\""}}) {
    const std::string chosen = schedule + " = \"" + shape + "\"\n",
                      every = schedule == "schedule" ? "schedule_step_rounds = 2" : "inner_step_every = 2";
    const std::string rest = shape == "step" ? "\n" + every : "";
    BOOST_TEST(refusal(clients(chosen + key + " = " + value + rest)) ==
               "[scenario] clients." + key + " needs " + schedule + " = " + needed + ", got \"" + shape +
                   "\", at dir/a.toml:13:1; drop one of them");
    parse(clients(chosen + key + " = " + default_value + rest));
  }
  std::string means = "0.123456789";
  for (int i = 1; i < 6000; ++i) means += ", 0.123456789";
  BOOST_TEST(
      contains(refusal(replaced("[data]\n", "[data]\nnormalise = \"fixed\"\nstd = [1.0]\nmean = [" + means + "]\n")),
               "[scenario] the resolved scenario may have 64000 characters, which is what a log can hold, got "));
  const auto personal = replaced("count = 4", "count = 4\npool = true");
  BOOST_TEST(contains(refusal(personal.substr(0, personal.find("algorithm = \"vb_admm\"")) + "algorithm = \"local\"\n"),
                      "[scenario] clients.pool trains one common model, and server.algorithm = \"local\" has none"));
  BOOST_TEST(refusal(base + "[evaluation]\ncurve = true\nsamples = 0\n") ==
             "[scenario] evaluation.curve needs evaluation.samples >= 1, got 0, at dir/a.toml:20:1; drop one of them");
  parse(base + "[evaluation]\ncurve = true\nsamples = 1\n");
  BOOST_TEST(
      refusal(base + "[evaluation]\nlaplace = true\nsamples = 0\n") ==
      "[scenario] evaluation.laplace needs evaluation.samples >= 1, got 0, at dir/a.toml:20:1; drop one of them");
  BOOST_TEST(refusal(base + "[evaluation]\nlaplace_prior_precision = 2\n") ==
             "[scenario] evaluation.laplace_prior_precision needs laplace = true, got 2.0, at dir/a.toml:20:1; set "
             "laplace, or leave it out");
  parse(base + "[evaluation]\nlaplace_prior_precision = 2\nlaplace = true\n");
  BOOST_TEST(refusal(base + "[evaluation]\nclients = \"holdout\"\n") ==
             "[scenario] evaluation.clients = \"holdout\" needs partition.holdout > 0, got 0.0, at dir/a.toml:20:1");
  parse(replaced("kind = \"iid\"", "kind = \"iid\"\nholdout = 0.25") + "[evaluation]\nclients = \"holdout\"\n");
  BOOST_TEST(refusal(replaced("hidden = [5]", "hidden = [5, 2.5]")) ==
             "[scenario] model.hidden must hold whole numbers, got 2.5, at dir/a.toml:9:1");
}

BOOST_AUTO_TEST_CASE(only_natural_partitions_count_clients_themselves) {
  BOOST_TEST(refusal(replaced("count = 4\n", "")) ==
             "[scenario] clients.count must be >= 1 for partition kind \"iid\", got nothing, at dir/a.toml:7:1; only "
             "\"natural\" takes it from the data");
  BOOST_TEST(contains(refusal(replaced("count = 4", "count = 0")), "\"iid\", got 0, at dir/a.toml:11:1"));
  const std::string natural = replaced("kind = \"iid\"", "kind = \"natural\"");
  BOOST_TEST(parse_one(replaced("count = 4\n", "", natural)).clients.integer("count") == 0);
  BOOST_TEST(parse_one(natural).clients.integer("count") == 4);  // whether the data agree is known when they are read
}
