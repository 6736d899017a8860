// The IDX format of MNIST, Fashion-MNIST and EMNIST, plain or packed with gzip.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// An IDX file starts with two zero bytes, a type byte (8 ubyte, 9 byte, 11 int16, 12 int32, 13 float32, 14 float64)
/// and the number of dimensions, then each extent as a big-endian 32-bit number, then the values, big-endian,
/// row-major. A file that starts with the bytes 1f 8b is unpacked on the way, whatever its name.
///
/// Both readers throw InputError naming file and position: wrong magic, unknown type, absurd extents (before any memory
/// is taken for them), too few or too many values, gzip damage (its checksum included), empty data.

/// Values of a file with two or more dimensions: [examples x features], every dimension after the first flattened. Sets
/// `features`, `shape` and `x` only; throws InputError for NaN and infinities too.
Dataset read_idx_images(const std::string& path);

/// Labels of a file with one dimension of integers. Also throws InputError for a label that no class can have.
std::vector<std::int32_t> read_idx_labels(const std::string& path);

/// [data] kind = "idx".
const Kind& idx_kind();
DataSplit load_idx(const Scenario& scenario);

}  // namespace ivory
