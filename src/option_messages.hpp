// Wording shared by everything that reports a bad option.
#pragma once
#include <string>
#include <vector>

#include "ivory/options.hpp"

namespace ivory {

/// ", at file:line:column", ", in --set clients.batch", or nothing for an unknown place.
std::string where(const SourcePlace& place);

/// "clients.batch"; just "batch" for the top level, whose table name is empty. A key that is not bare stands in
/// quotes, as in TOML.
std::string qualified(const std::string& table, std::string_view key);

/// A value as TOML, cut to a length that fits a message.
std::string shown(const OptionValue& value);

/// `"a", "b" or "c"`.
std::string quoted_list(const std::vector<std::string>& names);

/// `; did you mean "batch"?`, or the known names where none is near.
std::string suggestion(std::string_view name, const std::vector<std::string>& known);

}  // namespace ivory
