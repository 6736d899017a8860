// [model]: named networks parameter for parameter, lists of layers as scenarios write them, and what is said about mistakes in them.
#define BOOST_TEST_MODULE models
#include "tests/support/boost_test.hpp"

#include "src/model.hpp"
#include "src/model_layers.hpp"
#include "src/models.hpp"
#include "tests/support/quickstart.hpp"
#include "tests/support/scenario_text.hpp"

namespace {

using namespace ivory;
using namespace ivory::test;

/// The text of a scenario with these lines in [model], whose first is line 9.
std::string with_model(const std::string& lines) { return replaced("hidden = [5]\n", lines); }

Network<float> network_of(const std::string& lines, const Shape& input, std::size_t classes) {
  return build_network<float>(layers_of(parse_one(with_model(lines)).model), input, classes);
}

/// "0.weight [64, 3, 5, 5]" for every slice.
std::vector<std::string> slices(const Network<float>& network) {
  std::vector<std::string> out;
  for (const ParameterSlice& slice : network.layout().slices()) {
    std::string shape;
    for (const std::size_t extent : slice.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
    out.push_back(slice.name + " [" + shape + "]");
  }
  return out;
}

/// A network's input and output shapes, layer by layer.
std::vector<Shape> shapes(const Network<float>& network) {
  std::vector<Shape> out;
  for (const auto& layer : network.layers()) out.push_back(layer->output_shape());
  return out;
}

const Shape cifar = {3, 32, 32}, mnist = {1, 28, 28};

const std::string list =
    "kind = \"sequential\"\n"                                                         // 9
    "layers = [\n"                                                                    // 10
    "  { layer = \"conv2d\", channels = 4, kernel = 3, padding = 1 },\n"              // 11
    "  { layer = \"group_norm\", groups = 2, name = \"block1\" },\n"                  // 12
    "  { layer = \"relu\" },\n"                                                       // 13
    "  { layer = \"conv2d\", channels = 8, kernel = 3, stride = 2, padding = 1 },\n"  // 14
    "  { layer = \"add\", from = \"block1\", shortcut = \"pad\" },\n"                 // 15
    "  { layer = \"max_pool2d\", kernel = 2 },\n"                                     // 16
    "  { layer = \"dropout\", p = 0.25 },\n"                                          // 17
    "  { layer = \"dense\" },\n"                                                      // 18
    "]\n";                                                                            // 19

}  // namespace

BOOST_AUTO_TEST_CASE(cnn_acar_is_that_of_the_reference_experiments) {
  const auto network = network_of("kind = \"cnn-acar\"\n", cifar, 10);
  BOOST_TEST(network.layout().size() == 797962U);
  BOOST_TEST(slices(network) ==
                 (std::vector<std::string>{"0.weight [64, 3, 5, 5]", "0.bias [64]", "3.weight [64, 64, 5, 5]",
                                           "3.bias [64]", "7.weight [384, 1600]", "7.bias [384]", "9.weight [192, 384]",
                                           "9.bias [192]", "11.weight [10, 192]", "11.bias [10]"}),
             boost::test_tools::per_element());
  const auto at = shapes(network);
  BOOST_TEST(at[0] == (Shape{64, 28, 28}), boost::test_tools::per_element());
  BOOST_TEST(at[2] == (Shape{64, 14, 14}), boost::test_tools::per_element());
  BOOST_TEST(at[5] == (Shape{64, 5, 5}), boost::test_tools::per_element());
  BOOST_TEST(!network.draws());
}

BOOST_AUTO_TEST_CASE(cnn_zenke_is_that_of_the_reference_experiments) {
  const auto network = network_of("kind = \"cnn-zenke\"\n", cifar, 10);
  BOOST_TEST(network.layout().size() == 1250858U);
  BOOST_TEST(slices(network) == (std::vector<std::string>{
                                    "0.weight [32, 3, 3, 3]", "0.bias [32]", "2.weight [32, 32, 3, 3]", "2.bias [32]",
                                    "6.weight [64, 32, 3, 3]", "6.bias [64]", "8.weight [64, 64, 3, 3]", "8.bias [64]",
                                    "13.weight [512, 2304]", "13.bias [512]", "16.weight [10, 512]", "16.bias [10]"}),
             boost::test_tools::per_element());
  const auto at = shapes(network);
  BOOST_TEST(at[0] == (Shape{32, 32, 32}), boost::test_tools::per_element());  // padded
  BOOST_TEST(at[2] == (Shape{32, 30, 30}), boost::test_tools::per_element());  // not padded
  BOOST_TEST(at[11] == (Shape{64, 6, 6}), boost::test_tools::per_element());
  BOOST_TEST(network.draws());
  // Without dropout the parameters have the same names.
  const auto sure = network_of("kind = \"cnn-zenke\"\ndropout = false\n", cifar, 10);
  BOOST_TEST(!sure.draws());
  BOOST_TEST(slices(sure) == slices(network), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(resnet20_is_that_of_the_reference_experiments) {
  BOOST_TEST(network_of("kind = \"resnet20\"\n", cifar, 100).layout().size() == 275572U);
  const auto network = network_of("kind = \"resnet20\"\n", cifar, 10);
  BOOST_TEST(network.layout().size() == 269722U);
  const auto parameters = slices(network);
  BOOST_TEST(parameters.size() == 19 * 3 + 2U);  // weight; weight and bias of the normalisation; and the dense layer
  BOOST_TEST(parameters[0] == "0.weight [16, 3, 3, 3]");
  BOOST_TEST(parameters[1] == "1.weight [16]");
  BOOST_TEST(parameters[3] == "3.weight [16, 16, 3, 3]");
  BOOST_TEST(parameters[3 * 7] == "24.weight [32, 16, 3, 3]");
  BOOST_TEST(parameters[3 * 13] == "45.weight [64, 32, 3, 3]");
  BOOST_TEST(parameters[parameters.size() - 2] == "68.weight [10, 64]");
  std::size_t additions = 0;
  for (const auto& layer : network.layers()) {
    if (layer->name() != "add") continue;
    // 16 channels of 32 x 32 become 32 of 16 x 16 and 64 of 8 x 8, each where a stage begins.
    const std::size_t stage = additions / 3, before = additions == 0 || additions % 3 != 0 ? stage : stage - 1;
    BOOST_TEST(layer->outputs() == 16384U >> stage);
    BOOST_TEST(layer->skip_inputs() == 16384U >> before);
    ++additions;
  }
  BOOST_TEST(additions == 9U);
  const auto filter = network_of("kind = \"resnet20\"\nnorm = \"filter_response_norm\"\n", cifar, 10);
  BOOST_TEST(filter.layout().size() == 269722U + 688U);  // tau beside gamma and beta: 7 * 16 + 6 * 32 + 6 * 64 channels
}

BOOST_AUTO_TEST_CASE(linear_and_mlp) {
  BOOST_TEST(slices(network_of("kind = \"linear\"\n", mnist, 10)) ==
                 (std::vector<std::string>{"0.weight [10, 784]", "0.bias [10]"}),
             boost::test_tools::per_element());
  BOOST_TEST(network_of("kind = \"linear\"\nbias = false\n", mnist, 10).layout().size() == 7840U);
  const auto mlp = network_of("hidden = [200, 100]\nactivation = \"sigmoid\"\n", mnist, 10);
  BOOST_TEST(mlp.layout().size() == 178110U);
  const std::vector<std::size_t> hidden = {200, 100};
  const auto plain = make_mlp<float>(784, hidden, 10, "sigmoid", true);
  BOOST_TEST(slices(mlp) == slices(plain), boost::test_tools::per_element());
  BOOST_TEST((mlp.initialise(3) == plain.initialise(3)));
}

BOOST_AUTO_TEST_CASE(named_models_take_images_of_other_sizes_and_refuse_what_is_none) {
  for (const char* kind : {"cnn-acar", "cnn-zenke", "resnet20"}) {
    BOOST_TEST_CONTEXT(kind) {
      const std::string line = std::string("kind = \"") + kind + "\"\nactivation = \"tanh\"\n";
      BOOST_TEST(network_of(line, mnist, 10).outputs() == 10U);
      std::string message;
      try {
        network_of(line, {784}, 10);
      } catch (const InputError& error) {
        message = error.what();
      }
      BOOST_TEST(starts(message, "[model] layer 0 (conv2d) cannot be built on [784], at dir/a.toml:9:1: conv2d "));
    }
  }
}

BOOST_AUTO_TEST_CASE(a_list_of_layers_is_read_and_written) {
  const Scenario scenario = parse_one(with_model(list));
  check_round_trip(scenario);
  BOOST_TEST(
      contains(to_toml(scenario), "\n  { layer = \"group_norm\", eps = 1e-05, groups = 2, name = \"block1\" },\n"));
  BOOST_TEST(contains(to_toml(scenario), "\n  { layer = \"dense\", bias = true, outputs = 0 },\n]\n"));
  const auto network = network_of(list, cifar, 10);
  BOOST_TEST(slices(network) ==
                 (std::vector<std::string>{"0.weight [4, 3, 3, 3]", "0.bias [4]", "1.weight [4]", "1.bias [4]",
                                           "3.weight [8, 4, 3, 3]", "3.bias [8]", "7.weight [10, 512]", "7.bias [10]"}),
             boost::test_tools::per_element());
  // [[model.layers]] and dotted keys say the same.
  std::string tables = "kind = \"sequential\"\n";
  for (const OptionTable& table : scenario.model.tables("layers")) {
    tables += "[[model.layers]]\n";
    for (const auto& [key, option] : table.keys) tables += key + " = " + to_toml(option.value) + "\n";
  }
  check_equal(parse_one(with_model(tables)).model, scenario.model, "model");
}

BOOST_AUTO_TEST_CASE(a_named_model_can_be_written_as_its_list) {
  for (const char* kind : {"cnn-acar", "cnn-zenke", "resnet20"}) {
    BOOST_TEST_CONTEXT(kind) {
      const std::string line = std::string("kind = \"") + kind + "\"\n";
      const auto layers = layers_of(parse_one(with_model(line)).model);
      std::string text = "kind = \"sequential\"\nlayers = [\n";
      for (const OptionTable& table : spelt_out(layers)) text += to_toml(table) + ",\n";
      text += "]\n";
      check_round_trip(parse_one(with_model(text)));
      const auto own = network_of(text, cifar, 10), named = network_of(line, cifar, 10);
      BOOST_TEST(slices(own) == slices(named), boost::test_tools::per_element());
      BOOST_TEST((own.initialise(5) == named.initialise(5)));
    }
  }
}

BOOST_AUTO_TEST_CASE(resolved_texts_of_an_mlp_stay_as_they_were) {
  BOOST_TEST(contains(to_toml(parse_one(base)),
                      "\n[model]\nkind = \"mlp\"\nactivation = \"relu\"\nbias = true\nhidden = [5]\ninit = \"\"\n"));
}

BOOST_AUTO_TEST_CASE(mistakes_in_a_list_have_their_place) {
  const auto refused = [](const std::string& from, const std::string& to) {
    return refusal(with_model(replaced(from, to, list)));
  };
  BOOST_TEST(
      refused("channels = 4, kernel", "channels = 4, kernal") ==
      "[scenario] unknown key model.layers[0].kernal = 3, at dir/a.toml:11:37; did you mean \"kernel\"?\n"
      "[scenario] model.layers[0].kernel is required and must be an integer in [1, 4096] (pixels), got nothing, at "
      "dir/a.toml:11:3");
  BOOST_TEST(
      refused("groups = 2", "groups = 0") ==
      "[scenario] model.layers[1].groups must be an integer in [1, 1048576] (groups), got 0, at dir/a.toml:12:27");
  BOOST_TEST(
      starts(refused("layer = \"relu\"", "layer = \"rleu\""), "[scenario] model.layers[2].layer must be \"add\", "));
  BOOST_TEST(contains(refused("layer = \"relu\"", "layer = \"rleu\""),
                      ", got \"rleu\", at dir/a.toml:13:5; did you mean \"relu\"?"));
  BOOST_TEST(
      starts(refused("{ layer = \"relu\" }", "{ }"), "[scenario] model.layers[2].layer is required and must be "));
  BOOST_TEST(
      refused("from = \"block1\"", "from = \"blok1\"") ==
      "[scenario] model.layers[4].from must be the name of an earlier layer, got \"blok1\", at dir/a.toml:15:20; did "
      "you mean \"block1\"?");
  BOOST_TEST(refused("from = \"block1\", ", "") ==
             "[scenario] model.layers[4].from is required and must be a text, got nothing, at dir/a.toml:15:3");
  BOOST_TEST(refused("p = 0.25", "p = 0.25, name = \"block1\"") ==
             "[scenario] model.layers[6].name must be a name that no earlier layer has, got \"block1\", at "
             "dir/a.toml:17:34");
  BOOST_TEST(refused("p = 0.25", "p = 1979-05-27") ==
             "[scenario] model.layers[6].p must be true, false, a number, a text, or a list of numbers within 2^53 or "
             "of texts, got a "
             "date, at dir/a.toml:17:24");
  BOOST_TEST(contains(refused(", name = \"block1\"", ""), "give that layer a key name = \"...\""));
  // All mistakes at once.
  BOOST_TEST(lines(refusal(with_model(replaced("groups = 2", "groups = 0", replaced("p = 0.25", "p = 2", list))))) ==
             2U);
}

BOOST_AUTO_TEST_CASE(batch_normalisation_is_refused_with_the_reason) {
  for (const char* name : {"batch_norm", "batchnorm", "BatchNorm2d"}) {
    const std::string message = refusal(with_model(replaced("\"relu\"", std::string("\"") + name + "\"", list)));
    BOOST_TEST(starts(message, std::string("[scenario] model.layers[2].layer must not be batch normalisation, got \"") +
                                   name + "\", at dir/a.toml:13:5; its running mean and variance are no parameters"));
    BOOST_TEST(contains(message, "use \"group_norm\" or \"filter_response_norm\""));
  }
}

BOOST_AUTO_TEST_CASE(shapes_that_do_not_fit_name_the_layer) {
  const auto refused = [](const std::string& from, const std::string& to) -> std::string {
    try {
      network_of(replaced(from, to, list), cifar, 10);
    } catch (const InputError& error) {
      return error.what();
    }
    return {};
  };
  BOOST_TEST(
      refused("groups = 2", "groups = 3") ==
      "[model] layer 1 (group_norm, \"block1\") cannot be built on [4, 32, 32], at dir/a.toml:12:3: group_norm needs "
      "groups that divide the channels, got 3 groups for 4 channels; use a divisor of 4");
  BOOST_TEST(starts(refused("shortcut = \"pad\"", "shortcut = \"identity\""),
                    "[model] layer 4 (add) cannot be built on [8, 16, 16], at dir/a.toml:15:3: add with shortcut = "
                    "\"identity\" needs equal shapes, got [8, 16, 16] and a skip of [4, 32, 32]"));
  BOOST_TEST(
      refused("layer = \"dense\"", "layer = \"dense\", outputs = 12") ==
      "[model] the last layer must have as many outputs as the data have classes or targets, 10, got [12] of layer 7 "
      "(dense), at dir/a.toml:18:3; end with a dense layer and leave its outputs out");
}

BOOST_AUTO_TEST_CASE(models_change_in_arms_and_on_the_command_line) {
  // A change of kind drops the keys of the former one.
  const Scenario linear = parse_one(base, {"model.kind=linear"});
  BOOST_TEST(!linear.model.has("hidden"));
  BOOST_TEST(parse_one(with_model(list), {"model.kind=resnet20"}).model.text("norm") == "group_norm");
  const Scenario own = parse_one(
      base, {"model.kind=sequential", "model.layers=[{ layer = \"dense\", outputs = 3 }, { layer = \"dense\" }]"});
  BOOST_TEST(own.model.tables("layers").size() == 2U);
  check_round_trip(own);
  BOOST_TEST(refusal(base, {"model.kind=sequential", "model.layers=[{ layer = \"dense\", output = 3 }]"}) ==
             "[scenario] unknown key model.layers[0].output = 3, in --set model.layers; did you mean \"outputs\"?");
  BOOST_TEST(refusal(base, {"model.layers=[{ layer = \"dense\" }]"}) ==
             "[scenario] model.layers belongs to kind = \"sequential\", got kind = \"mlp\", in --set model.layers");
  BOOST_TEST(refusal(with_model("kind = \"resnet20\"\nhidden = [5]\n")) ==
             "[scenario] model.hidden belongs to kind = \"mlp\", got kind = \"resnet20\", at dir/a.toml:10:1");
  BOOST_TEST(starts(refusal(with_model("kind = \"resnet21\"\n")), "[scenario] model.kind must be "));
  BOOST_TEST(contains(refusal(with_model("kind = \"resnet21\"\n")), "did you mean \"resnet20\"?"));
  BOOST_TEST(starts(refusal(with_model("kind = \"sequential\"\n")),
                    "[scenario] model.layers is required and must be a list of tables [ { ... }, ... ], got nothing"));
  BOOST_TEST(contains(refusal(with_model("kind = \"sequential\"\nlayers = []\n")), "must be a list of tables"));
  const auto arms = parse(two_arms + "[compare.model]\nkind = \"linear\"\nbias = false\n");
  BOOST_TEST(arms[0].model.text("kind") == "mlp");
  BOOST_TEST(arms[1].model.text("kind") == "linear");
}

BOOST_AUTO_TEST_CASE(a_list_of_layers_trains) {
  const std::string file = std::string(IVORY_SOURCE_DIR) + "/scenarios/quickstart.toml";
  for (const std::string arm : {"fedavg", "vb-admm"}) {
    const Texts overrides = {"rounds=8", "evaluation.samples=2", "model.kind=sequential", "model.layers=" + small_cnn};
    RunSettings settings;
    settings.threads = 1;
    const auto records = run_arm(file, arm, overrides, settings);
    BOOST_REQUIRE_EQUAL(records.size(), 8U);
    BOOST_TEST(records.back().refused == 0);
    // Seen: 77 % and 57 %; guessing has 10 %.
    BOOST_TEST(records.back().mean.metrics.accuracy > 0.45);
    BOOST_TEST(records.back().train_loss < 0.5 * records.front().train_loss);
    settings.threads = 2;
    BOOST_TEST(hashes(run_arm(file, arm, overrides, settings)) == hashes(records), boost::test_tools::per_element());
  }
}
