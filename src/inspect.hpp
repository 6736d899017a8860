// What a log holds, in words: `ivory inspect`.
#pragma once
#include <string>

namespace ivory {

/// Text for a terminal, ending with a newline. Throws InputError when `path` is not an Ivory log.
std::string inspect_log(const std::string& path);

/// One line for each whole round after the first `shown`, of a log that may still be written. Throws like inspect_log.
struct RoundLines {
  std::string text;
  int rounds_complete = 0;
  bool finished = false;
};
RoundLines round_lines(const std::string& path, int shown);

}  // namespace ivory
