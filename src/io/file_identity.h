/// Which file a name leads to.
#pragma once

#include <filesystem>

namespace opweave::io {

/// What a path of symbolic links ends at, which need not exist yet; a path that is no link, itself. Links in a circle
/// stay what they are.
[[nodiscard]] std::filesystem::path behind_links(const std::filesystem::path& path);

/// Both names lead to one regular file, or to the one place where a file would be created.
[[nodiscard]] bool same_file(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace opweave::io
