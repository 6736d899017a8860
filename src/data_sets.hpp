// Reading and generating data: IDX and HDF5 files, synthetic(alpha, beta), Gaussian blobs.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// The values of [data] kind, each with its options (`ivory list datasets`).
std::span<const Kind> dataset_kinds();
/// Keys of [data] that every kind has: scaling, normalisation, validation split, limits.
const std::vector<OptionSpec>& common_data_options();

/// Loads or generates what [data] asks for: scaled, normalised, validation split taken out of the training set.
/// Files are searched in the scenario's own directory, then IVORY_DATA_DIR, then `data/` (of the working directory, then of
/// the source tree). Throws InputError naming every place looked in and the public source, or the defect and its position.
DataSplit load_data(const Scenario& scenario);

}  // namespace ivory
