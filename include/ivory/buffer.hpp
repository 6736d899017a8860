// Memory on a device: RAII, move only.
#pragma once
#include <cstddef>
#include <type_traits>
#include <utility>
#include <vector>

#include "ivory/device.hpp"

namespace ivory {

template <class T>
class Buffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  Buffer() = default;
  /// `size` elements, all bytes zero.
  Buffer(Device& device, std::size_t size) : device_(&device), size_(size) {
    if (size > 0) {
      data_ = static_cast<T*>(device.allocate(size * sizeof(T)));
      device.clear(data_, size * sizeof(T));
    }
  }
  Buffer(Device& device, const std::vector<T>& values) : device_(&device), size_(values.size()) {
    if (size_ > 0) {
      data_ = static_cast<T*>(device.allocate(size_ * sizeof(T)));
      device.upload(data_, values.data(), size_ * sizeof(T));
    }
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_ != nullptr) device_->release(data_);
  }

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  std::vector<T> to_host() const {
    std::vector<T> host(size_);
    if (size_ > 0) device_->download(host.data(), data_, size_ * sizeof(T));
    return host;
  }
  void from_host(const std::vector<T>& values) { device_->upload(data_, values.data(), values.size() * sizeof(T)); }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
  }
  Device* device_ = nullptr;
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace ivory
