#include "tests/support/emulated_device.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "ivory/error.hpp"
#include "kernels/accelerator/staged_device.hpp"

namespace ivory::test {

class EmulatedMemory {
 public:
  explicit EmulatedMemory(std::size_t bytes) : bytes_(bytes) {
    void* const base = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED) throw std::runtime_error("no address space for an emulated device");
    base_ = static_cast<std::byte*>(base);
    free_[0] = bytes;
  }
  ~EmulatedMemory() { munmap(base_, bytes_); }
  EmulatedMemory(const EmulatedMemory&) = delete;
  EmulatedMemory& operator=(const EmulatedMemory&) = delete;

  void* allocate(std::size_t wanted) {
    const std::size_t bytes = (wanted + page - 1) / page * page;
    const std::lock_guard lock(mutex_);
    for (auto place = free_.begin(); place != free_.end(); ++place) {
      if (place->second < bytes) continue;
      const auto [at, size] = *place;
      free_.erase(place);
      if (size > bytes) free_[at + bytes] = size - bytes;
      used_[at] = bytes;
      allocated_ += bytes;
      most_ = std::max(most_, allocated_);
      protect(base_ + at, bytes, true);
      std::memset(base_ + at, 0xFF, bytes);  // NaN in every format
      if (open_ == 0) protect(base_ + at, bytes, false);
      return base_ + at;
    }
    throw MemoryError("[memory] the emulated device is full, it refused " + std::to_string(wanted) + " bytes");
  }
  void release(void* memory) {
    const std::lock_guard lock(mutex_);
    const auto at = static_cast<std::size_t>(static_cast<std::byte*>(memory) - base_);
    const auto found = used_.find(at);
    if (found == used_.end()) std::abort();  // not ours
    protect(base_ + at, found->second, false);
    allocated_ -= found->second;
    auto place = free_.emplace(at, found->second).first;
    used_.erase(found);
    const auto join_next = [&](auto first) {  // neighbours become one
      const auto next = std::next(first);
      if (next == free_.end() || first->first + first->second != next->first) return;
      first->second += next->second;
      free_.erase(next);
    };
    join_next(place);
    if (place != free_.begin()) join_next(std::prev(place));
  }
  bool holds(const void* memory, std::size_t bytes) const {
    const auto* const first = static_cast<const std::byte*>(memory);
    return first >= base_ && first + bytes <= base_ + bytes_;
  }

  void open() {
    const std::lock_guard lock(mutex_);
    if (open_++ == 0) protect_used(true);
  }
  void close() {
    const std::lock_guard lock(mutex_);
    if (--open_ == 0) protect_used(false);
  }

  std::size_t free_bytes() {
    const std::lock_guard lock(mutex_);
    return bytes_ - allocated_;
  }
  std::atomic<int> waits_left = -1;  // below 0: no failure

  std::size_t allocated() const { return allocated_; }
  std::size_t most() const { return most_; }

 private:
  static constexpr std::size_t page = 4096;
  static void protect(void* at, std::size_t bytes, bool open) {
    if (mprotect(at, bytes, open ? PROT_READ | PROT_WRITE : PROT_NONE) != 0) std::abort();
  }
  void protect_used(bool open) {
    for (const auto& [at, bytes] : used_) protect(base_ + at, bytes, open);
  }

  std::mutex mutex_;
  std::byte* base_ = nullptr;
  std::size_t bytes_, allocated_ = 0, most_ = 0;
  int open_ = 0;
  std::map<std::size_t, std::size_t> free_, used_;  // offset -> bytes
};

namespace {

class EmulatedDevice final : public StagedDevice {
 public:
  explicit EmulatedDevice(std::shared_ptr<EmulatedMemory> memory) : memory_(std::move(memory)) {}
  ~EmulatedDevice() override {
    queue_.clear();
    release_tables();
  }

  std::string describe() const override { return "emulated"; }
  void* allocate(std::size_t bytes) override {
    outside_steps("allocate");
    return memory_->allocate(bytes);
  }
  void release(void* memory) noexcept override {
    try {
      work_off();
    } catch (const RunError&) {  // shown at the next wait
    }
    memory_->release(memory);
  }
  std::size_t free_memory() const override { return memory_->free_bytes(); }
  bool shares_memory_with(const Device& other) const override {
    const auto* const peer = dynamic_cast<const EmulatedDevice*>(&other);
    return peer != nullptr && peer->memory_ == memory_;
  }
  void transfer(Device& to_device, void* to, Device& from_device, const void* from, std::size_t bytes) override {
    outside_steps("transfer");
    const auto there = dynamic_cast<EmulatedDevice&>(to_device).memory_;
    const auto here = dynamic_cast<EmulatedDevice&>(from_device).memory_;
    queue_.emplace_back([=] {
      there->open();
      here->open();
      std::memcpy(to, from, bytes);
      here->close();
      there->close();
    });
  }
  void sum_rows(const double* values, std::size_t rows, std::size_t columns, double* sums) override {
    std::vector<double> host(rows * columns);
    download(host.data(), values, host.size() * sizeof(double));
    for (std::size_t r = 0; r < rows; ++r) {
      sums[r] = 0;
      for (std::size_t c = 0; c < columns; ++c) sums[r] += host[r * columns + c];
    }
  }

  EmulatedWork work;

 protected:
  using Task = std::function<void()>;

  void run(const Kernel& kernel, const Launch& launch) override {
    ask([=] { kernel.on_host(launch); });
  }
  void run_multiply(const MatrixProduct<float>& product) override { multiply_all(product); }
  void run_multiply(const MatrixProduct<double>& product) override { multiply_all(product); }
  bool run_cholesky(double* matrix, std::size_t n) override {
    check(matrix, n * n * sizeof(double));
    bool good = true;
    ask([=, &good] { good = factorise(matrix, n); });
    work_off();
    return good;
  }
  void run_solve_triangular(const double* factor, bool transpose, double* x, std::size_t n,
                            std::size_t columns) override {
    check(x, n * columns * sizeof(double));
    ask([=] { solve(factor, transpose, x, n, columns); });
  }
  void run_clear(void* memory, std::size_t bytes) override {
    check(memory, bytes);
    ask([=] { std::memset(memory, 0, bytes); });
  }
  void run_copy(void* to, const void* from, std::size_t bytes) override {
    check(to, bytes);
    ask([=] { std::memcpy(to, from, bytes); });
  }
  void run_increment(std::uint32_t* counter) override {
    ask([=] { ++*counter; });
  }
  void send(void* to, const void* from, std::size_t bytes) override {
    check(to, bytes);
    queue_.emplace_back([=] { std::memcpy(to, from, bytes); });
  }
  void begin_recording() override {
    recording_ = true;
    recorded_ = std::make_shared<std::vector<Task>>();
    ++work.recordings;
  }
  void end_recording() override { recording_ = false; }
  void replay() override {
    ++work.replays;
    queue_.emplace_back([tasks = recorded_] {
      for (const Task& task : *tasks) task();
    });
  }
  // No more is done than a mark asks for, so that one set too early shows.
  void set_mark(std::size_t mark) override {
    if (mark >= marks_.size()) marks_.resize(mark + 1, 0);
    marks_[mark] = done_ + queue_.size();
  }
  void wait_for_mark(std::size_t mark) override {
    const std::size_t until = marks_.at(mark);
    if (until > done_) work_off(until - done_);
  }
  void* host_room(std::size_t bytes) override { return ::operator new(bytes); }
  void release_host_room(void* room) noexcept override { ::operator delete(room); }
  void upload_now(void* to, const void* from, std::size_t bytes) override {
    check(to, bytes);
    const auto* const first = static_cast<const std::byte*>(from);
    queue_.emplace_back(
        [to, kept = std::vector<std::byte>(first, first + bytes)] { std::memcpy(to, kept.data(), kept.size()); });
  }
  void download_now(void* to, const void* from, std::size_t bytes) override {
    check(from, bytes);
    work_off();
    memory_->open();
    std::memcpy(to, from, bytes);
    memory_->close();
  }
  void wait_for_all() override { work_off(); }

 private:
  void ask(Task task) {
    ++work.kernels;
    (recording_ ? *recorded_ : queue_).push_back(std::move(task));
  }
  void check(const void* memory, std::size_t bytes) const {
    if (!memory_->holds(memory, bytes)) throw std::logic_error("an address that is not the emulated device's");
  }
  template <class Real>
  void multiply_all(const MatrixProduct<Real>& product) {
    if (product.live != nullptr) throw std::logic_error("products of an accelerator take all rows");
    ask([product] { multiply_plainly(product); });
  }
  // One order of additions, whatever the alignment: Eigen's depends on it for small matrices.
  template <class Real>
  static void multiply_plainly(const MatrixProduct<Real>& p) {
    for (std::size_t b = 0; b < p.count; ++b) {
      for (std::size_t i = 0; i < p.m; ++i) {
        Real* const c = p.c + b * p.stride_c + i * p.ldc;
        if (!p.accumulate) std::fill_n(c, p.n, Real(0));
        for (std::size_t l = 0; l < p.k; ++l) {
          const Real x = p.a[b * p.stride_a + (p.transpose_a ? l * p.lda + i : i * p.lda + l)];
          const Real* const row = p.b + b * p.stride_b;
          for (std::size_t j = 0; j < p.n; ++j) c[j] += x * row[p.transpose_b ? j * p.ldb + l : l * p.ldb + j];
        }
      }
    }
  }
  static bool factorise(double* a, std::size_t n) {
    for (std::size_t i = 0; i < n; ++i) {
      for (std::size_t j = 0; j <= i; ++j) {
        double rest = a[i * n + j];
        for (std::size_t l = 0; l < j; ++l) rest -= a[i * n + l] * a[j * n + l];
        if (i == j && !(rest > 0)) return false;
        a[i * n + j] = i == j ? std::sqrt(rest) : rest / a[j * n + j];
      }
    }
    return true;
  }
  static void solve(const double* l, bool transpose, double* x, std::size_t n, std::size_t columns) {
    for (std::size_t step = 0; step < n; ++step) {
      const std::size_t i = transpose ? n - 1 - step : step;
      for (std::size_t c = 0; c < columns; ++c) {
        double rest = x[i * columns + c];
        for (std::size_t before = 0; before < step; ++before) {
          const std::size_t j = transpose ? n - 1 - before : before;
          rest -= (transpose ? l[j * n + i] : l[i * n + j]) * x[j * columns + c];
        }
        x[i * columns + c] = rest / l[i * n + i];
      }
    }
  }
  void work_off(std::size_t most = static_cast<std::size_t>(-1)) {
    if (queue_.empty()) return;
    ++work.waits;
    if (memory_->waits_left >= 0 && memory_->waits_left-- <= 0) {
      memory_->waits_left = 0;
      done_ += queue_.size();
      queue_.clear();
      throw RunError("[emulated] an illegal access");
    }
    memory_->open();
    const std::size_t count = std::min(most, queue_.size());
    for (std::size_t i = 0; i < count; ++i) queue_[i]();
    queue_.erase(queue_.begin(), queue_.begin() + static_cast<std::ptrdiff_t>(count));
    done_ += count;
    memory_->close();
  }

  std::shared_ptr<EmulatedMemory> memory_;
  std::vector<Task> queue_;
  std::size_t done_ = 0;  // tasks ever worked off
  std::vector<std::size_t> marks_;
  std::shared_ptr<std::vector<Task>> recorded_;
  bool recording_ = false;
};

}  // namespace

std::shared_ptr<EmulatedMemory> make_emulated_memory(std::size_t bytes) {
  return std::make_shared<EmulatedMemory>(bytes);
}
std::unique_ptr<Device> make_emulated_device(const std::shared_ptr<EmulatedMemory>& memory) {
  return std::make_unique<EmulatedDevice>(memory);
}
std::size_t allocated_bytes(const EmulatedMemory& memory) { return memory.allocated(); }
std::size_t most_allocated_bytes(const EmulatedMemory& memory) { return memory.most(); }
void fail_after_waits(EmulatedMemory& memory, int waits) { memory.waits_left = waits; }
EmulatedWork work_of(const Device& lane) { return dynamic_cast<const EmulatedDevice&>(lane).work; }

}  // namespace ivory::test
