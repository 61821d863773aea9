#pragma once

#include <source_location>
#include <string_view>

namespace finetuned::base {

/// Aborts the process with `what` and the caller's place. Never returns.
[[noreturn]] void broken_invariant(std::string_view what, std::source_location where);

/// States an invariant of our own code, in release builds too. A false `held` is a bug of ours, never bad input:
/// bad input is answered by ApiError or FormatError.
inline void expects(bool held, std::string_view what,
                    std::source_location where = std::source_location::current()) {
  if (!held) [[unlikely]]
    broken_invariant(what, where);
}

}  // namespace finetuned::base
