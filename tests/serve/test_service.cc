#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "base64.h"
#include "lasnet/operating_point.h"
#include "lasnet/report.h"
#include "predict/host_profile.h"
#include "request_error.h"
#include "served.h"
#include "service.h"
#include "support/expect_error.h"
#include "support/quantized_model.h"
#include "support/temporary_dir.h"

namespace lasnet::serve {
namespace {

using testing::HasSubstr;

class ServiceTest : public testing::Test {
 protected:
  explicit ServiceTest(const SchedulerOptions& options = {.workers = 2})
      : service_(
            {{"small", "small.safetensors"}, {"static", "static.safetensors"}},
            [this](const auto& source) { return load(source); }, [this] { return keys_; }, options) {}

  std::shared_ptr<const ServedModel> load(const ModelSource& source) {
    if (fails_to_load_) throw Error(source.path + ": is damaged");
    Model model = small_model(seed_);
    if (source.name == "static") {
      model = test::random_model(test::narrow_arch("resnet18", "static"), seed_);
      model.preprocessing.crop = 0;
      model.preprocessing.resize = 48;
    }
    return make_served_model(source.name, std::move(model), {});
  }

  HttpResponse get(const std::string& path) { return call({.method = "GET", .path = path, .headers = {}}); }
  HttpResponse call(const HttpRequest& request) {
    if (auto refused = service_.admit(request)) return *refused;
    return service_.handle(request);
  }
  HttpResponse infer(const BinaryBody& body, const std::string& model = "small") {
    return call({.method = "POST",
                 .path = "/v2/models/" + model + "/infer",
                 .headers = {{"inference-header-content-length", std::to_string(body.json_size)}},
                 .body = body.text});
  }
  HttpResponse infer_json(const Json& json, const std::string& model = "small") {
    const std::string text = json.dump();
    return call({.method = "POST", .path = "/v2/models/" + model + "/infer", .headers = {}, .body = text});
  }
  static Json json_of(const HttpResponse& response) { return Json::parse(response.body); }
  /// Expects a refusal that names `field`.
  static void expect_refused(const HttpResponse& response, int status, const std::string& field) {
    EXPECT_EQ(response.status, status) << response.body;
    EXPECT_THAT(json_of(response).value("error", ""), HasSubstr(field));
  }

  Tensor run(const Tensor& input, const RunOptions& options = {}) {
    return Session(small_model(seed_)).run(input, options).logits;
  }
  /// The values of an output in JSON.
  static std::vector<float> values(const HttpResponse& response, const std::string& name) {
    EXPECT_EQ(response.status, 200) << response.body;
    const Json json = json_of(response);
    for (const Json& output : json.at("outputs")) {
      if (output.at("name") == name) return output.at("data").get<std::vector<float>>();
    }
    ADD_FAILURE() << "no output " << name << " in " << response.body;
    return {};
  }

  uint64_t seed_ = 1;
  bool fails_to_load_ = false;
  ApiKeys keys_;
  Service service_;
};

const Json kLogits = {{"outputs", {{{"name", "logits"}}}}};

Json with_parameters(Json parameters) {
  Json json = kLogits;
  json["parameters"] = std::move(parameters);
  return json;
}

TEST_F(ServiceTest, SaysWhatItIs) {
  EXPECT_EQ(json_of(get("/v2")).at("name"), "lasnet");
  EXPECT_EQ(get("/v2/health/live").status, 200);
  EXPECT_EQ(get("/v2/health/ready").status, 200);
  EXPECT_EQ(get("/v2/models/small/ready").status, 200);
  EXPECT_EQ(get("/v2/models/small/versions/1/ready").status, 200);
  const Json metadata = json_of(get("/v2/models/small"));
  EXPECT_EQ(metadata.at("inputs").at(0).at("shape"), (Json{-1, 3, -1, -1}));
  EXPECT_EQ(metadata.at("outputs").at(0).at("shape"), (Json{-1, 10}));
  EXPECT_EQ(json_of(get("/v2/models/small/config")).at("max_batch_size"), 32);
  EXPECT_EQ(json_of(get("/v2/models/small/stats")).at("model_stats").at(0).at("inference_count"), 0);
  EXPECT_EQ(json_of(get("/v2/models/stats")).at("model_stats").size(), 2U);
  EXPECT_EQ(json_of(call({.method = "POST", .path = "/v2/repository/index", .headers = {}})).size(), 2U);
  EXPECT_EQ(json_of(get("/v2/lasnet")).at("models").at(0).at("operating_points").size(), 2U);
  for (const char* const path : {"/", "/page.css", "/page.js"}) {
    const HttpResponse page = get(path);
    EXPECT_EQ(page.status, 200) << path;
    EXPECT_FALSE(page.body.empty());
  }
}

TEST_F(ServiceTest, RefusesOtherPathsAndMethods) {
  for (const char* const path :
       {"/v1", "/v2x", "/v2/models", "/v2/models//", "/v2/models/small/other", "/v2/models/small/infer/x",
        "/v2/models/small/versions", "/../../etc/passwd", "/page.html", "/v2/models/small/versions/1/infer/x",
        "/v2/systemsharedmemory/status"})
    expect_refused(get(path), 404, "");
  expect_refused(get("/v2/models/other"), 404, "'other'");
  expect_refused(get("/v2/models/small/versions/2"), 404, "version 1");
  expect_refused(get("/v2/models/small/infer"), 405, "POST");
  expect_refused(call({.method = "POST", .path = "/v2", .headers = {}}), 405, "GET");
  expect_refused(call({.method = "DELETE", .path = "/v2", .headers = {}}), 405, "GET");
}

TEST_F(ServiceTest, LogitsAreThoseOfASession) {
  const Tensor input = test::random_input(3, {64, 48}, 5);
  const Tensor expected = run(input);
  EXPECT_EQ(values(infer(tensor_body(input, kLogits)), "logits"), expected.data);
  Json json = kLogits;
  json["inputs"] = {{{"name", "input"}, {"datatype", "FP32"}, {"shape", input.shape}, {"data", input.data}}};
  EXPECT_EQ(values(infer_json(json), "logits"), expected.data);
}

TEST_F(ServiceTest, TensorsMayLieAnywhere) {
  const Tensor input = test::random_input(1, {64, 64}, 5);
  const Tensor expected = run(input);
  const BinaryBody body = tensor_body(input, kLogits);
  for (size_t offset = 0; offset < sizeof(float); ++offset) {
    const std::string shifted = std::string(offset, ' ') + body.text;
    EXPECT_EQ(values(infer({shifted, body.json_size + offset}), "logits"), expected.data) << offset;
  }
}

TEST_F(ServiceTest, SaysWhereTensorsBegin) {
  const auto byte = [](const std::string& length) {
    return Service::aligned_byte(
        {.method = "POST", .path = "/", .headers = {{"inference-header-content-length", length}}});
  };
  EXPECT_EQ(byte("118"), 118U);
  EXPECT_EQ(byte("-1"), 0U);
  EXPECT_EQ(byte("many"), 0U);
  EXPECT_EQ(Service::aligned_byte({.method = "POST", .path = "/", .headers = {}}), 0U);
}

TEST_F(ServiceTest, BinaryOutputsAreBehindTheJson) {
  const Tensor input = test::random_input(2, {64, 64}, 6);
  const HttpResponse response =
      infer(tensor_body(input, {{"id", "a\"b"},
                                {"outputs",
                                 {{{"name", "logits"}, {"parameters", {{"binary_data", true}}}},
                                  {{"name", "classes"}, {"parameters", {{"binary_data", false}}}}}}}));
  ASSERT_EQ(response.status, 200) << response.body;
  ASSERT_EQ(response.headers.at(0).first, "Inference-Header-Content-Length");
  const size_t size = std::stoul(response.headers.at(0).second);
  const Json json = Json::parse(response.body.substr(0, size));
  EXPECT_EQ(json.at("id"), "a\"b");
  const Tensor expected = run(input);
  EXPECT_EQ(response.body.substr(size),
            std::string(reinterpret_cast<const char*>(expected.data.data()), expected.data.size() * 4));
  EXPECT_EQ(json.at("outputs").at(0).at("parameters").at("binary_data_size"), expected.data.size() * 4);
  EXPECT_EQ(json.at("outputs").at(1).at("data").size(), 10U);  // five classes of two images
}

TEST_F(ServiceTest, ImagesArePreprocessedAsTheModelSays) {
  const Model model = small_model();
  const std::vector<Image> photos = {noise_photo(100, 80, 1), noise_photo(73, 200, 2)};
  std::vector<Tensor> inputs;
  for (const Image& photo : photos)
    inputs.push_back(to_input(resize_and_crop(photo, model.preprocessing), model.preprocessing));
  const Tensor expected = run(stack(inputs));
  EXPECT_EQ(values(infer(image_body({png_of(photos[0]), png_of(photos[1])}, kLogits)), "logits"),
            expected.data);
  Json json = kLogits;
  json["inputs"] = {{{"name", "image"},
                     {"datatype", "BYTES"},
                     {"shape", {2, 1}},
                     {"data", {cli::to_base64(png_of(photos[0])), cli::to_base64(png_of(photos[1]))}}}};
  EXPECT_EQ(values(infer_json(json), "logits"), expected.data);
  const std::string file = png_of(photos[0]);
  const HttpResponse raw = call({.method = "POST",
                                 .path = "/v2/models/small/infer",
                                 .headers = {{"inference-header-content-length", "0"}},
                                 .body = file});
  const std::vector<float> first(expected.data.begin(), expected.data.begin() + 10);
  EXPECT_EQ(values(raw, "logits"), first);
}

TEST_F(ServiceTest, AnImageKeepsItsSizeWhereTheModelDoesNotCrop) {
  const Image photo = noise_photo(96, 64, 3);
  EXPECT_EQ(values(infer(image_body({png_of(photo)}, kLogits), "static"), "logits").size(), 10U);
  expect_refused(infer(image_body({png_of(photo), png_of(noise_photo(64, 64, 3))}), "static"), 400,
                 "data[1]");
  expect_refused(infer(image_body({png_of(noise_photo(6000, 4, 3))}), "static"), 400, "data[0]");
}

TEST_F(ServiceTest, OutputsAreWhatTheTraceSays) {
  const Model model = small_model();
  const std::vector<Image> photos = {noise_photo(72, 72, 1), noise_photo(72, 72, 2)};
  std::vector<Tensor> inputs;
  for (const Image& photo : photos)
    inputs.push_back(to_input(resize_and_crop(photo, model.preprocessing), model.preprocessing));
  const Result result = Session(model).run(stack(inputs));
  Json outputs = Json::array();
  for (const char* const name :
       {"probabilities", "classes", "scores", "rates", "macs_ratio", "masks", "density", "heat_map"})
    outputs.push_back({{"name", name}});
  const HttpResponse response = infer(image_body({png_of(photos[0]), png_of(photos[1])},
                                                 {{"outputs", outputs}, {"parameters", {{"top_k", 2}}}}));
  ASSERT_EQ(response.status, 200) << response.body;
  const Json json = json_of(response);
  double sum = 0;
  for (const float probability : values(response, "probabilities")) sum += probability;
  EXPECT_NEAR(sum, 2, 1e-5);
  EXPECT_EQ(values(response, "scores").size(), 4U);
  std::vector<float> rates;
  for (int i = 0; i < 2; ++i) {
    for (const BlockTrace& block : result.trace.blocks) rates.push_back(static_cast<float>(block.rates[i]));
  }
  EXPECT_EQ(values(response, "rates"), rates);
  EXPECT_FLOAT_EQ(
      values(response, "macs_ratio")[1],
      static_cast<float>(result.trace.image_macs[1] / static_cast<double>(result.trace.static_macs)));
  const auto& block = result.trace.blocks.at(2);
  EXPECT_EQ(values(response, "mask." + block.name),
            std::vector<float>(block.mask.data.begin(), block.mask.data.end()));
  std::vector<float> density = compute_density(result.trace, 0, 64, 64);
  const std::vector<float> second = compute_density(result.trace, 1, 64, 64);
  density.insert(density.end(), second.begin(), second.end());
  EXPECT_EQ(values(response, "density"), density);
  for (const Json& output : json.at("outputs")) {
    if (output.at("name") == "classes") {
      EXPECT_THAT(output.at("data").at(0).get<std::string>(), HasSubstr("class \""));
    }
    if (output.at("name") != "heat_map") continue;
    const auto png = cli::from_base64(output.at("data").at(1).get<std::string>());
    ASSERT_TRUE(png);
    EXPECT_FALSE(
        decode_image(reinterpret_cast<const uint8_t*>(png->data()), png->size(), "heat map").empty());
  }
}

TEST_F(ServiceTest, ParametersSayHowMuchIsComputed) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const auto logits = [&](const Json& parameters) {
    return values(infer(tensor_body(input, with_parameters(parameters))), "logits");
  };
  EXPECT_EQ(logits({{"threshold", 0.25}}), run(input, {.thresholds = {0.25f}}).data);
  EXPECT_EQ(logits({{"threshold", "0.25"}}), run(input, {.thresholds = {0.25f}}).data);
  EXPECT_EQ(logits({{"threshold", "-inf"}}),
            run(input, {.thresholds = {-std::numeric_limits<float>::infinity()}}).data);
  EXPECT_EQ(logits({{"dense", true}}), run(input, {.dense = true}).data);
  EXPECT_EQ(logits({{"dense", false}}), run(input).data);
  const std::vector<float> half = operating_point(small_model(), {.macs = 0.5}).thresholds;
  EXPECT_EQ(logits({{"macs", 0.5}}), run(input, {.thresholds = half}).data);
  const std::vector<float> whole = operating_point(small_model(), {.macs = 1}).thresholds;
  EXPECT_EQ(logits({{"budget_ms", 1000}}), run(input, {.thresholds = whole}).data);
  EXPECT_EQ(logits({{"priority", 3}, {"content_type", "np"}}), run(input).data);
}

TEST_F(ServiceTest, WrongParametersAreRefusedByName) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const auto refuses = [&](const Json& parameters, const std::string& field) {
    expect_refused(infer(tensor_body(input, with_parameters(parameters))), 400, field);
  };
  refuses({{"treshold", 1}}, "did you mean threshold");
  refuses({{"threshold", true}}, "parameters.threshold");
  refuses({{"threshold", "a"}}, "parameters.threshold");
  refuses({{"threshold", "nan"}}, "parameters.threshold");
  refuses({{"threshold", "1,2"}}, "parameters.threshold");
  refuses({{"macs", 1.5}}, "parameters.macs");
  refuses({{"macs", "0.5"}}, "parameters.macs");
  refuses({{"macs", 0.01}}, "parameters.macs");
  refuses({{"budget_ms", 0}}, "parameters.budget_ms");
  refuses({{"budget_ms", 1e-3}}, "parameters.budget_ms");
  refuses({{"macs", 0.5}, {"threshold", 1}}, "exclude each other");
  refuses({{"dense", true}, {"macs", 0.5}}, "parameters.dense");
  refuses({{"dense", 1}}, "parameters.dense");
  refuses({{"top_k", 0}}, "parameters.top_k");
  refuses({{"top_k", 1.5}}, "parameters.top_k");
  refuses({{"timeout", -1}}, "parameters.timeout");
  expect_refused(infer(tensor_body(input, with_parameters({{"macs", 0.5}})), "static"), 400,
                 "static network");
}

TEST_F(ServiceTest, WrongInputsAreRefusedByField) {
  const auto tensor = [&](Shape shape) { return infer(tensor_body(Tensor(std::move(shape)))); };
  expect_refused(tensor({1, 4, 64, 64}), 400, "[1, 4, 64, 64]");
  expect_refused(tensor({3, 64, 64}), 400, "[N, 3, H, W]");
  expect_refused(tensor({33, 3, 32, 32}), 400, "33 images");
  expect_refused(tensor({1, 3, 31, 64}), 400, "31 x 64 px");
  expect_refused(tensor({1, 3, 8193, 32}), 400, "8193 x 32 px");
  expect_refused(tensor({2, 3, 2048, 2048}), 400, "pixels in a request");
  Tensor nan({1, 3, 64, 64});
  nan.data[17] = std::numeric_limits<float>::quiet_NaN();
  expect_refused(infer(tensor_body(nan)), 400, "value 17");
  Tensor huge({1, 3, 64, 64}, 3e38f);
  expect_refused(infer(tensor_body(huge)), 400, "not finite");
  expect_refused(infer_json(Json::object()), 400, "inputs: 0 tensors");
  expect_refused(
      infer_json({{"inputs", {{{"name", "x"}, {"datatype", "FP32"}, {"shape", {1}}, {"data", {1}}}}}}), 400,
      "inputs[0].name");
  expect_refused(
      infer_json({{"inputs", {{{"name", "input"}, {"datatype", "INT8"}, {"shape", {1}}, {"data", {1}}}}}}),
      400, "inputs[0].datatype");
  expect_refused(infer(image_body({"no image"})), 400, "inputs[0].data[0]");
  const std::string png = png_of(noise_photo(40, 40, 1));
  expect_refused(infer(image_body({png.substr(0, png.size() / 2)})), 400, "inputs[0].data[0]");
}

TEST_F(ServiceTest, WrongOutputsAreRefusedByField) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const auto refuses = [&](const Json& outputs, const std::string& field) {
    expect_refused(infer(tensor_body(input, {{"outputs", outputs}})), 400, field);
  };
  refuses({{{"name", "logit"}}}, "did you mean logits");
  refuses({{{"name", "logits"}}, {{"name", "logits"}}}, "outputs[1].name");
  refuses({{{"name", "heat_map"}}}, "outputs[0]");
  refuses({{{"name", "rates"}, {"parameters", {{"classification", 2}}}}},
          "outputs[0].parameters.classification");
}

TEST_F(ServiceTest, ClassificationIsTritons) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const HttpResponse response = infer(
      tensor_body(input, {{"outputs", {{{"name", "logits"}, {"parameters", {{"classification", 2}}}}}}}));
  const Json output = json_of(response).at("outputs").at(0);
  EXPECT_EQ(output.at("datatype"), "BYTES");
  EXPECT_EQ(output.at("shape"), (Json{1, 2}));
  const std::vector<float> logits = run(input).data;
  const auto best = std::ranges::max_element(logits) - logits.begin();
  EXPECT_EQ(output.at("data").at(0), fmt::format("{:f}:{}:class \"{}\"", logits[best], best, best));
}

TEST_F(ServiceTest, TooLargeAPhotographIsRefusedBeforeItTakesMemory) {
  // The header of a PNG file of 20,000 x 20,000 px.
  const std::string header("\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0", 29);
  expect_refused(infer(image_body({header + std::string(64, '\0')})), 400, "inputs[0].data[0]");
}

TEST_F(ServiceTest, CountsWhatItAnswers) {
  infer(tensor_body(test::random_input(2, {64, 64}, 7)));
  infer_json(Json::object());
  const Json stats = json_of(get("/v2/models/small/stats")).at("model_stats").at(0);
  EXPECT_EQ(stats.at("inference_count"), 2);
  EXPECT_EQ(stats.at("execution_count"), 1);
  EXPECT_EQ(stats.at("inference_stats").at("success").at("count"), 1);
  EXPECT_EQ(stats.at("inference_stats").at("fail").at("count"), 1);
  const std::string metrics = get("/metrics").body;
  EXPECT_THAT(metrics, HasSubstr("lasnet_run_seconds_count{model=\"small\"} 1"));
  EXPECT_THAT(metrics, HasSubstr("lasnet_macs_ratio_count{model=\"small\"} 2"));
  EXPECT_THAT(metrics, HasSubstr("lasnet_block_rate_count{block=\"layer1.0\",model=\"small\"} 2"));
}

TEST_F(ServiceTest, AReloadReplacesTheModel) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const std::vector<float> before = values(infer(tensor_body(input, kLogits)), "logits");
  seed_ = 2;
  EXPECT_TRUE(service_.reload());
  const std::vector<float> after = values(infer(tensor_body(input, kLogits)), "logits");
  EXPECT_NE(after, before);
  EXPECT_EQ(after, run(input).data);
}

TEST_F(ServiceTest, AModelThatFailsToLoadLeavesTheOldOne) {
  const Tensor input = test::random_input(1, {64, 64}, 7);
  const std::vector<float> before = values(infer(tensor_body(input, kLogits)), "logits");
  fails_to_load_ = true;
  EXPECT_FALSE(service_.reload());
  EXPECT_EQ(values(infer(tensor_body(input, kLogits)), "logits"), before);
  EXPECT_THAT(get("/metrics").body, HasSubstr("lasnet_reloads_total{result=\"failure\"} 1"));
}

TEST_F(ServiceTest, IsNotReadyWhileItStops) {
  service_.begin_drain();
  EXPECT_EQ(get("/v2/health/ready").status, 503);
  EXPECT_EQ(get("/v2/health/live").status, 200);
}

TEST_F(ServiceTest, KeysAreAskedForWhereTheyMatter) {
  test::TemporaryDir folder;
  constexpr const char* kKey = "0123456789abcdef";
  test::write_text(folder / "keys", kKey);
  keys_ = ApiKeys::load(folder / "keys");
  service_.reload();
  for (const char* const path : {"/", "/v2/health/live", "/v2/health/ready"})
    EXPECT_EQ(get(path).status, 200) << path;
  for (const char* const path : {"/v2", "/metrics", "/v2/lasnet", "/v2/models/small", "/nothing"})
    EXPECT_EQ(get(path).status, 401) << path;
  EXPECT_EQ(
      call({.method = "GET", .path = "/v2", .headers = {{"authorization", std::string("Bearer ") + kKey}}})
          .status,
      200);
}

/// A model is served, be there a profile of its kernels or not; only budgets of time need one.
TEST(Service, Int8TakesBudgetsOfTimeWhereItsKernelsHaveAProfile) {
  const Model model = quantize(small_model(), test::random_images(3, {64, 64}, 5));
  const BinaryBody body =
      tensor_body(test::random_input(1, {64, 64}, 7), with_parameters({{"budget_ms", 1000}}));
  const auto resolved = [&](const std::shared_ptr<const ServedModel>& served) {
    return resolve(served, parse_infer_request(body.text, std::to_string(body.json_size), 1 << 20), {}, 1);
  };
  const Isa isa = available_isas().back();
  const std::vector<std::string> shipped = hardware_names();
  const std::string profile = cpu_profile_name(host_kernels(isa, Precision::int8));
  const bool is_known = std::ranges::find(shipped, profile) != shipped.end() ||
                        std::filesystem::exists(cached_profile_path(isa, Precision::int8));
  const auto served = make_served_model("q", model, {.precision = Precision::int8});
  EXPECT_EQ(served->hardware.has_value(), is_known) << profile;
  if (is_known) {
    EXPECT_NO_THROW(resolved(served)) << profile;
  } else {
    EXPECT_ERROR(resolved(served), HasSubstr("times of this session are not predicted")) << profile;
  }
}

TEST(Service, TwoModelsOfANameAreRefused) {
  const auto load = [](const ModelSource& source) {
    return make_served_model(source.name, small_model(), {});
  };
  EXPECT_ERROR(Service({{"a", "1"}, {"a", "2"}}, load, [] { return ApiKeys(); }, {}), HasSubstr("NAME=FILE"));
}

TEST(ModelSource, HasANameForUrls) {
  EXPECT_EQ(parse_model_source("dir/a.safetensors").name, "a");
  EXPECT_EQ(parse_model_source("b=dir/a.safetensors").name, "b");
  EXPECT_EQ(parse_model_source("b=dir/a=b.safetensors").path, "dir/a=b.safetensors");
  for (const char* const wrong : {"a b=x", "=x", "dir/.hidden", "a/b=x", "a="})
    EXPECT_ERROR(parse_model_source(wrong), HasSubstr("MODEL")) << wrong;
}

}  // namespace
}  // namespace lasnet::serve
