// The log's fingerprint of the server after a round: equal bits, equal hash.
#pragma once
#include <span>
#include <vector>

#include "src/content_hash.hpp"

namespace ivory {

/// Hash of the server's mean and precision (their values, not the padding; an empty precision counts for nothing).
template <class Real>
std::uint64_t hash_posterior(std::span<const Real> mean, std::span<const Real> precision) {
  ContentHash hash;
  hash.add(mean.data(), mean.size_bytes());
  if (!precision.empty()) hash.add(precision.data(), precision.size_bytes());
  return hash.value();
}

/// The same for weights that are no server's state yet.
inline std::uint64_t hash_weights(const std::vector<float>& weights) {
  ContentHash hash;
  hash.add(weights.data(), weights.size() * sizeof(float));
  return hash.value();
}

}  // namespace ivory
