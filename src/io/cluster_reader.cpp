#include <fmt/format.h>

#include "io/formats.h"
#include "io/json_reader.h"
#include "io/message.h"
#include "io/settings_json.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonValue;
using io::NameIndex;
using io::optional;
using io::required;

class ClusterReader {
 public:
  Cluster read(const JsonValue& root) {
    std::optional<JsonValue> types;
    std::optional<JsonValue> devices;
    std::optional<JsonValue> switches;
    std::optional<JsonValue> links;
    read_object(root, required("format", [](const JsonValue&) {}), required("version", [](const JsonValue&) {}),
                optional("name", io::text_into(parts_.name)),
                optional("contention", [&](const JsonValue& v) { parts_.contention = io::read_contention(v); }),
                optional("device_types", io::keep(types)), required("devices", io::keep(devices)),
                optional("switches", io::keep(switches)), optional("links", io::keep(links)),
                optional("default_link", [&](const JsonValue& v) { parts_.default_link = read_link<false>(v); }),
                optional("meshes", [](const JsonValue& v) { (void)v.array(); }));  // parse_meshes
    if (types) types->each([&](const JsonValue& value) { read_type(value); });
    parts_.devices.reserve(devices->count());
    devices->each([&](const JsonValue& value) { read_device(value); });
    if (switches) switches->each([&](const JsonValue& value) { read_switch(value); });
    if (links) links->each([&](const JsonValue& value) { parts_.links.push_back(read_link<true>(value)); });
    return io::naming_source(root.source(), [&] { return Cluster::create(std::move(parts_)); });
  }

 private:
  void read_type(const JsonValue& value) {
    DeviceType& type = parts_.types.emplace_back();
    read_object(value, required("name", type_names_.add_into(type.name, "device type")),
                optional("peak_flops_per_s",
                         [&](const JsonValue& rates) {
                           rates.each_member([&](std::string_view dtype, const JsonValue& rate) {
                             type.peak_flops_per_s.emplace(dtype, rate.positive_number());
                           });
                         }),
                optional("memory_bandwidth_bytes_per_s",
                         [&](const JsonValue& v) { type.memory_bandwidth_bytes_per_s = v.positive_number(); }),
                optional("host_link", [&](const JsonValue& v) { type.host_link = read_host_link(v); }));
  }

  static HostLink read_host_link(const JsonValue& value) {
    HostLink link;
    read_object(
        value, optional("latency_ns", io::amount_into(link.latency)),
        optional("bandwidth_bytes_per_s", [&](const JsonValue& v) { link.bandwidth_bytes_per_s = v.integer(1); }));
    return link;
  }

  void read_device(const JsonValue& value) {
    Device& device = parts_.devices.emplace_back();
    read_object(value, required("name", vertex_names_.add_into(device.name, "device")),
                optional("type",
                         [&](const JsonValue& v) {
                           (void)type_names_.resolve(v, "a device type of the cluster");
                           device.type = v.text();
                         }),
                optional("memory_bytes", [&](const JsonValue& v) { device.memory = Bytes(v.integer()); }),
                optional("streams", io::names_into(device.streams)),
                optional("host_memory_bytes", [&](const JsonValue& v) { device.host_memory = Bytes(v.integer()); }));
  }

  void read_switch(const JsonValue& value) {
    vertex_names_.add(value, "switch");
    parts_.switches.emplace_back(value.text());
  }

  /// A link with its name and ends, or the default link, which has neither.
  template <bool is_named>
  Link read_link(const JsonValue& value) {
    Link link;
    const auto end_into = [&](std::string& end) {
      return [&](const JsonValue& v) {
        (void)vertex_names_.resolve(v, "a device or switch of the cluster");
        end = v.text();
      };
    };
    const auto latency = optional("latency_ns", io::amount_into(link.latency));
    const auto bandwidth =
        optional("bandwidth_bytes_per_s", [&](const JsonValue& v) { link.bandwidth_bytes_per_s = v.integer(1); });
    const auto duplex = optional("full_duplex", [&](const JsonValue& v) { link.full_duplex = v.boolean(); });
    if constexpr (is_named) {
      read_object(value, required("name", link_names_.add_into(link.name, "link")), required("a", end_into(link.a)),
                  required("b", end_into(link.b)), latency, bandwidth, duplex);
    } else {
      read_object(value, latency, bandwidth, duplex);
    }
    return link;
  }

  ClusterParts parts_;
  NameIndex type_names_;
  NameIndex vertex_names_;
  NameIndex link_names_;
};

}  // namespace

Cluster parse_cluster(std::string_view json, const std::string& source) {
  const io::JsonDocument document(json, source);
  return ClusterReader().read(document.root(io::kClusterFormat, io::kFormatVersion));
}

}  // namespace opweave
