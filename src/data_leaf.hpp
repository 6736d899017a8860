// The federated data sets of LEAF: FEMNIST and Shakespeare.
#pragma once
#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// [data] kind = "leaf": folders train/ and test/ with JSON files as LEAF's preprocess.sh makes them (Caldas et al.,
/// "LEAF: A Benchmark for Federated Settings", 2018). Examples of 784 numbers are images {1, 28, 28}. Texts become
/// one-hot characters, T x A inputs in a row, and the class is the number of the next character in the alphabet.
/// Clients are the users, numbered in order of appearance in the training files, which are read by name.
const Kind& leaf_kind();

/// Throws InputError as read_leaf_json does, and where training and test examples differ.
DataSplit load_leaf(const Scenario& scenario);

}  // namespace ivory
