// The data of a scenario: files of every known kind, generated data, what is put aside, noise and scaling.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// The values of [data] kind, each with its options (`ivory list datasets`).
std::span<const Kind> dataset_kinds();
/// Keys of [data] that every kind has: scaling, what is put aside, label noise, limits.
const std::vector<OptionSpec>& common_data_options();
/// Keys of [evaluation.ood] that every kind has: its own scaling, a limit, a seed.
const std::vector<OptionSpec>& common_ood_options();

/// Loads or generates what [data] asks for. In this order: limits, validation split, public pool, label noise on what
/// is left of the training set, scaling. With [evaluation.ood], the test part of those data becomes DataSplit::ood,
/// scaled by its own keys (normalise = "standard" there: by the numbers of [data]'s training set).
/// Files are searched in the scenario's own directory, then IVORY_DATA_DIR, then `data/` (of the working directory, then of
/// the source tree). Throws InputError naming every place looked in and the public source, or the defect and its position.
DataSplit load_data(const Scenario& scenario);

}  // namespace ivory
