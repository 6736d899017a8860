#include "src/log_pack.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <system_error>

#include "ivory/error.hpp"
#include "src/hdf5_file.hpp"
#include "src/log_reader.hpp"

namespace ivory {
namespace {

std::string system_reason(int error) { return std::error_code(error, std::generic_category()).message(); }

}  // namespace

PackedSizes pack_log(const std::string& from, const std::string& to) {
  const LogHeader header = LogReader(from).header();
  if (!header.finished()) {
    throw InputError(
        fmt::format("[pack] a log must be finished, got {} of {} rounds in {}; finish its run first (ivory run "
                    "--resume LOG)",
                    header.rounds_complete, header.rounds, from));
  }
  if (from != to && std::filesystem::exists(to) && !is_ivory_log(to)) {
    throw RunError(fmt::format("[pack] only a log may be replaced by a log, got {}; choose another place (-o)", to));
  }
  const std::string unfinished = fmt::format("{}.new-{}", to, ::getpid());
  PackedSizes sizes;
  try {
    pack_hdf5(from, unfinished);
    sizes = {std::filesystem::file_size(from), std::filesystem::file_size(unfinished)};
    if (std::rename(unfinished.c_str(), to.c_str()) != 0) {
      throw RunError(fmt::format("[pack] a packed log must get its name, got \"{}\", in {}; choose another place (-o)",
                                 system_reason(errno), to));
    }
  } catch (...) {
    ::unlink(unfinished.c_str());
    throw;
  }
  return sizes;
}

}  // namespace ivory
