#include "src/write_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "src/float16.hpp"

namespace ivory {
namespace {

// Fresh memory of this size costs page faults; smaller pieces come from the heap quickly.
constexpr std::size_t large_piece = 1 << 16;

}  // namespace

WriteQueue::WriteQueue(Sink sink, std::size_t most_bytes)
    : sink_(std::move(sink)), most_bytes_(most_bytes), thread_([this] { work(); }) {}

WriteQueue::~WriteQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  queued_.notify_one();
  thread_.join();
}

void WriteQueue::write(std::uint64_t offset, const void* data, std::size_t bytes) { add(offset, data, bytes, false); }

void WriteQueue::write_half(std::uint64_t offset, std::span<const float> values) {
  add(offset, values.data(), values.size_bytes(), true);
}

void WriteQueue::add(std::uint64_t offset, const void* data, std::size_t bytes, bool to_half) {
  Piece piece{.offset = offset, .bytes = {}, .to_half = to_half};
  {
    std::unique_lock lock(mutex_);
    written_.wait(lock, [&] { return failure_ || pieces_.empty() || waiting_bytes_ + bytes <= most_bytes_; });
    if (failure_) std::rethrow_exception(failure_);
    if (bytes >= large_piece && !returned_.empty()) {
      piece.bytes = std::move(returned_.back());
      returned_.pop_back();
    }
    waiting_bytes_ += bytes;  // its room, taken before the copy is made
  }
  piece.bytes.resize(bytes);
  if (bytes > 0) std::memcpy(piece.bytes.data(), data, bytes);
  {
    const std::lock_guard lock(mutex_);
    pieces_.push_back(std::move(piece));
  }
  queued_.notify_one();
}

void WriteQueue::flush() {
  std::unique_lock lock(mutex_);
  written_.wait(lock, [&] { return failure_ || pieces_.empty(); });
  if (failure_) std::rethrow_exception(failure_);
}

void WriteQueue::work() {
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [&] { return ending_ || !pieces_.empty(); });
    if (pieces_.empty()) return;
    // References into a deque stay good while others are added at its end.
    Piece& piece = pieces_.front();
    if (!failure_) {
      lock.unlock();
      std::exception_ptr failure;
      try {
        put(piece);
      } catch (...) {
        failure = std::current_exception();
      }
      lock.lock();
      failure_ = failure;
    }
    const std::size_t bytes = piece.bytes.size();
    waiting_bytes_ -= bytes;
    if (bytes >= large_piece && returned_.size() * bytes < most_bytes_) returned_.push_back(std::move(piece.bytes));
    pieces_.pop_front();
    written_.notify_all();
  }
}

void WriteQueue::put(Piece& piece) {
  if (!piece.to_half) return sink_(piece.offset, piece.bytes.data(), piece.bytes.size());
  halves_.resize(piece.bytes.size() / sizeof(float));
  overflows_ += halves_from(piece.bytes.data(), halves_);
  sink_(piece.offset, halves_.data(), halves_.size() * sizeof(std::uint16_t));
}

}  // namespace ivory
