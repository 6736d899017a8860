#include "src/run_group.hpp"

#include <fmt/format.h>

#include <map>

#include "ivory/error.hpp"

namespace ivory {
namespace {

// Throws where the runs' clients cannot be rows of one block, or would have other bits there.
void check_alike(const RunParts<float>& one, const RunParts<float>& first) {
  const auto alike = [](const char* what, std::size_t here, std::size_t there) {
    if (here == there) return;
    throw RunsApart(fmt::format("{} must be the same in runs that share blocks, got {} and {}", what, here, there));
  };
  alike("the features of an example", one.data.train.features, first.data.train.features);
  alike("the target values of an example", one.data.train.outputs, first.data.train.outputs);
  alike("the number of parameters", one.training_network.layout().size(), first.training_network.layout().size());
  alike("the size of a batch, which is at most the largest client's,", one.visit_plan.batch, first.visit_plan.batch);
  alike("the number of clients in a round", one.participants, first.participants);
}

}  // namespace

std::vector<std::vector<std::size_t>> groups_of_seeds(const std::vector<const Scenario*>& scenarios, std::size_t most) {
  std::vector<std::vector<std::size_t>> groups;
  std::map<std::string, std::size_t> open;  // the scenario without its seed -> the group that takes the next one
  for (std::size_t i = 0; i < scenarios.size(); ++i) {
    Scenario seedless = *scenarios[i];
    seedless.seed = 0;
    const auto [place, added] = open.try_emplace(to_toml(seedless), groups.size());
    if (added) groups.emplace_back();
    if (groups[place->second].size() == most) {
      place->second = groups.size();
      groups.emplace_back();
    }
    groups[place->second].push_back(i);
  }
  return groups;
}

RunGroup::Invitation::~Invitation() {
  if (!taken_) group_.call_off();
}

void RunGroup::call_off() {
  const std::lock_guard lock(mutex_);
  --expected_;
  for (const auto& lane : lanes_) lane->call_off();
}

Places<float> RunGroup::Invitation::join(const std::shared_ptr<const RunParts<float>>& parts, std::size_t block,
                                         const std::vector<DeviceMaker>& makers, ProductPrecision products) {
  const VisitPlan& plan = parts->visit_plan;
  if (taken_) throw RunsApart("it begins once more, and the others do not wait for that");
  if (plan.public_pool != nullptr) throw RunsApart("a public pool belongs to one run");
  if (plan.curvature_examples != nullptr) throw RunsApart("the curvature of a whole training set belongs to one run");
  const std::lock_guard lock(group_.mutex_);
  std::vector<std::unique_ptr<TrainingLane<float>>> lanes;  // outlive the seats where this fails
  Places<float> places;
  if (group_.parts_ == nullptr) {
    for (const DeviceMaker& make : makers) {
      lanes.push_back(
          std::make_unique<TrainingLane<float>>(make(products), block_setup(*parts, block), group_.expected_));
    }
    for (const auto& lane : lanes) places.seats.push_back(std::make_unique<Seat<float>>(*lane));
    group_.parts_ = parts;
    group_.block_ = block;
    group_.lanes_ = std::move(lanes);
  } else {
    check_alike(*parts, *group_.parts_);
    taken_ = true;  // from here on seats that are destroyed call themselves off
    try {
      for (const auto& lane : group_.lanes_) {
        places.seats.push_back(std::make_unique<Seat<float>>(*lane, plan.seed, parts->data.train));
      }
    } catch (...) {
      for (std::size_t l = places.seats.size(); l < group_.lanes_.size(); ++l) group_.lanes_[l]->call_off();
      throw;
    }
  }
  places.block = group_.block_;
  taken_ = true;
  return places;
}

Places<double> RunGroup::Invitation::join(const std::shared_ptr<const RunParts<double>>&, std::size_t,
                                          const std::vector<DeviceMaker>&, ProductPrecision) {
  throw RunsApart("clients with full covariances gain nothing from a common block");
}

}  // namespace ivory
