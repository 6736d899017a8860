// What every accelerator does the same way: functor tables on their way to the device, and steps recorded once and replayed. A
// backend adds the primitives at the end. All work is asynchronous, in the order in which it is asked for.
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "ivory/device.hpp"
#include "ivory/launch.hpp"

namespace ivory {

class StagedDevice : public Device, public Accelerator {
 public:
  Accelerator* accelerator() final { return this; }

  void* open_table(std::size_t bytes) final;
  void launch(const Kernel& kernel, Launch launch) final;

  void upload(void* to, const void* from, std::size_t bytes) final;
  void download(void* to, const void* from, std::size_t bytes) final;
  void clear(void* memory, std::size_t bytes) final;
  void copy(void* to, const void* from, std::size_t bytes) final;
  void multiply(const MatrixProduct<float>& product) final;
  void multiply(const MatrixProduct<double>& product) final;
  bool cholesky(double* matrix, std::size_t n) final;
  void solve_triangular(const double* factor, bool transpose, double* x, std::size_t n, std::size_t columns) final;
  void synchronise() final;

  /// The first step runs as it comes and shows how large its tables are; the second is recorded; every later one only writes
  /// its tables, and the recording is replayed for it. Throws std::logic_error where steps differ in their operations.
  void repeat(std::uint64_t count, const std::function<void(std::uint64_t)>& step) final;

 protected:
  /// Frees tables; the most derived class calls it first of all in its destructor.
  void release_tables() noexcept;
  /// Throws std::logic_error inside a recorded step.
  void outside_steps(const char* what) const;

  // --- What a backend adds. All but the last four and the Cholesky factor are asynchronous. ---
  virtual void run(const Kernel& kernel, const Launch& launch) = 0;
  virtual void run_multiply(const MatrixProduct<float>& product) = 0;
  virtual void run_multiply(const MatrixProduct<double>& product) = 0;
  virtual bool run_cholesky(double* matrix, std::size_t n) = 0;  // waits
  virtual void run_solve_triangular(const double* factor, bool transpose, double* x, std::size_t n,
                                    std::size_t columns) = 0;
  virtual void run_clear(void* memory, std::size_t bytes) = 0;
  virtual void run_copy(void* to, const void* from, std::size_t bytes) = 0;
  /// *counter += 1, on the device.
  virtual void run_increment(std::uint32_t* counter) = 0;
  /// To the device; `from` came from host_room and stays as it is until a later mark has passed.
  virtual void send(void* to, const void* from, std::size_t bytes) = 0;
  virtual void begin_recording() = 0;
  virtual void end_recording() = 0;
  virtual void replay() = 0;
  /// Sets mark number `mark` behind the work asked for so far.
  virtual void set_mark(std::size_t mark) = 0;
  virtual void wait_for_mark(std::size_t mark) = 0;
  virtual void* host_room(std::size_t bytes) = 0;
  virtual void release_host_room(void* room) noexcept = 0;
  /// `from` may change as soon as these return.
  virtual void upload_now(void* to, const void* from, std::size_t bytes) = 0;
  virtual void download_now(void* to, const void* from, std::size_t bytes) = 0;
  virtual void wait_for_all() = 0;

 private:
  enum class Mode { eager, recording, tables_only };

  // The same bytes on both sides.
  struct Room {
    std::byte* host = nullptr;
    std::byte* device = nullptr;
    std::size_t bytes = 0;
  };
  Room make_room(std::size_t bytes);
  void release(Room& room) noexcept;
  using Device::release;

  std::size_t take_scratch(std::size_t bytes);
  void make_versions(std::size_t step_bytes, std::uint64_t steps);
  // What a step asks for. A replay repeats it as it was recorded, so every step must ask for the same.
  struct Operation {
    enum class Kind { launch, clear, copy, multiply } kind;
    const void *first, *second;
    std::size_t a, b, c;
    bool operator==(const Operation&) const = default;
  };
  bool suppressed(const Operation& operation);
  template <class Real>
  static Operation operation_of(const MatrixProduct<Real>& product);

  enum class Following { nobody, first_step, later_step };
  Mode mode_ = Mode::eager;
  Following following_ = Following::nobody;
  std::vector<Operation> operations_;  // of the first step
  std::size_t next_operation_ = 0;     // of the step under way

  // Tables of work outside repeat: a ring in `ring_parts` parts, each with a mark.
  Room ring_;
  std::size_t ring_part_ = 0, ring_used_ = 0, table_bytes_ = 0, eager_bytes_ = 0;
  std::byte* table_device_ = nullptr;
  const std::byte* table_host_ = nullptr;

  // Uploads take turns in two rooms.
  struct UploadRoom {
    void* host = nullptr;
    std::size_t bytes = 0;
    bool marked = false;
  };
  UploadRoom uploads_[2];
  std::size_t upload_room_ = 0;

  // Tables of a repeated step, one version per step, sent in chunks of steps with a mark each.
  Room versions_;
  std::size_t version_bytes_ = 0, version_count_ = 0, version_ = 0, version_offset_ = 0;
  std::vector<bool> chunk_marked_;
  std::uint32_t* counter_ = nullptr;
};

}  // namespace ivory
