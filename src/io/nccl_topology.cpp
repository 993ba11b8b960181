// The XML that NCCL writes with NCCL_TOPO_DUMP_FILE: processors, PCIe switches below them, GPUs with their NVLinks.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>

#include "io/json_syntax.h"
#include "io/message.h"
#include "io/topology_links.h"
#include "io/topology_parts.h"
#include "io/xml_reader.h"

namespace opweave::io {
namespace {

// Classes of PCI devices, as NCCL compares them.
constexpr std::string_view kClassNvswitch = "0x068000";
constexpr std::string_view kClassProcessor = "0x068001";

class NcclReader {
 public:
  NcclReader(std::string_view text, const std::string& source, const TopologyOptions& options)
      : text_(text), source_(source), options_(options), parts_("NCCL topology") {}

  Cluster read() {
    const XmlElement root = parse_xml(text_, source_);
    if (root.name != "system") fail(root, "root element is <" + root.name + ">, expected <system>");
    collect_gpus(root);
    if (gpus_.empty()) fail(root, "no <gpu>, expected at least one");
    for (const Gpu& gpu : gpus_) parts_.add_device(gpu.name, gpu.sm == 0 ? "" : fmt::format("sm{}", gpu.sm), options_);
    std::vector<const XmlElement*> processors;
    for (const XmlElement& child : root.children) {
      if (child.name == "cpu") processors.push_back(&child);
    }
    for (std::size_t i = 0; i < processors.size(); ++i) {
      const std::string name = fmt::format("cpu{}", i);
      parts_.add_switch(name);
      for (const XmlElement& child : processors[i]->children) add_below(child, name, name);
    }
    join_processors(processors);
    add_nvlinks();
    return parts_.cluster(source_);
  }

 private:
  struct Gpu {
    std::string name;
    std::string bus;
    std::int64_t sm = 0;
    const XmlElement* element = nullptr;
    std::string processor;  ///< above it
  };

  [[noreturn]] void fail(const XmlElement& element, const std::string& message) const {
    throw error_in(source_, line_and_column(text_, element.offset) + ": " + printable(message));
  }

  /// 0x... is hexadecimal, as people write it. At most a million, so that products stay in range.
  std::optional<std::int64_t> integer(const XmlElement& element, std::string_view attribute, std::int64_t least) const {
    const std::string* value = element.find(attribute);
    if (value == nullptr) return std::nullopt;
    constexpr std::int64_t kMost = 1'000'000;
    const bool is_hexadecimal = value->starts_with("0x");
    const char* const last = value->data() + value->size();
    std::int64_t number = 0;
    const auto [end, error] =
        std::from_chars(value->data() + (is_hexadecimal ? 2 : 0), last, number, is_hexadecimal ? 16 : 10);
    if (error != std::errc{} || end != last || number < least || number > kMost) {
      fail(element, fmt::format("<{}>: {} is {}, expected an integer of {} to {}", element.name, attribute,
                                text_in_quotes(*value), least, kMost));
    }
    return number;
  }
  std::int64_t required(const XmlElement& element, std::string_view attribute, std::int64_t least) const {
    const auto value = integer(element, attribute, least);
    if (!value) fail(element, fmt::format("<{}>: attribute {} is missing", element.name, attribute));
    return *value;
  }
  std::string bus_of(const XmlElement& element, std::string_view attribute) const {
    const std::string* value = element.find(attribute);
    if (value == nullptr) fail(element, fmt::format("<{}>: attribute {} is missing", element.name, attribute));
    std::string bus = *value;
    const auto lower = [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c - 'A' + 'a') : c; };
    std::ranges::transform(bus, bus.begin(), lower);
    return bus;
  }

  void collect_gpus(const XmlElement& element, const std::string& bus = {}) {
    for (const XmlElement& child : element.children) {
      if (child.name == "gpu") {
        gpus_.push_back({"", bus, integer(child, "sm", 1).value_or(0), &child, ""});
      } else {
        collect_gpus(child, child.name == "pci" ? bus_of(child, "busid") : bus);
      }
    }
    if (element.name != "system") return;
    // Devices are named by their number in the machine; in a file of several machines, by their rank.
    std::map<std::int64_t, const XmlElement*> numbers;
    const auto name_by = [&](std::string_view attribute) {
      numbers.clear();
      for (Gpu& gpu : gpus_) {
        const std::int64_t number = required(*gpu.element, attribute, 0);
        gpu.name = fmt::format("gpu{}", number);
        if (!numbers.emplace(number, gpu.element).second) return false;
      }
      return true;
    };
    if (!name_by("dev") && !name_by("rank")) {
      fail(*gpus_.back().element,
           fmt::format("two GPUs are \"{}\", expected different numbers dev or rank", gpus_.back().name));
    }
    std::ranges::sort(gpus_, {}, [&](const Gpu& gpu) { return std::pair(gpu.name.size(), gpu.name); });
  }

  Gpu* find_gpu(const XmlElement& element) {
    const auto found = std::ranges::find_if(gpus_, [&](const Gpu& gpu) { return gpu.element == &element; });
    return found == gpus_.end() ? nullptr : &*found;
  }
  static bool holds_gpu(const XmlElement& element) {
    return element.name == "gpu" || std::ranges::any_of(element.children, holds_gpu);
  }

  /// A GPU, or a PCIe switch with GPUs below it, and its link to what is above it.
  void add_below(const XmlElement& element, const std::string& above, const std::string& processor) {
    if (element.name == "gpu") {  // by hand: without the slot
      return join_gpu(*find_gpu(element), above, processor, options_.pcie_bytes_per_s.value_or(kPcieGeneration4));
    }
    if (element.name != "pci" || !holds_gpu(element)) return;  // adapters and what else there is
    const std::int64_t speed = options_.pcie_bytes_per_s.value_or(pcie_speed(element));
    for (const XmlElement& child : element.children) {
      if (child.name == "gpu") return join_gpu(*find_gpu(child), above, processor, speed);
    }
    const std::string name = "pci " + bus_of(element, "busid");
    parts_.add_switch(name);
    parts_.add_link(name, above, kPcieLatency, speed);
    for (const XmlElement& child : element.children) add_below(child, name, processor);
  }

  void join_gpu(Gpu& gpu, const std::string& above, const std::string& processor, std::int64_t speed) {
    gpu.processor = processor;
    parts_.add_link(gpu.name, above, kPcieLatency, speed);
  }

  /// "16.0 GT/s PCIe" and 16 lanes; a virtual machine says nothing or 0, which NCCL takes for 16 lanes of 8 GT/s.
  std::int64_t pcie_speed(const XmlElement& element) const {
    std::int64_t lanes = integer(element, "link_width", 0).value_or(0);
    if (lanes == 0) lanes = 16;
    constexpr double kUnknown = 8;
    double transfers = kUnknown;
    if (const std::string* speed = element.find("link_speed")) {
      const auto [end, error] = std::from_chars(speed->data(), speed->data() + speed->size(), transfers);
      if (error != std::errc{} || !std::isfinite(transfers) || transfers <= 0 || transfers > 1000) transfers = kUnknown;
    }
    return std::llround(static_cast<double>(lanes) * transfers * kPcieBytesPerLaneAndTransfer);
  }

  void join_processors(const std::vector<const XmlElement*>& processors) {
    for (std::size_t i = 0; i < processors.size(); ++i) {
      for (std::size_t j = i + 1; j < processors.size(); ++j) {
        const std::string* host = processors[i]->find("host_hash");
        const std::string* other = processors[j]->find("host_hash");
        if (host != nullptr && other != nullptr && *host != *other) continue;
        parts_.add_link(fmt::format("cpu{}", i), fmt::format("cpu{}", j), kPcieLatency,
                        options_.socket_bytes_per_s.value_or(socket_speed(*processors[i])));
      }
    }
  }

  std::int64_t socket_speed(const XmlElement& processor) const {
    const auto is = [&](std::string_view attribute, std::string_view value) {
      const std::string* found = processor.find(attribute);
      return found != nullptr && *found == value;
    };
    if (is("arch", "arm64") || is("arch", "aarch64")) return kSocketArm;
    if (is("arch", "ppc64")) return kSocketPower9;
    if (is("vendor", "AuthenticAMD")) return kSocketAmd;
    constexpr std::int64_t kSkylake = 0x55;
    constexpr std::int64_t kSapphireRapids = 0x8F;
    constexpr std::int64_t kEmeraldRapids = 0xCF;
    const std::int64_t model = integer(processor, "modelid", 0).value_or(0);
    return model >= kEmeraldRapids    ? kSocketEmeraldRapids
           : model >= kSapphireRapids ? kSocketSapphireRapids
           : model >= kSkylake        ? kSocketSkylake
                                      : kSocketBroadwell;
  }

  [[nodiscard]] std::int64_t nvlink_speed(const Gpu& gpu) const {
    if (options_.nvlink_bytes_per_s) return *options_.nvlink_bytes_per_s;
    if (gpu.sm >= 100) return kNvlinkSm100;
    if (gpu.sm >= 90) return kNvlinkSm90;
    if (gpu.sm == 86 || gpu.sm == 89) return kNvlinkSm86;
    return gpu.sm >= 70 ? kNvlinkSm80 : kNvlinkSm60;
  }

  /// NVLinks to switches (one switch stands for all of them, as in NCCL), to processors, and between GPUs, whose two
  /// ends are one link.
  void add_nvlinks() {
    std::map<std::string, std::int64_t> to_switch;                       // links by GPU
    std::map<std::pair<std::string, std::string>, std::int64_t> direct;  // bytes per second by pair
    for (const Gpu& gpu : gpus_) {
      for (const XmlElement& link : gpu.element->children) {
        if (link.name == "c2c") {
          // Megabytes per second of each of `count` links to the processor.
          constexpr std::int64_t kMega = 1'000'000;
          parts_.add_link(gpu.name, gpu.processor, kNvlinkLatency,
                          required(link, "bw", 1) * required(link, "count", 1) * kMega, "c2c");
          continue;
        }
        if (link.name != "nvlink") continue;
        const std::int64_t count = required(link, "count", 1);
        const std::string* kind = link.find("tclass");
        if (kind != nullptr && kind->starts_with(kClassNvswitch)) {
          to_switch[gpu.name] += count;
        } else if (kind != nullptr && kind->starts_with(kClassProcessor)) {
          parts_.add_link(gpu.name, gpu.processor, kNvlinkLatency, count * nvlink_speed(gpu), "nvlink");
        } else {
          const std::string target = bus_of(link, "target");
          const auto peer = std::ranges::find_if(gpus_, [&](const Gpu& other) { return other.bus == target; });
          if (peer == gpus_.end()) continue;  // hidden from the process that wrote the file
          const auto pair = std::minmax(gpu.name, peer->name);
          direct.emplace(std::pair(pair.first, pair.second), count * nvlink_speed(gpu));
        }
      }
    }
    for (const auto& [pair, speed] : direct) parts_.add_link(pair.first, pair.second, kNvlinkLatency, speed);
    if (to_switch.empty()) return;
    parts_.add_switch("nvswitch");
    for (const Gpu& gpu : gpus_) {
      const auto links = to_switch.find(gpu.name);
      if (links == to_switch.end()) continue;
      parts_.add_link(gpu.name, "nvswitch", kNvswitchPortLatency, links->second * nvlink_speed(gpu));
    }
  }

  std::string_view text_;
  const std::string& source_;
  const TopologyOptions& options_;
  TopologyParts parts_;
  std::vector<Gpu> gpus_;
};

}  // namespace

Cluster parse_nccl_topology(std::string_view text, const std::string& source, const TopologyOptions& options) {
  return NcclReader(text, source, options).read();
}

}  // namespace opweave::io
