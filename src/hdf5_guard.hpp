// HDF5 (1.10) crashes on some damaged files, in its own code. What is read then cannot be had, but it can be said.
#pragma once
#include <string>

namespace ivory {

/// From now on a crash while a file is being read ends the program with exit code 1 and an error that names the file. All other
/// crashes stay what they are. To be called once, by a program's main function.
void catch_crashes_of_hdf5();

/// Says, while it lives, that `path` is being read. Of several the newest counts. For one thread at a time, as HDF5 itself.
class ReadingNow {
 public:
  explicit ReadingNow(const std::string& path);
  ~ReadingNow();
  ReadingNow(const ReadingNow&) = delete;
  ReadingNow& operator=(const ReadingNow&) = delete;

  const std::string& message() const { return message_; }

 private:
  std::string message_;  // made before it is needed: after a crash nothing can be made
  ReadingNow* before_ = nullptr;
};

}  // namespace ivory
