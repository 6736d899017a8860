// The JSON layout of LEAF: {"users": [...], "num_samples": [...], "user_data": {user: {"x": [...], "y": [...]}}}.
#pragma once
#include <cstddef>
#include <optional>
#include <string>
#include <unordered_map>

#include "ivory/dataset.hpp"
#include "src/data_common.hpp"

namespace ivory {

/// How the examples of all files of one data set look; the first example decides what is still open.
struct LeafFormat {
  /// Throws InputError for an alphabet that is empty or has a character twice. `place` completes the message.
  LeafFormat(const std::string& alphabet, const std::string& place);

  std::optional<bool> text;                            // x is a text, y its next character; else numbers and a class
  std::size_t length = 0;                              // numbers or characters of an example; 0: not known yet
  std::unordered_map<char32_t, std::uint32_t> letter;  // number of each character of the alphabet

  std::size_t features() const { return text.value_or(false) ? length * letter.size() : length; }
};

/// Adds the examples of one file, plain or .gz, to `data` with their users as clients. Numbers are inputs as they are;
/// a character is one-hot in the alphabet, so a text of T characters becomes T x A inputs, character after character.
/// The file is read as a stream: memory grows with the inputs alone. Throws InputError naming file, user, example and
/// byte: no JSON or cut off, values of another type, examples of different length, x and y of different length,
/// numbers of samples that do not fit, characters beyond the alphabet, labels out of range, nesting deeper than 64.
void read_leaf_json(const std::string& path, LeafFormat& format, NameNumbers& users, Dataset& data);

}  // namespace ivory
