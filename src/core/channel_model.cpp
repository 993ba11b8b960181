#include "opweave/channel_model.h"

#include "opweave/error.h"

namespace opweave {
namespace {

std::string_view name(ChannelQueue queue) {
  switch (queue) {
    case ChannelQueue::kNone:
      return "free";
    case ChannelQueue::kRank:
      return "rank";
    case ChannelQueue::kPair:
      return "pair";
    case ChannelQueue::kDirection:
      return "direction";
  }
  throw InternalError("unknown queue of messages");
}

}  // namespace

std::string to_string(ChannelModel model) {
  if (model.queue == ChannelQueue::kNone) return std::string(name(model.queue));
  return (model.rendezvous ? "rendezvous-" : "buffered-") + std::string(name(model.queue));
}

std::optional<ChannelModel> channel_model_from_string(std::string_view text) {
  if (text == "free") return ChannelModel{};
  if (text == "in-order") return kInOrder;
  for (const ChannelModel model : kChannelModels) {
    if (to_string(model) == text) return model;
  }
  return std::nullopt;
}

}  // namespace opweave
