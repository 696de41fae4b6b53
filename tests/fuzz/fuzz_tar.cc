// Any bytes either are an archive whose members lie inside it, one behind the other, or throw Error.
#include <cstdlib>

#include "formats/tar.h"
#include "lasnet/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    lasnet::TarReader reader(lasnet::ByteSource::memory({data, size}, "fuzz"));
    uint64_t end = 0;
    while (const auto member = reader.next()) {
      if (member->offset < end + 512 || member->size > size - member->offset) std::abort();
      end = member->offset + member->size;
    }
  } catch (const lasnet::Error&) {
  }
  return 0;
}
