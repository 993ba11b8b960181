#include "exact/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

namespace opweave::exact {
namespace fs = std::filesystem;

std::optional<fs::path> library_file(const char* environment_variable, const std::vector<fs::path>& places) {
  if (const char* chosen = std::getenv(environment_variable); chosen != nullptr) return chosen;
  std::error_code ignored;
  const auto found = std::find_if(places.begin(), places.end(), [&](const auto& p) { return fs::exists(p, ignored); });
  return found == places.end() ? std::nullopt : std::optional(*found);
}

SharedLibrary::SharedLibrary(const char* environment_variable, const std::vector<fs::path>& places) {
  const std::optional<fs::path> file = library_file(environment_variable, places);
  if (!file) {
    unavailable_because_ = fmt::format(
        "library not found: set {} to its path, install the solvers beside opweave (pip install "
        "\"opweave[solvers]\"), or run scripts/setup",
        environment_variable);
    return;
  }
  path_ = *file;
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

/// Python's folders of packages below a prefix: <prefix>/lib/<python>/site-packages.
std::vector<fs::path> site_packages(const fs::path& prefix) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (fs::directory_iterator entry(prefix / "lib", error), end; !error && entry != end; entry.increment(error)) {
    if (fs::path folder = entry->path() / "site-packages"; fs::exists(folder, error)) folders.push_back(folder);
    error.clear();
  }
  return folders;
}

/// What lies there was put there by who may put programs there: it belongs to the owner of our own file or to root, and
/// not everybody may write to it.
bool is_trusted(const fs::path& folder, const fs::path& own) {
  struct stat of_folder {};
  struct stat of_own {};
  if (::stat(folder.c_str(), &of_folder) != 0 || ::stat(own.c_str(), &of_own) != 0) return false;
  return (of_folder.st_uid == 0 || of_folder.st_uid == of_own.st_uid) && (of_folder.st_mode & S_IWOTH) == 0;
}

/// The folder of packages in which our own package is installed: our file is <folder>/opweave/_core.so, or the program
/// <prefix>/bin/opweave beside it.
std::vector<fs::path> folders_of_installation(const fs::path& own) {
  const fs::path folder = own.parent_path();
  if (folder.parent_path().filename() == "site-packages") return {folder.parent_path()};
  if (folder.filename() != "bin") return {};
  std::vector<fs::path> folders = site_packages(folder.parent_path());
  std::error_code ignored;
  std::erase_if(folders, [&](const fs::path& packages) {
    return !fs::exists(packages / "opweave", ignored) || !is_trusted(packages, own);
  });
  return folders;
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
  const fs::path source = OPWEAVE_SOURCE_DIR;  // empty in what is built for other machines
  std::vector<fs::path> folders = source.empty() ? std::vector<fs::path>() : site_packages(source / ".venv");
  const std::vector<fs::path> installed = folders_of_installation(own_file());
  folders.insert(folders.end(), installed.begin(), installed.end());
  for (const fs::path& folder : folders) places.push_back(folder / file);
  return places;
}

}  // namespace opweave::exact
