// EXPECT_ERROR(statement, matcher): the statement throws Error with a message that the gmock matcher accepts.
// error_of(action): that message, where a test does more with it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <concepts>
#include <string>

#include "lasnet/error.h"

#define EXPECT_ERROR(statement, matcher) \
  EXPECT_THAT([&] { statement; }, ::testing::ThrowsMessage<::lasnet::Error>(matcher))

namespace lasnet::test {

/// What the Error says that the action throws; "no error" if it throws none.
std::string error_of(const std::invocable auto& action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

}  // namespace lasnet::test
