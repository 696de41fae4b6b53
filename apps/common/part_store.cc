#include "part_store.h"

#include <filesystem>
#include <ostream>

#include "base/file.h"
#include "lasnet/error.h"

namespace lasnet::cli {

namespace fs = std::filesystem;

PartStore::PartStore(std::string dir, std::string key)
    : dir_((fs::path(std::move(dir)) / "data").string()), key_(std::move(key)) {
  create_directory(dir_);
}

std::string PartStore::path_of(const std::string& part) const {
  return (fs::path(dir_) / (part + ".json")).string();
}

std::optional<StoredPart> PartStore::find(const std::string& part) const {
  if (!fs::exists(path_of(part))) return std::nullopt;
  const std::vector<uint8_t> bytes = read_file(path_of(part));
  const Json document = Json::parse(bytes.begin(), bytes.end(), nullptr, false);
  const bool usable = document.is_object() && document.value("part", "") == part &&
                      document.value("key", "") == key_ && document.contains("data") &&
                      document["data"].is_object();
  if (!usable) return std::nullopt;
  return StoredPart{.seconds = document.value("seconds", 0.0), .data = document["data"]};
}

void PartStore::put(const std::string& part, const StoredPart& stored) const {
  const Json document = {{"part", part}, {"key", key_}, {"seconds", stored.seconds}, {"data", stored.data}};
  write_file_atomically(path_of(part), [&](std::ostream& out) {
    out << document.dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
  });
}

}  // namespace lasnet::cli
