#include <fmt/format.h>

#include <algorithm>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {
namespace {

void check_one(const Reading& reading, const Shipment& shipment, Findings& findings) {
  const auto describe = [&] {
    return fmt::format("transfer of {} from {} to {}", reading.name(shipment.tensor, shipment.copy),
                       reading.name(shipment.source), reading.name(shipment.destination));
  };
  const Run* maker = reading.maker(shipment.tensor, shipment.copy);
  if (maker != nullptr && maker->present) {
    if (!std::binary_search(maker->devices.begin(), maker->devices.end(), shipment.source)) {
      findings.add(Rule::kTransfer, [&] {
        return fmt::format("{}: {} makes it on {}", describe(), reading.name(*maker), reading.names(maker->devices));
      });
    }
    if (shipment.start < maker->end) {
      findings.add(Rule::kTransfer, [&] {
        return fmt::format("{} starts at {} ns, but {} makes it at {} ns", describe(), shipment.start.value(),
                           reading.name(*maker), maker->end.value());
      });
    }
  }
  const std::optional<Duration> expected =
      reading.cluster().transfer_time(reading.graph().at(shipment.tensor).size, shipment.source, shipment.destination);
  if (!expected) {
    findings.add(Rule::kTransfer, [&] { return fmt::format("{}: no route joins them", describe()); });
    return;
  }
  const Wide lasts = Wide{shipment.end.value()} - shipment.start.value();
  if (lasts != expected->value()) {
    findings.add(Rule::kTransfer, [&] {
      return fmt::format("{} lasts from {} to {} ns, which is {} ns, expected {} ns", describe(),
                         shipment.start.value(), shipment.end.value(), lasts, expected->value());
    });
  }
}

/// Key 2d: device d sends; 2d + 1: it receives.
void check_endpoints(const Reading& reading, Findings& findings) {
  std::vector<Occupation> occupations;
  for (std::size_t i = 0; i < reading.shipments().size(); ++i) {
    const Shipment& shipment = reading.shipments()[i];
    occupations.push_back({2 * shipment.source.index(), shipment.start, shipment.end, i});
    occupations.push_back({2 * shipment.destination.index() + 1, shipment.start, shipment.end, i});
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    findings.add(Rule::kTransfer, [&] {
      const Shipment& a = reading.shipments()[earlier.user];
      const Shipment& b = reading.shipments()[later.user];
      return fmt::format("device {} {} {} until {} ns, but {} starts at {} ns (contention \"endpoint\")",
                         reading.name(DeviceId(later.resource / 2)), later.resource % 2 == 0 ? "sends" : "receives",
                         reading.name(a.tensor, a.copy), a.end.value(), reading.name(b.tensor, b.copy),
                         b.start.value());
    });
  });
}

void check_links(const Reading& reading, Findings& findings) {
  std::vector<Occupation> occupations;
  for (std::size_t i = 0; i < reading.shipments().size(); ++i) {
    const Shipment& shipment = reading.shipments()[i];
    for (const std::uint64_t key : links_on_route(reading.cluster(), shipment.source, shipment.destination)) {
      occupations.push_back({key, shipment.start, shipment.end, i});
    }
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    findings.add(Rule::kTransfer, [&] {
      const Shipment& a = reading.shipments()[earlier.user];
      const Shipment& b = reading.shipments()[later.user];
      return fmt::format("{} carries {} until {} ns, but {} starts at {} ns (contention \"link\")",
                         link_name(reading.cluster(), later.resource), reading.name(a.tensor, a.copy), a.end.value(),
                         reading.name(b.tensor, b.copy), b.start.value());
    });
  });
}

}  // namespace

std::vector<std::uint64_t> links_on_route(const Cluster& cluster, DeviceId from, DeviceId to) {
  const std::optional<Route> route = cluster.route(from, to);
  if (!route) return {};
  const std::uint64_t first_pair = 2 * cluster.links().size();
  if (route->hops.empty()) return {first_pair + from.index() * cluster.device_count() + to.index()};
  std::vector<std::uint64_t> keys;
  for (const Hop& hop : route->hops) {
    const bool backward = cluster.links()[hop.link.index()].full_duplex && !hop.forward;
    keys.push_back(2 * hop.link.index() + (backward ? 1 : 0));
  }
  return keys;
}

std::string link_name(const Cluster& cluster, std::uint64_t key) {
  const std::uint64_t first_pair = 2 * cluster.links().size();
  if (key < first_pair) return fmt::format("link \"{}\"", cluster.links()[key / 2].name);
  const std::uint64_t pair = key - first_pair;
  return fmt::format("default link from \"{}\" to \"{}\"", cluster.devices()[pair / cluster.device_count()].name,
                     cluster.devices()[pair % cluster.device_count()].name);
}

void check_transfers(const Reading& reading, Findings& findings) {
  for (const Shipment& shipment : reading.shipments()) check_one(reading, shipment, findings);
  switch (reading.plan().settings.contention) {
    case Contention::kNone:
      break;
    case Contention::kEndpoint:
      check_endpoints(reading, findings);
      break;
    case Contention::kLink:
      check_links(reading, findings);
      break;
  }
}

}  // namespace opweave::checking
