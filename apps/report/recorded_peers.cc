#include "recorded_peers.h"

#include <fmt/format.h>

#include <cmath>
#include <filesystem>

#include "base/fail.h"
#include "base/file.h"

namespace lasnet::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kScript = "bench/peers/compare.py --json";

double positive(const Json& object, const char* key) {
  const double value = object.at(key).get<double>();
  if (!std::isfinite(value) || value <= 0) fail("`{}` is {}; expected a number above 0", key, value);
  return value;
}

Json network_of(const std::string& name, const Json& entry) {
  const Json& slower = entry.at("sparse_speedup");
  return {{"name", name},
          {"min_ms", positive(entry, "min_ms")},
          {"median_ms", positive(entry, "median_ms")},
          {"slower",
           {{"q1", positive(slower, "q1")},
            {"median", positive(slower, "median")},
            {"q3", positive(slower, "q3")}}}};
}

/// Throws where a value is missing, of another type or impossible.
Json comparison_of(const Json& json, const std::string& model) {
  const auto network = json.at("network").get<std::string>();
  if (fs::path(network).filename() != fs::path(model).filename())
    fail("it compares {}; expected {}, the model of this report", network, model);
  Json networks = Json::array();
  for (const Json& peer : json.at("peers")) {
    networks.push_back(network_of(fmt::format("{} {}, dense", peer.at("name").get<std::string>(),
                                              peer.at("version").get<std::string>()),
                                  peer));
  }
  networks.push_back(network_of("lasnet, dense", json.at("dense")));
  networks.push_back(network_of("lasnet, sparse", json.at("sparse")));
  return {{"date", json.at("date").get<std::string>()},
          {"processor", json.at("processor").get<std::string>()},
          {"threads", json.at("threads").get<int>()},
          {"batch", json.at("batch").get<int64_t>()},
          {"precision", json.at("precision").get<std::string>()},
          {"macs_ratio", positive(json, "macs_ratio")},
          {"rounds", json.at("rounds").get<int>()},
          {"networks", networks}};
}

}  // namespace

Json read_peers(const std::string& path, const std::string& model) {
  constexpr uint64_t kMostBytes = 1 << 20;
  const std::vector<uint8_t> bytes = read_file(path, kMostBytes);
  try {
    Json comparison = comparison_of(Json::parse(bytes), model);
    comparison["file"] = fs::path(path).filename().string();
    return comparison;
  } catch (const Json::exception& error) {
    fail("{}: not what {} writes: {}", path, kScript, error.what());
  } catch (const Error& error) {
    fail("{}: {}", path, error.what());
  }
}

}  // namespace lasnet::cli
