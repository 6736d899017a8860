// The log's fingerprint of the server after a round: equal bits, equal hash.
#pragma once
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

}  // namespace ivory
