// Foreign text can neither steer a terminal nor fill it, and names in any language stay readable.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/escape.h"
#include "lasnet/error.h"

namespace lasnet {
namespace {

using namespace std::string_literals;

TEST(Escaped, NamesInAnyLanguageStay) {
  for (const char* name : {"bird", "Käuzchen", "鳥", "🦉 owl", "a\\b", "±1", "नाम"})
    EXPECT_EQ(escaped(name), name);
}

TEST(Escaped, WhatSteersATerminalIsWritten) {
  EXPECT_EQ(escaped("a\x1b[2Jb"), "a\\x1b[2Jb");
  EXPECT_EQ(escaped("a\nb\tc\r\x7f"), "a\\x0ab\\x09c\\x0d\\x7f");
  EXPECT_EQ(escaped("nul\0!"s), "nul\\x00!");
  EXPECT_EQ(escaped("\u009b2J"), "\\u{009b}2J");              // the control sequence of one character
  EXPECT_EQ(escaped("a\u202egnp.exe"), "a\\u{202e}gnp.exe");  // reversed from there on
  EXPECT_EQ(escaped("\u2066x\u2069\ufeff\u2028"), "\\u{2066}x\\u{2069}\\u{feff}\\u{2028}");
}

TEST(Escaped, BytesThatAreNoUtf8AreWritten) {
  EXPECT_EQ(escaped("\xff\xc3("), "\\xff\\xc3(");
  EXPECT_EQ(escaped("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // a surrogate
  EXPECT_EQ(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond Unicode
  EXPECT_EQ(escaped("\xe9\xb3"), "\\xe9\\xb3");                    // its third byte is missing
  EXPECT_EQ(escaped("\x9b"), "\\x9b");
}

TEST(Escaped, TwiceIsOnce) {
  const std::string once = escaped("\x1b[2J \xff \u202e");
  EXPECT_EQ(escaped(once), once);
}

TEST(Excerpt, CutsBetweenCharacters) {
  EXPECT_EQ(excerpt("short"), "short");
  EXPECT_EQ(excerpt(std::string(100, 'x')), std::string(80, 'x') + "...");
  EXPECT_EQ(excerpt("aäb", 2), "a...");
}

TEST(Message, FurtherLinesAreKeptOnlyWhereTheyAreIndented) {
  EXPECT_EQ(as_message("three:\n  one\n  two"), "three:\n  one\n  two");
  EXPECT_EQ(as_message("file\nerror: none"), "file\\x0aerror: none");
}

TEST(Message, KeepsItsBeginningAndItsEnd) {
  const std::string message =
      as_message("file: unknown key '" + std::string(1 << 20, 'k') + "'; use another");
  EXPECT_LT(message.size(), 4200u);
  EXPECT_THAT(message, testing::StartsWith("file: unknown key 'kkk"));
  EXPECT_THAT(message, testing::EndsWith("kkk'; use another"));
  EXPECT_THAT(message, testing::HasSubstr("1044513 bytes are left out"));
}

TEST(Message, EveryErrorOfTheLibraryIsOne) {
  EXPECT_STREQ(Error("class 'a\x1b[2J'").what(), "class 'a\\x1b[2J'");
  EXPECT_LT(std::string(Error(std::string(1 << 20, 'x')).what()).size(), 4200u);
}

TEST(Json, ValuesStayWhatTheyAre) {
  EXPECT_EQ(escaped_json("{\n  \"a\u202eb\": \"\x7f ä\"\n}"), "{\n  \"a\\u202eb\": \"\\u007f ä\"\n}");
}

}  // namespace
}  // namespace lasnet
