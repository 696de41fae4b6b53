// The launches of whole networks, in order and with all arguments, as hashes of their text. They guard edits
// that mean to keep what is launched. An edit that means to change it replaces the hashes, and says why.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/file.h"
#include "base/hash.h"
#include "launch_record.h"
#include "support/random_model.h"

namespace lasnet::test {
namespace {

struct LaunchCase {
  const char* architecture;
  const char* granularity;
  Precision precision;
  int64_t images;
  MapSize size;
  const char* schedule;  ///< "": the usual one
  const char* mode;      ///< sparse, dense, timed (one by one) or checked
  uint64_t hash;
};

std::string name_of(const LaunchCase& c) {
  return fmt::format("{}_{}_{}_{}_{}x{}_{}_{}", c.architecture, c.granularity, to_string(c.precision),
                     c.images, c.size.height, c.size.width, c.schedule, c.mode);
}

std::string launches_of(const LaunchCase& c) {
  const Model model = random_model(narrow_arch(c.architecture, c.granularity, 0.25), 1);
  std::optional<NetworkSchedule> plan;
  if (*c.schedule != 0) plan = uniform_schedule(model.spec, parse_block_schedule(c.schedule));
  LaunchRecorder recorder(false, c.precision == Precision::bf16);
  Session session(make_executable(model, Backend::cuda, std::nullopt, plan, c.precision), 1);
  const std::string mode = c.mode;
  session.run(random_input(c.images, c.size, 2),
              {.dense = mode == "dense", .check_finite = mode == "checked", .time_blocks = mode == "timed"});
  return to_text(recorder.launches);  // while its buffers are there
}

using enum Precision;
const LaunchCase kCases[] = {
    {"resnet18", "4-4-2-1", fp32, 1, {64, 96}, "", "sparse", 0x39ffbbd38923758e},
    {"resnet18", "4-4-2-1", fp32, 8, {64, 96}, "", "timed", 0x1603b0b7412fe377},
    {"resnet18", "3-5-2-9", fp16, 1, {65, 47}, "", "checked", 0x46beed989f8f3251},
    {"resnet18",
     "4-4-2-1",
     fp16,
     2,
     {64, 64},
     "gather=copied,scatter=separate",
     "sparse",
     0x174798ae2333fd24},
    {"resnet18",
     "4-4-2-1",
     fp32,
     2,
     {64, 64},
     "masker=separate,scatter=separate",
     "sparse",
     0x196cb300f0a41380},
    {"resnet18", "4-4-2-1", fp32, 8, {224, 224}, "", "dense", 0x3d067fe496351c5c},
    {"resnet34", "static", tf32, 2, {64, 64}, "", "sparse", 0x2f2ab9cdcedb19c7},
    {"resnet50", "4-4-2-1", fp32, 1, {224, 224}, "", "sparse", 0xff14820d813a18ad},
    {"resnet50", "4-4-2-1", fp16, 1, {224, 224}, "masker=with_conv1", "timed", 0xdd58d401b208301c},
    {"resnet50", "4-4-2-1", fp16, 8, {160, 224}, "masker=incremental", "sparse", 0x53c77215f59b4a30},
    {"resnet50",
     "8-4-7-1",
     bf16,
     8,
     {160, 224},
     "masker=separate,whole_map_above=0.5",
     "checked",
     0xfe14b2cfae34464b},
    {"resnet50",
     "4-4-2-1",
     tf32,
     2,
     {64, 64},
     "masker=with_conv1,gather=copied",
     "sparse",
     0x2de6229e703b1c63},
    {"resnet101", "4-4-2-1", fp16, 8, {224, 224}, "", "sparse", 0x9467c51da2ab0e17},
    {"resnet101", "4-4-2-1", bf16, 1, {224, 224}, "", "dense", 0x0d98619bcf43fad7},
    {"resnext50_32x4d", "4-4-2-1", fp32, 2, {64, 48}, "", "sparse", 0xfe7a3e4f3817c9d2},
    {"wide_resnet50_2", "2-2-2-1", bf16, 8, {224, 224}, "masker=incremental", "sparse", 0x31e31152342ae1f0},
    {"regnet_y_400mf", "4-4-2-1", fp32, 2, {64, 96}, "", "checked", 0xeb75634a457c42b6},
    {"regnet_y_400mf",
     "4-4-2-1",
     fp16,
     8,
     {160, 224},
     "masker=with_conv1,scatter=separate",
     "sparse",
     0xa38c2798fc0942a5},
    {"regnet_y_400mf:dense", "3-5-2-9", fp16, 2, {49, 67}, "gather=copied", "sparse", 0xd274f340ad58bf0b},
    {"regnet_y_800mf:dense", "4-4-2-1", fp32, 8, {64, 64}, "scatter=separate", "timed", 0xc08997861c08105e}};

/// With LASNET_LAUNCH_RECORDS naming a folder, the records are left there as text.
TEST(CudaLaunches, AreThoseOfTheRecord) {
  const char* folder = std::getenv("LASNET_LAUNCH_RECORDS");
  for (const LaunchCase& c : kCases) {
    const std::string text = launches_of(c);
    EXPECT_EQ(fnv1a(text), c.hash) << fmt::format("{}: 0x{:016x}", name_of(c), fnv1a(text));
    if (folder != nullptr)
      write_file_atomically((std::filesystem::path(folder) / name_of(c)).string(),
                            [&](std::ostream& out) { out << text; });
  }
}

/// Thresholds lie in memory that kernels read: another one is no other launch.
TEST(CudaLaunches, DoNotDependOnThresholds) {
  const Model model = random_model(narrow_arch("resnet50", "4-4-2-1", 0.25), 1);
  const Tensor input = random_input(2, {64, 96}, 2);
  for (const bool timed : {false, true}) {
    std::vector<std::string> records;
    for (const RunOptions& options :
         {RunOptions{.time_blocks = timed}, RunOptions{.thresholds = {-0.5f}, .time_blocks = timed}}) {
      LaunchRecorder recorder;
      Session session(make_executable(model, Backend::cuda, std::nullopt, std::nullopt, Precision::fp32), 1);
      session.run(input, options);
      records.push_back(to_text(recorder.launches));
    }
    EXPECT_EQ(records[0], records[1]);
  }
}

}  // namespace
}  // namespace lasnet::test
