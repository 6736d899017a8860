// Labelled examples in memory: what data readers produce and clients train on.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ivory {

/// Extents of one example or activation, row-major: {channels, height, width} for images, {features} for anything else.
using Shape = std::vector<std::size_t>;

/// x is [examples x features] row-major, scaled as the scenario says; labels lie in [0, classes).
struct Dataset {
  std::size_t features = 0;
  int classes = 0;
  std::vector<float> x;
  std::vector<std::int32_t> labels;
  std::vector<std::int32_t> client = {};        // natural client of each example; empty when the data has none
  Shape shape = {};                             // of one example, its product is `features`; empty: {features}
  std::vector<float> targets = {};              // regression: [examples x outputs], and labels are all 0; else empty
  std::size_t outputs = 0;                      // regression: numbers per target; 0 for classification
  std::vector<std::int32_t> clean_labels = {};  // the labels before label noise; empty where none was added

  std::size_t size() const { return labels.size(); }
  const float* row(std::size_t i) const { return x.data() + i * features; }
  Shape example_shape() const { return shape.empty() ? Shape{features} : shape; }
  /// Labels as the data have them: what divides examples among clients, with and without label noise.
  const std::vector<std::int32_t>& true_labels() const { return clean_labels.empty() ? labels : clean_labels; }
};

/// The data of a run; `checksum` identifies all of it. What the scenario does not ask for is empty.
struct DataSplit {
  Dataset train, test, validation;
  Dataset public_pool;  // examples held out of the training set that no client holds
  Dataset ood;          // out-of-distribution inputs, as many features as `train`; labels mean nothing and are all 0
  std::uint64_t checksum = 0;
  std::string description;  // one line: which data, from where
};

/// Which training examples each client holds: indices into DataSplit::train.
/// `holdout[k]` are examples of client k that it never trains on (empty unless asked for).
struct Partition {
  std::vector<std::vector<std::uint32_t>> train;
  std::vector<std::vector<std::uint32_t>> holdout;
  std::size_t repeated = 0;  // assignments beyond the first of an example (overlap between clients)
  std::size_t unused = 0;    // training examples that no client holds
  std::uint64_t hash = 0;

  std::size_t clients() const { return train.size(); }
};

}  // namespace ivory
