#pragma once

#include <cstdint>
#include <filesystem>

namespace finetuned::base {

/// Bytes that this process may take: the machine's physical memory, or less where a control group (v2 or v1, or one
/// above it) says so.
std::uint64_t machine_memory_bytes();

/// What a run may take: `asked`, or, where that is 0, the machine's less a tenth.
std::uint64_t run_memory_bytes(std::uint64_t asked = 0);

/// Processors that this process may keep busy, at least 1: those that it may run on, or less where a control group's
/// CPU quota (v2, or one above it) comes to fewer whole ones. More threads than that would only wait for each other.
int machine_cores();

/// File descriptors that this process may have open, after raising its limit as far as it may.
std::uint64_t raise_descriptor_limit();

/// The least `memory.max` from `group` (a path such as `/user.slice/x.scope`) up to the root of the v2 hierarchy mounted
/// at `mount`; 0 where none is set. Apart for tests.
std::uint64_t cgroup_limit_bytes(const std::filesystem::path& mount, const std::filesystem::path& group);

/// The least quota of `cpu.max` likewise, in processors; 0 where none is set.
double cgroup_cores(const std::filesystem::path& mount, const std::filesystem::path& group);

}  // namespace finetuned::base
