// The two kinds of error a run can end with. Messages follow one form: `[tag] rule, got value, where; what to do`.
#pragma once
#include <stdexcept>
#include <string>

namespace ivory {

/// The user's input breaks a rule (scenario, data file, command line). `main` exits with 2.
struct InputError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A data file that the input names is nowhere to be found; a scenario can still be checked without it.
struct MissingFileError : InputError {
  using InputError::InputError;
};

/// The run failed although its input was good (disk full, no memory, device lost). `main` exits with 1.
struct RunError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// A device has no room for what a run needs; smaller blocks of clients may still fit.
struct MemoryError : RunError {
  using RunError::RunError;
};

}  // namespace ivory
