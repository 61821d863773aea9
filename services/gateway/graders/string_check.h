#pragma once

#include <cstdint>
#include <string_view>

namespace finetuned::graders {

/// What OpenAI's guide says of each: equal, not equal, the input contains the reference, the same without regard to case
/// (by Unicode's full case folding). `%` and `_` are characters as any others.
enum class StringOperation : std::uint8_t { kEq, kNe, kLike, kIlike };

/// 1 where it holds, else 0. Linear in both texts.
double string_check(StringOperation operation, std::string_view input, std::string_view reference);

}  // namespace finetuned::graders
