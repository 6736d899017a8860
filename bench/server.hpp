#pragma once
#include "bench/federation.hpp"

namespace ivory::bench {

/// The server's part of a round: bytes moved per second by diagonal algorithms over those of a plain copy, and the time of a step
/// with full covariances; and what the Gauss-Newton diagonal of FedLap-Cov costs a client.
void server(Report& report, int repetitions);

}  // namespace ivory::bench
