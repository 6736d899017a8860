// What a scenario takes out of the training set, and what it does to the labels that stay.
#pragma once
#include <vector>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"
#include "ivory/scenario.hpp"

namespace ivory {

/// The keys validation, public, label_noise and label_noise_kind.
const std::vector<OptionSpec>& split_options();

/// [data] validation: a keyed share of the training examples. Throws InputError where none can be spared.
void split_validation(DataSplit& data, const Scenario& scenario);

/// [data] public: so many training examples, in equal numbers per class as far as the classes have them, become the
/// public pool, which no client holds. Keyed by the data seed; the last example of a natural client stays. Throws
/// InputError where nothing would be left.
void split_public(DataSplit& data, const Scenario& scenario);

/// [server] share_inputs: so many training examples of every client, in equal numbers per class as far as it has them, as a pool
/// in which example i is one of client i mod K. They stay training examples. Keyed by the data seed. Throws InputError where a
/// client has fewer.
Dataset shared_inputs(const Dataset& train, const std::vector<std::vector<std::uint32_t>>& clients,
                      const Scenario& scenario);

/// [data] label_noise: every training label is changed with this probability, independently and keyed by the data seed,
/// to one of the other C - 1 classes with equal probability ("symmetric") or from c to c + 1 mod C ("pair"), the two
/// kinds of noise of Han et al., "Co-teaching" (NeurIPS 2018). Dataset::clean_labels keeps what the labels were. Throws
/// InputError for regression and for a single class.
void add_label_noise(Dataset& train, const Scenario& scenario);

/// Rows of `data` whose label noise has changed, increasing.
std::vector<std::uint32_t> changed_labels(const Dataset& data);

}  // namespace ivory
