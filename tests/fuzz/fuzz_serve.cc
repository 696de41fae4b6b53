// Any bytes as a request to the server: heads and bodies are taken apart or refused, and take no more memory
// than they may.
#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>

#include "header_block.h"
#include "infer_request.h"
#include "request_error.h"

namespace {

using namespace lasnet::serve;

constexpr size_t kMaxValues = 4096;

void read_head(std::string_view text) {
  try {
    const HeaderBlock block = read_header_block(text);
    // What the HTTP library gets to see has to be read in the same way again.
    const HeaderBlock again = read_header_block(block.text);
    if (again.text != block.text || again.content_length != block.content_length ||
        again.is_chunked != block.is_chunked)
      std::abort();
  } catch (const RequestError&) {
  }
}

void read_body(std::string_view body, const std::optional<std::string>& json_length) {
  try {
    const InferRequest request = parse_infer_request(body, json_length, kMaxValues);
    size_t values = 0;
    for (const InputTensor& input : request.inputs) {
      values += input.floats.size();
      for (const std::string_view element : input.elements())
        values += element.size() > body.size() ? kMaxValues : 0;
      if (input.raw && input.raw->size() > body.size()) std::abort();
    }
    if (values > kMaxValues) std::abort();
  } catch (const RequestError&) {
  }
}

}  // namespace

/// The first byte says what the rest is: a head, a body, or the size of the JSON and a body.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  if (data[0] % 3 == 0) {
    read_head(rest);
  } else if (data[0] % 3 == 1) {
    read_body(rest, std::nullopt);
  } else {
    const size_t space = rest.find(' ');
    if (space != std::string_view::npos)
      read_body(rest.substr(space + 1), std::string(rest.substr(0, space)));
  }
  return 0;
}
