#include "kernels/cuda/solver.hpp"

#include <cublas_v2.h>
#include <cusolverDn.h>

#include <string>

#include "ivory/error.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/shared_library.hpp"

namespace ivory::cuda {
namespace {

constexpr const char* purpose = "full covariances on a GPU";

void succeed(int status, const char* what) {
  if (status == 0) return;  // both libraries' SUCCESS
  throw RunError(std::string("[cuda] a factor or solve must succeed, ") + what + " gave status " +
                 std::to_string(status));
}

}  // namespace

// Row-major lower is column-major upper: the libraries see L' in the upper triangle, with A = L L'.
struct Solver::Impl {
  explicit Impl(cudaStream_t stream_) : stream(stream_) {
    blas_library.load(blas_create, "cublasCreate_v2");
    blas_library.load(blas_destroy, "cublasDestroy_v2");
    blas_library.load(blas_stream, "cublasSetStream_v2");
    blas_library.load(trsm, "cublasDtrsm_v2");
    solver_library.load(solver_create, "cusolverDnCreate");
    solver_library.load(solver_destroy, "cusolverDnDestroy");
    solver_library.load(solver_stream, "cusolverDnSetStream");
    solver_library.load(potrf_size, "cusolverDnDpotrf_bufferSize");
    solver_library.load(potrf, "cusolverDnDpotrf");
    succeed(blas_create(&blas), "cublasCreate");
    succeed(solver_create(&solver), "cusolverDnCreate");
    succeed(blas_stream(blas, stream), "cublasSetStream");
    succeed(solver_stream(solver, stream), "cusolverDnSetStream");
  }
  ~Impl() {
    if (solver != nullptr) (void)solver_destroy(solver);
    if (blas != nullptr) (void)blas_destroy(blas);
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  int elements(int n) const {
    int count = 0;
    succeed(potrf_size(solver, CUBLAS_FILL_MODE_UPPER, n, nullptr, n, &count), "cusolverDnDpotrf_bufferSize");
    return count;
  }

  SharedLibrary blas_library{IVORY_SONAME("cublas", CUBLAS_VER_MAJOR), purpose};
  SharedLibrary solver_library{IVORY_SONAME("cusolver", CUSOLVER_VER_MAJOR), purpose};
  decltype(cublasCreate_v2)* blas_create = nullptr;
  decltype(cublasDestroy_v2)* blas_destroy = nullptr;
  decltype(cublasSetStream_v2)* blas_stream = nullptr;
  decltype(cublasDtrsm_v2)* trsm = nullptr;
  decltype(cusolverDnCreate)* solver_create = nullptr;
  decltype(cusolverDnDestroy)* solver_destroy = nullptr;
  decltype(cusolverDnSetStream)* solver_stream = nullptr;
  decltype(cusolverDnDpotrf_bufferSize)* potrf_size = nullptr;
  decltype(cusolverDnDpotrf)* potrf = nullptr;
  cudaStream_t stream;
  cublasHandle_t blas = nullptr;
  cusolverDnHandle_t solver = nullptr;
};

Solver::Solver(cudaStream_t stream) : impl_(std::make_unique<Impl>(stream)) {}
Solver::~Solver() = default;

std::size_t Solver::work_bytes(std::size_t n) const {
  return static_cast<std::size_t>(impl_->elements(static_cast<int>(n))) * sizeof(double) + sizeof(double);
}

bool Solver::cholesky(double* matrix, std::size_t n, void* work) {
  const auto size = static_cast<int>(n);
  auto* const info = static_cast<int*>(work);  // in the first 8 bytes
  auto* const scratch = static_cast<double*>(work) + 1;
  succeed(impl_->potrf(impl_->solver, CUBLAS_FILL_MODE_UPPER, size, matrix, size, scratch, impl_->elements(size), info),
          "cusolverDnDpotrf");
  int result = 0;
  double last = 0;  // NaN runs through to the last pivot
  IVORY_CUDA(cudaMemcpyAsync(&result, info, sizeof result, cudaMemcpyDeviceToHost, impl_->stream));
  IVORY_CUDA(cudaMemcpyAsync(&last, matrix + n * n - 1, sizeof last, cudaMemcpyDeviceToHost, impl_->stream));
  IVORY_CUDA(cudaStreamSynchronize(impl_->stream));
  return result == 0 && last > 0;
}

// X [n x columns] row-major is X' in column-major order, and L^-1 X there is X' times the inverse of L'.
void Solver::solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns) {
  const double one = 1;
  const auto size = static_cast<int>(n), width = static_cast<int>(columns);
  succeed(impl_->trsm(impl_->blas, CUBLAS_SIDE_RIGHT, CUBLAS_FILL_MODE_UPPER, transpose ? CUBLAS_OP_T : CUBLAS_OP_N,
                      CUBLAS_DIAG_NON_UNIT, width, size, &one, factor, size, x, width),
          "cublasDtrsm");
}

}  // namespace ivory::cuda
