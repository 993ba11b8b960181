/// Libraries that may or may not be there.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace opweave::exact {

/// A library loaded at run time; stays loaded until the process ends, because its threads may.
class SharedLibrary {
 public:
  /// Loads library_file().
  SharedLibrary(const char* environment_variable, const std::vector<std::filesystem::path>& places);

  /// Why the library cannot be used; empty if it is loaded.
  [[nodiscard]] const std::string& unavailable_because() const { return unavailable_because_; }

  /// Address of a C function. A missing one makes the library unavailable.
  template <class Function>
  [[nodiscard]] Function* function(const char* name) {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name);

  void* handle_ = nullptr;
  std::filesystem::path path_;
  std::string unavailable_because_;
};

/// The file named by the environment variable if that is set, else the first of `places` that exists.
[[nodiscard]] std::optional<std::filesystem::path> library_file(const char* environment_variable,
                                                                const std::vector<std::filesystem::path>& places);

/// Where a file of a Python package may lie: the place recorded when opweave was configured, then the `.venv` of the
/// source folder of the build, and the folder of packages where opweave's own package is installed. Nowhere else: a
/// library that is loaded may do everything.
/// \param file  below site-packages
[[nodiscard]] std::vector<std::filesystem::path> package_file_places(const std::filesystem::path& recorded,
                                                                     const std::filesystem::path& file);

}  // namespace opweave::exact
