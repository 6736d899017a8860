#include "kernels/cuda/products.hpp"

#include <cublasLt.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <type_traits>

#include "ivory/error.hpp"
#include "kernels/cuda/shared_library.hpp"

namespace ivory::cuda {
namespace {

// An algorithm is looked for with this many clients, however many a block has: its choice, and with it every bit of a result,
// depends on the shape alone.
constexpr std::int32_t nominal_count = 64;

// The functions used, by their own names.
struct Library {
  Library() {
    load(create, "cublasLtCreate");
    load(destroy, "cublasLtDestroy");
    load(matmul, "cublasLtMatmul");
    load(desc_create, "cublasLtMatmulDescCreate");
    load(desc_destroy, "cublasLtMatmulDescDestroy");
    load(desc_set, "cublasLtMatmulDescSetAttribute");
    load(layout_create, "cublasLtMatrixLayoutCreate");
    load(layout_destroy, "cublasLtMatrixLayoutDestroy");
    load(layout_set, "cublasLtMatrixLayoutSetAttribute");
    load(preference_create, "cublasLtMatmulPreferenceCreate");
    load(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    load(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    load(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    load(algorithm_get, "cublasLtMatmulAlgoConfigGetAttribute");
    load(status_text, "cublasLtGetStatusString");
  }

  template <class Function>
  void load(Function*& function, const char* name) const {
    file.load(function, name);
  }

  SharedLibrary file{IVORY_SONAME("cublasLt", CUBLAS_VER_MAJOR), "products on a GPU"};
  decltype(cublasLtCreate)* create = nullptr;
  decltype(cublasLtDestroy)* destroy = nullptr;
  decltype(cublasLtMatmul)* matmul = nullptr;
  decltype(cublasLtMatmulDescCreate)* desc_create = nullptr;
  decltype(cublasLtMatmulDescDestroy)* desc_destroy = nullptr;
  decltype(cublasLtMatmulDescSetAttribute)* desc_set = nullptr;
  decltype(cublasLtMatrixLayoutCreate)* layout_create = nullptr;
  decltype(cublasLtMatrixLayoutDestroy)* layout_destroy = nullptr;
  decltype(cublasLtMatrixLayoutSetAttribute)* layout_set = nullptr;
  decltype(cublasLtMatmulPreferenceCreate)* preference_create = nullptr;
  decltype(cublasLtMatmulPreferenceDestroy)* preference_destroy = nullptr;
  decltype(cublasLtMatmulPreferenceSetAttribute)* preference_set = nullptr;
  decltype(cublasLtMatmulAlgoGetHeuristic)* heuristic = nullptr;
  decltype(cublasLtMatmulAlgoConfigGetAttribute)* algorithm_get = nullptr;
  decltype(cublasLtGetStatusString)* status_text = nullptr;
};

// The largest power of two up to 256 that divides the address and the step to the next client's.
std::uint32_t alignment_of(const void* memory, std::size_t stride_bytes) {
  const std::uintptr_t bits = reinterpret_cast<std::uintptr_t>(memory) | stride_bytes | 256U;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

// The shape of a product, which decides its algorithm: (transposes, accumulate), (m, n, k), (leading dimensions), alignments.
using Shape = std::tuple<std::array<bool, 4>, std::array<std::size_t, 3>, std::array<std::size_t, 3>,
                         std::array<std::uint32_t, 3>>;

}  // namespace

struct Products::Impl {
  explicit Impl(ProductPrecision precision_) : precision(precision_) { check(lt.create(&handle), "cublasLtCreate"); }
  ~Impl() { lt.destroy(handle); }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  void check(cublasStatus_t status, const std::string& what) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw RunError("[cuda] a product must succeed, " + what + " gave " + lt.status_text(status));
  }

  cublasComputeType_t compute_of(bool is_double) const {
    if (is_double) return CUBLAS_COMPUTE_64F;
    switch (precision) {
      case ProductPrecision::tf32:
        return CUBLAS_COMPUTE_32F_FAST_TF32;
      case ProductPrecision::bfloat16:
        return CUBLAS_COMPUTE_32F_FAST_16BF;
      case ProductPrecision::float32:
        break;
    }
    return CUBLAS_COMPUTE_32F;
  }

  Library lt;
  cublasLtHandle_t handle = nullptr;
  ProductPrecision precision;
  std::map<Shape, cublasLtMatmulAlgo_t> algorithms[2];  // float, double
};

namespace {

// A matrix of a batch as cuBLASLt sees it: columns are contiguous, so our rows are its columns.
struct Layout {
  Layout(const Library& lt_, cudaDataType type, std::size_t rows, std::size_t columns, std::size_t leading,
         std::int32_t count, std::size_t stride)
      : lt(lt_) {
    status = lt.layout_create(&layout, type, rows, columns, static_cast<std::int64_t>(leading));
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof count);
    }
    const auto step = static_cast<std::int64_t>(stride);
    if (status == CUBLAS_STATUS_SUCCESS) {
      status = lt.layout_set(layout, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &step, sizeof step);
    }
  }
  ~Layout() {
    if (layout != nullptr) lt.layout_destroy(layout);
  }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  const Library& lt;
  cublasLtMatrixLayout_t layout = nullptr;
  cublasStatus_t status = CUBLAS_STATUS_SUCCESS;
};

std::string text_of(std::size_t m, std::size_t n, std::size_t k, std::size_t count) {
  return "the product [" + std::to_string(m) + " x " + std::to_string(k) + "] * [" + std::to_string(k) + " x " +
         std::to_string(n) + "] of " + std::to_string(count) + " clients";
}

}  // namespace

Products::Products(ProductPrecision precision) : impl_(std::make_unique<Impl>(precision)) {}
Products::~Products() = default;

namespace {

// Row-major C = op(A) op(B) is column-major C' = op(B)' op(A)'; a row-major matrix is its own transpose in column-major order.
template <class Real, class Impl>
void multiply_all(Impl& impl, const MatrixProduct<Real>& p, cudaStream_t stream) {
  constexpr bool is_double = std::is_same_v<Real, double>;
  constexpr cudaDataType type = is_double ? CUDA_R_64F : CUDA_R_32F;
  const Library& lt = impl.lt;
  const std::string what = text_of(p.m, p.n, p.k, p.count);
  if (p.live != nullptr) throw RunError("[cuda] products on a GPU take all rows, got a limit for " + what);

  cublasLtMatmulDesc_t desc = nullptr;
  impl.check(lt.desc_create(&desc, impl.compute_of(is_double), type), what);
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulDesc_t>, decltype(lt.desc_destroy)> desc_owner(
      desc, lt.desc_destroy);
  const cublasOperation_t first = p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t second = p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N;
  impl.check(lt.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first), what);
  impl.check(lt.desc_set(desc, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second), what);

  const auto layouts = [&](std::int32_t count) {
    struct Three {
      Layout a, b, c;
    };
    return std::unique_ptr<Three>(
        new Three{{lt, type, p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.ldb, count, p.stride_b},
                  {lt, type, p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.lda, count, p.stride_a},
                  {lt, type, p.n, p.m, p.ldc, count, p.stride_c}});
  };
  const auto checked = [&](auto three) {
    for (const Layout* layout : {&three->a, &three->b, &three->c}) impl.check(layout->status, what);
    return three;
  };

  const std::uint32_t align_a = alignment_of(p.b, p.stride_b * sizeof(Real)),
                      align_b = alignment_of(p.a, p.stride_a * sizeof(Real)),
                      align_c = alignment_of(p.c, p.stride_c * sizeof(Real));
  const Shape shape{{p.transpose_a, p.transpose_b, p.accumulate, false},
                    {p.m, p.n, p.k},
                    {p.lda, p.ldb, p.ldc},
                    {align_a, align_b, align_c}};
  auto& known = impl.algorithms[is_double ? 1 : 0];
  auto found = known.find(shape);
  if (found == known.end()) {
    cublasLtMatmulPreference_t preference = nullptr;
    impl.check(lt.preference_create(&preference), what);
    const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(lt.preference_destroy)> owner(
        preference, lt.preference_destroy);
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t attribute, auto value) {
      impl.check(lt.preference_set(preference, attribute, &value, sizeof value), what);
    };
    // No workspace and no reduction scheme: a product is never split along k, so its sums have one order.
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, std::uint64_t{0});
    prefer(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, std::uint32_t{CUBLASLT_REDUCTION_SCHEME_NONE});
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, align_a);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, align_b);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, align_c);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, align_c);
    const auto three = checked(layouts(nominal_count));
    std::array<cublasLtMatmulHeuristicResult_t, 16> results{};
    int count = 0;
    impl.check(lt.heuristic(impl.handle, desc, three->a.layout, three->b.layout, three->c.layout, three->c.layout,
                            preference, static_cast<int>(results.size()), results.data(), &count),
               what);
    const auto whole = [&](const cublasLtMatmulHeuristicResult_t& result) {
      std::int32_t split = 1;
      std::size_t written = 0;
      const auto status =
          lt.algorithm_get(&result.algo, CUBLASLT_ALGO_CONFIG_SPLITK_NUM, &split, sizeof split, &written);
      return result.state == CUBLAS_STATUS_SUCCESS && (status != CUBLAS_STATUS_SUCCESS || split <= 1);
    };
    const auto best = std::find_if(results.begin(), results.begin() + count, whole);
    if (best == results.begin() + count) {
      throw RunError("[cuda] a product must have an algorithm that does not split its sums, none for " + what);
    }
    found = known.emplace(shape, best->algo).first;
  }

  const auto three = checked(layouts(static_cast<std::int32_t>(p.count)));
  const Real one = 1, keep = p.accumulate ? Real(1) : Real(0);
  impl.check(lt.matmul(impl.handle, desc, &one, p.b, three->a.layout, p.a, three->b.layout, &keep, p.c, three->c.layout,
                       p.c, three->c.layout, &found->second, nullptr, 0, stream),
             what);
}

}  // namespace

void Products::multiply(const MatrixProduct<float>& product, cudaStream_t stream) {
  multiply_all(*impl_, product, stream);
}
void Products::multiply(const MatrixProduct<double>& product, cudaStream_t stream) {
  multiply_all(*impl_, product, stream);
}

}  // namespace ivory::cuda
