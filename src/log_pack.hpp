// A finished log made smaller: the same file, compressed.
#pragma once
#include <cstdint>
#include <string>

namespace ivory {

struct PackedSizes {
  std::uint64_t before = 0, after = 0;  // bytes of the files
};

/// Writes the log `from` to `to` with its larger datasets in chunks, shuffled and deflated (level 4): every group, dataset,
/// attribute and dimension scale, with the same values, which are read back and compared before the file gets its name. `to` may be
/// `from`. Throws InputError for what is no finished log, RunError where writing fails; `to` is then what it was.
PackedSizes pack_log(const std::string& from, const std::string& to);

}  // namespace ivory
