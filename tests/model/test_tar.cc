// Tar archives as other programs write them (scripts/make_tar_fixtures.py), and as they may not be.
#include <gmock/gmock.h>

#include "formats/tar.h"
#include "support/expect_error.h"
#include "support/tar_writer.h"

namespace lasnet::test {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Member {
  std::string name, content;

  bool operator==(const Member&) const = default;
};

std::vector<Member> read_all(const ByteSource& source) {
  std::vector<Member> members;
  TarReader reader(source);
  while (const auto member = reader.next()) {
    const std::vector<uint8_t> bytes = source.read(member->offset, member->size);
    members.push_back({member->name, {bytes.begin(), bytes.end()}});
  }
  EXPECT_FALSE(reader.next());
  return members;
}

std::vector<Member> members_of(const std::string& archive) {
  return read_all(
      ByteSource::memory({reinterpret_cast<const uint8_t*>(archive.data()), archive.size()}, "x.tar"));
}

std::string error_in(const std::string& archive) {
  return test::error_of([&] { members_of(archive); });
}

std::vector<Member> fixture_members(bool long_names) {
  std::vector<std::string> names = {"a.jpg", "a.cls", "deep/er/" + std::string(100, 'p') + "/b.jpg"};
  if (long_names) names.push_back("folder/" + std::string(289, 'n') + ".txt");
  std::vector<Member> members;
  for (const std::string& name : names) members.push_back({name, name + name + name});
  members.insert(members.begin() + 3, {"empty", ""});
  return members;
}

TEST(Tar, ReadsWhatPythonWrites) {
  const std::string data = LASNET_TEST_DATA "/tar/";
  EXPECT_EQ(read_all(ByteSource::open(data + "ustar.tar")), fixture_members(false));
  EXPECT_EQ(read_all(ByteSource::open(data + "gnu.tar")), fixture_members(true));
  EXPECT_EQ(read_all(ByteSource::open(data + "pax.tar")), fixture_members(true));
  for (const char* name : {"gnu_size.tar", "pax_size.tar"})
    EXPECT_EQ(read_all(ByteSource::open(data + name)), (std::vector<Member>{{"a.jpg", "abc"}})) << name;
}

TEST(Tar, EndsWithOrWithoutBlocksOfZeros) {
  const std::string member = tar_member("a", "b");
  const std::vector<Member> expected = {{"a", "b"}};
  EXPECT_EQ(members_of(member + kTarEnd), expected);
  EXPECT_EQ(members_of(member), expected);
  EXPECT_EQ(members_of(member + kTarEnd.substr(512) + "what stands behind"), expected);
  EXPECT_TRUE(members_of("").empty());
}

TEST(Tar, LargeMembersArePassedOver) {
  const std::string large(20'000, 'x');
  EXPECT_EQ(members_of(tar_member("a", large) + tar_member("b", "c") + tar_member("d", large) + kTarEnd),
            (std::vector<Member>{{"a", large}, {"b", "c"}, {"d", large}}));
}

TEST(Tar, RefusesWhatIsNoArchive) {
  EXPECT_THAT(error_in(std::string(600, 'x')),
              AllOf(HasSubstr("x.tar: not a readable tar archive, at byte 0"), HasSubstr("checksum")));
  EXPECT_THAT(error_in(tar_member("a", "b") + "x"), HasSubstr("at byte 1024: the archive is cut off"));
  std::string changed = tar_member("a", "b");
  changed[0] = 'c';
  EXPECT_THAT(error_in(changed), HasSubstr("checksum"));
}

TEST(Tar, RefusesSizesThatAreNotThere) {
  EXPECT_THAT(error_in(tar_member("a\x1b[2J", "b", '0', 513)),
              AllOf(HasSubstr("has 513 bytes"), HasSubstr("after 512"), HasSubstr("\\x1b")));
  EXPECT_THAT(error_in(tar_member("a", "b", '0', 077777777777)), HasSubstr("has 8589934591 bytes"));
  EXPECT_THAT(error_in(tar_member("x", "17 size=99999999\n", 'x') + tar_member("a", "b")),
              HasSubstr("has 99999999 bytes"));
  EXPECT_THAT(error_in(tar_member("x", "29 size=18446744073709551616\n", 'x') + tar_member("a", "b")),
              HasSubstr("no number"));
}

TEST(Tar, RefusesPaxRecordsAndNamesThatMakeNoSense) {
  for (const char* record :
       {"path=a\n", "9 path=a", "99 path=a\n", "0 \n", "3 \n", "8 path=a\n", "7 patha\n"})
    EXPECT_THAT(error_in(tar_member("x", record, 'x') + tar_member("a", "b")), HasSubstr("pax record"))
        << record;
  const std::string long_text(70'000, 'n');
  EXPECT_THAT(error_in(tar_member("x", long_text, 'x')), HasSubstr("expected at most 65536"));
  EXPECT_THAT(error_in(tar_member("x", long_text, 'L')), HasSubstr("a long name of 70000 bytes"));
  EXPECT_THAT(error_in(tar_member("x", "name", 'L')), HasSubstr("cut off"));
}

}  // namespace
}  // namespace lasnet::test
