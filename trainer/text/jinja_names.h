#pragma once

#include <string>
#include <string_view>

namespace finetuned::text::jinja {

/// The filters, tests, methods and functions of the subset, for the parser to refuse all others.
bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);
bool test_takes_argument(std::string_view name);
bool is_known_method(std::string_view name);
bool is_known_function(std::string_view name);
std::string known_filters();
std::string known_tests();
std::string known_methods();
std::string known_functions();

}  // namespace finetuned::text::jinja
