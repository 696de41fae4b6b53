// The opcodes of Python's pickle format, protocols 0 to 5 (CPython's Lib/pickle.py).
#pragma once

#include <cstdint>
#include <string>

namespace lasnet {

/// pickletools' name, "INST" for 'i', or "0x07" for a byte that is no opcode.
std::string opcode_name(uint8_t byte);

}  // namespace lasnet
