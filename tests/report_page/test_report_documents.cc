// Parts of `lasnet report` that measure nothing: tables, documents that are kept, pictures.
#include <gmock/gmock.h>

#include <fstream>

#include "figures.h"
#include "jpeg.h"
#include "part_store.h"
#include "recorded_peers.h"
#include "recorded_sweep.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"
#include "tables.h"

namespace lasnet::cli {
namespace {

using testing::HasSubstr;

TEST(ReportTables, CsvQuotesWhatNeedsIt) {
  const DataTable table{
      .name = "t", .caption = "", .columns = {"a", "b, c"}, .rows = {{"1", "say \"x\""}, {"", "two\nlines"}}};
  EXPECT_EQ(to_csv(table), "a,\"b, c\"\n1,\"say \"\"x\"\"\"\n,\"two\nlines\"\n");
}

TEST(ReportTables, NumbersHaveFourDigits) {
  EXPECT_EQ(number_text(23.14159), "23.14");
  EXPECT_EQ(number_text(0.000123456), "0.0001235");
  EXPECT_EQ(number_text(117964800.25), "117964800");
  EXPECT_EQ(number_text(int64_t{117964800}), "117964800");
  EXPECT_EQ(number_text(nullptr), "");
}

/// A sweep.json of one network.
std::string sweep_text(const std::string& top1) {
  return R"({"lasnet_sweep": "0", "processor": "P", "rows": [{"kind": "dynamic", "name": "n", "granularity": )"
         R"("4-4-2-1", "images": 9, "macs_ratio": 0.5, "measured_ms": null, "more": 1, "top1": )" +
         top1 + "}]}";
}

TEST(RecordedSweep, IsReadWithItsSource) {
  test::TemporaryDir dir;
  const std::string path = dir / "sweep.json";
  std::ofstream(path) << sweep_text("0.75");
  const Json sweep = read_recorded_sweep(path);
  EXPECT_EQ(sweep["source"], path);
  EXPECT_EQ(sweep["rows"][0]["top1"], 0.75);
  EXPECT_FALSE(sweep["rows"][0].contains("more"));
  const Json data = {
      {"granularities", {{"rows", Json::array()}}}, {"fusions", {{"rows", Json::array()}}}, {"sweep", sweep}};
  const std::vector<DataTable> tables = tables_of("ablations", data);
  ASSERT_EQ(tables.size(), 3u);
  EXPECT_THAT(to_csv(tables[2]), HasSubstr("n,dynamic,4-4-2-1,0.75,9,0.5,\n"));
  const Figure figure = sweep_figure(data);
  ASSERT_EQ(figure.plots.size(), 1u);
  EXPECT_EQ(figure.plots[0].series[0].label, "S = 4-4-2-1");
  EXPECT_EQ(figure.plots[0].series[0].y[0], 75);
}

TEST(RecordedSweep, OfAnythingElseIsRefused) {
  test::TemporaryDir dir;
  const std::string path = dir / "sweep.json";
  for (const char* text : {"", "{", "[]", R"({"rows": []})", R"({"lasnet_sweep": "0", "rows": []})"}) {
    std::ofstream(path) << text;
    EXPECT_ERROR(read_recorded_sweep(path), HasSubstr("not the sweep.json of a lasnet sweep"));
  }
  std::ofstream(path) << sweep_text("\"high\"");
  EXPECT_ERROR(read_recorded_sweep(path), HasSubstr("rows[0].top1: expected a number"));
}

class PartStoreTest : public testing::Test {
 protected:
  test::TemporaryDir dir_;
  PartStore store_{dir_ / "report", "key"};
};

TEST_F(PartStoreTest, FindsWhatWasPut) {
  EXPECT_FALSE(store_.find("knob"));
  store_.put("knob", {.seconds = 2.5, .data = {{"points", {1, 2}}}});
  const auto found = store_.find("knob");
  ASSERT_TRUE(found);
  EXPECT_EQ(found->seconds, 2.5);
  EXPECT_EQ(found->data, Json::parse(R"({"points": [1, 2]})"));
  EXPECT_FALSE(store_.find("speed"));
}

TEST_F(PartStoreTest, PassesOverPartsOfAnotherKey) {
  store_.put("knob", {.seconds = 1, .data = Json::object()});
  EXPECT_FALSE(PartStore(dir_ / "report", "other").find("knob"));
}

TEST_F(PartStoreTest, PassesOverWhatIsDamaged) {
  for (const char* text :
       {"", "{", "[1]", R"({"part": "knob", "key": "key"})", R"({"part": "knob", "key": "key", "data": 3})",
        R"({"part": "speed", "key": "key", "data": {}})"}) {
    std::ofstream(dir_ / "report/data/knob.json") << text;
    EXPECT_FALSE(store_.find("knob")) << text;
  }
}

class ReadPeers : public testing::Test {
 protected:
  /// What compare.py writes, as far as it is read.
  static Json comparison() {
    const auto times = [](double ms, double ratio) {
      return Json{{"min_ms", ms - 1},
                  {"median_ms", ms},
                  {"sparse_speedup", {{"q1", ratio - 0.1}, {"median", ratio}, {"q3", ratio + 0.1}}}};
    };
    Json peer = times(30, 3);
    peer.update({{"name", "openvino"}, {"version", "2026.1"}, {"logits_error", 1e-6}});
    return {{"network", "elsewhere/demo.safetensors"},
            {"date", "2026-12-01"},
            {"processor", "Some CPU"},
            {"threads", 2},
            {"batch", 1},
            {"precision", "fp32"},
            {"macs_ratio", 0.5},
            {"rounds", 7},
            {"dense", times(20, 2)},
            {"sparse", times(10, 1)},
            {"peers", {peer}}};
  }
  Json read(const std::string& text) {
    std::ofstream(dir_ / "peers.json") << text;
    return read_peers(dir_ / "peers.json", "models/demo.safetensors");
  }
  test::TemporaryDir dir_;
};

TEST_F(ReadPeers, KeepsTimesAndWhereTheyComeFrom) {
  const Json read_back = read(comparison().dump());
  EXPECT_EQ(read_back["file"], "peers.json");
  EXPECT_EQ(read_back["processor"], "Some CPU");
  ASSERT_EQ(read_back["networks"].size(), 3U);
  EXPECT_EQ(read_back["networks"][0],
            Json::parse(R"({"name": "openvino 2026.1, dense", "min_ms": 29.0, "median_ms": 30.0,
    "slower": {"q1": 2.9, "median": 3.0, "q3": 3.1}})"));
  EXPECT_EQ(read_back["networks"][2]["name"], "lasnet, sparse");
}

TEST_F(ReadPeers, RefusesOtherModelsAndOtherFiles) {
  Json other = comparison();
  other["network"] = "resnet50";
  EXPECT_ERROR(read(other.dump()),
               testing::AllOf(HasSubstr("peers.json"), HasSubstr("resnet50"), HasSubstr("demo.safetensors")));
  EXPECT_ERROR(read("{"), HasSubstr("compare.py"));
  EXPECT_ERROR(read("[]"), HasSubstr("compare.py"));
  for (const char* key : {"peers", "date", "sparse", "threads"}) {
    Json without = comparison();
    without.erase(key);
    EXPECT_ERROR(read(without.dump()), HasSubstr(key));
  }
  Json impossible = comparison();
  impossible["sparse"]["median_ms"] = -1;
  EXPECT_ERROR(read(impossible.dump()), testing::AllOf(HasSubstr("median_ms"), HasSubstr("-1")));
  impossible["sparse"]["median_ms"] = "fast";
  EXPECT_ERROR(read(impossible.dump()), HasSubstr("compare.py"));
}

TEST(ReportJpeg, IsThePicture) {
  Image image{.width = 40, .height = 24, .rgb = {}};
  for (int y = 0; y < image.height; ++y) {
    for (int x = 0; x < image.width; ++x) {
      for (const int value : {6 * x, 10 * y, 128}) image.rgb.push_back(static_cast<uint8_t>(value));
    }
  }
  const std::string file = encode_jpeg(image, 95);
  const Image decoded = decode_image(reinterpret_cast<const uint8_t*>(file.data()), file.size(), "jpeg");
  ASSERT_EQ(decoded.width, image.width);
  ASSERT_EQ(decoded.height, image.height);
  double difference = 0;
  for (size_t i = 0; i < image.rgb.size(); ++i) difference += std::abs(image.rgb[i] - decoded.rgb[i]);
  EXPECT_LT(difference / static_cast<double>(image.rgb.size()), 4);
  EXPECT_ERROR(encode_jpeg({}, 80), HasSubstr("empty"));
}

}  // namespace
}  // namespace lasnet::cli
