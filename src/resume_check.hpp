// May this run go on in that log? Same scenario, program, data, partition, start and kind of device, or the bits would differ.
#pragma once
#include <string>

#include "src/log_reader.hpp"
#include "src/run_log.hpp"

namespace ivory {

/// Throws InputError that says what differs.
void check_resumable(const LogHeader& header, const LogPlan& plan);

/// For what makes a log's rounds again without going on in it: throws InputError, beginning with [tag], where the data, the
/// partition, the start weights or (unless `any_device`) the kind of device are others than the log's.
void check_repeatable(const std::string& tag, const LogHeader& header, const LogPlan& plan, bool any_device);

/// For what works on a log's data again: throws InputError, beginning with [tag], where they are others than the log's.
void check_log_data(const std::string& tag, const LogHeader& header, std::uint64_t checksum);

/// The same where the log has another number of clients than its scenario.
void check_log_clients(const std::string& tag, const LogHeader& header, std::size_t clients);
/// The same of its parameters, where the log's scenario makes a network of so many.
void check_log_parameters(const std::string& tag, const LogHeader& header, std::size_t parameters);

/// The lines of a resolved scenario that another does not have in their place, as "TABLE.KEY: a -> b", the first few.
std::string scenario_differences(const std::string& logged, const std::string& now);

/// "cpu (avx512)", "cuda (NVIDIA H200)": of a device's or a log's description, without its number and the blocks.
std::string device_kind(const std::string& description);

}  // namespace ivory
