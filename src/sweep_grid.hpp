// The settings of a sweep: the Cartesian product of its grids, arm by arm.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ivory/scenario.hpp"

namespace ivory {

inline constexpr std::size_t most_settings = 10000;  // of all arms together

/// One --grid: a key with the values it takes, in every arm or in one.
struct GridAxis {
  std::string arm;  // empty: every arm
  std::string key;
  std::vector<std::string> values;  // as given, each a TOML value or a bare text
};

/// Reads "[ARM:]KEY=V1,V2,...". Commas within quotes, [ ] and { } belong to a value. Throws InputError for a text without a
/// key or values, an empty value, a value that is there twice, and keys whose values cannot be compared: name, arm and seed, data.seed,
/// data.validation, partition.seed, all of [evaluation] but laplace_prior_precision, and [log].
GridAxis parse_grid(const std::string& text);
/// All of them; throws InputError where two are for the same key and arm.
std::vector<GridAxis> parse_grids(std::span<const std::string> texts);

/// One setting of an arm: its scenario, whose `arm` is the name of the arm and the label, "fedavg,lr=0.1".
struct SweepSetting {
  std::string label;  // "lr=0.1,mu=0.01"; "-" where the grid has nothing for the arm
  Scenario scenario;
};

struct SweepArm {
  std::string name;  // the scenario's where it has no arms
  std::vector<SweepSetting> settings;
};

/// The arms of a scenario file with all their settings; the last grid varies fastest. A grid for one arm takes the place of one
/// for every arm with the same key, and a key that an arm does not have passes by it, as --set does. Throws InputError like
/// read_scenario, for more than most_settings, and for two settings that come to the same.
std::vector<SweepArm> expand_grid(const std::string& file, std::span<const std::string> set,
                                  std::span<const std::string> only, const std::vector<GridAxis>& axes);

/// Leaves each arm at most `budget` settings, drawn at random by `seed`; arms with equal grids keep the same ones.
void draw_settings(std::vector<SweepArm>& arms, std::size_t budget, std::uint64_t seed);

/// "fedavg 3, vb-admm 9"; a second line warns where the arms have different numbers.
std::string budget_text(const std::vector<SweepArm>& arms);

/// Throws InputError where an arm has more settings than another.
void check_budgets(const std::vector<SweepArm>& arms);

}  // namespace ivory
