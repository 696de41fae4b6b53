// Memory is refused before it is taken, with an error that says how much was asked for.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/aligned.h"
#include "core/memory.h"
#include "lasnet/error.h"

namespace lasnet {
namespace {

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

TEST(Memory, AskingForMoreThanThereIsNamesBoth) {
  EXPECT_GT(available_memory_bytes(), 0);
  require_memory(1 << 20, "a megabyte", "take less");
  std::string message = message_of([] { require_memory(int64_t{1} << 60, "an exbibyte", "take less"); });
  EXPECT_THAT(message, testing::HasSubstr("an exbibyte needs 1073741824.0 GiB"));
  EXPECT_THAT(message, testing::HasSubstr("take less"));
}

TEST(Memory, BuffersLargerThanTheMachineAreRefused) {
  EXPECT_THAT(message_of([] { AlignedBuffer buffer(int64_t{1} << 50); }),
              testing::HasSubstr("smaller batch"));
}

}  // namespace
}  // namespace lasnet
