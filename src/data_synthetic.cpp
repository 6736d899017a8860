#include "src/data_synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include <fmt/format.h>

#include "ivory/error.hpp"
#include "ivory/rng.hpp"
#include "src/data_common.hpp"

namespace ivory {
namespace {

StreamKey key(DataDraw draw, std::uint64_t client = 0, std::uint64_t part = 0) {
  return {.purpose = Purpose::data, .client = client, .step = part, .sample = static_cast<std::uint64_t>(draw)};
}

/// Standard normals one after the other, four to a block.
class Normals {
 public:
  explicit Normals(const Stream& stream) : stream_(stream) {}
  float next() {
    if (used_ == 4) {
      normals(stream_.block(block_++), values_);
      used_ = 0;
    }
    return values_[used_++];
  }

 private:
  Stream stream_;
  std::uint64_t block_ = 0;
  float values_[4] = {};
  int used_ = 4;
};

void reserve(Dataset& data, std::size_t examples, std::size_t features, int classes, bool clients) {
  data.features = features;
  data.classes = classes;
  data.x.reserve(examples * features);
  data.labels.reserve(examples);
  if (clients) data.client.reserve(examples);
}

/// One client's labelling rule: logits = W x + b.
struct LinearModel {
  std::vector<double> weight;  // [classes x features]
  std::vector<double> bias;    // [classes]
  std::vector<double> centre;  // [features] mean of x

  std::int32_t label(const float* x) const {
    std::int32_t best = 0;
    double best_logit = -std::numeric_limits<double>::infinity();
    for (std::size_t c = 0; c < bias.size(); ++c) {
      double logit = bias[c];
      for (std::size_t j = 0; j < centre.size(); ++j)
        logit += weight[c * centre.size() + j] * static_cast<double>(x[j]);
      if (logit > best_logit) best_logit = logit, best = static_cast<std::int32_t>(c);
    }
    return best;
  }
};

LinearModel draw_model(StreamReader reader, const Options& options) {
  const auto features = static_cast<std::size_t>(options.integer("features"));
  const auto classes = static_cast<std::size_t>(options.integer("classes"));
  const double alpha = options.real("alpha"), beta = options.real("beta");
  const bool iid = options.boolean("iid"), per_class = options.boolean("alpha_per_class");
  LinearModel model;
  std::vector<double> mean(classes, iid ? 0 : alpha * reader.normal());  // u_k, of every class
  const double centre_mean = iid ? 0 : beta * reader.normal();           // B_k
  if (per_class && !iid) {
    for (double& value : mean) value = alpha * reader.normal();
  }
  for (std::size_t i = 0; i < classes * features; ++i) model.weight.push_back(mean[i / features] + reader.normal());
  for (std::size_t c = 0; c < classes; ++c) model.bias.push_back(mean[c] + reader.normal());
  for (std::size_t j = 0; j < features; ++j) model.centre.push_back(iid ? 0 : centre_mean + reader.normal());
  return model;
}

std::vector<std::size_t> draw_sizes(const Options& options, std::uint64_t seed, std::size_t clients) {
  const auto most = static_cast<double>(options.integer("max_examples"));
  StreamReader reader(seed, key(DataDraw::client_sizes));
  std::vector<std::size_t> sizes;
  for (std::size_t k = 0; k < clients; ++k) {
    double size = std::floor(std::exp(4.0 + 2.0 * reader.normal())) + 50.0;
    if (most > 0) size = std::min(size, most);
    sizes.push_back(static_cast<std::size_t>(size));
  }
  return sizes;
}

}  // namespace

const Kind& synthetic_kind() {
  static const Kind kind = {
      "synthetic",
      "synthetic(alpha, beta) of FedProx and LEAF: each client its own linear model and inputs; the examples know "
      "their client",
      {
          {.name = "alpha",
           .default_value = 1.0,
           .help = "standard deviation over clients of the mean u_k of a client's weights and biases; as published u_k "
                   "is one "
                   "number, adds the same to every logit and so changes no label (see alpha_per_class)",
           .unit = "1",
           .low = 0,
           .high = 1e6},
          {.name = "beta",
           .default_value = 1.0,
           .help = "standard deviation over clients of the mean B_k of a client's inputs",
           .unit = "1",
           .low = 0,
           .high = 1e6},
          {.name = "alpha_per_class",
           .default_value = false,
           .help = "draw u_k for every class anew, so that clients with larger alpha favour different classes; not as "
                   "published"},
          {.name = "iid",
           .default_value = false,
           .help = "one model and one distribution of inputs for all; alpha and beta rest"},
          {.name = "clients",
           .default_value = std::int64_t{30},
           .help = "clients",
           .unit = "clients",
           .low = 1,
           .high = 1 << 24},
          {.name = "features",
           .default_value = std::int64_t{60},
           .help = "inputs of an example; input j = 1, 2 ... has variance j^-1.2",
           .unit = "features",
           .low = 1,
           .high = 1 << 20},
          {.name = "classes",
           .default_value = std::int64_t{10},
           .help = "classes",
           .unit = "classes",
           .low = 2,
           .high = max_classes},
          {.name = "max_examples",
           .default_value = std::int64_t{0},
           .help = "cap on a client's examples, whose numbers are lognormal(4, 2) + 50 with a long tail; 0: none",
           .unit = "examples",
           .low = 0,
           .high = 0x1p31},
          {.name = "test_fraction",
           .default_value = 0.1,
           .help = "share of each client's examples that goes to the common test set",
           .unit = "1",
           .low = 0,
           .high = 0.9,
           .low_open = true},
      }};
  return kind;
}

DataSplit make_synthetic(const Options& options, std::uint64_t seed) {
  const auto clients = static_cast<std::size_t>(options.integer("clients"));
  const auto features = static_cast<std::size_t>(options.integer("features"));
  const auto classes = static_cast<std::size_t>(options.integer("classes"));
  const double kept = 1.0 - options.real("test_fraction");
  const bool iid = options.boolean("iid");

  const std::vector<std::size_t> sizes = draw_sizes(options, seed, clients);
  std::vector<std::size_t> train_sizes;
  std::size_t examples = 0, train_examples = 0;
  for (const std::size_t size : sizes) {
    train_sizes.push_back(
        std::max<std::size_t>(1, static_cast<std::size_t>(std::floor(kept * static_cast<double>(size)))));
    examples += size;
    train_examples += train_sizes.back();
  }
  const auto width = static_cast<double>(features);
  check_memory(static_cast<double>(examples) * width,
               fmt::format("{} examples of {} features; lower clients, features or max_examples", examples, features));
  check_memory(2 * static_cast<double>(classes) * width, "classes x features weights of a client; lower one of them");

  std::vector<float> scale;
  for (std::size_t j = 0; j < features; ++j)
    scale.push_back(static_cast<float>(std::pow(static_cast<double>(j + 1), -0.6)));

  DataSplit data;
  reserve(data.train, train_examples, features, static_cast<int>(classes), true);
  reserve(data.test, examples - train_examples, features, static_cast<int>(classes), true);
  LinearModel model;
  for (std::size_t k = 0; k < clients; ++k) {
    if (k == 0 || !iid) {
      model = draw_model(StreamReader(seed, key(DataDraw::client_model, k)), options);
    }
    Normals noise(make_stream(seed, key(DataDraw::features, k)));
    for (std::size_t i = 0; i < sizes[k]; ++i) {
      Dataset& part = i < train_sizes[k] ? data.train : data.test;
      for (std::size_t j = 0; j < features; ++j)
        part.x.push_back(static_cast<float>(model.centre[j]) + scale[j] * noise.next());
      part.labels.push_back(model.label(part.x.data() + part.x.size() - features));
      part.client.push_back(static_cast<std::int32_t>(k));
    }
  }
  data.description = iid ? fmt::format("synthetic iid, {} clients, seed {}", clients, seed)
                         : fmt::format("synthetic({}, {}), {} clients, seed {}", options.real("alpha"),
                                       options.real("beta"), clients, seed);
  return data;
}

const Kind& blobs_kind() {
  static const Kind kind = {"blobs",
                            "Gaussian blobs, one per class, in equal numbers",
                            {
                                {.name = "classes",
                                 .default_value = std::int64_t{4},
                                 .help = "classes",
                                 .unit = "classes",
                                 .low = 2,
                                 .high = 4096},
                                {.name = "features",
                                 .default_value = std::int64_t{2},
                                 .help = "inputs of an example",
                                 .unit = "features",
                                 .low = 1,
                                 .high = 1 << 20},
                                {.name = "train",
                                 .default_value = std::int64_t{2000},
                                 .help = "training examples",
                                 .unit = "examples",
                                 .low = 1,
                                 .high = 0x1p31},
                                {.name = "test",
                                 .default_value = std::int64_t{1000},
                                 .help = "test examples",
                                 .unit = "examples",
                                 .low = 1,
                                 .high = 0x1p31},
                                {.name = "separation",
                                 .default_value = 4.0,
                                 .help = "distance of the two closest class centres",
                                 .unit = "1",
                                 .low = 0,
                                 .high = 1e6},
                                {.name = "spread",
                                 .default_value = 1.0,
                                 .help = "standard deviation of every input around its class centre",
                                 .unit = "1",
                                 .low = 0,
                                 .high = 1e6},
                            }};
  return kind;
}

DataSplit make_blobs(const Options& options, std::uint64_t seed) {
  const auto features = static_cast<std::size_t>(options.integer("features"));
  const auto classes = static_cast<std::size_t>(options.integer("classes"));
  const std::size_t sizes[] = {static_cast<std::size_t>(options.integer("train")),
                               static_cast<std::size_t>(options.integer("test"))};
  const double separation = options.real("separation");
  const auto spread = static_cast<float>(options.real("spread"));
  const auto width = static_cast<double>(features);
  check_memory(static_cast<double>(sizes[0] + sizes[1]) * width,
               "train + test examples of `features` values; lower one of them");
  check_memory(2 * static_cast<double>(classes) * width, "classes x features centres; lower one of them");

  std::vector<double> centre;  // [classes x features]
  StreamReader reader(seed, key(DataDraw::centres));
  for (std::size_t i = 0; i < classes * features; ++i) centre.push_back(reader.normal());
  double closest = std::numeric_limits<double>::infinity();
  for (std::size_t a = 0; a < classes; ++a) {
    for (std::size_t b = 0; b < a; ++b) {
      double square = 0;
      for (std::size_t j = 0; j < features; ++j) {
        const double d = centre[a * features + j] - centre[b * features + j];
        square += d * d;
      }
      closest = std::min(closest, std::sqrt(square));
    }
  }
  for (double& value : centre) value *= separation / std::max(closest, 1e-12);

  DataSplit data;
  Dataset* parts[] = {&data.train, &data.test};
  for (std::size_t p = 0; p < 2; ++p) {
    Dataset& part = *parts[p];
    reserve(part, sizes[p], features, static_cast<int>(classes), false);
    Normals noise(make_stream(seed, key(DataDraw::features, 0, p)));
    for (std::size_t i = 0; i < sizes[p]; ++i) {
      const std::size_t c = i % classes;  // NOLINT(clang-analyzer-core.DivideZero): the option's range begins at 2
      for (std::size_t j = 0; j < features; ++j) {
        part.x.push_back(static_cast<float>(centre[c * features + j]) + spread * noise.next());
      }
      part.labels.push_back(static_cast<std::int32_t>(c));
    }
  }
  data.description = fmt::format("{} Gaussian blobs, {} apart, spread {}, seed {}", classes, separation, spread, seed);
  return data;
}

const Kind& linear_kind() {
  const auto count = [](const char* name, std::int64_t value, double low, double high, const char* unit,
                        const char* help) {
    return OptionSpec{.name = name, .default_value = value, .help = help, .unit = unit, .low = low, .high = high};
  };
  const auto deviation = [](const char* name, double value, const char* help) {
    return OptionSpec{.name = name, .default_value = value, .help = help, .unit = "1", .low = 0, .high = 1e6};
  };
  static const Kind kind = {
      "linear",
      "linear regression: target values y = W_k x + noise, each client its own W_k; the examples know their client",
      {count("clients", 10, 1, 1 << 24, "clients", "clients"),
       count("features", 8, 1, 1 << 20, "features", "inputs of an example, standard normal"),
       count("outputs", 1, 1, 4096, "values", "target values of an example"),
       count("train", 100, 1, 0x1p31, "examples", "training examples of each client"),
       count("test", 50, 1, 0x1p31, "examples", "examples of each client that go to the common test set"),
       deviation("noise", 0.5, "standard deviation of the noise on every target value"),
       deviation("shift", 0.0, "standard deviation over clients of each entry of W_k; 0: one W for all")}};
  return kind;
}

DataSplit make_linear(const Options& options, std::uint64_t seed) {
  const auto size = [&](const char* name) { return static_cast<std::size_t>(options.integer(name)); };
  const std::size_t clients = size("clients"), features = size("features"), outputs = size("outputs");
  const double noise = options.real("noise"), shift = options.real("shift");
  check_memory(static_cast<double>(clients) * static_cast<double>(size("train") + size("test")) *
                   static_cast<double>(features + outputs),
               "clients x (train + test) examples of features + outputs values; lower one of them");
  check_memory(4 * static_cast<double>(outputs) * static_cast<double>(features),
               "outputs x features weights of a client; lower one of them");

  const auto weights = [&](StreamReader reader) {
    std::vector<double> drawn(outputs * features);
    for (double& weight : drawn) weight = reader.normal();
    return drawn;
  };
  const std::vector<double> common = weights(StreamReader(seed, key(DataDraw::client_model, 0, 1)));
  DataSplit data;
  for (Dataset* part : {&data.train, &data.test}) {
    reserve(*part, clients * size(part == &data.train ? "train" : "test"), features, 1, true);
    part->outputs = outputs;
  }
  for (std::size_t k = 0; k < clients; ++k) {
    const std::vector<double> own = weights(StreamReader(seed, key(DataDraw::client_model, k)));
    Normals inputs(make_stream(seed, key(DataDraw::features, k))),
        errors(make_stream(seed, key(DataDraw::features, k, 1)));
    for (std::size_t i = 0; i < size("train") + size("test"); ++i) {
      Dataset& part = i < size("train") ? data.train : data.test;
      for (std::size_t j = 0; j < features; ++j) part.x.push_back(inputs.next());
      const float* const x = part.x.data() + part.x.size() - features;
      for (std::size_t o = 0; o < outputs; ++o) {
        double y = noise * static_cast<double>(errors.next());
        for (std::size_t j = 0; j < features; ++j) {
          const std::size_t at = o * features + j;
          y += (common[at] + shift * own[at]) * static_cast<double>(x[j]);
        }
        part.targets.push_back(static_cast<float>(y));
      }
      part.labels.push_back(0);
      part.client.push_back(static_cast<std::int32_t>(k));
    }
  }
  data.description =
      fmt::format("linear regression, {} clients, noise {}, shift {}, seed {}", clients, noise, shift, seed);
  return data;
}

}  // namespace ivory
