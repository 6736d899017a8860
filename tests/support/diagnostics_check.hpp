// Diagnostics of two runs that should have gone alike.
#pragma once
#include <cmath>
#include <cstddef>

#include "ivory/record.hpp"
#include "tests/support/boost_test.hpp"

namespace ivory::test {

/// Equal up to `bound` in relation to the numbers; a share of P parameters up to `share`.
inline void check_diagnostics(const Diagnostics& a, const Diagnostics& b, double bound, double share = 0) {
  const auto close = [](double x, double y, double most, const char* what) {
    const bool good = (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= most;
    BOOST_TEST(good, what << " " << x << " and " << y);
  };
  const auto relative = [&](double x, double y, const char* what) { close(x, y, bound * std::abs(y), what); };
  relative(a.primal_residual, b.primal_residual, "primal residual");
  relative(a.dual_residual, b.dual_residual, "dual residual");
  // Nothing but rounding is left of them where the server is prior times sites.
  close(a.site_residual_precision, b.site_residual_precision, bound * (1 + std::abs(b.site_residual_precision)),
        "sites");
  close(a.site_residual_mean, b.site_residual_mean, bound * (1 + std::abs(b.site_residual_mean)), "sites' means");
  for (std::size_t q = 0; q < quantile_levels.size(); ++q) {
    relative(a.kl.values[q], b.kl.values[q], "KL");
    relative(a.optimizer.effective_step.values[q], b.optimizer.effective_step.values[q], "step");
  }
  close(a.optimizer.hessian_at_start, b.optimizer.hessian_at_start, share, "Hessian at its start");
  close(a.optimizer.clip_rate, b.optimizer.clip_rate, share, "clip rate");
}

}  // namespace ivory::test
