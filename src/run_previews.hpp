// Previews during a run ([log] previews): what the clients of a round would be if a rule of methods.md 6 put them together in place
// of the server's step.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "ivory/record.hpp"
#include "src/preview_rules.hpp"
#include "src/run_parts.hpp"

namespace ivory {

/// Keeps the posteriors of a round's clients on the host, [participants x P], up to four vectors each.
template <class Real>
class RunPreviews {
 public:
  /// All references outlive it.
  RunPreviews(const Scenario& scenario, const RunParts<Real>& parts);

  /// The scenario asks for previews at all.
  bool wanted() const { return !rules_.empty(); }
  /// Begins a round, which `mean` and `precision` [P] are the server's Gaussian before; empty where it has none.
  void open(const std::vector<Real>& mean, const std::vector<Real>& precision);
  /// An accepted client with its site after the dual step, from the server's device.
  void add(const ServerState<Real>& state, Device& server, const ClientUpdate<Real>& update);
  /// Each rule's merged model; empty where no client took part. Forgets the round.
  std::vector<Merged<float>> close();

 private:
  const RunParts<Real>& parts_;
  std::vector<const PreviewRule*> rules_;
  std::string weights_;  // their name
  MergeInput round_;
  std::vector<double> examples_;  // of the round's clients
};

/// Bytes of main memory that the previews of so many participants keep during a round.
std::size_t preview_bytes(const Scenario& scenario, std::size_t participants, std::size_t parameters);

}  // namespace ivory
