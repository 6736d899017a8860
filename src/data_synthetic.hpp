// Generated data: the synthetic(alpha, beta) clients of FedProx and LEAF, Gaussian blobs, and linear regression.
#pragma once
#include <cstdint>

#include "ivory/dataset.hpp"
#include "ivory/options.hpp"

namespace ivory {

/// [data] kind = "synthetic": Li et al., "Federated Optimization in Heterogeneous Networks" (MLSys 2020), section 5.1,
/// with the numbers of its published generator. Client k has examples x ~ N(v_k, diag(j^-1.2)), j = 1, 2 ..., with the
/// labels argmax(W_k x + b_k),
///   W_k, b_k ~ N(u_k, 1), u_k ~ N(0, alpha^2),   v_k ~ N(B_k, 1), B_k ~ N(0, beta^2),   n_k = lognormal(4, 2) + 50,
/// or one W, b ~ N(0, 1) and v = 0 for all when `iid`. As published u_k is one number for all classes, which shifts
/// every logit by the same amount: alpha changes no label unless `alpha_per_class` draws a u_k for each class. Every
/// client keeps its last examples for the common test set.
const Kind& synthetic_kind();
/// Fills train and test with their natural clients. Throws InputError when they exceed the memory.
DataSplit make_synthetic(const Options& options, std::uint64_t seed);

/// [data] kind = "blobs": x ~ N(centre of the class, spread^2 I), classes in equal numbers. The centres are random,
/// scaled so that the two closest are `separation` apart: those two are told apart with error
/// Phi(-separation / (2 spread)) at best.
const Kind& blobs_kind();
DataSplit make_blobs(const Options& options, std::uint64_t seed);

/// [data] kind = "linear": x ~ N(0, I), y = W_k x + noise N(0, I), W_k = W + shift N(0, I) entry by entry, W ~ N(0, I): regression
/// whose best RMSE is known, `noise` for a client's own W_k, sqrt(noise^2 + shift^2 features) for the common W.
const Kind& linear_kind();
DataSplit make_linear(const Options& options, std::uint64_t seed);

}  // namespace ivory
