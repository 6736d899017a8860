// What clients and server say about inputs that all of them have: the public pool, which no client trains on.
#pragma once
#include <cstddef>

#include "ivory/math.hpp"

namespace ivory {

/// A client's share of the public pool: examples client, client + clients, ... The default holds none.
struct PoolShare {
  std::size_t client = 0, clients = 0;

  IVORY_HD bool holds(std::size_t example) const { return clients > 0 && example % clients == client; }
  /// How many of `examples` it holds.
  std::size_t size(std::size_t examples) const {
    return client < clients && client < examples ? (examples - client - 1) / clients + 1 : 0;
  }
};

/// The network on the public pool, for a server that works with predictions. Arrays are on the server's device. Used by one
/// thread at a time.
template <class Real>
class PublicModel {
 public:
  virtual ~PublicModel() = default;
  virtual std::size_t examples() const = 0;
  virtual std::size_t classes() const = 0;
  /// probabilities [examples x classes] := softmax f(x; parameters), parameters being [stride].
  virtual void predict(const Real* parameters, Real* probabilities) = 0;
  /// gradient [stride] := that of sum_i CE(targets_i, softmax f(x_i; parameters)). A row of targets is a distribution, or all
  /// zeros where there is none: it then counts nothing.
  virtual void gradient(const Real* parameters, const Real* targets, Real* gradient) = 0;
};

}  // namespace ivory
