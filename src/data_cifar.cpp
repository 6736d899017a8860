#include "src/data_cifar.hpp"

#include <cmath>
#include <filesystem>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "src/byte_source.hpp"
#include "src/data_common.hpp"
#include "src/data_files.hpp"

namespace ivory {
namespace {

constexpr std::size_t side = 32, pixel_bytes = 3 * side * side;
constexpr int cifar10_classes = 10, coarse_classes = 20, fine_classes = 100;

OptionSpec directory_option(const std::string& help) {
  return {.name = "directory", .default_value = std::string(), .help = help, .required = true};
}

/// "data_batch_1.bin" and so on for the batches that are asked for.
std::vector<std::string> batch_files(const Options& options) {
  const std::vector<double>& batches = options.reals("batches");
  std::vector<std::string> files;
  std::set<double> seen;
  for (const double batch : batches) {
    if (std::trunc(batch) != batch || !seen.insert(batch).second) {
      throw InputError(fmt::format("[data] batches are different whole numbers from 1 to 5, got {}{}{}", batch,
                                   std::trunc(batch) == batch ? " twice" : "", written_at(options, "batches")));
    }
    files.push_back(fmt::format("data_batch_{}.bin", batch));
  }
  if (files.empty()) {
    throw InputError(fmt::format("[data] batches must name a batch to train on, got none{}; batches = [1] is the first",
                                 written_at(options, "batches")));
  }
  return files;
}

std::string folder_of(const std::filesystem::path& file) { return file.parent_path().lexically_normal().string(); }

}  // namespace

void read_cifar(const std::string& path, std::size_t label_bytes, std::size_t label_byte, int classes, Dataset& data) {
  ByteSource source(path);
  const std::size_t record_bytes = label_bytes + pixel_bytes;
  const std::uint64_t most = source.most_bytes();
  data.features = pixel_bytes;
  data.shape = {3, side, side};
  data.classes = classes;
  if (!source.packed()) {  // else the size is known only at the end
    const auto records = static_cast<std::size_t>(most / record_bytes);
    check_memory(static_cast<double>(data.x.size() + records * pixel_bytes), "the values of " + path);
    data.x.reserve(data.x.size() + records * pixel_bytes);
  }
  std::vector<unsigned char> record(record_bytes);
  for (std::size_t n = 0;; ++n) {
    const std::size_t got = source.read(record.data(), record_bytes);
    if (got == 0 && n > 0) return;
    if (got < record_bytes) {
      throw InputError(
          fmt::format("[data] a CIFAR file is made of records of {} bytes, got {} bytes of record {} at byte {}, {}; "
                      "is the download "
                      "complete, and the binary version?",
                      record_bytes, got, n, n * record_bytes, path));
    }
    const int label = record[label_byte];
    if (label >= classes) {
      throw InputError(fmt::format(
          "[data] a label is below {}, got {}, {} record {} (byte {}); is it the binary version of this data set?",
          classes, label, path, n, n * record_bytes + label_byte));
    }
    check_growth(data.x, pixel_bytes, path);
    data.labels.push_back(label);
    data.x.insert(data.x.end(), record.begin() + static_cast<std::ptrdiff_t>(label_bytes), record.end());
  }
}

const Kind& cifar10_kind() {
  static const Kind kind = {
      "cifar10",
      "CIFAR-10, binary version, plain or .gz: 3 x 32 x 32 bytes, 10 classes",
      {
          directory_option("folder with data_batch_1.bin to data_batch_5.bin and test_batch.bin, such as "
                           "\"cifar-10-batches-bin\"; a relative path is looked for beside the scenario, then in "
                           "IVORY_DATA_DIR, then in data/"),
          {.name = "batches",
           .default_value = std::vector<double>{1, 2, 3, 4, 5},
           .help = "training batches to read, in this order; [1] for the first alone",
           .low = 1,
           .high = 5},
      }};
  return kind;
}

const Kind& cifar100_kind() {
  static const Kind kind = {
      "cifar100",
      "CIFAR-100, binary version, plain or .gz: 3 x 32 x 32 bytes, 100 classes in 20 superclasses",
      {
          directory_option(
              "folder with train.bin and test.bin, such as \"cifar-100-binary\"; a relative path is looked "
              "for beside the scenario, then in IVORY_DATA_DIR, then in data/"),
          {.name = "label",
           .default_value = std::string("fine"),
           .help = "fine: the 100 classes; coarse: the 20 superclasses",
           .choices = {"fine", "coarse"}},
      }};
  return kind;
}

DataSplit load_cifar10(const Scenario& scenario) {
  std::vector<std::string> names = batch_files(scenario.data);
  names.emplace_back("test_batch.bin");
  const auto files = find_data_files(scenario, "directory", names,
                                     "batches names the training batches to read; batches = [1] is the first alone");
  DataSplit data;
  for (const auto& file : files) {
    read_cifar(file.string(), 1, 0, cifar10_classes, &file == &files.back() ? data.test : data.train);
  }
  data.description = "cifar10 " + folder_of(files.front());
  return data;
}

DataSplit load_cifar100(const Scenario& scenario) {
  const bool fine = scenario.data.text("label") == "fine";
  const auto files = find_data_files(scenario, "directory", std::vector<std::string>{"train.bin", "test.bin"});
  DataSplit data;
  const int classes = fine ? fine_classes : coarse_classes;
  read_cifar(files[0].string(), 2, fine ? 1 : 0, classes, data.train);
  read_cifar(files[1].string(), 2, fine ? 1 : 0, classes, data.test);
  data.description = fmt::format("cifar100 {} {}", fine ? "fine" : "coarse", folder_of(files.front()));
  return data;
}

}  // namespace ivory
