// An accelerator made of the CPU, to test what runs the same way on every accelerator: block kernels (thread by thread),
// tables, recorded steps, asynchronous order, lanes of one device and several devices. It is strict where a GPU would be: work
// is done only when somebody waits for it, its memory cannot be touched by host code, and fresh memory is full of NaN.
#pragma once
#include <cstddef>
#include <memory>

#include "ivory/device.hpp"

namespace ivory::test {

/// The memory that all lanes of one emulated device share.
class EmulatedMemory;
std::shared_ptr<EmulatedMemory> make_emulated_memory(std::size_t bytes = std::size_t{1} << 32);

/// A lane. Every emulated lane counts what it ran in `Counts`.
std::unique_ptr<Device> make_emulated_device(const std::shared_ptr<EmulatedMemory>& memory);

/// Bytes that are allocated now, over all lanes; and the most there ever were.
std::size_t allocated_bytes(const EmulatedMemory& memory);
std::size_t most_allocated_bytes(const EmulatedMemory& memory);

/// From now on every wait of every lane fails, as after an illegal access on a GPU, once so many more have passed.
void fail_after_waits(EmulatedMemory& memory, int waits);

/// How a lane worked so far: kernels it was asked for one by one, recordings made, steps replayed, and times the host waited.
struct EmulatedWork {
  std::size_t kernels = 0, recordings = 0, replays = 0, waits = 0;
};
EmulatedWork work_of(const Device& lane);

}  // namespace ivory::test
