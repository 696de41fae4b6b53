#include "train/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "base/file.h"

namespace lasnet {
namespace {

EVP_MD_CTX* context_of(const std::shared_ptr<void>& context) {
  return static_cast<EVP_MD_CTX*>(context.get());
}

void require_success(int code) {
  if (code != 1) fail("SHA-256: libcrypto refuses to compute it");
}

}  // namespace

Sha256::Sha256()
    : context_(EVP_MD_CTX_new(), [](void* context) { EVP_MD_CTX_free(static_cast<EVP_MD_CTX*>(context)); }) {
  require_success(EVP_DigestInit_ex(context_of(context_), EVP_sha256(), nullptr));
}

void Sha256::add(std::span<const uint8_t> bytes) {
  require_success(EVP_DigestUpdate(context_of(context_), bytes.data(), bytes.size()));
}

void Sha256::add(std::string_view text) { add({reinterpret_cast<const uint8_t*>(text.data()), text.size()}); }

std::string Sha256::hex() {
  std::array<uint8_t, EVP_MAX_MD_SIZE> bytes{};
  unsigned size = 0;
  require_success(EVP_DigestFinal_ex(context_of(context_), bytes.data(), &size));
  return fmt::format("{:02x}", fmt::join(bytes.begin(), bytes.begin() + size, ""));
}

std::string digest_of(std::string_view text) {
  Sha256 digest;
  digest.add(text);
  return digest.hex();
}

std::string digest_of_file(const std::string& path) {
  constexpr uint64_t kPiece = 1 << 20;
  const ByteSource file = ByteSource::open(path);
  Sha256 digest;
  for (uint64_t at = 0; at < file.size(); at += kPiece)
    digest.add(file.read(at, std::min(kPiece, file.size() - at)));
  return digest.hex();
}

}  // namespace lasnet
