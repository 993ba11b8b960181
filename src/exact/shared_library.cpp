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

namespace {

/// The folders <prefix>/lib/<python>/site-packages that exist.
void add_site_packages(const fs::path& prefix, std::vector<fs::path>& folders) {
  std::error_code error;
  for (fs::directory_iterator entry(prefix / "lib", error), end; !error && entry != end; entry.increment(error)) {
    if (fs::path folder = entry->path() / "site-packages"; fs::exists(folder, error)) folders.push_back(folder);
    error.clear();
  }
}

/// File that holds this code: the program, or Python's extension module.
fs::path own_file() {
  Dl_info info = {};
  if (dladdr(reinterpret_cast<const void*>(&own_file), &info) == 0 || info.dli_fname == nullptr) return {};
  std::error_code ignored;
  return fs::weakly_canonical(info.dli_fname, ignored);
}

}  // namespace

std::vector<fs::path> package_file_places(const fs::path& recorded, const fs::path& file) {
  std::vector<fs::path> places;
  if (!recorded.empty()) places.push_back(recorded);
  std::vector<fs::path> folders;
  add_site_packages(fs::path(OPWEAVE_SOURCE_DIR) / ".venv", folders);
  std::error_code error;
  // Installed into an environment of Python, as <prefix>/bin/opweave or <site-packages>/opweave/_core.so, the solvers
  // lie there too.
  for (const fs::path& start : {fs::read_symlink("/proc/self/exe", error), own_file()}) {
    for (fs::path folder = start.parent_path(); folder.has_relative_path(); folder = folder.parent_path()) {
      if (folder.filename() == "site-packages") folders.push_back(folder);
      add_site_packages(folder, folders);
      add_site_packages(folder / ".venv", folders);
    }
  }
  for (const fs::path& folder : folders) places.push_back(folder / file);
  return places;
}

}  // namespace opweave::exact
