#include "src/devices.hpp"

#include <fmt/format.h>

#include <charconv>

#include "ivory/error.hpp"
#include "src/option_messages.hpp"

namespace ivory {
namespace {

// "cuda:0,cuda:1" or "cuda:0,1" -> {0, 1}; "cuda" -> {0}.
std::vector<int> gpu_numbers(const std::string& wish) {
  std::vector<int> numbers;
  std::size_t begin = 0;
  while (begin <= wish.size()) {
    const std::size_t end = std::min(wish.find(',', begin), wish.size());
    std::string word = wish.substr(begin, end - begin);
    begin = end + 1;
    if (word == "cuda") word = "cuda:0";
    const bool named = word.starts_with("cuda:");
    const std::string digits = named ? word.substr(5) : word;
    int number = -1;
    const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if ((!named && numbers.empty()) || error != std::errc{} || rest != digits.data() + digits.size() || number < 0) {
      throw InputError(fmt::format(
          "[device] --device must be auto, cpu, cuda, or GPUs by number such as cuda:0 or cuda:0,cuda:1, got \"{}\"",
          wish));
    }
    numbers.push_back(number);
  }
  return numbers;
}

}  // namespace

DeviceChoice choose_devices(const std::string& wish) {
  DeviceChoice choice;
  if (wish == "cpu") return choice;
  const bool any = wish.empty() || wish == "auto";
  const std::vector<int> numbers = any ? std::vector<int>{0} : gpu_numbers(wish);
  if (any) {
    if (const CudaDevices found = cuda_devices(); found.count == 0) {
      choice.why_cpu = found.reason;
      return choice;
    }
  }
  try {
    for (const int number : numbers) (void)make_cuda_device(number, ProductPrecision::float32);  // its errors show here
  } catch (const InputError& error) {
    if (!any) throw;
    choice.why_cpu = error.what();
    return choice;
  } catch (const RunError& error) {  // a GPU that is there and refuses: busy, in exclusive use, full
    if (!any) {
      throw InputError(fmt::format("[device] {} must be usable, it answered: {}; choose another, or --device cpu", wish,
                                   error.what()));
    }
    choice.why_cpu = error.what();
    return choice;
  }
  for (const int number : numbers) {
    choice.lanes.emplace_back([number](ProductPrecision precision) { return make_cuda_device(number, precision); });
  }
  return choice;
}

ProductPrecision product_precision(const Scenario& scenario) {
  const std::string& name = scenario.clients.text("products");
  if (name == "tf32") return ProductPrecision::tf32;
  if (name == "bfloat16") return ProductPrecision::bfloat16;
  return ProductPrecision::float32;
}

}  // namespace ivory
