#include <gtest/gtest.h>

#include "api_keys.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"

namespace lasnet::serve {
namespace {

using testing::HasSubstr;

constexpr const char* kFirst = "0123456789abcdef0123456789abcdef";
constexpr const char* kSecond = "a-second-key-of-more-characters";

class ApiKeysTest : public testing::Test {
 protected:
  std::string file(const std::string& text) const {
    test::write_text(folder_ / "keys", text);
    return folder_ / "keys";
  }
  static HttpRequest request(const std::string& header, const std::string& value) {
    return {.method = "GET", .path = "/v2", .headers = {{header, value}}};
  }

 private:
  test::TemporaryDir folder_;
};

TEST_F(ApiKeysTest, WithoutKeysEverybodyMay) { EXPECT_TRUE(ApiKeys().accepts(request("host", "x"))); }

TEST_F(ApiKeysTest, EveryKeyOfTheFileIsOne) {
  const ApiKeys keys = ApiKeys::load(file(std::string("# ours\n") + kFirst + "\r\n\n" + kSecond));
  EXPECT_TRUE(keys.accepts(request("authorization", std::string("Bearer ") + kFirst)));
  EXPECT_TRUE(keys.accepts(request("x-api-key", kFirst)));
  EXPECT_TRUE(keys.accepts(request("x-api-key", kSecond)));
}

TEST_F(ApiKeysTest, NothingElseIsOne) {
  const ApiKeys keys = ApiKeys::load(file(kFirst));
  const std::string key = kFirst;
  for (const std::string& wrong : {std::string(), key.substr(1), key + "0", key.substr(0, 31) + "0",
                                   "# ours" + key, key + key, std::string(32, '\0')})
    EXPECT_FALSE(keys.accepts(request("x-api-key", wrong))) << wrong;
  EXPECT_FALSE(keys.accepts(request("authorization", key)));
  EXPECT_FALSE(keys.accepts(request("authorization", "Basic " + key)));
  EXPECT_FALSE(keys.accepts(request("host", "x")));
}

TEST_F(ApiKeysTest, AWrongFileIsRefusedByLine) {
  EXPECT_ERROR(ApiKeys::load(file("# none\n\n")), HasSubstr("has no key"));
  EXPECT_ERROR(ApiKeys::load(file(std::string(kFirst) + "\nshort\n")), HasSubstr("line 2"));
  EXPECT_ERROR(ApiKeys::load(file("a key with blanks in it, which is none\n")), HasSubstr("line 1"));
  EXPECT_ERROR(ApiKeys::load("/nonexistent/keys"), HasSubstr("/nonexistent/keys"));
}

}  // namespace
}  // namespace lasnet::serve
