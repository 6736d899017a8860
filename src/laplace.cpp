#include "src/laplace.hpp"

#include <algorithm>
#include <cmath>
#include <memory>

#include "clients/curvature.hpp"
#include "src/evaluation.hpp"

namespace ivory {
namespace {

using Piece = std::span<const std::uint32_t>;

// Of fixed length, so that neither threads nor devices decide what is added first.
std::vector<Piece> pieces_of(std::span<const std::vector<std::uint32_t>> examples) {
  std::vector<Piece> pieces;
  for (const auto& rows : examples) {
    for (std::size_t first = 0; first < rows.size(); first += chunk_rows) {
      pieces.push_back(Piece(rows).subspan(first, std::min(chunk_rows, rows.size() - first)));
    }
  }
  return pieces;
}

}  // namespace

std::vector<double> summed_curvature(Device& server, const Network<float>& network, const Dataset& data,
                                     std::span<const std::vector<std::uint32_t>> examples, const float* parameters,
                                     int threads) {
  const std::vector<Piece> pieces = pieces_of(examples);
  const bool on_cpu = server.shares_host_memory();
  const std::size_t wanted = std::min(pieces.size(), on_cpu ? static_cast<std::size_t>(std::max(threads, 1)) : 1);
  std::vector<std::unique_ptr<Device>> devices;  // the threads' own
  std::vector<std::unique_ptr<CurvatureDiagonal<float>>> lanes;
  for (std::size_t i = 0; i < wanted; ++i) {
    if (on_cpu) devices.push_back(make_cpu_device());
    lanes.push_back(
        std::make_unique<CurvatureDiagonal<float>>(on_cpu ? *devices.back() : server, network, data, chunk_rows));
  }
  std::vector<double> sum(network.layout().size(), 0.0);
  std::vector<std::vector<float>> parts(wanted);
  for (std::size_t first = 0; first < pieces.size(); first += wanted) {
    const std::size_t here = std::min(wanted, pieces.size() - first);
    const auto compute = [&](std::size_t lane) {
      parts[lane] = lanes[lane]->compute(parameters, pieces[first + lane]);
    };
    if (here == 1) {
      compute(0);  // an accelerator's failure must get out, which it cannot from a parallel region
    } else {
#pragma omp parallel for num_threads(static_cast <int>(wanted)) schedule(static, 1)
      for (std::ptrdiff_t lane = 0; lane < static_cast<std::ptrdiff_t>(here); ++lane) {
        compute(static_cast<std::size_t>(lane));
      }
    }
    for (std::size_t i = 0; i < here; ++i) {
      for (std::size_t j = 0; j < sum.size(); ++j) sum[j] += static_cast<double>(parts[i][j]);
    }
  }
  return sum;
}

// In log(delta) the map delta -> gamma(delta)/|m|^2 falls with a slope between -1 and 0, so that it may swing for ever; half of its
// step has a slope between 0 and 1/2 and always arrives. Both have the one fixed point, where the evidence is largest.
std::optional<double> evidence_prior_precision(std::span<const double> curvature, std::span<const float> mean) {
  double squares = 0;
  for (const float m : mean) squares += static_cast<double>(m) * static_cast<double>(m);
  double delta = static_cast<double>(curvature.size()) / squares;
  constexpr int most_steps = 200;  // the distance in log(delta) halves each time: some 50 suffice for all doubles
  for (int step = 0; step < most_steps; ++step) {
    double gamma = 0;
    for (const double h : curvature) gamma += h / (h + delta);
    const double next = std::sqrt(delta) * std::sqrt(gamma / squares);
    if (!std::isfinite(next) || next <= 0) return std::nullopt;
    const double change = std::fabs(next / delta - 1);
    delta = next;
    if (change < 1e-11) break;
  }
  return delta;
}

std::optional<LaplacePosterior> laplace_posterior(Device& server, const Network<float>& network, const Dataset& data,
                                                  std::span<const std::vector<std::uint32_t>> examples,
                                                  const float* parameters, double prior_precision, int threads) {
  const std::vector<double> curvature = summed_curvature(server, network, data, examples, parameters, threads);
  LaplacePosterior posterior{.prior_precision = prior_precision,
                             .precision = std::vector<float>(network.layout().stride(), 1.0F)};
  if (prior_precision == 0) {
    std::vector<float> mean(curvature.size());
    server.download(mean.data(), parameters, mean.size() * sizeof(float));
    const auto best = evidence_prior_precision(curvature, mean);
    if (!best) return std::nullopt;
    posterior.prior_precision = *best;
  }
  for (std::size_t i = 0; i < curvature.size(); ++i) {
    const auto precision = static_cast<float>(curvature[i] + posterior.prior_precision);
    if (!std::isfinite(precision) || precision <= 0) return std::nullopt;
    posterior.precision[i] = precision;
  }
  return posterior;
}

}  // namespace ivory
