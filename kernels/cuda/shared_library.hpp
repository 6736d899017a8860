// A library of the CUDA toolkit, opened when it is first needed: a program that stays on the CPU never needs it.
#pragma once
#include <dlfcn.h>

#include <string>

#include "ivory/error.hpp"

#define IVORY_TEXT_OF(x) #x
#define IVORY_SONAME(library, major) "lib" library ".so." IVORY_TEXT_OF(major)

namespace ivory::cuda {

class SharedLibrary {
 public:
  /// Throws InputError where there is no library `name`; `purpose` begins the message ("products on a GPU").
  SharedLibrary(const char* name, const char* purpose) : name_(name), handle_(dlopen(name, RTLD_NOW | RTLD_LOCAL)) {
    if (handle_ != nullptr) return;
    const char* const why = dlerror();
    throw InputError(std::string("[cuda] ") + purpose + " need " + name + ", got: " + (why != nullptr ? why : "?") +
                     "; name its folder (of a CUDA toolkit, or nvidia/cu13/lib or nvidia/cublas/lib of a PyTorch "
                     "install) in LD_LIBRARY_PATH");
  }
  ~SharedLibrary() { dlclose(handle_); }
  SharedLibrary(const SharedLibrary&) = delete;
  SharedLibrary& operator=(const SharedLibrary&) = delete;

  template <class Function>
  void load(Function*& function, const char* symbol) const {
    function = reinterpret_cast<Function*>(dlsym(handle_, symbol));
    if (function == nullptr) {
      throw InputError("[cuda] " + name_ + " must have " + symbol +
                       ", the library found lacks it; use the one of the toolkit that this program was built with");
    }
  }

 private:
  std::string name_;
  void* handle_;
};

}  // namespace ivory::cuda
