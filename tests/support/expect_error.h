// EXPECT_ERROR(statement, matcher): the statement throws Error with a message that the gmock matcher accepts.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lasnet/error.h"

#define EXPECT_ERROR(statement, matcher) \
  EXPECT_THAT([&] { statement; }, ::testing::ThrowsMessage<::lasnet::Error>(matcher))
