// [evaluation.ood], a table that a scenario may leave out: in files, arms and --set.
#define BOOST_TEST_MODULE scenario_ood
#include "tests/support/boost_test.hpp"

#include "tests/support/scenario_text.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

const std::string ood = "[evaluation.ood]\nkind = \"blobs\"\nfeatures = 64\nseed = 3\n";

}  // namespace

BOOST_AUTO_TEST_CASE(a_scenario_may_have_the_table_or_not) {
  BOOST_TEST(parse_one(base).ood.rows().empty());
  BOOST_TEST(to_toml(parse_one(base)).find("ood") == std::string::npos);
  const Scenario s = parse_one(base + ood);
  BOOST_TEST(s.ood.text("kind") == "blobs");
  BOOST_TEST(s.ood.integer("features") == 64);
  BOOST_TEST(s.ood.integer("classes") == 4);
  BOOST_TEST(s.ood.real("divide_by") == 1.0);
  BOOST_TEST(to_string(s.ood.place("features")) == "dir/a.toml:21:1");
  BOOST_TEST(contains(to_toml(s), "\n[evaluation.ood]\nkind = \"blobs\"\n"));
  check_round_trip(s);
  check_equal(s.ood, parse_one(to_toml(s)).ood, "evaluation.ood");
  const std::string dotted = base + "[evaluation]\nbins = 3\nood.kind = \"blobs\"\nood.features = 64\nood.seed = 3\n";
  check_equal(s.ood, parse_one(dotted).ood, "evaluation.ood");
  BOOST_TEST(parse_one(dotted).evaluation.integer("bins") == 3);
  check_equal(s.ood, parse_one(base + "[evaluation]\nood = { kind = \"blobs\", features = 64, seed = 3 }\n").ood,
              "evaluation.ood");
}

BOOST_AUTO_TEST_CASE(arms_and_overrides_reach_the_table) {
  const Scenario set = parse_one(base, {"evaluation.ood.kind=blobs", "evaluation.ood.features=64"});
  BOOST_TEST(set.ood.integer("features") == 64);
  BOOST_TEST(to_string(set.ood.place("features")) == "--set evaluation.ood.features");
  BOOST_TEST(parse_one(base + ood, {"evaluation.ood.divide_by=2"}).ood.real("divide_by") == 2.0);
  // Another kind drops the keys of the former.
  const Scenario other = parse_one(base + ood, {"evaluation.ood.kind=idx", "evaluation.ood.directory=mnist"});
  BOOST_TEST(other.ood.text("directory") == "mnist");
  BOOST_TEST(!other.ood.has("features"));
  BOOST_TEST(other.ood.integer("seed") == 3);

  const std::string arms = base +
                           "[[compare]]\nname = \"plain\"\nseed = 2\n"
                           "[[compare]]\nname = \"ood\"\nevaluation.ood = { kind = \"blobs\", features = 64 }\n"
                           "[[compare]]\nname = \"header\"\n[compare.evaluation.ood]\nkind = \"idx\"\n"
                           "directory = \"mnist\"\n";
  auto read = parse(arms);
  BOOST_REQUIRE(read.size() == 3U);
  BOOST_TEST(read[0].ood.rows().empty());
  BOOST_TEST(read[1].ood.text("kind") == "blobs");
  BOOST_TEST(read[2].ood.text("directory") == "mnist");
  for (const Scenario& arm : read) check_round_trip(arm);
  // A --set without the kind is for the arms that have the table.
  read = parse(arms, {"evaluation.ood.limit_test=9"});
  BOOST_TEST(read[0].ood.rows().empty());
  BOOST_TEST(read[1].ood.integer("limit_test") == 9);
  BOOST_TEST(read[2].ood.integer("limit_test") == 9);
  BOOST_TEST(parse(arms, {"evaluation.ood.kind=blobs", "evaluation.ood.features=5"})[0].ood.integer("features") == 5);
}

BOOST_AUTO_TEST_CASE(mistakes_in_the_table_are_told) {
  BOOST_TEST(starts(refusal(base + "[evaluation.ood]\nfeatures = 64\n"), "[scenario] evaluation.ood.kind is required"));
  BOOST_TEST(starts(refusal(base + "[evaluation.ood]\n"), "[scenario] evaluation.ood.kind is required"));
  BOOST_TEST(starts(refusal(base, {"evaluation.ood.features=64"}), "[scenario] evaluation.ood.kind is required"));
  BOOST_TEST(starts(refusal(base + "[evaluation.ood]\nkind = \"blob\"\n"), "[scenario] evaluation.ood.kind must be"));
  BOOST_TEST(contains(refusal(base + ood + "featres = 3\n"),
                      "unknown key evaluation.ood.featres = 3, at dir/a.toml:23:1; did you mean \"features\"?"));
  BOOST_TEST(
      contains(refusal(base + ood + "directory = \"x\"\n"), "evaluation.ood.directory belongs to kind = \"idx\""));
  // What is done to a training set has no place here.
  for (const char* key : {"validation = 0.1", "public = 3", "label_noise = 0.1", "limit_train = 5"}) {
    BOOST_TEST(contains(refusal(base + ood + key + "\n"), "unknown key evaluation.ood."));
  }
  BOOST_TEST(starts(refusal(base + "[evaluation]\nood = 3\n"), "[scenario] evaluation.ood must be a table"));
  BOOST_TEST(starts(refusal(base + "[evaluation.odd]\nkind = \"blobs\"\n"), "[scenario] unknown table evaluation.odd"));
}
