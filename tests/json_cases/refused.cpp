#include "tests/json_cases/refused.h"

namespace finetuned::tests {

namespace {

std::string nested(std::size_t depth) { return std::string(depth, '[') + std::string(depth, ']'); }

std::vector<RefusedJson> make_cases() {
  std::vector<RefusedJson> cases = {
      {"key twice", R"({"a":1,"a":1})", "twice"},
      {"key twice, once escaped", R"({"a":1,"\u0061":2})", "twice"},
      {"key twice, inside", R"({"b":[{"a":1,"c":2,"a":3}]})", "twice"},
      {"empty key twice", R"({"":1,"":2})", "twice"},
      {"NUL escaped in text", R"({"a":"x\u0000y"})", "u0000"},
      {"NUL escaped in a key", R"({"a\u0000":1})", "u0000"},
      {"too deep", "{\"a\":" + nested(32) + "}", "deeper"},
      {"thousands deep", "{\"a\":" + nested(5000) + "}", "deeper"},
      {"something behind", "{} {}", "follows"},
      {"NUL behind", std::string("{}\0", 3), "follows"},
      {"byte order mark", "\xEF\xBB\xBF{}", "not valid"},
      {"cut off", R"({"a":1)", "too early"},
      {"nothing", " ", "too early"},
  };
  for (const char* number : {"9223372036854775808", "-9223372036854775809", "18446744073709551616",
                             "123456789012345678901234567890123456789"})
    cases.push_back({"integer " + std::string(number), "{\"a\":" + std::string(number) + "}", "beyond"});
  for (const char* number : {"1e309", "-1e309", "1e99999", "179769313486231570000e290"})
    cases.push_back({"infinite " + std::string(number), "{\"a\":" + std::string(number) + "}", "too large"});
  for (const char* value : {"NaN", "Infinity", "-Infinity", "nan", "01", "+1", ".5", "1.", "1e", "0x1", "1_0", "-", "'x'",
                            "True", "None", "undefined", "[1,]", "[,1]", "[1 2]", "\"\\x41\"", "\"\n\"", "\"\t\"",
                            "\"\\ud800\"", "\"\\udc00\"", "\"\\udc00\\ud800\"", "\"\\ud800\\u0041\"", "\"\\u12\"",
                            "1/**/", "1//\n"})
    cases.push_back({"value " + std::string(value), "{\"a\":" + std::string(value) + "}", "not valid"});
  for (const char* object : {"{\"a\":1,}", "{,}", "{a:1}", "{'a':1}", "{\"a\" 1}", "{\"a\"=1}", "/**/{}", "//\n{}"})
    cases.push_back({"object " + std::string(object), object, "not valid"});
  for (const char* bytes : {"\xff", "\x80", "\xC3", "\xC0\xAF", "\xE0\x80\xAF", "\xED\xA0\x80", "\xF4\x90\x80\x80",
                            "\xF8\x88\x80\x80\x80"})
    for (const bool in_key : {false, true})
      cases.push_back({std::string("not UTF-8 in a ") + (in_key ? "key" : "text"),
                       in_key ? "{\"" + std::string(bytes) + "\":1}" : "{\"a\":\"" + std::string(bytes) + "\"}",
                       "not valid"});
  return cases;
}

}  // namespace

const std::vector<RefusedJson>& refused_json() {
  static const std::vector<RefusedJson> all = make_cases();
  return all;
}

}  // namespace finetuned::tests
