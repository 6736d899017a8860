// Looking for a part of a text. Include Boost.Test first.
#pragma once
#include <string>

namespace ivory::test {

/// Says what was looked for, and where, when it is not there.
inline bool contains(const std::string& text, const std::string& part) {
  if (text.find(part) != std::string::npos) return true;
  BOOST_TEST_MESSAGE("\"" + part + "\" is not in: " + text);
  return false;
}

}  // namespace ivory::test
