#include "platform/trust_store.hpp"

#include "platform/windows/system.hpp"

#include <wincrypt.h>

#include <cstddef>
#include <memory>
#include <string_view>
#include <type_traits>

namespace ferry::internal {

namespace {

struct CloseStore {
  void operator()(void* store) const noexcept { ::CertCloseStore(store, 0); }
};
using Store = std::unique_ptr<std::remove_pointer_t<HCERTSTORE>, CloseStore>;

// Whether it may vouch for servers: somebody may have taken that from a root, or have distrusted it
// (then it has an empty list of usages).
bool for_servers(const CERT_CONTEXT* certificate) {
  DWORD size = 0;
  if (!::CertGetEnhancedKeyUsage(certificate, 0, nullptr, &size)) return true;  // no list: all
  const std::unique_ptr<std::byte[]> room{new std::byte[size]};
  auto* const usage = reinterpret_cast<CERT_ENHKEY_USAGE*>(room.get());
  if (!::CertGetEnhancedKeyUsage(certificate, 0, usage, &size)) return true;
  if (usage->cUsageIdentifier == 0) return ::GetLastError() == DWORD(CRYPT_E_NOT_FOUND);
  for (DWORD i = 0; i < usage->cUsageIdentifier; ++i) {
    if (std::string_view{usage->rgpszUsageIdentifier[i]} == szOID_PKIX_KP_SERVER_AUTH) return true;
  }
  return false;
}

}  // namespace

std::vector<std::string> system_trust_store() {
  std::vector<std::string> roots;
  const Store store{::CertOpenSystemStoreW(0, L"ROOT")};
  if (!store) return roots;
  // Each call takes the one before back.
  const CERT_CONTEXT* certificate = nullptr;
  while ((certificate = ::CertEnumCertificatesInStore(store.get(), certificate)) != nullptr) {
    if (certificate->dwCertEncodingType != X509_ASN_ENCODING || !for_servers(certificate)) continue;
    roots.emplace_back(reinterpret_cast<const char*>(certificate->pbCertEncoded),
                       certificate->cbCertEncoded);
  }
  return roots;
}

}  // namespace ferry::internal
