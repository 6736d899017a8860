// The user's own data sets as CSV: classification and regression.
#pragma once
#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// [data] kind = "csv": a row per example, a column per input, and columns with the label (a class number) or the
/// targets (real numbers) and, if there is one, the client. The test set is another file with the same columns, or a
/// keyed part of the examples.
const Kind& csv_kind();

/// Throws InputError naming file, line and column: cells that are no finite numbers, rows of different length, no rows,
/// labels out of range, columns that are not there or wanted for two things, training and test files that differ.
DataSplit load_csv(const Scenario& scenario);

}  // namespace ivory
