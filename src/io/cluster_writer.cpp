#include "io/formats.h"
#include "io/json_writer.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using io::JsonWriter;
using Layout = io::JsonWriter::Layout;

void write_type(JsonWriter& json, const DeviceType& type) {
  json.open_object(Layout::kLine);
  json.member("name", type.name);
  if (!type.peak_flops_per_s.empty()) {
    json.key("peak_flops_per_s");
    json.open_object(Layout::kLine);
    for (const auto& [dtype, rate] : type.peak_flops_per_s) json.member(dtype, rate);
    json.close_object();
  }
  if (type.memory_bandwidth_bytes_per_s) {
    json.member("memory_bandwidth_bytes_per_s", *type.memory_bandwidth_bytes_per_s);
  }
  if (type.host_link) {
    json.key("host_link");
    json.open_object(Layout::kLine);
    if (type.host_link->latency != Duration()) json.member("latency_ns", type.host_link->latency.value());
    if (type.host_link->bandwidth_bytes_per_s) {
      json.member("bandwidth_bytes_per_s", *type.host_link->bandwidth_bytes_per_s);
    }
    json.close_object();
  }
  json.close_object();
}

void write_device(JsonWriter& json, const Device& device) {
  const Device defaults;
  json.open_object(Layout::kLine);
  json.member("name", device.name);
  if (!device.type.empty()) json.member("type", device.type);
  if (device.memory) json.member("memory_bytes", device.memory->value());
  if (device.streams != defaults.streams) json.list("streams", device.streams);
  if (device.host_memory) json.member("host_memory_bytes", device.host_memory->value());
  json.close_object();
}

/// Latency, bandwidth and duplex: what a link has without its name and ends.
void write_channel(JsonWriter& json, const Link& link) {
  if (link.latency != Duration()) json.member("latency_ns", link.latency.value());
  if (link.bandwidth_bytes_per_s) json.member("bandwidth_bytes_per_s", *link.bandwidth_bytes_per_s);
  if (!link.full_duplex) json.member("full_duplex", false);
}

void write_link(JsonWriter& json, const Link& link) {
  json.open_object(Layout::kLine);
  json.member("name", link.name);
  json.member("a", link.a);
  json.member("b", link.b);
  write_channel(json, link);
  json.close_object();
}

template <class Item>
void write_each(JsonWriter& json, std::string_view key, const std::vector<Item>& items,
                void (*write)(JsonWriter&, const Item&)) {
  if (items.empty()) return;
  json.key(key);
  json.open_array(Layout::kBlock);
  for (const Item& item : items) write(json, item);
  json.close_array();
}

}  // namespace

std::string cluster_to_json(const Cluster& cluster) {
  const ClusterParts& parts = cluster.parts();
  JsonWriter json;
  json.open_object(Layout::kBlock);
  json.member("format", io::kClusterFormat);
  json.member("version", io::kFormatVersion);
  if (!parts.name.empty()) json.member("name", parts.name);
  if (parts.contention != Contention::kNone) json.member("contention", to_string(parts.contention));
  write_each(json, "device_types", parts.types, write_type);
  write_each(json, "devices", parts.devices, write_device);
  if (!parts.switches.empty()) json.list("switches", parts.switches);
  write_each(json, "links", parts.links, write_link);
  if (parts.default_link) {
    json.key("default_link");
    json.open_object(Layout::kLine);
    write_channel(json, *parts.default_link);
    json.close_object();
  }
  json.close_object();
  return std::move(json).finish();
}

}  // namespace opweave
