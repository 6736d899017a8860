// The flat parameter vector of a network and its named slices, in PyTorch's names, shapes and order.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

#include "ivory/rng.hpp"

namespace ivory {

struct ParameterSlice {
  std::string name;                // "0.weight"
  std::vector<std::size_t> shape;  // [out, in], row-major
  std::size_t offset = 0;          // first element in the flat vector
  std::size_t size = 0;
};

class ParameterLayout {
 public:
  /// Appends a slice and returns its offset.
  std::size_t add(std::string name, std::vector<std::size_t> shape) {
    std::size_t n = 1;
    for (const std::size_t extent : shape) n *= extent;
    slices_.push_back({std::move(name), std::move(shape), size_, n});
    size_ += n;
    return slices_.back().offset;
  }
  const std::vector<ParameterSlice>& slices() const { return slices_; }
  std::size_t size() const { return size_; }  // P
  std::size_t stride() const {
    return round_up_to_tile(size_);
  }  // P padded to whole noise tiles; the padding never counts

 private:
  std::vector<ParameterSlice> slices_;
  std::size_t size_ = 0;
};

}  // namespace ivory
