#include "services/webhooks/resolver.h"

#include <gmock/gmock.h>

#include <atomic>
#include <future>
#include <thread>

namespace finetuned::webhooks {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;
using Addresses = std::vector<std::string>;

std::string refusal(const Resolver& resolver, const std::string& host) {
  try {
    resolver.resolve(host);
    return "resolved";
  } catch (const Unresolved& error) {
    return error.what();
  }
}

/// Name servers that answer when they are told to.
struct NameServers {
  std::promise<void> told;
  std::shared_future<void> answer{told.get_future().share()};
  std::atomic<int> asked = 0, answered = 0;

  Lookup lookup() {
    return [this](const std::string&) {
      ++asked;
      answer.wait();
      ++answered;
      return Addresses{std::string(4, '\1')};
    };
  }
  /// What the resolver has left behind uses this.
  ~NameServers() {
    while (answered < asked) std::this_thread::sleep_for(1ms);
  }
};

TEST(Resolver, GivesWhatTheLookupFinds) {
  const Resolver resolver(10s, 4, [](const std::string& host) {
    if (host == "none") throw Unresolved("no such host");
    return Addresses{host};
  });
  EXPECT_EQ(resolver.resolve("1234"), Addresses{"1234"});
  EXPECT_EQ(refusal(resolver, "none"), "no such host");
  for (int i = 0; i < 100; ++i) EXPECT_EQ(resolver.resolve("1234"), Addresses{"1234"}) << "what has ended counts no more";
}

TEST(Resolver, WaitsNoLongerThanItsLimit) {
  NameServers silent;
  const Resolver resolver(20ms, 4, silent.lookup());
  EXPECT_THAT(refusal(resolver, "example.org"), HasSubstr("within 20 ms"));
  EXPECT_EQ(silent.answered, 0) << "the lookup goes on without its caller";
  silent.told.set_value();
}

TEST(Resolver, LeavesABoundedNumberOfLookupsBehind) {
  NameServers silent;
  {
    const Resolver resolver(1ms, 3, silent.lookup());
    for (int i = 0; i < 3; ++i) EXPECT_THAT(refusal(resolver, "example.org"), HasSubstr("within"));
    EXPECT_THAT(refusal(resolver, "example.org"), HasSubstr("too many other"));
    EXPECT_LE(silent.asked, 3);
    silent.told.set_value();
    std::string said;  // as soon as they have ended there is room
    for (int i = 0; i < 10'000 && said != "resolved"; ++i) said = refusal(resolver, "example.org");
    EXPECT_EQ(said, "resolved");
  }
}

TEST(Resolver, MayBeGoneBeforeItsLookupsEnd) {
  NameServers silent;
  { EXPECT_THAT(refusal(Resolver(1ms, 1, silent.lookup()), "example.org"), HasSubstr("within")); }
  while (silent.asked == 0) std::this_thread::sleep_for(1ms);
  silent.told.set_value();
}

TEST(Resolver, AsksTheSystem) {
  EXPECT_EQ(look_up_by_system("127.0.0.1"), Addresses{std::string("\x7f\0\0\1", 4)});
  EXPECT_EQ(look_up_by_system("::1"), (Addresses{std::string(15, '\0') + '\1'}));
  EXPECT_THROW(look_up_by_system("no such host"), Unresolved);
}

}  // namespace
}  // namespace finetuned::webhooks
