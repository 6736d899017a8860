#include "src/hdf5_group.hpp"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "ivory/error.hpp"

namespace ivory {

void check_own_file(const std::string& tag, const std::string& what, const std::string& path,
                    const std::string& attribute) {
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return;
  try {
    if (Hdf5File::open(path).has_attribute("/", attribute)) return;
  } catch (const InputError&) {
  }
  throw InputError(
      fmt::format("[{}] {} go to a file of their own, got one that is something else, {}, in --out; name another", tag,
                  what, path));
}

}  // namespace ivory
