// What a log holds, in words: `ivory inspect`.
#pragma once
#include <string>

namespace ivory {

/// Text for a terminal, ending with a newline. Throws InputError when `path` is not an Ivory log.
std::string inspect_log(const std::string& path);

}  // namespace ivory
