// The user's own data sets in HDF5. No HDF5 header is included here.
#pragma once
#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// [data] kind = "hdf5": data sets x [n, ...] of any integer or real type, y [n] of integers, and optionally client [n]
/// of integers, in the file's root or in a group. The test set is another file, another group, or a keyed part of the
/// examples.
const Kind& hdf5_kind();

/// Throws InputError naming file, data set and row: not HDF5 or cut off, a missing or misshapen data set, values that
/// are no numbers, NaN, labels out of range.
DataSplit load_hdf5(const Scenario& scenario);

}  // namespace ivory
