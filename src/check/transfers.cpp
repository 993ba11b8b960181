#include <fmt/format.h>

#include <algorithm>

#include "check/occupation.h"
#include "check/rules.h"

namespace opweave::checking {
namespace {

/// When the value that a transfer carries is there; nothing where nothing brings it back, of which rule "modes" speaks.
std::optional<Duration> made_at(const Reading& reading, const Run& maker, const Shipment& shipment) {
  if (!shipment.again) return maker.end;
  if (reading.mode(shipment.value) == MemoryMode::kDrop) {
    const Run* again = reading.again(maker);
    return again != nullptr ? std::optional(again->end) : std::nullopt;
  }
  for (const HostCopy& copy : reading.host_copies()) {
    if (copy.value == shipment.value && !copy.is_out) return copy.end;
  }
  return std::nullopt;
}

void check_one(const Reading& reading, const Routes& routes, const Shipment& shipment, Findings& findings) {
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
    const std::optional<Duration> made = made_at(reading, *maker, shipment);
    if (made && shipment.start < *made) {
      findings.add(Rule::kTransfer, [&] {
        return fmt::format("{} starts at {} ns, but {} makes it at {} ns", describe(), shipment.start.value(),
                           reading.name(*maker), made->value());
      });
    }
  }
  const Passage* passage = routes.of(shipment);
  if (passage == nullptr) {
    findings.add(Rule::kTransfer, [&] { return fmt::format("{}: no route joins them", describe()); });
    return;
  }
  const Wide expected = passage->lasts(reading.graph().at(shipment.tensor).size);
  const Wide lasts = Wide{shipment.end.value()} - shipment.start.value();
  if (lasts != expected) {
    findings.add(Rule::kTransfer, [&] {
      return fmt::format("{} lasts from {} to {} ns, which is {} ns, expected {} ns", describe(),
                         shipment.start.value(), shipment.end.value(), lasts, expected);
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

void check_links(const Reading& reading, const Routes& routes, Findings& findings) {
  std::vector<Occupation> occupations;
  for (std::size_t i = 0; i < reading.shipments().size(); ++i) {
    const Shipment& shipment = reading.shipments()[i];
    const Passage* passage = routes.of(shipment);
    if (passage == nullptr) continue;
    for (const std::uint64_t key : passage->links) {
      occupations.push_back({key, shipment.start, shipment.end, i});
    }
  }
  find_overlaps(std::move(occupations), [&](const Occupation& earlier, const Occupation& later) {
    findings.add(Rule::kTransfer, [&] {
      const Shipment& a = reading.shipments()[earlier.user];
      const Shipment& b = reading.shipments()[later.user];
      return fmt::format("{} carries {} until {} ns, but {} starts at {} ns (contention \"link\")",
                         routes.link_name(later.resource), reading.name(a.tensor, a.copy), a.end.value(),
                         reading.name(b.tensor, b.copy), b.start.value());
    });
  });
}

}  // namespace

void check_transfers(const Reading& reading, const Routes& routes, Findings& findings) {
  for (const Shipment& shipment : reading.shipments()) check_one(reading, routes, shipment, findings);
  switch (reading.plan().settings.contention) {
    case Contention::kNone:
      break;
    case Contention::kEndpoint:
      check_endpoints(reading, findings);
      break;
    case Contention::kLink:
      check_links(reading, routes, findings);
      break;
  }
}

}  // namespace opweave::checking
