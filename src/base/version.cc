#include "lasnet/version.h"

namespace lasnet {

const char* version() { return LASNET_VERSION; }

}  // namespace lasnet
