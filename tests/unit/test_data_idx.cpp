// IDX files: what is read, and that every damaged file ends in a message and nothing else.
#define BOOST_TEST_MODULE data_idx
#include <bit>
#include <cmath>
#include <limits>
#include "tests/support/boost_test.hpp"

#include "src/data_idx.hpp"
#include "tests/support/data_files.hpp"

using namespace ivory;
using namespace ivory::test;

namespace {

// 3 images of 2 x 2, with every bit of a byte in use somewhere.
const std::string image_bytes = {'\x00', '\x01', '\x7F', '\x80', '\xFF', '\x10',
                                 '\x08', '\x2A', '\x55', '\xAA', '\x03', '\x04'};
const std::vector<float> image_values = {0, 1, 127, 128, 255, 16, 8, 42, 85, 170, 3, 4};
const std::string images = idx(0x08, {3, 2, 2}, image_bytes);
const std::string labels = idx(0x08, {3}, {'\x02', '\x00', '\x01'});

struct Files : TemporaryFolder {
  std::string put(const std::string& bytes, const std::string& name = "file") const {
    write_file(*this / name, bytes);
    return *this / name;
  }
};

std::string image_error(const std::string& path) {
  return input_error([&] { read_idx_images(path); });
}
std::string label_error(const std::string& path) {
  return input_error([&] { read_idx_labels(path); });
}

// What one value of a type looks like in a file, and what must be read.
struct TypedValues {
  unsigned char type;
  std::string bytes;
  std::vector<float> values;
};
const TypedValues typed_values[] = {
    {0x08, {'\x00', '\xFF'}, {0, 255}},
    {0x09, {'\x80', '\x7F'}, {-128, 127}},
    {0x0B, big_endian(0xFFFE, 2) + big_endian(0x0102, 2), {-2, 258}},
    {0x0C, big_endian(0xFFFFFFFD, 4) + big_endian(0x00010000, 4), {-3, 65536}},
    {0x0D,
     big_endian(std::bit_cast<std::uint32_t>(-1.5F), 4) + big_endian(std::bit_cast<std::uint32_t>(0.1F), 4),
     {-1.5F, 0.1F}},
    {0x0E,
     big_endian(std::bit_cast<std::uint64_t>(2.25), 8) + big_endian(std::bit_cast<std::uint64_t>(-1e10), 8),
     {2.25F, -1e10F}},
};

}  // namespace

BOOST_AUTO_TEST_CASE(plain_and_packed_files_give_the_same_values) {
  const Files files;
  // The name does not decide: an unpacked file that kept its ".gz" is read too.
  for (const std::string& path :
       {files.put(images), files.put(gzip(images), "packed.gz"), files.put(images, "unpacked.gz")}) {
    const Dataset data = read_idx_images(path);
    BOOST_TEST(data.features == 4U);
    BOOST_TEST(data.shape == (Shape{1, 2, 2}), boost::test_tools::per_element());
    BOOST_TEST(data.x == image_values, boost::test_tools::per_element());
  }
  const auto shape_of = [&](const std::vector<std::uint32_t>& extents) {
    std::size_t values = 1;
    for (const std::uint32_t extent : extents) values *= extent;
    return read_idx_images(files.put(idx(0x08, extents, std::string(values, 'x')))).shape;
  };
  BOOST_TEST(shape_of({2, 3, 4, 5}) == (Shape{3, 4, 5}), boost::test_tools::per_element());
  BOOST_TEST(shape_of({2, 6}) == Shape{6}, boost::test_tools::per_element());
  BOOST_TEST(shape_of({2, 1, 2, 3, 4}) == Shape{24}, boost::test_tools::per_element());
  const std::vector<std::int32_t> expected = {2, 0, 1};
  BOOST_TEST(read_idx_labels(files.put(labels)) == expected, boost::test_tools::per_element());
  BOOST_TEST(read_idx_labels(files.put(gzip(labels))) == expected, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(every_value_type_is_read_in_big_endian_order) {
  const Files files;
  for (const TypedValues& item : typed_values) {
    for (const bool packed : {false, true}) {
      const std::string bytes = idx(item.type, {1, 2}, item.bytes);
      const Dataset data = read_idx_images(files.put(packed ? gzip(bytes) : bytes));
      BOOST_TEST(data.x == item.values, boost::test_tools::per_element());
    }
  }
  const std::vector<std::int32_t> expected = {1, 258};
  BOOST_TEST(read_idx_labels(files.put(idx(0x0B, {2}, big_endian(1, 2) + big_endian(258, 2)))) == expected,
             boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(files_larger_than_the_buffers_are_read_whole) {
  std::string bytes(3 * 1000 * 1000, '\0');
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<char>((i * 2654435761U) >> 13);
  const Files files;
  const std::string file = idx(0x08, {3000, 10, 100}, bytes);
  for (const std::string& content : {file, gzip(file)}) {
    const Dataset data = read_idx_images(files.put(content));
    BOOST_REQUIRE(data.x.size() == bytes.size());
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < bytes.size(); ++i)
      wrong += data.x[i] != static_cast<float>(static_cast<unsigned char>(bytes[i]));
    BOOST_TEST(wrong == 0U);
  }
}

BOOST_AUTO_TEST_CASE(a_gzip_file_may_have_several_members) {
  const Files files;
  const Dataset data = read_idx_images(files.put(gzip(images.substr(0, 17)) + gzip(images.substr(17))));
  BOOST_TEST(data.x == image_values, boost::test_tools::per_element());
}

BOOST_AUTO_TEST_CASE(a_file_cut_off_anywhere_is_refused) {
  const Files files;
  for (const bool packed : {false, true}) {
    const std::string whole_images = packed ? gzip(images) : images, whole_labels = packed ? gzip(labels) : labels;
    for (std::size_t size = 0; size < whole_images.size(); ++size) {
      const std::string message = image_error(files.put(whole_images.substr(0, size)));
      BOOST_TEST(contains(message, files / "file"), "images cut at byte " << size << ": " << message);
    }
    for (std::size_t size = 0; size < whole_labels.size(); ++size) {
      const std::string message = label_error(files.put(whole_labels.substr(0, size)));
      BOOST_TEST(contains(message, files / "file"), "labels cut at byte " << size << ": " << message);
    }
  }
}

BOOST_AUTO_TEST_CASE(a_changed_byte_is_refused_or_harmless) {
  const Files files;
  const std::string packed = gzip(images);
  std::size_t refused = 0;
  for (std::size_t at = 0; at < packed.size(); ++at) {
    for (const char flip : {'\x01', '\x10', '\x80', '\xFF'}) {
      std::string damaged = packed;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      const std::string path = files.put(damaged);
      Dataset data;
      const std::string message = input_error([&] { data = read_idx_images(path); });
      if (message.empty()) BOOST_TEST(data.x == image_values, boost::test_tools::per_element());
      refused += message.empty() ? 0 : 1;
    }
  }
  // Time stamp and system in the gzip header (6 bytes), its text flag and the bits that fill deflate's last byte mean
  // nothing.
  BOOST_TEST(refused >= 4 * (packed.size() - 8));

  for (std::size_t at = 0; at < 16; ++at) {
    for (int value = 0; value < 256; ++value) {
      std::string damaged = images;
      if (damaged[at] == static_cast<char>(value)) continue;
      damaged[at] = static_cast<char>(value);
      const std::string message = image_error(files.put(damaged));
      const bool signed_bytes = at == 2 && value == 0x09;  // another good type of the same size
      BOOST_TEST((message.empty() == signed_bytes), "header byte " << at << " = " << value << ": " << message);
    }
  }
}

BOOST_AUTO_TEST_CASE(messages_name_the_defect_and_its_place) {
  const Files files;
  const auto expect = [&](const std::string& message, const std::vector<std::string>& parts) {
    BOOST_TEST(message.starts_with("[data] "));
    for (const std::string& part : parts) BOOST_TEST(contains(message, part), message << "\n  lacks: " << part);
  };
  expect(image_error(files.put("<!DOCTYPE html>")), {"two zero bytes", "3c 21", "byte 0"});
  expect(image_error(files.put(idx(0x0A, {1, 1}, "x"))), {"type byte", "0a", "byte 2"});
  expect(image_error(files.put(idx(0x08, {}, "x"))), {"dimension", "byte 3"});
  expect(image_error(files.put(idx(0x08, {2, 0, 2}, ""))), {"empty", "dimension 1", "byte 8"});
  expect(image_error(files.put(images + "x")), {"3 x 2 x 2", "29 bytes"});
  expect(image_error(files.put(gzip(images + "x"))), {"more at byte 28"});
  expect(image_error(files.put(gzip(images) + "garbage")), {"gzip", "header"});
  expect(image_error(files.put(gzip(images).substr(0, 30))), {"gzip", "30 bytes"});
  expect(image_error(files.put(labels)), {"two or more dimensions", "label file"});
  expect(label_error(files.put(images)), {"one dimension, got 3"});
  expect(label_error(files.put(idx(0x0D, {1}, big_endian(0, 4)))), {"integers", "0d"});
  expect(label_error(files.put(idx(0x09, {3}, {'\x01', '\x00', '\xFF'}))), {"got -1", "example 2", "byte 10"});
  expect(label_error(files.put(idx(0x0C, {2}, big_endian(1, 4) + big_endian(65536, 4)))),
         {"65536", "example 1", "byte 12"});
  expect(
      image_error(files.put(idx(0x0D, {2, 3}, std::string(16, '\0') + big_endian(0x7FC00000, 4) + big_endian(0, 4)))),
      {"finite", "nan", "row 1 column 1"});
  expect(
      image_error(files.put(idx(0x0E, {1, 2}, big_endian(0, 8) + big_endian(std::bit_cast<std::uint64_t>(1e300), 8)))),
      {"finite", "inf", "row 0 column 1"});
  expect(image_error(files / "none"), {"cannot open", "none"});
  expect(image_error(files.string()), {"cannot open"});
}

BOOST_AUTO_TEST_CASE(absurd_headers_are_refused_before_memory_is_taken) {
  const Files files;
  const std::vector<std::vector<std::uint32_t>> shapes = {{0xFFFFFFFF, 0xFFFFFFFF},
                                                          {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF},
                                                          {0x80000000, 0x80000000, 4},
                                                          {60000, 28, 28},
                                                          {0x10000, 0x10000}};
  for (const auto& shape : shapes) {
    for (const unsigned char type : {'\x08', '\x0E'}) {
      const std::string bytes = idx(type, shape, "abcd");
      BOOST_TEST(contains(image_error(files.put(bytes)), "as its header says"));
      BOOST_TEST(contains(image_error(files.put(gzip(bytes))), "as its header says"));
    }
  }
  // 255 dimensions of 2^32 - 1 overflow 64 bits many times over.
  BOOST_TEST(contains(image_error(files.put(idx(0x08, std::vector<std::uint32_t>(255, 0xFFFFFFFF), "x"))),
                      "as its header says"));
}

BOOST_AUTO_TEST_CASE(data_sets_whose_files_do_not_fit_are_refused) {
  const Files files;
  const auto load = [&](const std::string& train_x, const std::string& train_y, const std::string& test_x,
                        const std::string& test_y, const Values& more = {}) {
    files.put(train_x, "set/train-images-idx3-ubyte");
    files.put(train_y, "set/train-labels-idx1-ubyte");
    files.put(test_x, "set/t10k-images-idx3-ubyte");
    files.put(test_y, "set/t10k-labels-idx1-ubyte");
    Values values = more;
    values["directory"] = files / "set";
    return load_data(data_scenario("idx", values));
  };
  const DataSplit good = load(images, labels, images, labels);
  BOOST_TEST(good.train.classes == 3);
  BOOST_TEST(load(images, labels, images, labels, {{"classes", std::int64_t{5}}}).train.classes == 5);

  const std::string four = idx(0x08, {4}, {'\0', '\0', '\0', '\0'});
  const std::string wide = idx(0x08, {3, 2, 3}, std::string(18, 'x'));
  const std::string five = idx(0x08, {3}, {'\x00', '\x04', '\x01'});
  BOOST_TEST(contains(input_error([&] { load(images, four, images, labels); }), "3 images"));
  BOOST_TEST(contains(input_error([&] { load(images, four, images, labels); }), "4 labels"));
  BOOST_TEST(contains(input_error([&] { load(images, labels, wide, labels); }), "4 values each"));
  BOOST_TEST(load(images, labels, images, five).train.classes == 5);  // a class that only the test set has
  const std::string message = input_error([&] { load(images, labels, images, five, {{"classes", std::int64_t{3}}}); });
  BOOST_TEST(contains(message, "below classes = 3, got 4"), message);
  BOOST_TEST(contains(message, "t10k-labels-idx1-ubyte example 1"), message);
}
