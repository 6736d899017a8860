// An NVIDIA GPU as a device: one lane is one stream with a memory pool of its own. What all accelerators share (tables, recorded
// steps) is in kernels/accelerator.
#include <cuda_runtime.h>

#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ivory/device.hpp"
#include "ivory/error.hpp"
#include "kernels/accelerator/staged_device.hpp"
#include "kernels/cuda/check.hpp"
#include "kernels/cuda/products.hpp"
#include "kernels/cuda/reduce.hpp"
#include "kernels/cuda/solver.hpp"

namespace ivory {
namespace {

__global__ void increment(std::uint32_t* counter) { ++*counter; }

constexpr int least_capability = IVORY_CUDA_LEAST_CAPABILITY;  // 80 is compute capability 8.0

// What the driver can do, and what it says where it cannot.
std::pair<int, std::string> count_devices() {
  int count = 0;
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaSuccess && count > 0) return {count, ""};
  (void)cudaGetLastError();
  if (status == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    (void)cudaDriverGetVersion(&driver);
    (void)cudaRuntimeGetVersion(&runtime);
    if (driver == 0) return {0, "no NVIDIA driver was found"};
    return {0, "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
                   std::to_string(driver % 1000 / 10) + ", and this program needs " + std::to_string(runtime / 1000) +
                   "." + std::to_string(runtime % 1000 / 10)};
  }
  if (status == cudaSuccess || status == cudaErrorNoDevice) return {0, "no NVIDIA GPU was found"};
  return {0, std::string("the NVIDIA driver answered ") + cudaGetErrorString(status)};
}

class CudaDevice final : public StagedDevice {
 public:
  CudaDevice(int index, ProductPrecision precision) : index_(index), products_(precision) {
    use();
    IVORY_CUDA(cudaGetDeviceProperties(&properties_, index));
    IVORY_CUDA(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    cudaMemPoolProps props{};
    props.allocType = cudaMemAllocationTypePinned;
    props.location.type = cudaMemLocationTypeDevice;
    props.location.id = index;
    IVORY_CUDA(cudaMemPoolCreate(&pool_, &props));
    std::uint64_t keep = std::numeric_limits<std::uint64_t>::max();  // freed memory stays in the pool
    IVORY_CUDA(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep));
    open_to_peers();
  }
  ~CudaDevice() override {
    (void)cudaSetDevice(index_);
    (void)cudaStreamSynchronize(stream_);
    release_tables();
    solver_.reset();
    for (const cudaEvent_t mark : marks_) {
      if (mark != nullptr) (void)cudaEventDestroy(mark);
    }
    for (const cudaEvent_t event : work_events_) (void)cudaEventDestroy(event);
    drop_recordings();
    if (recording_ != nullptr) (void)cudaGraphExecDestroy(recording_);
    (void)cudaStreamSynchronize(stream_);
    (void)cudaMemPoolDestroy(pool_);
    (void)cudaStreamDestroy(stream_);
  }
  CudaDevice(const CudaDevice&) = delete;
  CudaDevice& operator=(const CudaDevice&) = delete;

  std::string describe() const override { return "cuda:" + std::to_string(index_) + " (" + properties_.name + ")"; }

  void* allocate(std::size_t bytes) override {
    outside_steps("allocate");
    use();
    void* memory = nullptr;
    IVORY_CUDA(cudaMallocFromPoolAsync(&memory, bytes, pool_, stream_));
    return memory;
  }
  void release(void* memory) noexcept override {
    (void)cudaSetDevice(index_);
    (void)cudaFreeAsync(memory, stream_);
  }
  std::size_t free_memory() const override {
    use();
    std::size_t free = 0, total = 0;
    IVORY_CUDA(cudaMemGetInfo(&free, &total));
    std::uint64_t reserved = 0, used = 0;  // what the pool holds for later counts as free
    IVORY_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrReservedMemCurrent, &reserved));
    IVORY_CUDA(cudaMemPoolGetAttribute(pool_, cudaMemPoolAttrUsedMemCurrent, &used));
    return free + static_cast<std::size_t>(reserved - used);
  }

  bool shares_memory_with(const Device& other) const override {
    const auto* const peer = dynamic_cast<const CudaDevice*>(&other);
    return peer != nullptr && peer->index_ == index_;
  }
  void transfer(Device& to_device, void* to, Device& from_device, const void* from, std::size_t bytes) override {
    outside_steps("transfer");
    use();
    IVORY_CUDA(cudaMemcpyPeerAsync(to, dynamic_cast<CudaDevice&>(to_device).index_, from,
                                   dynamic_cast<CudaDevice&>(from_device).index_, bytes, stream_));
  }

  void measure_work(bool on) override {
    wait_for_all();
    measuring_ = on;
    for (const cudaEvent_t event : work_events_) (void)cudaEventDestroy(event);
    work_events_.clear();
  }
  double seconds_at_work() override {
    wait_for_all();
    double milliseconds = 0;
    for (std::size_t i = 0; i + 1 < work_events_.size(); i += 2) {
      float part = 0;
      IVORY_CUDA(cudaEventElapsedTime(&part, work_events_[i], work_events_[i + 1]));
      milliseconds += static_cast<double>(part);
    }
    return milliseconds * 1e-3;
  }

  void sum_rows(const double* values, std::size_t rows, std::size_t columns, double* sums) override {
    use();
    const std::size_t scratch_bytes = cuda::sum_rows_scratch(rows, columns);
    void* const scratch = allocate(scratch_bytes);
    auto* const result = static_cast<double*>(allocate(rows * sizeof(double)));
    cuda::sum_rows(scratch, scratch_bytes, values, rows, columns, result, stream_);
    download(sums, result, rows * sizeof(double));
    release(result);
    release(scratch);
  }

 protected:
  void run(const Kernel& kernel, const Launch& launch) override {
    if (kernel.on_gpu == nullptr) throw std::logic_error("a loop that was compiled without nvcc runs on a GPU");
    use();
    Launch here = launch;
    here.stream = stream_;
    const Work work(*this);
    kernel.on_gpu(here);
    cuda::check(cudaGetLastError(), "kernel launch");
  }
  void run_multiply(const MatrixProduct<float>& product) override {
    use();
    const Work work(*this);
    products_.multiply(product, stream_);
  }
  void run_multiply(const MatrixProduct<double>& product) override {
    use();
    const Work work(*this);
    products_.multiply(product, stream_);
  }
  bool run_cholesky(double* matrix, std::size_t n) override {
    use();
    cuda::Solver& with = solver();
    void* const scratch = allocate(with.work_bytes(n));
    const bool good = with.cholesky(matrix, n, scratch);
    release(scratch);
    return good;
  }
  void run_solve_triangular(const double* factor, bool transpose, double* x, std::size_t n,
                            std::size_t columns) override {
    use();
    solver().solve_triangular(factor, transpose, x, n, columns);
  }
  void run_clear(void* memory, std::size_t bytes) override {
    use();
    const Work work(*this);
    IVORY_CUDA(cudaMemsetAsync(memory, 0, bytes, stream_));
  }
  void run_copy(void* to, const void* from, std::size_t bytes) override {
    use();
    const Work work(*this);
    IVORY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_));
  }
  void run_increment(std::uint32_t* counter) override {
    use();
    increment<<<1, 1, 0, stream_>>>(counter);
    cuda::check(cudaGetLastError(), "kernel launch");
  }
  void send(void* to, const void* from, std::size_t bytes) override {
    use();
    const Work work(*this);
    IVORY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }

  void begin_recording() override {
    use();
    IVORY_CUDA(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal));
    recording_now_ = true;
  }
  void end_recording() override {
    use();
    recording_now_ = false;
    cudaGraph_t graph = nullptr;
    IVORY_CUDA(cudaStreamEndCapture(stream_, &graph));
    // An earlier recording may still run.
    if (recording_ != nullptr) finished_.push_back(std::exchange(recording_, nullptr));
    const cudaError_t status = cudaGraphInstantiate(&recording_, graph, 0);
    (void)cudaGraphDestroy(graph);
    cuda::check(status, "cudaGraphInstantiate(&recording_, graph, 0)");
  }
  void replay() override {
    use();
    const Work work(*this);
    IVORY_CUDA(cudaGraphLaunch(recording_, stream_));
  }

  void set_mark(std::size_t mark) override {
    use();
    if (mark >= marks_.size()) marks_.resize(mark + 1, nullptr);
    if (marks_[mark] == nullptr) IVORY_CUDA(cudaEventCreateWithFlags(&marks_[mark], cudaEventDisableTiming));
    IVORY_CUDA(cudaEventRecord(marks_[mark], stream_));
  }
  void wait_for_mark(std::size_t mark) override {
    use();
    IVORY_CUDA(cudaEventSynchronize(marks_.at(mark)));
  }
  void* host_room(std::size_t bytes) override {
    use();
    void* room = nullptr;
    IVORY_CUDA(cudaMallocHost(&room, bytes));
    return room;
  }
  void release_host_room(void* room) noexcept override { (void)cudaFreeHost(room); }
  // Ordinary host memory: the driver has copied it when the call returns.
  void upload_now(void* to, const void* from, std::size_t bytes) override {
    use();
    IVORY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream_));
  }
  void download_now(void* to, const void* from, std::size_t bytes) override {
    use();
    IVORY_CUDA(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream_));
    wait_for_all();
  }
  void wait_for_all() override {
    use();
    IVORY_CUDA(cudaStreamSynchronize(stream_));
    drop_recordings();
  }

 private:
  // Brackets work with two events where work is measured.
  class Work {
   public:
    explicit Work(CudaDevice& device) : device_(device) { device_.put_work_event(); }
    ~Work() {
      try {
        device_.put_work_event();
      } catch (const RunError&) {  // the next checked call says it
      }
    }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

   private:
    CudaDevice& device_;
  };
  void put_work_event() {
    if (!measuring_ || recording_now_) return;
    cudaEvent_t event = nullptr;
    IVORY_CUDA(cudaEventCreate(&event));
    work_events_.push_back(event);
    IVORY_CUDA(cudaEventRecord(event, stream_));
  }

  cuda::Solver& solver() {
    if (!solver_) solver_ = std::make_unique<cuda::Solver>(stream_);
    return *solver_;
  }
  void use() const { IVORY_CUDA(cudaSetDevice(index_)); }

  // Copies between GPUs go directly where the machine can.
  void open_to_peers() {
    int count = 0;
    IVORY_CUDA(cudaGetDeviceCount(&count));
    std::vector<cudaMemAccessDesc> peers;
    for (int peer = 0; peer < count; ++peer) {
      int reachable = 0;
      if (peer != index_) IVORY_CUDA(cudaDeviceCanAccessPeer(&reachable, peer, index_));
      if (reachable == 0) continue;
      cudaMemAccessDesc access{};
      access.location.type = cudaMemLocationTypeDevice;
      access.location.id = peer;
      access.flags = cudaMemAccessFlagsProtReadWrite;
      peers.push_back(access);
    }
    if (!peers.empty()) IVORY_CUDA(cudaMemPoolSetAccess(pool_, peers.data(), peers.size()));
  }
  void drop_recordings() {
    for (const cudaGraphExec_t recording : finished_) (void)cudaGraphExecDestroy(recording);
    finished_.clear();
  }

  int index_;
  cuda::Products products_;
  std::unique_ptr<cuda::Solver> solver_;
  cudaDeviceProp properties_{};
  cudaStream_t stream_ = nullptr;
  cudaMemPool_t pool_ = nullptr;
  cudaGraphExec_t recording_ = nullptr;
  std::vector<cudaGraphExec_t> finished_;
  std::vector<cudaEvent_t> marks_, work_events_;
  bool measuring_ = false, recording_now_ = false;
};

}  // namespace

CudaDevices cuda_devices() {
  const auto [count, reason] = count_devices();
  return {.count = count, .reason = reason};
}

std::unique_ptr<Device> make_cuda_device(int index, ProductPrecision precision) {
  const auto [count, reason] = count_devices();
  if (count == 0) {
    throw InputError("[device] a GPU needs an NVIDIA driver and device, " + reason + "; use --device cpu");
  }
  if (index < 0 || index >= count) {
    throw InputError("[device] cuda:N must be one of the " + std::to_string(count) +
                     " GPUs, got cuda:" + std::to_string(index) + "; the first is cuda:0");
  }
  int major = 0, minor = 0;
  IVORY_CUDA(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index));
  IVORY_CUDA(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, index));
  if (10 * major + minor < least_capability) {
    throw InputError("[device] a GPU must have compute capability " + std::to_string(least_capability / 10) + "." +
                     std::to_string(least_capability % 10) + " or higher, cuda:" + std::to_string(index) + " has " +
                     std::to_string(major) + "." + std::to_string(minor) +
                     "; use --device cpu, or build with -Dgpu_arch for it");
  }
  return std::make_unique<CudaDevice>(index, precision);
}

}  // namespace ivory
