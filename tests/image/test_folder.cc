#include "lasnet/image.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ImageFolder, ListsClassesAndImagesInNameOrder) {
  TemporaryDir dir;
  for (const char* file : {"dog/b.JPG", "dog/a.jpeg", "dog/c.Png", "dog/notes.txt", "dog/._b.JPG",
                           "dog/sub/d.jpg", "cat/2.jpg", "cat/10.jpg", "README.jpg", ".git/x.jpg"}) {
    write_text(dir / file, "");
  }
  ImageFolder folder = open_image_folder(dir.path());
  EXPECT_THAT(folder.classes, ElementsAre("cat", "dog"));
  std::vector<std::string> items;
  for (const auto& item : folder.items) items.push_back(item.path + "=" + std::to_string(item.label));
  EXPECT_THAT(items, ElementsAre(dir / "cat/10.jpg=0", dir / "cat/2.jpg=0", dir / "dog/a.jpeg=1",
                                 dir / "dog/b.JPG=1", dir / "dog/c.Png=1"));
  EXPECT_EQ(folder.left_out,
            (LeftOut{{".txt", 1}, {"in nested folders", 1}, {"beside the class folders", 1}}));
}

TEST(ImageFolder, CountsWhatItLeavesOut) {
  TemporaryDir dir;
  for (const char* file : {"cat/1.jpg", "cat/2.webp", "cat/3.bmp", "cat/4.BMP", "cat/5.tiff", "cat/6.gif",
                           "cat/7.ppm", "cat/README", "dog/1.png", "dog/2.bmp", "dog/deep/1.jpg",
                           "dog/deep/er/2.jpg", "dog/deep/notes.txt", "dog/.hidden.bmp"}) {
    write_text(dir / file, "");
  }
  std::filesystem::create_symlink("nowhere.jpg", dir / "dog/gone.jpg");
  std::filesystem::create_symlink("nowhere", dir / "horse");
  ImageFolder folder = open_image_folder(dir.path());
  EXPECT_EQ(folder.items.size(), 3u);
  EXPECT_EQ(describe_left_out(folder.left_out),
            "11 files were left out: 3 .bmp, 2 behind broken links, 2 in nested folders, 1 .gif, 1 .ppm, "
            "1 .tiff, 1 without a suffix");
  EXPECT_EQ(describe_left_out({}), "");
  EXPECT_EQ(describe_left_out({{".gif", 1}}), "1 file was left out: 1 .gif");
}

TEST(ImageFolder, SaysWhatAClassHoldsInsteadOfImages) {
  TemporaryDir dir;
  for (const char* file : {"cat/1.jpg", "dog/1.gif", "dog/2.gif", "dog/a/1.jpg"}) write_text(dir / file, "");
  EXPECT_ERROR(open_image_folder(dir.path()),
               AllOf(HasSubstr(dir / "dog: the class folder holds no .jpg"),
                     HasSubstr("3 files were left out: 2 .gif, 1 in nested folders")));
}

TEST(ValidationFolder, IsValOrValid) {
  TemporaryDir dir;
  EXPECT_EQ(validation_folder(dir.path()), "");
  std::filesystem::create_directory(dir / "valid");
  EXPECT_EQ(validation_folder(dir.path()), dir / "valid");
  std::filesystem::create_directory(dir / "val");
  EXPECT_EQ(validation_folder(dir.path()), dir / "val");
}

TEST(ImageFolder, FollowsLinksAndTakesTrailingSlashes) {
  TemporaryDir data, dir;
  write_text(data / "x.jpg", "");
  write_text(dir / "a/1.jpg", "");
  std::filesystem::create_directory_symlink(data.path(), dir / "b");
  ImageFolder folder = open_image_folder(dir.path() + "/");
  EXPECT_THAT(folder.classes, ElementsAre("a", "b"));
  EXPECT_EQ(folder.items.size(), 2u);
}

TEST(ImageFolder, NamesWhatIsMissing) {
  TemporaryDir dir;
  EXPECT_ERROR(open_image_folder(dir / "absent"), HasSubstr(dir / "absent: no such folder"));
  write_text(dir / "file", "");
  EXPECT_ERROR(open_image_folder(dir / "file"), HasSubstr("not a folder"));
  std::filesystem::create_symlink("loop", dir / "loop");
  EXPECT_ERROR(open_image_folder(dir / "loop"), HasSubstr("loop: cannot be opened: Too many levels"));
  EXPECT_ERROR(open_image_folder(dir.path()), HasSubstr("0 class folders, expected at least two"));
  write_text(dir / "cat/1.jpg", "");
  EXPECT_ERROR(open_image_folder(dir.path()), HasSubstr("1 class folder, expected at least two"));
  write_text(dir / "dog/readme.txt", "");
  EXPECT_ERROR(open_image_folder(dir.path()), HasSubstr(dir / "dog: the class folder holds no"));
}

TEST(ListImages, FindsThemAtAnyDepthInPathOrder) {
  TemporaryDir dir;
  for (const char* file : {"b.PNG", "a/z/2.jpeg", "a/1.jpg", "a/notes.txt", ".hidden/x.jpg", "a/._1.jpg"}) {
    write_text(dir / file, "");
  }
  EXPECT_THAT(list_images(dir.path()), ElementsAre(dir / "a/1.jpg", dir / "a/z/2.jpeg", dir / "b.PNG"));
  EXPECT_ERROR(list_images(dir / "absent"), HasSubstr(dir / "absent: cannot be listed"));
  EXPECT_ERROR(list_images(dir / ".hidden/x.jpg"), HasSubstr("cannot be listed"));
  write_text(dir / "empty/notes.txt", "");
  EXPECT_ERROR(list_images(dir / "empty"), HasSubstr("no .jpg, .jpeg, .png or .webp image"));
}

}  // namespace
}  // namespace lasnet::test
