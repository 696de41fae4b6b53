// The device's lists of pixels against the CPU's, for all kinds of masks, whichever block waits for which.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "backends/cuda/kernels/look_back.h"
#include "kernel_operands.h"

namespace lasnet::cuda {
namespace {

void expect_lists_of_the_cpu(MapSize size, std::initializer_list<int> granularities) {
  Random random(4);
  for (auto [stride, dilation_stride] : {std::pair{1, 1}, {2, 2}, {2, 1}}) {
    for (int granularity : granularities) {
      for (double rate : {0.0, 0.15, 0.5, 1.0}) {
        const BlockGeometry b = block_geometry(size, stride, dilation_stride, granularity);
        const ListGeometry g = list_geometry(3, size, stride, dilation_stride, granularity);
        std::vector<uint8_t> patches(3 * g.patches());
        for (uint8_t& patch : patches) patch = random.uniform() < rate;
        std::fill_n(patches.begin() + g.patches(), g.patches(), uint8_t{0});
        Lists got(g, patches);
        got.add(ListKind::dilated), got.add(ListKind::active), got.add(ListKind::result),
            got.add(ListKind::projected), got.add(ListKind::patches);
        WithSettings settings(kSettings[granularity % 2]);
        Stream stream;
        build_lists(stream, got.call);
        ActiveLists want;
        ActiveListBuilder builder(b, {.stride = stride, .projected = true, .by_row = true}, 3);
        builder.build(patches, want);
        // Row by row, where the CPU lists M patch by patch.
        auto check = [&](const List& list, const PixelList& cpu) {
          ASSERT_EQ(list.begin.back(), cpu.count());
          std::vector<std::pair<int, int>> wanted;
          for (int64_t i = 0; i < cpu.count(); ++i)
            wanted.emplace_back(cpu.pairs().out[i], cpu.pairs().in[i]);
          std::sort(wanted.begin(), wanted.end());
          for (int64_t image = 0; image < 3; ++image) {
            EXPECT_EQ(list.begin[image + 1] - list.begin[image], cpu.images(image, image + 1).count);
          }
          for (int64_t i = 0; i < cpu.count(); ++i) ASSERT_EQ(std::pair(list.out[i], list.in[i]), wanted[i]);
        };
        check(got.lists[0], want.dilated);
        check(got.lists[1], want.active);
        check(got.lists[2], want.active_by_row);
        std::set<int> active_pixels(want.active.pairs().out, want.active.pairs().out + want.active.count());
        for (int i = 0, at = 0; i < 3 * g.output_height * g.output_width; ++i) {
          int y = i / g.output_width % g.output_height, x = i % g.output_width;
          PixelPair pair = pixel_pair(g, ListKind::projected, i / (g.output_height * g.output_width), y, x);
          ASSERT_EQ(got.lists[3].in[at], pair.in);
          ASSERT_EQ(got.lists[3].out[at++], active_pixels.contains(pair.out) ? ~pair.out : pair.out);
        }
        std::vector<int32_t> active_patches;
        for (size_t p = 0; p < patches.size(); ++p) {
          if (patches[p] != 0) active_patches.push_back(static_cast<int32_t>(p));
        }
        ASSERT_EQ(got.lists[4].begin.back(), static_cast<int>(active_patches.size()));
        EXPECT_TRUE(std::equal(active_patches.begin(), active_patches.end(), got.lists[4].in.begin()));
        int64_t counted = 0;
        for (int32_t chunk : got.masked[0]) counted += chunk;
        EXPECT_EQ(counted, want.dilated.count());
      }
    }
  }
}

TEST(CudaMask, ListsAreTheCpusForEveryMask) {
  expect_lists_of_the_cpu({25, 39}, {1, 2, 3, 4, 40});
  expect_lists_of_the_cpu({5, 2100}, {1, 7});  // rows longer than a chunk
  expect_lists_of_the_cpu({3, 16000}, {1});
  expect_lists_of_the_cpu({1300, 1}, {3});
  expect_lists_of_the_cpu({150, 32}, {1});  // of all numbers of units in a row, one needs the most words
  expect_lists_of_the_cpu({150, 33}, {1});
  expect_lists_of_the_cpu({7, 62 * 32}, {1});
  expect_lists_of_the_cpu({7, 62 * 64}, {1});
}

TEST(CudaMask, ListsDoNotDependOnWhoWaitsForWhom) {
  ListGeometry g = list_geometry(6, {40, 40}, 1, 1, 4);  // two chunks per image
  Random random(13);
  std::vector<uint8_t> patches(600);
  for (uint8_t& active : patches) active = random.uniform() < 0.5;
  std::vector<List> expected;
  for (int resident : {1, 2, 5, 36}) {
    for (bool descending : {false, true}) {
      WithSettings settings({.descending = descending, .resident_blocks = resident});
      Lists got(g, patches);
      got.add(ListKind::dilated), got.add(ListKind::active, 60), got.add(ListKind::patches);
      Stream stream;
      for (int repeat = 0; repeat < 2; ++repeat) build_lists(stream, got.call);
      if (expected.empty()) expected = got.lists;
      for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(got.lists[i].begin, expected[i].begin);
        EXPECT_EQ(got.lists[i].out, expected[i].out);
      }
    }
  }
}

/// What lies before a chunk that holds 1000.
__global__ void look_back(ListProgress progress, int chunk, int chunks, int* before) {
  wait_for_predecessor();
  LookBack look(progress, chunk, chunks);
  look.start();
  int sum = look.before(1000);
  if (threadIdx.x == 0) *before = sum;
}

TEST(CudaLookBack, AddsCountsBackToTheNearestSum) {
  constexpr int kChunks = 700, kChunk = 600;  // more before it than are read at once
  constexpr unsigned kLaunch = 5;
  for (int nearest : {0, 20, 343, 344, 345, 566, 567, 568, 599}) {
    std::vector<unsigned long long> cells(kChunks, published(kUpToHere, kLaunch - 1, -7));
    int expected = 0;
    for (int i = 0; i < kChunk; ++i) {
      expected += i;
      bool knows = i == 0 || i == nearest || (i < nearest && i % 3 == 0);
      cells[i] = knows ? published(kUpToHere, kLaunch, expected) : published(kOwnCount, kLaunch, i);
    }
    unsigned long long launches = kLaunch;
    int before = -1;
    Stream stream;
    launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, kChunk, kChunks,
           &before);
    EXPECT_EQ(before, expected) << nearest;
    EXPECT_EQ(cells[kChunk], published(kUpToHere, kLaunch, expected + 1000));
    EXPECT_EQ(cells[kChunk + 1], published(kUpToHere, kLaunch - 1, -7));
    EXPECT_EQ(launches, kLaunch) << "later chunks have yet to read it";
    launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, kChunk, kChunk + 1,
           &before);
    EXPECT_EQ(launches, kLaunch + 1);
  }
}

TEST(CudaLookBack, WaitsForWhatHasNotBeenPublished) {
  for (unsigned long long missing : {published(kUpToHere, 4, 1), published(kNothing, 5, 1)}) {
    std::vector<unsigned long long> cells(300, published(kUpToHere, 5, 1));
    cells[260] = missing;
    unsigned long long launches = 5;
    int before = -1;
    Stream stream;
    EXPECT_THROW(launch(stream, look_back, LaunchShape{1, 32}, ListProgress{cells.data(), &launches}, 299,
                        300, &before),
                 std::runtime_error);
    EXPECT_EQ(before, -1);
  }
}

TEST(CudaMask, ManyChunksAreListedInOrder) {
  constexpr int kImages = 330;  // two chunks each, of which one reads 256 at once
  ListGeometry g = list_geometry(kImages, {33, 33}, 1, 1, 11);
  Random random(14);
  std::vector<uint8_t> patches(kImages * 9);
  for (uint8_t& active : patches) active = random.uniform() < 0.5;
  WithSettings settings({.descending = true, .resident_blocks = 50});
  Lists got(g, patches);
  got.add(ListKind::active);
  Stream stream;
  build_lists(stream, got.call);
  int at = 0;
  for (int i = 0; i < kImages * 33 * 33; ++i) {
    int n = i / (33 * 33), y = i / 33 % 33, x = i % 33;
    if (y == 0 && x == 0) {
      ASSERT_EQ(got.lists[0].begin[n], at);
    }
    if (patches[9 * n + y / 11 * 3 + x / 11] == 0) continue;
    ASSERT_EQ(got.lists[0].out[at++], bordered(33, 33, n, y, x));
  }
  EXPECT_EQ(got.lists[0].begin.back(), at);
}

TEST(CudaMask, DenseImagesOfSeveralChunksListEverything) {
  ListGeometry g = list_geometry(2, {70, 40}, 1, 1, 5);  // three chunks per image
  std::vector<uint8_t> patches(2 * 112);
  std::fill_n(patches.begin() + 40, 50, uint8_t{1});
  std::fill_n(patches.begin() + 112, 49, uint8_t{1});
  Lists got(g, patches);
  got.add(ListKind::active, 50);
  Stream stream;
  build_lists(stream, got.call);
  EXPECT_EQ(got.lists[0].begin, (std::vector<int32_t>{0, 2800, 2800 + 49 * 25}));
  ASSERT_EQ(got.masked[0].size(), 6u);
  EXPECT_EQ(got.masked[0][0] + got.masked[0][1] + got.masked[0][2], 50 * 25);
  EXPECT_EQ(got.masked[0][3] + got.masked[0][4] + got.masked[0][5], 49 * 25);
  for (int i = 0; i < 2800; ++i) ASSERT_EQ(got.lists[0].in[i], bordered(70, 40, 0, i / 40, i % 40));
}

TEST(CudaMask, DenseImagesListEverything) {
  ListGeometry g = list_geometry(3, {9, 9}, 1, 1, 3);
  std::vector<uint8_t> patches(27);
  patches[0] = 1;                                    // one of nine
  std::fill_n(patches.begin() + 18, 7, uint8_t{1});  // seven of nine
  Lists got(g, patches);
  got.add(ListKind::dilated, 6), got.add(ListKind::active, 1);
  Stream stream;
  build_lists(stream, got.call);
  EXPECT_EQ(got.lists[0].begin, (std::vector<int32_t>{0, 16, 16, 16 + 81}));
  EXPECT_EQ(got.lists[1].begin, (std::vector<int32_t>{0, 81, 81, 162}));
  EXPECT_EQ(got.masked[1], (std::vector<int32_t>{9, 0, 63}));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(got.launches[i], 1) << "ready for the second launch";
}

TEST(CudaMask, LaunchesAreToldApartForever) {
  ListGeometry g = list_geometry(2, {40, 40}, 1, 1, 4);  // two chunks per image
  Random random(12);
  std::vector<uint8_t> patches(200);
  Lists got(g, patches);
  got.add(ListKind::active);
  Stream stream;
  for (unsigned long long launches :
       {0x0ull, 0x1ull, 0x3fffffffull, 0x40000000ull, 0xffffffffull, 0x100000000ull}) {
    got.launches[0] = launches;
    for (uint8_t& active : got.patches) active = random.uniform() < 0.5;
    build_lists(stream, got.call);
    int64_t listed = 16 * std::count(got.patches.begin(), got.patches.end(), 1);
    EXPECT_EQ(got.lists[0].begin.back(), listed);
    EXPECT_TRUE(std::is_sorted(got.lists[0].out.begin(), got.lists[0].out.begin() + listed));
    EXPECT_EQ(got.launches[0], launches + 1);
  }
}

}  // namespace
}  // namespace lasnet::cuda
