#include <gtest/gtest.h>

#include "base/errors.h"
#include "services/gateway/body_fields.h"

namespace finetuned::gateway {
namespace {

namespace json = base::json;

json::object body(const char* text) { return base::parse_json(text).as_object(); }

/// The param of the refusal; "accepted" where there is none.
template <class Read>
std::string refused(const char* text, Read read) {
  const json::object object = body(text);
  try {
    read(BodyFields(object, "at."));
  } catch (const base::ApiError& error) {
    EXPECT_EQ(error.status, 400);
    return error.param.value_or("no param");
  }
  return "accepted";
}

TEST(BodyFields, AbsentAndNullAreNotGiven) {
  const json::object object = body(R"({"a":null})");
  const BodyFields fields(object);
  for (const char* key : {"a", "b"}) {
    EXPECT_FALSE(fields.text(key, 5));
    EXPECT_FALSE(fields.integer(key, 0, 5));
    EXPECT_FALSE(fields.boolean(key));
    EXPECT_FALSE(fields.choice(key, {"x"}));
    EXPECT_FALSE(fields.email(key));
    EXPECT_NO_THROW(fields.refuse(key, "no"));
    EXPECT_THROW(fields.required(key, fields.text(key, 5)), base::ApiError);
  }
}

TEST(BodyFields, ReadsWhatIsWithinItsBounds) {
  const json::object object = body(R"({"t":"äöü","i":5,"f":false,"c":"two","e":"a@b"})");
  const BodyFields fields(object);
  EXPECT_EQ(fields.text("t", 3), "äöü");
  EXPECT_EQ(fields.integer("i", 5, 5), 5);
  EXPECT_EQ(fields.boolean("f"), false);
  EXPECT_EQ(fields.choice("c", {"one", "two"}), "two");
  EXPECT_EQ(fields.email("e"), "a@b");
}

TEST(BodyFields, NamesWhatIsWrong) {
  const auto text = [](const BodyFields& fields) { fields.text("x", 3); };
  const auto integer = [](const BodyFields& fields) { fields.integer("x", 1, 3); };
  EXPECT_EQ(refused(R"({"x":""})", text), "at.x");
  EXPECT_EQ(refused(R"({"x":"four"})", text), "at.x");
  EXPECT_EQ(refused(R"({"x":3})", text), "at.x");
  for (const char* wrong : {R"({"x":0})", R"({"x":4})", R"({"x":1.0})", R"({"x":"1"})", R"({"x":[]})"})
    EXPECT_EQ(refused(wrong, integer), "at.x") << wrong;
  EXPECT_EQ(refused(R"({"x":1})", [](const BodyFields& fields) { fields.boolean("x"); }), "at.x");
  EXPECT_EQ(refused(R"({"x":"c"})", [](const BodyFields& fields) { fields.choice("x", {"a", "b"}); }), "at.x");
  EXPECT_EQ(refused(R"({"x":"c"})", [](const BodyFields& fields) { fields.refuse("x", "no"); }), "at.x");
  EXPECT_EQ(refused("{}", [](const BodyFields& fields) { fields.required("x", fields.boolean("x")); }), "at.x");
}

TEST(BodyFields, KnowsAnAddressWhenItSeesOne) {
  for (const char* good : {"a@b", "first.last+tag@example.org", "ä@ö.example"}) EXPECT_TRUE(is_email(good)) << good;
  for (const char* bad : {"", "a", "@b", "a@", "a@b@c", "a b@c", "a@b\n"}) EXPECT_FALSE(is_email(bad)) << bad;
  EXPECT_FALSE(is_email(std::string(250, 'a') + "@b.cd"));
}

}  // namespace
}  // namespace finetuned::gateway
