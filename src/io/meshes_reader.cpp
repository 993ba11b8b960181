#include <fmt/format.h>

#include <algorithm>

#include "io/formats.h"
#include "io/graph_options.h"
#include "io/json_reader.h"
#include "io/message.h"

namespace opweave {
namespace {

using io::JsonValue;

constexpr std::size_t kMostPlaces = 4096;

/// All sets of `count` of the devices, in lexicographic order; nothing where they are too many.
std::optional<std::vector<std::vector<DeviceId>>> subsets(const std::vector<DeviceId>& devices, std::size_t count) {
  std::vector<std::vector<DeviceId>> result;
  std::vector<bool> is_taken(devices.size(), false);
  std::fill_n(is_taken.begin(), count, true);
  do {
    if (result.size() == kMostPlaces) return std::nullopt;
    std::vector<DeviceId>& set = result.emplace_back();
    for (std::size_t i = 0; i < devices.size(); ++i) {
      if (is_taken[i]) set.push_back(devices[i]);
    }
  } while (std::prev_permutation(is_taken.begin(), is_taken.end()));
  return result;
}

void read_mesh(const JsonValue& value, const Cluster& cluster, Meshes& meshes) {
  std::optional<JsonValue> name;
  std::optional<JsonValue> devices;
  std::optional<JsonValue> of;
  std::optional<std::int64_t> any;
  read_object(value, io::required("name", io::keep(name)), io::optional("devices", io::keep(devices)),
              io::optional("any", [&](const JsonValue& v) { any = v.integer(1); }), io::optional("of", io::keep(of)));
  if (devices.has_value() == of.has_value() || any.has_value() != of.has_value()) {
    value.fail("expected either \"devices\", or \"any\" with \"of\"");
  }
  std::vector<std::vector<DeviceId>> places;
  if (devices) {
    places = {io::read_device_set(*devices, cluster)};
  } else {
    const auto base = meshes.find(of->text());
    if (base == meshes.end() || base->second.size() != 1) {
      of->reject("the name of a mesh before it in the list that has devices");
    }
    const std::vector<DeviceId>& all = base->second.front();
    if (*any > std::ssize(all)) value.fail(fmt::format("any {} of {} devices", *any, all.size()));
    auto found = subsets(all, static_cast<std::size_t>(*any));
    if (!found) {
      value.fail(fmt::format("any {} of {} devices are more than {} sets, expected at most so many", *any, all.size(),
                             kMostPlaces));
    }
    places = std::move(*found);
  }
  if (!meshes.emplace(name->name(), std::move(places)).second) name->reject("a name that no mesh before it has");
}

}  // namespace

Meshes parse_meshes(std::string_view json, const std::string& source, const Cluster& cluster) {
  const io::JsonDocument document(json, source);
  const JsonValue root = document.root(io::kClusterFormat, io::kFormatVersion);
  Meshes meshes;
  read_object<io::OtherKeys::kIgnore>(root, io::optional("meshes", [&](const JsonValue& list) {
                                        list.each([&](const JsonValue& v) { read_mesh(v, cluster, meshes); });
                                      }));
  return meshes;
}

}  // namespace opweave
