// The allocator's settings during training.
#pragma once

namespace lasnet {

/// While it lives, glibc keeps freed blocks. By default it maps each large tensor afresh and unmaps it again,
/// and the page faults cost a CPU training step a third of its time. Process-wide; at the end the defaults
/// come back and the free memory is returned. No effect with other C libraries.
class KeepFreedMemory {
 public:
  KeepFreedMemory();
  ~KeepFreedMemory();
  KeepFreedMemory(const KeepFreedMemory&) = delete;
  KeepFreedMemory& operator=(const KeepFreedMemory&) = delete;
};

}  // namespace lasnet
