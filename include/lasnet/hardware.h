// Hardware as data: what the latency models need to know of a processor. Profiles are TOML files with units
// in their keys. Those under hardware/ are part of the library and are found by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lasnet/export.h"
#include "lasnet/precision.h"

namespace lasnet {

/// What a profile describes. `gpu`: any GPU, by the paper's model. `cpu`, `cuda`: this library's kernels on a
/// CPU, or on a GPU.
enum class HardwareKind { gpu, cpu, cuda };
/// Its name, as in files.
LASNET_EXPORT std::string to_string(HardwareKind kind);

/// What the latency models compute with: lanes and bandwidths of a GPU, or what this library's kernels take.
struct HardwareFacts;

/// What is known of a processor. A value: copies share the facts, which never change.
struct LASNET_EXPORT HardwareProfile {
  std::string name;                            ///< by which load_hardware finds it
  std::string description;                     ///< for people, e.g. "NVIDIA GeForce RTX 3060"
  std::string source;                          ///< of the numbers: published, data sheet or measured
  std::shared_ptr<const HardwareFacts> facts;  ///< set by the functions below

  /// What it describes. Throws Error if there are no facts.
  HardwareKind kind() const;
  /// Images per run unless asked otherwise: of a server GPU what published figures are for, else 1.
  int64_t usual_batch() const;
  /// What is predicted unless asked otherwise: of CPU kernels what they compute in, fp32 or int8; else fp32.
  Precision usual_precision() const;
};

/// Names of the profiles that are part of the library.
LASNET_EXPORT std::vector<std::string> hardware_names();

/// The profile of this name, or else read from the file of this path. Throws Error as parse_hardware does,
/// and if there is neither, suggesting the nearest name.
LASNET_EXPORT HardwareProfile load_hardware(const std::string& name_or_path);

/// What is known of this machine's CPU, for its fastest kernels in fp32 or int8. That is the profile that
/// `lasnet calibrate` left, named by its file, else the shipped one. Files that cannot be read are passed
/// over. Throws Error where none is shipped.
LASNET_EXPORT HardwareProfile host_hardware(Precision precision = Precision::fp32);

/// Reads a profile. Throws Error on a key that is missing, unknown, of a wrong type or out of range. The
/// message names `origin`, line and key, and suggests the nearest key for an unknown one.
LASNET_EXPORT HardwareProfile parse_hardware(std::string_view toml, const std::string& origin);

/// The profile as a TOML file that parse_hardware reads back.
LASNET_EXPORT std::string hardware_to_toml(const HardwareProfile& profile);

}  // namespace lasnet
