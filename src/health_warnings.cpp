#include "src/health_warnings.hpp"

#include <fmt/format.h>

#include <cmath>

namespace ivory {
namespace {

constexpr double infinity = std::numeric_limits<double>::infinity();
constexpr int enough_steps = 10;  // of a visit, on average: shorter ones need not move far

double mean_steps(const RoundRecord& record) {
  double steps = 0, visits = 0;
  for (const ClientRecord& client : record.clients) {
    if (client.status != ClientStatus::trained) continue;
    steps += client.steps;
    visits += 1;
  }
  return visits > 0 ? steps / visits : no_value;
}

double clamped(const RoundRecord& record, const HealthHistory&) { return record.clamped; }

// In round 1 every Hessian begins at hess_init. Later a client begins at the server's precision, and near a fixed point it is right
// to stay there.
double stuck_hessian(const RoundRecord& record, const HealthHistory&) {
  return record.round == 1 && mean_steps(record) >= enough_steps ? record.diagnostics.optimizer.hessian_at_start
                                                                 : no_value;
}

double gap_closed(const RoundRecord& record, const HealthHistory&) {
  return mean_steps(record) >= enough_steps ? record.precision_gap_closed : no_value;
}

double clip_rate(const RoundRecord& record, const HealthHistory&) { return record.diagnostics.optimizer.clip_rate; }

double primal_growth(const RoundRecord& record, const HealthHistory& before) {
  const double best = before.smallest_primal_residual;
  return std::isfinite(best) && best > 0 ? record.diagnostics.primal_residual / best : no_value;
}

// Nats per parameter, the 95 % quantile. Round 1 starts far from the prior, the server's Gaussian (methods.md D15).
double divergence(const RoundRecord& record, const HealthHistory&) {
  const Diagnostics& diagnostics = record.diagnostics;
  if (!(diagnostics.kl_parameters > 0)) return no_value;
  const double kl = diagnostics.kl.values.back();
  if (!std::isfinite(kl)) return infinity;
  return record.round > 1 ? kl / diagnostics.kl_parameters : no_value;
}

constexpr HealthRule rules[] = {
    {"clamped precision", clamped, 0, 0, false, "{} entries of the server's precision were raised to their floor",
     "lower damping or rho"},
    {"Hessian at its start", stuck_hessian, 0, 0.99, true, "{} of IVON's precisions stayed within 1 % of their start",
     "lower beta2, or train longer"},
    {"precision gap open", gap_closed, 1e-3, infinity, true,
     "a visit closes {} of the way that the clients' precision has to go", "lower beta2, or train longer"},
    {"steps clipped", clip_rate, 0, 0.5, true, "{} of the entries of IVON's step are clipped",
     "raise clip_radius or hess_init, or lower the learning rate"},
    {"primal residual grows", primal_growth, 0, 10, false, "the primal residual is {} times its smallest so far",
     "the clients drift apart: lower damping or the learning rate, or raise rho"},
    {"KL too large", divergence, 0, 100, false, "KL from server to clients: {} nats per parameter (95 % quantile)",
     "lower the learning rate or damping, or raise rho or hess_init"},
};

std::string shown(const HealthRule& rule, double value) {
  return rule.percent ? fmt::format("{:.3g} %", 100 * value) : fmt::format("{:.3g}", value);
}

}  // namespace

std::span<const HealthRule> health_rules() { return rules; }

std::vector<std::string> HealthWatch::look(const RoundRecord& record) {
  ++rounds_;
  std::vector<std::string> lines;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    const HealthRule& rule = rules[i];
    const double value = rule.value(record, history_);
    if (!rule.shows(value)) continue;
    Seen& seen = seen_[i];
    if (seen.rounds++ > 0) continue;
    seen.first = record.round;
    seen.line = fmt::format("{}; {}", fmt::format(fmt::runtime(rule.text), shown(rule, value)), rule.cure);
    lines.push_back(fmt::format("round {}: {}", record.round, seen.line));
  }
  const double primal = record.diagnostics.primal_residual;
  if (primal < history_.smallest_primal_residual) history_.smallest_primal_residual = primal;
  return lines;
}

std::vector<std::string> HealthWatch::all() const {
  std::vector<std::string> lines;
  for (const Seen& seen : seen_) {
    if (seen.rounds == 0) continue;
    lines.push_back(
        fmt::format("round {}: {} (shows in {} of {} rounds)", seen.first, seen.line, seen.rounds, rounds_));
  }
  return lines;
}

std::string HealthWatch::summary() const {
  std::string text;
  for (std::size_t i = 0; i < seen_.size(); ++i) {
    if (seen_[i].rounds == 0) continue;
    text += fmt::format("{}{} (round {}, {} of {})", text.empty() ? "" : ", ", rules[i].name, seen_[i].first,
                        seen_[i].rounds, rounds_);
  }
  return text;
}

}  // namespace ivory
