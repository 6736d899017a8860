#include "src/data_idx.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/byte_source.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"

namespace ivory {
namespace {

enum class ValueType : unsigned { u8 = 0x08, i8 = 0x09, i16 = 0x0B, i32 = 0x0C, f32 = 0x0D, f64 = 0x0E };

constexpr std::size_t chunk_bytes = std::size_t{1} << 20;  // a multiple of every value's size

struct Header {
  ValueType type = ValueType::u8;
  std::vector<std::uint32_t> shape;
  std::size_t value_bytes = 1;
  std::uint64_t values = 0;  // the product of `shape`

  std::size_t bytes() const { return 4 + 4 * shape.size(); }
};

std::size_t bytes_of(ValueType type) {
  switch (type) {
    case ValueType::u8:
    case ValueType::i8:
      return 1;
    case ValueType::i16:
      return 2;
    case ValueType::i32:
    case ValueType::f32:
      return 4;
    case ValueType::f64:
      return 8;
  }
  return 0;
}

template <class Word>
Word big_endian(const unsigned char* from) {
  Word word;
  std::memcpy(&word, from, sizeof(Word));
  if constexpr (sizeof(Word) == 2) word = __builtin_bswap16(word);
  if constexpr (sizeof(Word) == 4) word = __builtin_bswap32(word);
  if constexpr (sizeof(Word) == 8) word = __builtin_bswap64(word);
  return word;
}

/// Calls f with value i as its own type: std::uint8_t ... double.
template <class F>
void for_values(ValueType type, const unsigned char* from, std::size_t count, const F& f) {
  const auto loop = [&]<class T, class Word>(T, Word) {
    for (std::size_t i = 0; i < count; ++i) f(i, std::bit_cast<T>(big_endian<Word>(from + i * sizeof(Word))));
  };
  switch (type) {
    case ValueType::u8:
      return loop(std::uint8_t{}, std::uint8_t{});
    case ValueType::i8:
      return loop(std::int8_t{}, std::uint8_t{});
    case ValueType::i16:
      return loop(std::int16_t{}, std::uint16_t{});
    case ValueType::i32:
      return loop(std::int32_t{}, std::uint32_t{});
    case ValueType::f32:
      return loop(float{}, std::uint32_t{});
    case ValueType::f64:
      return loop(double{}, std::uint64_t{});
  }
}

std::string product_text(const std::vector<std::uint32_t>& shape) { return fmt::format("{}", fmt::join(shape, " x ")); }

/// Reads the header and refuses extents that the file cannot hold, before memory is taken for them.
Header read_header(ByteSource& source, const std::string& path) {
  const auto need = [&](unsigned char* to, std::size_t bytes, std::size_t at) {
    const std::size_t got = source.read(to, bytes);
    if (got < bytes) {
      throw InputError(
          fmt::format("[data] an IDX header has its type and every extent, got the end of the file at byte {}, "
                      "{}; is the download complete?",
                      at + got, path));
    }
  };
  unsigned char start[4];
  need(start, 4, 0);
  if (start[0] != 0 || start[1] != 0) {
    throw InputError(
        fmt::format("[data] an IDX file starts with two zero bytes, got {:02x} {:02x}, {} byte 0; is this the "
                    "right file, and not a web page saved under its name?",
                    start[0], start[1], path));
  }
  Header header;
  header.type = static_cast<ValueType>(start[2]);
  header.value_bytes = bytes_of(header.type);
  if (header.value_bytes == 0) {
    throw InputError(fmt::format(
        "[data] the type byte of an IDX file is 08, 09, 0b, 0c, 0d or 0e, got {:02x}, {} byte 2", start[2], path));
  }
  if (start[3] == 0) throw InputError(fmt::format("[data] IDX data have a dimension, got 0 of them, {} byte 3", path));
  std::vector<unsigned char> extents(std::size_t{4} * start[3]);
  need(extents.data(), extents.size(), 4);
  std::uint64_t bytes = header.value_bytes;
  bool overflow = false;
  for (std::size_t d = 0; d < start[3]; ++d) {
    const auto extent = big_endian<std::uint32_t>(&extents[4 * d]);
    header.shape.push_back(extent);
    if (extent == 0) {
      throw InputError(fmt::format("[data] a data set must not be empty, got extent 0 in dimension {}, {} byte {}", d,
                                   path, 4 + 4 * d));
    }
    overflow |= __builtin_mul_overflow(bytes, std::uint64_t{extent}, &bytes);
  }
  const std::uint64_t most = source.most_bytes();
  if (overflow || bytes > most || (!source.packed() && header.bytes() + bytes != most)) {
    throw InputError(fmt::format(
        "[data] an IDX file holds as many values as its header says, got {} values of {} bytes in a file {} {} bytes, "
        "{}; "
        "the file is cut off, damaged, or not IDX",
        product_text(header.shape), header.value_bytes, source.packed() ? "unpacking to at most" : "of", most, path));
  }
  header.values = bytes / header.value_bytes;
  return header;
}

/// Hands out the values in chunks: f(bytes, count), then checks that nothing follows them.
template <class F>
void read_values(ByteSource& source, const Header& header, const std::string& path, const F& f) {
  std::vector<unsigned char> chunk(
      static_cast<std::size_t>(std::min<std::uint64_t>(chunk_bytes, header.values * header.value_bytes)));
  std::uint64_t left = header.values * header.value_bytes;
  while (left > 0) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(left, chunk.size()));
    const std::size_t got = source.read(chunk.data(), wanted);
    if (got < wanted) {
      throw InputError(fmt::format(
          "[data] an IDX file holds as many values as its header says ({}), got the end of the data "
          "at byte {}, {}; is the download complete?",
          product_text(header.shape), header.bytes() + header.values * header.value_bytes - left + got, path));
    }
    f(chunk.data(), wanted / header.value_bytes);
    left -= wanted;
  }
  // Also makes the gzip checksum come up.
  if (source.read(chunk.data(), 1) != 0) {
    throw InputError(
        fmt::format("[data] an IDX file ends with the last value its header promises ({}), got more at byte {}, "
                    "{}; the file is damaged",
                    product_text(header.shape), header.bytes() + header.values * header.value_bytes, path));
  }
}

}  // namespace

Dataset read_idx_images(const std::string& path) {
  ByteSource source(path);
  const Header header = read_header(source, path);
  if (header.shape.size() < 2) {
    throw InputError(
        fmt::format("[data] a file of inputs has two or more dimensions, got 1, {} byte 3; is it a label file?", path));
  }
  check_memory(static_cast<double>(header.values), fmt::format("{} values, {}", product_text(header.shape), path));
  Dataset data;
  data.features = static_cast<std::size_t>(header.values / header.shape[0]);
  data.shape = shape_of_example(std::vector<std::size_t>(header.shape.begin(), header.shape.end()));
  // A packed file's header may still promise far more than comes: beyond the usual ratio memory grows with what is
  // read.
  const std::uint64_t likely = source.packed() ? source.most_bytes() / 16 + chunk_bytes : header.values;
  data.x.reserve(static_cast<std::size_t>(std::min(header.values, likely)));
  read_values(source, header, path, [&](const unsigned char* from, std::size_t count) {
    const std::size_t old = data.x.size();
    data.x.resize(old + count);
    float* to = data.x.data() + old;
    for_values(header.type, from, count, [to](std::size_t i, auto value) { to[i] = static_cast<float>(value); });
  });
  if (header.type == ValueType::f32 || header.type == ValueType::f64) check_finite(data, path);
  return data;
}

std::vector<std::int32_t> read_idx_labels(const std::string& path) {
  ByteSource source(path);
  const Header header = read_header(source, path);
  if (header.shape.size() != 1) {
    throw InputError(fmt::format("[data] a label file has one dimension, got {}, {} byte 3; is it a file of images?",
                                 header.shape.size(), path));
  }
  if (header.type == ValueType::f32 || header.type == ValueType::f64) {
    throw InputError(fmt::format("[data] labels must be integers, got real numbers (type byte {:02x}), {} byte 2",
                                 static_cast<unsigned>(header.type), path));
  }
  std::vector<std::int32_t> labels;
  read_values(source, header, path, [&](const unsigned char* from, std::size_t count) {
    for_values(header.type, from, count, [&](std::size_t, auto value) {
      const std::size_t row = labels.size();
      // NOLINTNEXTLINE(bugprone-signed-char-misuse): IDX has a signed byte, whose sign counts
      const auto label = static_cast<std::int64_t>(value);
      if (label < 0 || label >= max_classes) {
        checked_label(label, path, row, fmt::format("byte {}", header.bytes() + row * header.value_bytes));
      }
      labels.push_back(static_cast<std::int32_t>(label));
    });
  });
  return labels;
}

const Kind& idx_kind() {
  static const Kind kind = {
      "idx",
      "IDX files, plain or .gz: MNIST, Fashion-MNIST, EMNIST, and the digits in data/",
      {
          {.name = "directory",
           .default_value = std::string(),
           .help =
               "folder with the four files, such as \"digits\" or \"mnist\"; a relative path is looked for beside the "
               "scenario, then in IVORY_DATA_DIR, then in data/",
           .required = true},
          {.name = "train_images",
           .default_value = std::string("train-images-idx3-ubyte"),
           .help = "file of training inputs"},
          {.name = "train_labels",
           .default_value = std::string("train-labels-idx1-ubyte"),
           .help = "file of training labels"},
          {.name = "test_images",
           .default_value = std::string("t10k-images-idx3-ubyte"),
           .help = "file of test inputs"},
          {.name = "test_labels",
           .default_value = std::string("t10k-labels-idx1-ubyte"),
           .help = "file of test labels"},
          {.name = "classes",
           .default_value = std::int64_t{0},
           .help = "number of classes; 0: one more than the largest label",
           .unit = "classes",
           .low = 0,
           .high = max_classes},
      }};
  return kind;
}

DataSplit load_idx(const Scenario& scenario) {
  const Options& options = scenario.data;
  const std::vector<std::string> names = {options.text("train_images"), options.text("train_labels"),
                                          options.text("test_images"), options.text("test_labels")};
  std::vector<std::string> files;
  for (const auto& path : find_data_files(scenario, "directory", names)) files.push_back(path.string());

  const auto read = [](const std::string& images, const std::string& labels) {
    Dataset data = read_idx_images(images);
    data.labels = read_idx_labels(labels);
    if (data.x.size() != data.labels.size() * data.features) {
      throw InputError(fmt::format("[data] every image needs a label, got {} images in {} and {} labels in {}",
                                   data.x.size() / data.features, images, data.labels.size(), labels));
    }
    return data;
  };
  DataSplit data;
  data.train = read(files[0], files[1]);
  data.test = read(files[2], files[3]);
  if (data.train.features != data.test.features) {
    throw InputError(
        fmt::format("[data] training and test images must have one size, got {} values each in {} and {} in {}",
                    data.train.features, files[0], data.test.features, files[2]));
  }
  set_classes(data, options.integer("classes"), files[1], files[3]);
  data.description = "idx " + std::filesystem::path(files[0]).parent_path().lexically_normal().string();
  return data;
}

}  // namespace ivory
