// CIFAR-10 and CIFAR-100 in their binary versions, plain or packed with gzip.
#pragma once
#include <string>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// A file is a row of records without a header: label bytes (one in CIFAR-10; coarse, then fine in CIFAR-100), then
/// 3072 bytes of pixels, red, green and blue plane of 32 x 32, row-major. Adds the records of `path` to `data`, with
/// shape {3, 32, 32}; of the `label_bytes` bytes the one at `label_byte` is the label. Throws InputError naming file,
/// record and byte: no record, a part of one at the end, a label that is not below `classes`, gzip damage.
void read_cifar(const std::string& path, std::size_t label_bytes, std::size_t label_byte, int classes, Dataset& data);

/// [data] kind = "cifar10" and "cifar100".
const Kind& cifar10_kind();
const Kind& cifar100_kind();
DataSplit load_cifar10(const Scenario& scenario);
DataSplit load_cifar100(const Scenario& scenario);

}  // namespace ivory
