#include "exact/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <cstdlib>

namespace opweave::exact {
namespace fs = std::filesystem;

SharedLibrary::SharedLibrary(const char* environment_variable, const std::vector<fs::path>& places) {
  std::error_code ignored;
  if (const char* chosen = std::getenv(environment_variable); chosen != nullptr) {
    path_ = chosen;
  } else {
    for (const fs::path& place : places) {
      if (!fs::exists(place, ignored)) continue;
      path_ = place;
      break;
    }
  }
  if (path_.empty()) {
    unavailable_because_ =
        fmt::format("library not found: set {} to its path, or run scripts/setup", environment_variable);
    return;
  }
  handle_ = dlopen(path_.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle_ == nullptr) unavailable_because_ = fmt::format("library cannot be loaded: {}", dlerror());
}

void* SharedLibrary::symbol(const char* name) {
  if (handle_ == nullptr) return nullptr;
  void* address = dlsym(handle_, name);
  if (address == nullptr && unavailable_because_.empty()) {
    unavailable_because_ = fmt::format("library {} lacks function {}", path_.string(), name);
  }
  return address;
}

std::vector<fs::path> package_file_places(const fs::path& recorded, const fs::path& file) {
  std::vector<fs::path> places;
  if (!recorded.empty()) places.push_back(recorded);
  std::vector<fs::path> roots = {OPWEAVE_SOURCE_DIR};
  std::error_code error;
  const fs::path program = fs::read_symlink("/proc/self/exe", error);
  for (fs::path folder = program.parent_path(); !error && folder.has_relative_path(); folder = folder.parent_path()) {
    roots.push_back(folder);
  }
  for (const fs::path& root : roots) {
    const fs::path library_folder = root / ".venv" / "lib";
    for (fs::directory_iterator entry(library_folder, error), end; !error && entry != end; entry.increment(error)) {
      places.push_back(entry->path() / "site-packages" / file);
    }
    error.clear();
  }
  return places;
}

}  // namespace opweave::exact
