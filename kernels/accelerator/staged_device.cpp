#include "kernels/accelerator/staged_device.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <string>

#include "ivory/error.hpp"

namespace ivory {
namespace {

constexpr std::size_t alignment = 16;
constexpr std::size_t ring_parts = 4;
constexpr std::size_t smallest_ring = std::size_t{1} << 20;
constexpr std::size_t most_version_bytes = std::size_t{1} << 26;  // beyond it, steps wait for those long before them
constexpr std::size_t chunk_steps = 8;                            // sent and replayed at a time
constexpr std::uint64_t fewest_recorded = 4;                      // recording costs more than fewer steps gain

std::size_t round_up(std::size_t n, std::size_t to) { return (n + to - 1) / to * to; }

constexpr std::size_t most_staged_upload = std::size_t{1}
                                           << 24;  // larger ones wait; they are data sets, before round 1

// Marks: the ring's parts come first, then the two upload rooms, then the chunks of versions.
constexpr std::size_t mark_of_upload(std::size_t room) { return ring_parts + room; }
constexpr std::size_t mark_of_chunk(std::size_t chunk) { return ring_parts + 2 + chunk; }

}  // namespace

StagedDevice::Room StagedDevice::make_room(std::size_t bytes) {
  Room room;
  room.host = static_cast<std::byte*>(host_room(bytes));
  try {
    room.device = static_cast<std::byte*>(allocate(bytes));
  } catch (...) {
    release_host_room(room.host);
    throw;
  }
  room.bytes = bytes;
  return room;
}

void StagedDevice::release(Room& room) noexcept {
  if (room.host == nullptr) return;
  release_host_room(room.host);
  release(static_cast<void*>(room.device));
  room = {};
}

void StagedDevice::release_tables() noexcept {
  release(ring_);
  release(versions_);
  for (UploadRoom& room : uploads_) {
    if (room.host != nullptr) release_host_room(room.host);
    room = {};
  }
  if (counter_ != nullptr) release(static_cast<void*>(counter_));
  counter_ = nullptr;
}

void StagedDevice::outside_steps(const char* what) const {
  if (mode_ != Mode::eager) throw std::logic_error(std::string("a repeated step may not ") + what);
}

bool StagedDevice::suppressed(const Operation& operation) {
  if (following_ == Following::first_step) operations_.push_back(operation);
  if (following_ == Following::later_step) {
    if (next_operation_ == operations_.size() || operations_[next_operation_] != operation) {
      throw std::logic_error("a repeated step must ask for the operations of the first one");
    }
    ++next_operation_;
  }
  return mode_ == Mode::tables_only;
}

template <class Real>
StagedDevice::Operation StagedDevice::operation_of(const MatrixProduct<Real>& product) {
  return {Operation::Kind::multiply, product.a, product.c, product.m, product.n * product.k, product.count};
}

// A table never lies across two parts, so a part may be written again once its mark has passed.
std::size_t StagedDevice::take_scratch(std::size_t bytes) {
  if (bytes > ring_.bytes / ring_parts) {
    synchronise();
    release(ring_);
    ring_ = make_room(ring_parts * std::max(smallest_ring / ring_parts, round_up(2 * bytes, alignment)));
    ring_part_ = ring_used_ = 0;
    for (std::size_t part = 0; part < ring_parts; ++part) set_mark(part);
  }
  const std::size_t part_bytes = ring_.bytes / ring_parts;
  if (ring_used_ + bytes > part_bytes) {
    set_mark(ring_part_);
    ring_part_ = (ring_part_ + 1) % ring_parts;
    wait_for_mark(ring_part_);
    ring_used_ = 0;
  }
  ring_used_ += bytes;
  return ring_part_ * part_bytes + ring_used_ - bytes;
}

void* StagedDevice::open_table(std::size_t bytes) {
  table_bytes_ = round_up(std::max<std::size_t>(bytes, 1), alignment);
  if (mode_ == Mode::eager) {
    const std::size_t place = take_scratch(table_bytes_);
    eager_bytes_ += table_bytes_;
    table_host_ = ring_.host + place;
    table_device_ = ring_.device + place;
    return ring_.host + place;
  }
  if (version_offset_ + table_bytes_ > version_bytes_) {
    throw std::logic_error("a repeated step asks for larger tables than the first one did");
  }
  std::byte* const room = versions_.host + version_ * version_bytes_ + version_offset_;
  table_device_ = versions_.device + version_offset_;
  version_offset_ += table_bytes_;
  return room;
}

void StagedDevice::launch(const Kernel& kernel, Launch launch) {
  if (suppressed({Operation::Kind::launch, reinterpret_cast<const void*>(kernel.on_host), nullptr, table_bytes_,
                  launch.clients * launch.columns, launch.most})) {
    return;
  }
  if (mode_ == Mode::eager) {
    send(table_device_, table_host_, table_bytes_);
    launch.table = {.base = table_device_};
  } else {
    launch.table = {.base = table_device_,
                    .step = counter_,
                    .versions = static_cast<std::uint32_t>(version_count_),
                    .version_bytes = version_bytes_};
  }
  run(kernel, launch);
}

void StagedDevice::upload(void* to, const void* from, std::size_t bytes) {
  outside_steps("upload");
  if (bytes > most_staged_upload) {
    upload_now(to, from, bytes);
    return;
  }
  // By way of a room of our own: the caller's memory is free at once, and nobody waits for the work before it.
  upload_room_ = 1 - upload_room_;
  UploadRoom& room = uploads_[upload_room_];
  if (room.marked) wait_for_mark(mark_of_upload(upload_room_));
  if (bytes > room.bytes) {
    if (room.host != nullptr) release_host_room(room.host);
    room = {};
    room.host = host_room(bytes);
    room.bytes = bytes;
  }
  std::memcpy(room.host, from, bytes);
  send(to, room.host, bytes);
  set_mark(mark_of_upload(upload_room_));
  room.marked = true;
}
void StagedDevice::download(void* to, const void* from, std::size_t bytes) {
  outside_steps("download");
  download_now(to, from, bytes);
}
void StagedDevice::synchronise() {
  outside_steps("wait");
  wait_for_all();
}
void StagedDevice::clear(void* memory, std::size_t bytes) {
  if (!suppressed({Operation::Kind::clear, memory, nullptr, bytes, 0, 0})) run_clear(memory, bytes);
}
void StagedDevice::copy(void* to, const void* from, std::size_t bytes) {
  if (!suppressed({Operation::Kind::copy, to, from, bytes, 0, 0})) run_copy(to, from, bytes);
}
void StagedDevice::multiply(const MatrixProduct<float>& product) {
  if (!suppressed(operation_of(product))) run_multiply(product);
}
void StagedDevice::multiply(const MatrixProduct<double>& product) {
  if (!suppressed(operation_of(product))) run_multiply(product);
}
bool StagedDevice::cholesky(double* matrix, std::size_t n) {
  outside_steps("factorise");
  return run_cholesky(matrix, n);
}
void StagedDevice::solve_triangular(const double* factor, bool transpose, double* x, std::size_t n,
                                    std::size_t columns) {
  outside_steps("solve");
  run_solve_triangular(factor, transpose, x, n, columns);
}

void StagedDevice::make_versions(std::size_t step_bytes, std::uint64_t steps) {
  const std::size_t fitting = std::max(most_version_bytes / std::max<std::size_t>(step_bytes, 1), 2 * chunk_steps);
  const std::size_t count = round_up(static_cast<std::size_t>(std::min<std::uint64_t>(steps, fitting)), chunk_steps);
  if (counter_ == nullptr) {
    counter_ = static_cast<std::uint32_t*>(allocate(sizeof(std::uint32_t)));
    run_clear(counter_, sizeof(std::uint32_t));
    run_increment(counter_);  // a kernel's first launch may load code, which a recording would forbid
  }
  if (step_bytes != version_bytes_ || count > version_count_) {
    for (std::size_t chunk = 0; chunk < chunk_marked_.size(); ++chunk) {
      if (chunk_marked_[chunk]) wait_for_mark(mark_of_chunk(chunk));
    }
    version_bytes_ = version_count_ = 0;  // until there is room for the new ones
    chunk_marked_.clear();
    if (count * step_bytes > versions_.bytes) {
      wait_for_all();
      release(versions_);
      versions_ = make_room(count * step_bytes);
    }
    version_bytes_ = step_bytes;
    version_count_ = count;
    chunk_marked_.assign(count / chunk_steps, false);
  }
  run_clear(counter_, sizeof(std::uint32_t));
}

void StagedDevice::repeat(std::uint64_t count, const std::function<void(std::uint64_t)>& step) {
  outside_steps("repeat steps of its own");
  if (count < fewest_recorded) {
    for (std::uint64_t t = 0; t < count; ++t) step(t);
    return;
  }
  const auto followed = [&](Following how, Mode mode, std::uint64_t t) {
    following_ = how;
    mode_ = mode;
    next_operation_ = 0;
    try {
      step(t);
    } catch (...) {
      mode_ = Mode::eager;
      following_ = Following::nobody;
      throw;
    }
    mode_ = Mode::eager;
    following_ = Following::nobody;
  };
  operations_.clear();
  eager_bytes_ = 0;
  followed(Following::first_step, Mode::eager, 0);
  const auto in_mode = [&](Mode mode, std::size_t version, std::uint64_t t) {
    version_ = version;
    version_offset_ = 0;
    followed(Following::later_step, mode, t);
    if (next_operation_ != operations_.size() || version_offset_ != version_bytes_) {
      throw std::logic_error("a repeated step must ask for the operations of the first one");
    }
  };
  make_versions(eager_bytes_, count - 1);

  // Version of step t: t - 1 in a ring. A chunk of the ring is written again once its last replay has passed.
  for (std::uint64_t t = 1; t < count; ++t) {
    const auto version = static_cast<std::size_t>((t - 1) % version_count_);
    const std::size_t chunk = version / chunk_steps;
    if (version % chunk_steps == 0 && chunk_marked_[chunk]) wait_for_mark(mark_of_chunk(chunk));
    if (t == 1) {
      begin_recording();
      try {
        in_mode(Mode::recording, version, t);
      } catch (...) {
        try {
          end_recording();
        } catch (const RunError&) {  // the step's own failure says more
        }
        throw;
      }
      run_increment(counter_);
      end_recording();
    } else {
      in_mode(Mode::tables_only, version, t);
    }
    if (version % chunk_steps + 1 < chunk_steps && t + 1 < count) continue;
    const std::size_t first = chunk * chunk_steps;
    if (version_bytes_ > 0) {
      send(versions_.device + first * version_bytes_, versions_.host + first * version_bytes_,
           (version + 1 - first) * version_bytes_);
    }
    for (std::size_t v = first; v <= version; ++v) replay();
    set_mark(mark_of_chunk(chunk));
    chunk_marked_[chunk] = true;
  }
}

}  // namespace ivory
