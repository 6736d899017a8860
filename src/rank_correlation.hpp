// How far two lists of numbers put things in the same order.
#pragma once
#include <span>

namespace ivory {

/// Spearman's rho: the correlation of the ranks, ties having their mean rank. NaN for fewer than two numbers, for lists that are
/// constant and where a number is NaN. Lists of one length.
double spearman(std::span<const double> x, std::span<const double> y);

/// Kendall's tau-b: (concordant - discordant) / sqrt((pairs without ties in x) (pairs without ties in y)). NaN as above.
double kendall(std::span<const double> x, std::span<const double> y);

}  // namespace ivory
