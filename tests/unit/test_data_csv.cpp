// CSV files: cells, columns, clients, regression, and what is refused.
#define BOOST_TEST_MODULE data_csv
#include <cmath>
#include <set>

#include "ivory/rng.hpp"
#include "src/csv_file.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

using Rows = std::vector<std::vector<std::string>>;

struct Files : TemporaryFolder {
  std::string put(const std::string& bytes, const std::string& name = "a.csv") const {
    write_file(*this / name, bytes);
    return *this / name;
  }
  Rows rows(const std::string& bytes, char separator = ',') const {
    CsvFile file(put(bytes), separator);
    Rows all;
    for (std::vector<std::string> cells; file.next(cells);) all.push_back(cells);
    return all;
  }
  /// The training set of a file without a test set: four examples in the order of the file, the rest is put aside.
  DataSplit load(const std::string& bytes, Values values) const {
    values["file"] = put(bytes);
    if (values.count("test_file") == 0) values["test_file"] = put(bytes, "same.csv");
    return load_data(data_scenario("csv", values));
  }
  std::string error(const std::string& bytes, const Values& values) const {
    const std::string message = input_error([&] { load(bytes, values); });
    BOOST_TEST((message.empty() || message.starts_with("[data] ")), message);
    return message;
  }
};

const Values label = {{"label", std::string("y")}};

void expect(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) BOOST_TEST(contains(message, part), message << "\n  lacks: " << part);
}

}  // namespace

BOOST_AUTO_TEST_CASE(cells_follow_rfc_4180) {
  const Files files;
  BOOST_TEST((files.rows("a,b\n1,2\n") == Rows{{"a", "b"}, {"1", "2"}}));
  BOOST_TEST((files.rows("a,b\r\n1,2\r\n\r\n\n") == Rows{{"a", "b"}, {"1", "2"}}));
  BOOST_TEST((files.rows("\xEF\xBB\xBF"
                         "a,b\n1,2") == Rows{{"a", "b"}, {"1", "2"}}));
  BOOST_TEST((files.rows("a,,\n,,") == Rows{{"a", "", ""}, {"", "", ""}}));
  BOOST_TEST((files.rows("\"a,\"\"b\"\"\",\"c\nd\"\r\n\"\",x\n") == Rows{{"a,\"b\"", "c\nd"}, {"", "x"}}));
  BOOST_TEST((files.rows("a;b,c\n", ';') == Rows{{"a", "b,c"}}));
  BOOST_TEST((files.rows("a\tb\n", '\t') == Rows{{"a", "b"}}));
  BOOST_TEST((files.rows(gzip("a,b\n1,2\n")) == Rows{{"a", "b"}, {"1", "2"}}));
  BOOST_TEST(files.rows("").empty());
  // Longer than the buffer, with cells across its end.
  std::string text;
  Rows expected;
  for (int i = 0; i < 30000; ++i) {
    text += std::to_string(i) + ",\"" + std::to_string(2 * i) + "\"\n";
    expected.push_back({std::to_string(i), std::to_string(2 * i)});
  }
  BOOST_TEST((files.rows(text) == expected));

  expect(input_error([&] { files.rows("a\n\"b\nc\n"); }), {"quote must be closed", "line 2"});
  expect(input_error([&] { files.rows("a\n\"b\"c\n"); }), {"after a closing quote", "line 2"});
  expect(input_error([&] { files.rows("x\n" + std::string(70000, 'a')); }), {"65536 bytes", "line 2"});
  expect(input_error([&] { files.rows(std::string(1 << 21, ',')); }), {"1048576 cells", "line 1"});
}

BOOST_AUTO_TEST_CASE(columns_have_names_or_numbers) {
  const Files files;
  const std::string text = "a,y,who,b\n1,0,ann,-2.5\n+3,2, bob ,4e-1\n\n5,1,ann,.5\n";
  const DataSplit by_name = files.load(text, {{"label", std::string("y")}, {"client", std::string("who")}});
  BOOST_TEST(by_name.train.features == 2U);
  BOOST_TEST(by_name.train.shape == Shape{2}, boost::test_tools::per_element());
  BOOST_TEST(by_name.train.x == (std::vector<float>{1, -2.5F, 3, 0.4F, 5, 0.5F}), boost::test_tools::per_element());
  BOOST_TEST(by_name.train.labels == (std::vector<std::int32_t>{0, 2, 1}), boost::test_tools::per_element());
  BOOST_TEST(by_name.train.client == (std::vector<std::int32_t>{0, 1, 0}), boost::test_tools::per_element());
  BOOST_TEST(by_name.train.classes == 3);
  BOOST_TEST(by_name.train.targets.empty());
  BOOST_TEST(by_name.train.outputs == 0U);
  const DataSplit by_number = files.load(text, {{"label", std::string("1")}, {"client", std::string("-2")}});
  BOOST_TEST(by_number.checksum == by_name.checksum);

  const std::string bare = "1,0,ann,-2.5\n3,2,bob,0.4\n5,1,ann,0.5\n";
  const DataSplit headless =
      files.load(bare, {{"header", false}, {"label", std::string("1")}, {"client", std::string("2")}});
  BOOST_TEST(headless.checksum == by_name.checksum);
  const DataSplit left_out = files.load(text, {{"label", std::string("y")}, {"leave_out", std::string("who, 0")}});
  BOOST_TEST(left_out.train.features == 1U);
  BOOST_TEST(left_out.train.x == (std::vector<float>{-2.5F, 0.4F, 0.5F}), boost::test_tools::per_element());
  const DataSplit semicolons =
      files.load("a;y\n1;0\n2;1\n",
                 {{"label", std::string("y")}, {"separator", std::string("semicolon")}, {"classes", std::int64_t{4}}});
  BOOST_TEST(semicolons.train.classes == 4);
  // A header of numbers: the name comes first.
  BOOST_TEST(files.load("1,0\n1,7\n0,8\n", {{"label", std::string("1")}}).train.x == (std::vector<float>{7, 8}),
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(regression_has_targets_and_no_labels) {
  const Files files;
  const std::string text = "a,u,b,v\n1,0.5,2,-3\n4,1.5,5,-6\n7,2.5,8,-9\n";
  const DataSplit data = files.load(text, {{"targets", std::string("v, u")}});
  BOOST_TEST(data.train.outputs == 2U);
  BOOST_TEST(data.train.targets == (std::vector<float>{-3, 0.5F, -6, 1.5F, -9, 2.5F}),
             boost::test_tools::per_element());
  BOOST_TEST(data.train.x == (std::vector<float>{1, 2, 4, 5, 7, 8}), boost::test_tools::per_element());
  BOOST_TEST(data.train.labels == (std::vector<std::int32_t>{0, 0, 0}), boost::test_tools::per_element());
  BOOST_TEST(data.train.classes == 1);
  BOOST_TEST(contains(data.description, "2 features, 2 targets"), data.description);
  // Targets are part of what the checksum identifies.
  const DataSplit other =
      files.load("a,u,b,v\n1,0.5,2,-3\n4,1.5,5,-6\n7,2.5,8,-8\n", {{"targets", std::string("v, u")}});
  BOOST_TEST(other.checksum != data.checksum);
  // They go where their examples go.
  std::string many = "x,t\n";
  for (int i = 0; i < 200; ++i) many += std::to_string(i) + "," + std::to_string(-i) + "\n";
  const DataSplit parts = load_data(data_scenario("csv", {{"file", files.put(many)},
                                                          {"targets", std::string("t")},
                                                          {"test_fraction", 0.25},
                                                          {"validation", 0.2},
                                                          {"public", std::int64_t{30}},
                                                          {"limit_train", std::int64_t{140}}}));
  BOOST_TEST(parts.test.size() == 50U);
  BOOST_TEST(parts.validation.size() == 28U);
  BOOST_TEST(parts.public_pool.size() == 30U);
  BOOST_TEST(parts.train.size() == 82U);
  std::set<float> seen;
  for (const Dataset* part : {&parts.train, &parts.test, &parts.validation, &parts.public_pool}) {
    BOOST_TEST(part->outputs == 1U);
    BOOST_REQUIRE(part->targets.size() == part->size());
    for (std::size_t i = 0; i < part->size(); ++i) {
      BOOST_REQUIRE(part->targets[i] == -part->x[i]);
      seen.insert(part->x[i]);
    }
  }
  BOOST_TEST(seen.size() == 190U);

  const auto task = [&](const Values& values) { return files.error(text, values); };
  expect(task({}), {"needs a label", "neither"});
  expect(task({{"label", std::string("u")}, {"targets", std::string("v")}}), {"got both", "test.toml:7:3"});
  expect(task({{"targets", std::string("v")}, {"classes", std::int64_t{3}}}), {"classes belongs to a label"});
  expect(task({{"targets", std::string("v")}, {"label_noise", 0.1}}), {"label_noise", "regression"});
  // Out-of-distribution inputs are found by class probabilities.
  Scenario scenario = data_scenario("csv", {{"file", files.put(text)}, {"targets", std::string("v")}});
  scenario.ood = ood_options("blobs", {{"features", std::int64_t{2}}});
  expect(input_error([&] { load_data(scenario); }), {"[evaluation.ood] ", "must have classes, got regression targets"});
}

BOOST_AUTO_TEST_CASE(test_sets_come_from_a_file_or_a_fraction) {
  const Files files;
  std::string text = "x,y\n";
  for (int i = 0; i < 40; ++i) text += std::to_string(i) + "," + std::to_string(i % 2) + "\n";
  const std::string train = files.put(text), test = files.put("x,y\n7,0\n8,3\n", "b.csv");
  const DataSplit two =
      load_data(data_scenario("csv", {{"file", train}, {"test_file", test}, {"label", std::string("y")}}));
  BOOST_TEST(two.train.size() == 40U);
  BOOST_TEST(two.test.size() == 2U);
  BOOST_TEST(two.train.classes == 4);
  const DataSplit one = load_data(data_scenario("csv", {{"file", train}, {"label", std::string("y")}}));
  BOOST_TEST(one.train.size() == 32U);
  BOOST_TEST(one.test.size() == 8U);
  const auto error = [&](Values values) {
    values["file"] = train;
    values["label"] = std::string("y");
    return load_error("csv", values);
  };
  expect(error({{"test_file", test}, {"test_fraction", 0.5}}), {"test_fraction", "drop one of them"});
  expect(error({{"test_file", train}}), {"must differ"});
  const auto dot =
      (std::filesystem::path(train).parent_path() / "." / std::filesystem::path(train).filename()).string();
  const std::string link = files / "link.csv", hard = files / "hard.csv";
  std::filesystem::create_symlink(train, link);
  std::filesystem::create_hard_link(train, hard);
  for (const std::string& other : {dot, link, hard}) {
    expect(error({{"test_file", other}}),
           {"must differ, got one file for both, " + train + " and " + other, "at test.toml:7:3", "drop test_file"});
  }
  expect(error({{"test_file", files.put("x,z\n7,0\n", "c.csv")}}), {"same columns", "column 1", "c.csv"});
  expect(error({{"test_file", files.put("x,y,z\n7,0,1\n", "c.csv")}}), {"same columns, got 2 and 3", "column 2"});
  expect(error({{"test_file", files / "none.csv"}}), {"none.csv"});
  // Natural clients keep an example each, and have the same number in both files.
  const DataSplit clients = load_data(data_scenario("csv", {{"file", files.put("k,x,y\nb,1,0\na,2,1\nb,3,0\n")},
                                                            {"test_file", files.put("k,x,y\nc,4,0\na,5,1\n", "d.csv")},
                                                            {"label", std::string("y")},
                                                            {"client", std::string("k")}}));
  BOOST_TEST(clients.train.client == (std::vector<std::int32_t>{0, 1, 0}), boost::test_tools::per_element());
  BOOST_TEST(clients.test.client == (std::vector<std::int32_t>{2, 1}), boost::test_tools::per_element());
  const Partition partition = make_partition(partition_scenario("natural", 0), clients.train);
  BOOST_TEST(partition.train[0] == (std::vector<std::uint32_t>{0, 2}), boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(bad_cells_and_rows_are_refused_with_line_and_column) {
  const Files files;
  const auto bad = [&](const std::string& text, const std::vector<std::string>& parts) {
    const std::string message = files.error(text, label);
    expect(message, parts);
    BOOST_TEST(contains(message, files / "a.csv"), message);
  };
  bad("", {"has rows, got none"});
  bad("\n\n", {"has rows, got none"});
  bad("x,y\n", {"below its header, got none"});
  bad("x,y\n1,0\n2\n", {"as many cells as the header, 2, got 1", "line 3"});
  bad("x,y\n1,0\n2,1,3\n", {"2, got 3", "line 3"});
  bad("x,y\n1,0\nabc,1\n", {"finite numbers, got \"abc\"", "line 3 column 0 (\"x\")"});
  bad("x,y\n,0\n", {"got \"\"", "line 2 column 0"});
  for (const char* cell :
       {"nan", "inf", "-inf", "1e400", "1e39", "-1e39", "1.0x", "1 2", "0x10", "+-1", "+", "--1", "1,0"}) {
    const std::string row = std::string("\"") + cell + "\",0\n";
    bad("x,y\n" + row, {"finite numbers", "line 2 column 0"});
  }
  bad("x,y\n1e39,0\n", {"finite numbers of at most 3.4e38, got \"1e39\"", "another unit"});
  for (const char* cell : {"1e-400", "-1e-400", "1e-50", "+0.0e9"}) {
    BOOST_TEST(files.load(std::string("x,y\n") + cell + ",0\n2,1\n", label).train.x[0] == 0.0F, cell);
  }
  bad("x,y\n1,1.0\n", {"class number", "got \"1.0\"", "line 2 column 1 (\"y\")"});
  bad("x,y\n1,cat\n", {"class number", "\"cat\""});
  bad("x,y\n1,\n", {"class number", "\"\""});
  bad("x,y\n1,99999999999999999999\n", {"class number"});
  bad("x,y\n1,0\n2,-1\n", {"got -1, ", "a.csv line 3 column 1 (\"y\")"});
  bad("x,y\n1,65536\n", {"65536", "line 2"});
  bad("y\n1\n", {"column of inputs, got none"});
  bad("x;y\n1;0\n", {"label must be the name", "\"y\""});
  bad(std::string("x,y\n1,0\n\0\xFF,0\n", 13), {"finite numbers", "line 3"});

  const auto wrong = [&](const Values& values, const std::vector<std::string>& parts) {
    expect(files.error("a,a,y,who\n1,2,0,ann\n3,4,1,\n", values), parts);
  };
  wrong({{"label", std::string("z")}}, {"label must be", "0 to 3", "\"z\", at test.toml:7:3", "a.csv"});
  wrong({{"label", std::string("4")}}, {"got \"4\""});
  wrong({{"label", std::string("-5")}}, {"got \"-5\""});
  wrong({{"label", std::string("a")}}, {"the name of several"});
  wrong({{"label", std::string("y")}, {"client", std::string("2")}}, {"one use", "for label and client"});
  wrong({{"label", std::string("y")}, {"leave_out", std::string("who,who")}}, {"leave_out and leave_out"});
  wrong({{"label", std::string("y")}, {"leave_out", std::string("who,")}}, {"leave_out must be", "\"\""});
  wrong({{"label", std::string("y")}}, {"got \"ann\"", "leave_out names"});
  wrong({{"label", std::string("y")}, {"client", std::string("who")}}, {"name its client", "line 3 column 3"});
  wrong({{"label", std::string("y")}, {"leave_out", std::string("who")}, {"classes", std::int64_t{1}}},
        {"below classes = 1, got 1, ", "a.csv line 3 column 2 (\"y\"); leave classes out"});
  expect(load_error("csv", {{"file", std::string("none.csv")}, {"label", std::string("y")}}), {"nowhere/none.csv"});
}

BOOST_AUTO_TEST_CASE(damaged_text_ends_in_a_message_or_in_data) {
  const Files files;
  const std::string whole = "x,y,who\n1,0,\"a b\"\n2,1,\"c\"\"d\"\n3,1,e\n4,0,e\n";
  const Values values = {{"label", std::string("y")}, {"client", std::string("who")}};
  std::size_t refused = 0, read = 0;
  const auto feed = [&](const std::string& text) { ++(files.error(text, values).empty() ? read : refused); };
  for (std::size_t n = 0; n < whole.size(); ++n) feed(whole.substr(0, n));
  StreamReader random(3, {.purpose = Purpose::data});
  for (int i = 0; i < 1000; ++i) {
    std::string text = whole;
    for (int j = 0; j < 2; ++j) {
      text[random.below(static_cast<std::uint32_t>(text.size()))] = static_cast<char>(random.below(256));
    }
    feed(text);
  }
  BOOST_TEST(refused > 500U);
  BOOST_TEST(read > 20U);
}
