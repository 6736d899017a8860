// LEAF's JSON: numbers and texts, users as clients, several files, and everything that is no such file.
#define BOOST_TEST_MODULE data_leaf
#include <set>

#include "ivory/rng.hpp"
#include "src/leaf_json.hpp"
#include "tests/support/boost_test.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

struct User {
  std::string name, x, y;
  std::size_t samples;
};

std::string leaf(const std::vector<User>& users, const std::string& more = "") {
  std::string names, counts, data;
  for (const User& user : users) {
    const std::string comma = names.empty() ? "" : ", ";
    names += comma + "\"" + user.name + "\"";
    counts += comma + std::to_string(user.samples);
    data += comma + "\"" + user.name + "\": {\"x\": " + user.x + ", \"y\": " + user.y + "}";
  }
  return "{\"users\": [" + names + "], " + more + "\"num_samples\": [" + counts + "], \"user_data\": {" + data + "}}";
}

const User ann = {"ann", "[[1, 2.5], [3, -4e0]]", "[0, 2]", 2};
const User bob = {"bob", "[[5, 6]]", "[1]", 1};

struct Files : TemporaryFolder {
  void put(const std::string& name, const std::string& bytes) const { write_file(*this / name, bytes); }
  DataSplit load(Values values = {}) const {
    values["directory"] = string();
    return load_data(data_scenario("leaf", values));
  }
  /// What reading one file of that text says.
  std::string error(const std::string& text, const std::string& alphabet = "abc") const {
    put("one.json", text);
    const std::string message = input_error([&] {
      LeafFormat format(alphabet, "");
      NameNumbers users;
      Dataset data;
      read_leaf_json(*this / "one.json", format, users, data);
    });
    BOOST_TEST((message.empty() || (message.starts_with("[data] ") && contains(message, *this / "one.json"))), message);
    return message;
  }
};

void expect(const std::string& message, const std::vector<std::string>& parts) {
  for (const std::string& part : parts) BOOST_TEST(contains(message, part), message << "\n  lacks: " << part);
}

}  // namespace

BOOST_AUTO_TEST_CASE(users_become_clients_over_several_files) {
  const Files files;
  files.put("train/b.json", leaf({{"cyd", "[[7, 8]]", "[2]", 1}, {"ann", "[[9, 10]]", "[1]", 1}}));
  files.put("train/a.json.gz", gzip(leaf({ann, bob}, "\"hierarchies\": [{\"deep\": [[1], {}]}, null], ")));
  files.put("train/notes.txt", "no data");
  files.put("test/t.json", leaf({{"dan", "[[0, 0]]", "[3]", 1}, {"bob", "[[1, 1]]", "[0]", 1}}));
  const DataSplit data = files.load();
  // Files by name: a.json.gz, then b.json.
  BOOST_TEST(data.train.x == (std::vector<float>{1, 2.5F, 3, -4, 5, 6, 7, 8, 9, 10}), boost::test_tools::per_element());
  BOOST_TEST(data.train.labels == (std::vector<std::int32_t>{0, 2, 1, 2, 1}), boost::test_tools::per_element());
  BOOST_TEST(data.train.client == (std::vector<std::int32_t>{0, 0, 1, 2, 0}), boost::test_tools::per_element());
  BOOST_TEST(data.test.client == (std::vector<std::int32_t>{3, 1}), boost::test_tools::per_element());
  BOOST_TEST(data.train.classes == 4);
  BOOST_TEST(data.train.shape == Shape{2}, boost::test_tools::per_element());
  BOOST_TEST(contains(data.description, "leaf " + files.string()), data.description);
  BOOST_TEST(files.load({{"classes", std::int64_t{62}}}).train.classes == 62);
  BOOST_TEST(contains(input_error([&] { files.load({{"classes", std::int64_t{3}}}); }), "below classes = 3, got 3"));
  const Partition partition = make_partition(partition_scenario("natural", 0), data.train);
  BOOST_TEST(partition.clients() == 3U);
  BOOST_TEST(partition.train[0] == (std::vector<std::uint32_t>{0, 1, 4}), boost::test_tools::per_element());
  // A plain file comes before the packed one of its name.
  files.put("train/a.json", leaf({bob}));
  BOOST_TEST(files.load().train.size() == 3U);
}

BOOST_AUTO_TEST_CASE(femnist_examples_are_images) {
  const Files files;
  std::string image;
  for (int j = 0; j < 784; ++j) image += (j == 0 ? "" : ", ") + std::to_string(j / 1000.0);
  for (const char* part : {"train/a.json", "test/a.json"}) {
    files.put(part, leaf({{"f0001_41", "[[" + image + "]]", "[61]", 1}}));
  }
  const DataSplit data = files.load();
  BOOST_TEST(data.train.shape == (Shape{1, 28, 28}), boost::test_tools::per_element());
  BOOST_TEST(data.test.shape == (Shape{1, 28, 28}), boost::test_tools::per_element());
  BOOST_TEST(data.train.classes == 62);
  BOOST_TEST(data.train.x[783] == 0.783F);
}

BOOST_AUTO_TEST_CASE(texts_become_one_hot_characters) {
  const Files files;
  files.put("train/a.json", leaf({{"KING", R"(["ab", "ca", "\u00fcb"])", R"(["c", "a", "\u00fc"])", 3}}));
  files.put("test/a.json", leaf({{"FOOL", R"(["cc"])", R"(["b"])", 1}}));
  const DataSplit data = files.load({{"alphabet", std::string("abcü")}});
  const std::vector<float> expected = {1, 0, 0, 0, 0, 1, 0, 0,   // ab
                                       0, 0, 1, 0, 1, 0, 0, 0,   // ca
                                       0, 0, 0, 1, 0, 1, 0, 0};  // üb
  BOOST_TEST(data.train.x == expected, boost::test_tools::per_element());
  BOOST_TEST(data.train.labels == (std::vector<std::int32_t>{2, 0, 3}), boost::test_tools::per_element());
  BOOST_TEST(data.train.classes == 4);
  BOOST_TEST(data.train.shape == Shape{8}, boost::test_tools::per_element());

  // The alphabet of LEAF's Shakespeare: 80 characters in ASCII order, so that 80 of them are 6400 inputs.
  const std::string line = "\\n !\\\"&'(),-.0123456789:;>?ABCDEFGHIJKLMNOPQRSTUVWXYZ[]abcdefghijklmnopqrstuvwxyz}";
  files.put("train/a.json", leaf({{"KING", "[\"" + line + "\"]", R"(["}"])", 1}}));
  files.put("test/a.json", leaf({{"KING", "[\"" + line + "\"]", R"(["\n"])", 1}}));
  const DataSplit king = files.load();
  BOOST_TEST(king.train.features == 6400U);
  BOOST_TEST(king.train.classes == 80);
  BOOST_TEST(king.train.labels[0] == 79);
  BOOST_TEST(king.test.labels[0] == 0);
  std::size_t wrong = 0;
  for (std::size_t t = 0; t < 80; ++t) {
    for (std::size_t a = 0; a < 80; ++a) wrong += king.train.row(0)[t * 80 + a] != (a == t ? 1.0F : 0.0F);
  }
  BOOST_TEST(wrong == 0U);

  const std::string said = files.error(leaf({{"K", R"(["ab", "a?"])", R"(["a", "a"])", 2}}));
  expect(said, {"alphabet, got U+003F", "user \"K\" x 1", "data.alphabet"});
  expect(files.error(leaf({{"K", R"(["ab"])", R"(["z"])", 1}})), {"alphabet, got U+007A", "y 0"});
  expect(files.error(leaf({{"K", R"(["ab"])", R"(["ab"])", 1}})), {"character that follows x", "a text of 2"});
  expect(files.error(leaf({{"K", R"(["ab"])", R"([""])", 1}})), {"a text of 0"});
  expect(files.error(leaf({{"K", R"(["ab"])", "[1]", 1}})), {"character that follows x, got a number"});
  expect(files.error(leaf({{"K", R"([""])", R"(["a"])", 1}})), {"has inputs, got none"});
  expect(files.error(leaf({{"K", R"(["ab", "abc"])", R"(["a", "a"])", 2}})), {"2 characters, got 3", "x 1"});
  const auto alphabet = [&](const std::string& letters) { return input_error([&] { LeafFormat(letters, ", here"); }); };
  expect(alphabet(""), {"must have characters", ", here"});
  expect(alphabet("abca"), {"got U+0061 again, here"});
}

BOOST_AUTO_TEST_CASE(folders_without_files_are_refused) {
  const Files files;
  const auto said = [&] { return input_error([&] { files.load(); }); };
  expect(said(), {files.string() + ": no train/*.json, test/*.json", "https://github.com/TalwalkarLab/leaf"});
  files.put("train/a.json", leaf({ann}));
  expect(said(), {files.string() + ": no test/*.json"});
  files.put("test/a.json", leaf({}));
  expect(said(), {"test set must not be empty"});
  files.put("test/a.json", leaf({{"eve", "[[1, 2, 3]]", "[0]", 1}}));
  expect(said(), {"equally long", "first has 2 values", "test/a.json user \"eve\" x 0"});
  files.put("test/a.json", leaf({{"eve", R"(["ab"])", R"(["a"])", 1}}));
  expect(said(), {"all lists of numbers or all texts", "test/a.json"});
  expect(load_error("leaf", {{"directory", std::string("/nowhere")}}), {"/nowhere: no such folder"});
}

BOOST_AUTO_TEST_CASE(files_of_another_make_are_refused_with_their_place) {
  const Files files;
  const auto data = [](const std::string& x, const std::string& y) { return leaf({{"u", x, y, 1}}); };
  expect(files.error(""), {"must be JSON", "byte 1"});
  expect(files.error("<!DOCTYPE html>"), {"must be JSON"});
  expect(files.error("[]"), {"an object with users, num_samples and user_data, got a list"});
  expect(files.error("3"), {"an object with users"});
  expect(files.error("{}"), {"got no users"});
  expect(files.error("{\"users\": []}"), {"got no num_samples"});
  expect(files.error("{\"users\": [], \"num_samples\": []}"), {"got no user_data"});
  expect(files.error("{\"users\": {}}"), {"are lists, got an object"});
  expect(files.error("{\"users\": [1]}"), {"list of texts, got a number"});
  expect(files.error("{\"num_samples\": [1.5]}"), {"whole numbers, got a number that is not whole"});
  expect(files.error("{\"num_samples\": 3}"), {"are lists"});
  expect(files.error("{\"user_data\": []}"), {"an entry per user, got a list"});
  expect(files.error("{\"user_data\": {\"u\": [1]}}"), {"a user is an object", "user \"u\""});
  expect(files.error("{\"user_data\": {\"u\": {\"x\": {}}}}"), {"x and y are lists, got an object"});
  expect(files.error("{\"user_data\": {\"u\": {\"x\": []}}}"), {"x and y, got no y"});
  expect(files.error("{\"user_data\": {\"u\": {\"y\": []}}}"), {"x and y, got no x"});
  expect(files.error("{\"user_data\": {\"u\": {\"x\": [], \"x\": []}}}"), {"stands once, got \"x\" again"});
  expect(files.error("{\"users\": [], \"users\": []}"), {"stands once, got \"users\" again"});
  expect(files.error("{\"user_data\": {\"u\": {\"x\": [], \"y\": []}, \"u\": {}}}"), {"user stands once in a file"});
  expect(files.error(data("[1]", "[0]")), {"list of numbers or a text, got a number", "x 0"});
  expect(files.error(data("[[[1]]]", "[0]")), {"list of numbers, got a list", "x 0 value 0"});
  expect(files.error(data("[[1, \"2\"]]", "[0]")), {"list of numbers, got a text", "x 0 value 1"});
  expect(files.error(data("[[1, null]]", "[0]")), {"got null"});
  expect(files.error(data("[[1, true]]", "[0]")), {"got true or false"});
  expect(files.error(data("[[1, NaN]]", "[0]")), {"must be JSON"});
  expect(files.error(data("[[1e400]]", "[0]")), {"must be JSON", "1e400"});
  expect(files.error(data("[[1e39]]", "[0]")), {"finite numbers, got 1e+39", "value 0"});
  expect(files.error(data("[[]]", "[0]")), {"has inputs, got none"});
  expect(files.error(data("[[1, 2], [3]]", "[0, 1]")), {"first has 2 values, got 1", "x 1"});
  expect(files.error(data("[[1, 2], [3, 4, 5]]", "[0, 1]")), {"first has 2 values, got more", "x 1 value 2"});
  expect(files.error(data("[[1], \"a\"]", "[0, 1]")), {"all lists of numbers or all texts, got a text"});
  expect(files.error(data("[\"a\", [1]]", "[\"a\"]")), {"a text, as the first one is, got a list"});
  expect(files.error(data("[[1]]", "[0, 1]")), {"equally long, got 1 and 2"});
  expect(files.error(data("[[1]]", "[1.5]")), {"class number, got a number that is not whole", "y 0"});
  expect(files.error(data("[[1]]", "[\"a\"]")), {"lists of numbers or all texts"});
  expect(files.error(data("[[1]]", "[[0]]")), {"class number, got a list"});
  expect(files.error(data("[[1]]", "[-1]")), {"from 0 to 65535, got -1"});
  expect(files.error(data("[[1]]", "[65536]")), {"got 65536"});
  expect(files.error(data("[[1]]", "[18446744073709551615]")), {"class number", "beyond 64 bits"});
  expect(files.error(leaf({{"u", "[[1]]", "[0]", (std::size_t{1} << 63) - 1}})), {"got 9223372036854775807 for 1"});
  expect(files.error(leaf({{"u", "[[1], [2]]", "[0, 1]", 3}})), {"number of a user's examples, got 3 for 2 of \"u\""});
  expect(files.error("{\"users\": [\"v\"], \"num_samples\": [1], \"user_data\": {\"u\": {\"x\": [[1]], \"y\": [0]}}}"),
         {"every user has data, got none for \"v\""});
  expect(files.error("{\"users\": [\"u\", \"u\"], \"num_samples\": [1], \"user_data\": {}}"), {"2, 1 and 0"});
  expect(files.error("{\"users\": [\"u\"], \"num_samples\": [-1], \"user_data\": {\"u\": {\"x\": [], \"y\": []}}}"),
         {"got -1 for 0"});
  expect(files.error(leaf({ann}) + " x"), {"must be JSON"});
}

BOOST_AUTO_TEST_CASE(deep_nesting_and_endless_values_are_refused) {
  const Files files;
  for (const char open : {'[', '{'}) {
    std::string text = "{\"hierarchies\": ";
    for (int i = 0; i < 200000; ++i) text += open == '[' ? "[" : "{\"a\":";
    expect(files.error(text), {"nested at most 64 deep"});
  }
  expect(files.error(std::string(1000000, '[')), {"an object with users"});
  // A value longer than any text, from a small packed file.
  const std::string bomb = gzip("{\"users\": [\"" + std::string((std::size_t{1} << 26) + 100, 'a') + "\"]}");
  BOOST_TEST(bomb.size() < 200000U);
  expect(files.error(bomb), {"may have 67108864 bytes"});
}

BOOST_AUTO_TEST_CASE(a_file_cut_off_or_changed_anywhere_ends_in_a_message_or_in_data) {
  const Files files;
  const std::string whole = leaf({ann, bob}, "\"hierarchies\": [\"x\"], ");
  BOOST_TEST(files.error(whole) == "");
  for (std::size_t size = 0; size < whole.size(); ++size) BOOST_TEST(files.error(whole.substr(0, size)) != "");
  const std::string packed = gzip(whole);
  for (std::size_t size = 0; size < packed.size(); ++size) {
    BOOST_TEST(files.error(packed.substr(0, size)) != "", "gzip cut at byte " << size);
  }
  StreamReader random(5, {.purpose = Purpose::data});
  std::size_t refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string text = whole;
    for (int j = 0; j < 2; ++j) {
      text[random.below(static_cast<std::uint32_t>(text.size()))] = static_cast<char>(random.below(256));
    }
    refused += files.error(text).empty() ? 0 : 1;
  }
  BOOST_TEST(refused > 500U);
}
