#include "server/merging.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ivory/gaussian.hpp"
#include "server/natural_steps.hpp"

namespace ivory {
namespace {

double total_of(std::span<const double> weights) { return std::accumulate(weights.begin(), weights.end(), 0.0); }

// What a rule divides by is a precision, but for signs of the data: raised to the floor, and counted.
struct Floor {
  double least;
  double clamped = 0;
  double operator()(double value) {
    if (!(value < least)) return value;
    clamped += 1;
    return least;
  }
};

// m = m_0 + sum_t w_t gain_t (m_t - m_0) / below: the form of all rules with a base.
template <class Real, class Gain>
double moved(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks, std::span<const double> weights,
             std::size_t i, double below, const Gain& gain) {
  const double from = base.mean[i];
  double move = 0;
  for (std::size_t t = 0; t < tasks.size(); ++t) {
    move += weights[t] * gain(t) * (static_cast<double>(tasks[t].mean[i]) - from);
  }
  return from + move / below;
}

}  // namespace

template <class Real>
Merged<Real> merge_average(std::span<const GaussianView<Real>> tasks, std::span<const double> weights) {
  const double total = total_of(weights);
  Merged<Real> merged;
  merged.mean.resize(tasks.front().mean.size());
  for (std::size_t i = 0; i < merged.mean.size(); ++i) {
    double sum = 0;
    for (std::size_t t = 0; t < tasks.size(); ++t) sum += weights[t] * static_cast<double>(tasks[t].mean[i]);
    merged.mean[i] = static_cast<Real>(sum / total);
  }
  return merged;
}

template <class Real>
Merged<Real> merge_task_vectors(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                                std::span<const double> weights, double scale) {
  Merged<Real> merged;
  merged.mean.resize(base.mean.size());
  for (std::size_t i = 0; i < merged.mean.size(); ++i) {
    merged.mean[i] = static_cast<Real>(moved(base, tasks, weights, i, 1.0, [&](std::size_t) { return scale; }));
  }
  return merged;
}

template <class Real>
Merged<Real> merge_by_uncertainty(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                                  std::span<const double> weights, double delta, double floor) {
  Merged<Real> merged;
  Floor raised{floor};
  for (std::size_t i = 0; i < base.mean.size(); ++i) {
    const double h_0 = base.precision.empty() ? 0.0 : static_cast<double>(base.precision[i]);
    double below = h_0 + delta;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      below += weights[t] * (static_cast<double>(tasks[t].precision[i]) - delta);
    }
    below = raised(below);
    merged.precision.push_back(static_cast<Real>(below));
    merged.mean.push_back(static_cast<Real>(moved(base, tasks, weights, i, below, [&](std::size_t t) {
      return h_0 + static_cast<double>(tasks[t].precision[i]);
    })));
  }
  merged.clamped = raised.clamped;
  return merged;
}

template <class Real>
Merged<Real> merge_posteriors(const GaussianView<Real>& base, std::span<const GaussianView<Real>> tasks,
                              std::span<const double> weights, double floor) {
  Merged<Real> merged;
  Floor raised{floor};
  for (std::size_t i = 0; i < base.mean.size(); ++i) {
    const double s_0 = base.precision[i];
    double s = s_0;
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      s += weights[t] * (static_cast<double>(tasks[t].precision[i]) - s_0);
    }
    s = raised(s);
    merged.precision.push_back(static_cast<Real>(s));
    merged.mean.push_back(static_cast<Real>(
        moved(base, tasks, weights, i, s, [&](std::size_t t) { return static_cast<double>(tasks[t].precision[i]); })));
  }
  merged.clamped = raised.clamped;
  return merged;
}

template <class Real>
Merged<Real> merge_by_server_step(const GaussianView<Real>& base, std::span<const ClientWithSite<Real>> clients,
                                  std::span<const double> weights, const ServerStep& step) {
  const std::size_t size = clients.front().posterior.mean.size();
  const double total = total_of(weights);
  const double alpha = step.alpha > 0 ? step.alpha : 1.0 / (1.0 + total * step.rho);
  const double rate = step.rho * step.damping - step.rate_taken;
  std::vector<double> eta(size, 0.0), precision(size, 0.0);
  for (std::size_t k = 0; k < clients.size(); ++k) {
    const auto& [posterior, site_mean, site_precision] = clients[k];
    std::vector<Real> v(site_mean.begin(), site_mean.end()), V(site_precision.begin(), site_precision.end());
    if (rate != 0) {
      const UpdateSite<Real> update{posterior.mean.data(),
                                    posterior.precision.data(),
                                    base.mean.data(),
                                    base.precision.data(),
                                    v.data(),
                                    V.data(),
                                    rate,
                                    DualStep::natural};
      for (std::size_t i = 0; i < size; ++i) update(i);
    }
    const AddClient<Real> add{
        posterior.mean.data(), posterior.precision.data(),         v.data(),          V.data(), eta.data(),
        precision.data(),      (1.0 - alpha) * weights[k] / total, alpha * weights[k]};
    for (std::size_t i = 0; i < size; ++i) add(i);
  }
  Merged<Real> merged;
  merged.mean.resize(size);
  merged.precision.resize(size);
  const TakePrecision<Real> take_precision{precision.data(), merged.precision.data(), alpha * step.prior_precision};
  const TakeMean<Real> take_mean{eta.data(), merged.precision.data(), merged.mean.data()};
  const auto least = static_cast<Real>(precision_floor * step.prior_precision);
  const IsBelow<Real> below{merged.precision.data(), least};
  const FloorPrecision<Real> raise{merged.precision.data(), least};
  for (std::size_t i = 0; i < size; ++i) {
    take_precision(i);
    merged.clamped += below(i);
    raise(i);
    take_mean(i);
  }
  return merged;
}

namespace {

// EM for the mode of a product of mixtures, for one set of weights.
template <class Real>
class ProductOfMixtures {
 public:
  using Tasks = std::span<const std::vector<GaussianView<Real>>>;

  ProductOfMixtures(const GaussianView<Real>& base, Tasks tasks, std::span<const double> weights,
                    const MixtureSettings& settings)
      : base_(base), tasks_(tasks), weights_(weights), size_(tasks.front().front().mean.size()),
        rest_(1.0 - total_of(weights)), kind_(settings.kind), floor_{settings.floor} {
    begins_ = kind_ == Responsibilities::parts ? settings.parts : std::vector<std::size_t>{0};
    begins_.push_back(size_);
    if (std::abs(rest_) < 1e-12) rest_ = 0;  // weights that sum to 1 but for rounding need no base
    for (const auto& mixture : tasks_) responsibilities_.push_back(even(mixture.size()));
  }

  // r := 1/J, or 1 for component j (the last one of a mixture that has fewer).
  void set_even() {
    for (std::size_t t = 0; t < tasks_.size(); ++t) responsibilities_[t] = even(tasks_[t].size());
  }
  void set_component(std::size_t j) {
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      const std::size_t components = tasks_[t].size();
      auto& r = responsibilities_[t];
      std::fill(r.begin(), r.end(), 0.0);
      for (std::size_t part = 0; part < parts(); ++part) r[part * components + std::min(j, components - 1)] = 1.0;
    }
  }

  // The M-step; also takes the precision.
  void maximise() {
    floor_.clamped = 0;
    theta_.resize(size_);
    precision_.resize(size_);
    for (std::size_t part = 0; part < parts(); ++part) {
      for (std::size_t i = begins_[part]; i < begins_[part + 1]; ++i) {
        double eta = 0, s = 0;
        if (rest_ != 0) {
          s = rest_ * static_cast<double>(base_.precision[i]);
          eta = s * static_cast<double>(base_.mean[i]);
        }
        for (std::size_t t = 0; t < tasks_.size(); ++t) {
          for (std::size_t j = 0; j < tasks_[t].size(); ++j) {
            const GaussianView<Real>& q = tasks_[t][j];
            const double share =
                weights_[t] * responsibilities_[t][part * tasks_[t].size() + j] * static_cast<double>(q.precision[i]);
            s += share;
            eta += share * static_cast<double>(q.mean[i]);
          }
        }
        precision_[i] = floor_(s);
        theta_[i] = eta / precision_[i];
      }
    }
  }

  // The E-step at theta; returns the objective there.
  double expect() {
    double objective = 0;
    if (rest_ != 0) {
      double energy = 0;
      for (std::size_t i = 0; i < size_; ++i) {
        const double d = theta_[i] - static_cast<double>(base_.mean[i]);
        energy += static_cast<double>(base_.precision[i]) * d * d;
      }
      objective -= 0.5 * rest_ * energy;
    }
    const double temperature = kind_ == Responsibilities::tempered ? static_cast<double>(size_) : 1.0;
    for (std::size_t t = 0; t < tasks_.size(); ++t) {
      const std::size_t components = tasks_[t].size();
      for (std::size_t part = 0; part < parts(); ++part) {
        double* const r = responsibilities_[t].data() + part * components;
        double largest = -std::numeric_limits<double>::infinity();
        for (std::size_t j = 0; j < components; ++j) {
          r[j] = (log_density(tasks_[t][j], part) - std::log(static_cast<double>(components))) / temperature;
          largest = std::max(largest, r[j]);
        }
        double sum = 0;
        for (std::size_t j = 0; j < components; ++j) sum += (r[j] = std::exp(r[j] - largest));
        for (std::size_t j = 0; j < components; ++j) r[j] /= sum;
        objective += weights_[t] * temperature * (largest + std::log(sum));
      }
    }
    return objective;
  }

  Merged<Real> result(double objective) const {
    return {.mean = {theta_.begin(), theta_.end()},
            .precision = {precision_.begin(), precision_.end()},
            .clamped = floor_.clamped,
            .objective = objective};
  }

 private:
  std::size_t parts() const { return begins_.size() - 1; }
  std::vector<double> even(std::size_t components) const {
    return std::vector<double>(parts() * components, 1.0 / static_cast<double>(components));
  }
  // But for -1/2 log(2 pi) per parameter, the same for all components.
  double log_density(const GaussianView<Real>& q, std::size_t part) const {
    double log = 0;
    for (std::size_t i = begins_[part]; i < begins_[part + 1]; ++i) {
      const double s = q.precision[i], d = theta_[i] - static_cast<double>(q.mean[i]);
      log += std::log(s) - s * d * d;
    }
    return 0.5 * log;
  }

  GaussianView<Real> base_;
  Tasks tasks_;
  std::span<const double> weights_;
  std::size_t size_;
  double rest_;  // c_0
  Responsibilities kind_;
  Floor floor_;
  std::vector<std::size_t> begins_;                    // of the parts, and the end
  std::vector<std::vector<double>> responsibilities_;  // per task [parts x components]
  std::vector<double> theta_, precision_;
};

}  // namespace

template <class Real>
Merged<Real> merge_mixtures(const GaussianView<Real>& base, std::span<const std::vector<GaussianView<Real>>> tasks,
                            std::span<const double> weights, const MixtureSettings& settings,
                            std::vector<double>* trace) {
  std::size_t components = 1;
  for (const auto& mixture : tasks) components = std::max(components, mixture.size());
  ProductOfMixtures<Real> product(base, tasks, weights, settings);
  Merged<Real> best;
  // With one component all starts are the same.
  for (std::size_t start = components == 1 ? 1 : 0; start <= components; ++start) {
    if (start == 0) {
      product.set_even();
    } else {
      product.set_component(start - 1);
    }
    std::vector<double> steps;
    double objective = -std::numeric_limits<double>::infinity();
    for (int step = 0; step < settings.most_steps; ++step) {
      product.maximise();
      const double before = objective;
      objective = product.expect();
      steps.push_back(objective);
      if (objective - before <= settings.tolerance * std::abs(objective)) break;
    }
    if (!best.mean.empty() && !(objective > best.objective)) continue;
    best = product.result(objective);
    if (trace != nullptr) *trace = std::move(steps);
  }
  return best;
}

template Merged<float> merge_average(std::span<const GaussianView<float>>, std::span<const double>);
template Merged<float> merge_task_vectors(const GaussianView<float>&, std::span<const GaussianView<float>>,
                                          std::span<const double>, double);
template Merged<float> merge_by_uncertainty(const GaussianView<float>&, std::span<const GaussianView<float>>,
                                            std::span<const double>, double, double);
template Merged<float> merge_posteriors(const GaussianView<float>&, std::span<const GaussianView<float>>,
                                        std::span<const double>, double);
template Merged<float> merge_by_server_step(const GaussianView<float>&, std::span<const ClientWithSite<float>>,
                                            std::span<const double>, const ServerStep&);
template Merged<float> merge_mixtures(const GaussianView<float>&, std::span<const std::vector<GaussianView<float>>>,
                                      std::span<const double>, const MixtureSettings&, std::vector<double>*);
template Merged<double> merge_average(std::span<const GaussianView<double>>, std::span<const double>);
template Merged<double> merge_task_vectors(const GaussianView<double>&, std::span<const GaussianView<double>>,
                                           std::span<const double>, double);
template Merged<double> merge_by_uncertainty(const GaussianView<double>&, std::span<const GaussianView<double>>,
                                             std::span<const double>, double, double);
template Merged<double> merge_posteriors(const GaussianView<double>&, std::span<const GaussianView<double>>,
                                         std::span<const double>, double);
template Merged<double> merge_by_server_step(const GaussianView<double>&, std::span<const ClientWithSite<double>>,
                                             std::span<const double>, const ServerStep&);
template Merged<double> merge_mixtures(const GaussianView<double>&, std::span<const std::vector<GaussianView<double>>>,
                                       std::span<const double>, const MixtureSettings&, std::vector<double>*);

}  // namespace ivory
