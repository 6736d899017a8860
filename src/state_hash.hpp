// The log's fingerprint of the server after a round: equal bits, equal hash.
#pragma once
#include <vector>

#include "ivory/algorithm.hpp"
#include "src/content_hash.hpp"

namespace ivory {

/// Hash of the server's mean and precision (their P values, not the padding).
inline std::uint64_t hash_state(const ServerState<float>& state) {
  ContentHash hash;
  hash.add(state.mean.data(), state.parameters * sizeof(float));
  if (!state.precision.empty()) hash.add(state.precision.data(), state.parameters * sizeof(float));
  return hash.value();
}

/// The same for weights that are no server's state yet.
inline std::uint64_t hash_weights(const std::vector<float>& weights) {
  ContentHash hash;
  hash.add(weights.data(), weights.size() * sizeof(float));
  return hash.value();
}

}  // namespace ivory
