// Writing beside the computation: what is queued is written in order by a thread of its own.
#pragma once
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <span>
#include <thread>
#include <vector>

namespace ivory {

/// Bounded: who queues more than the disk takes waits for it, and nothing is dropped. After a failure nothing more is written, so
/// that what is there is what came before; every later call throws it.
class WriteQueue {
 public:
  /// Puts `bytes` bytes at `offset`; called by the queue's thread alone.
  using Sink = std::function<void(std::uint64_t offset, const void* data, std::size_t bytes)>;

  /// At most `most_bytes` wait, the piece under way among them; more only where one piece alone is larger.
  WriteQueue(Sink sink, std::size_t most_bytes);
  /// Writes what is queued; a failure goes unnoticed here.
  ~WriteQueue();
  WriteQueue(const WriteQueue&) = delete;
  WriteQueue& operator=(const WriteQueue&) = delete;

  /// Copies the bytes.
  void write(std::uint64_t offset, const void* data, std::size_t bytes);
  /// The same of float16 numbers, which the thread converts: see half_from.
  void write_half(std::uint64_t offset, std::span<const float> values);
  /// Returns when everything is written. Throws what the sink threw.
  void flush();
  /// Finite values that were written as infinite by write_half, as of the last flush.
  std::uint64_t overflows() const { return overflows_; }

 private:
  struct Piece {
    std::uint64_t offset = 0;
    std::vector<std::byte> bytes;
    bool to_half = false;
  };
  void add(std::uint64_t offset, const void* data, std::size_t bytes, bool to_half);
  void work();
  void put(Piece& piece);

  Sink sink_;
  std::size_t most_bytes_;
  std::mutex mutex_;
  std::condition_variable queued_, written_;
  std::deque<Piece> pieces_;                      // the first is being written
  std::size_t waiting_bytes_ = 0;                 // of all pieces
  std::vector<std::vector<std::byte>> returned_;  // large buffers, to be filled again
  bool ending_ = false;
  std::exception_ptr failure_;
  std::vector<std::uint16_t> halves_;  // the thread's own
  std::uint64_t overflows_ = 0;
  std::thread thread_;
};

}  // namespace ivory
