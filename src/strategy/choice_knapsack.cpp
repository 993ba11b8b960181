#include "strategy/choice_knapsack.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

namespace opweave::strategy {
namespace {

/// Differences of times below this share of them are rounding.
constexpr double kKnapsackRounding = 1e-12;

/// Choices of an item that no other beats in time and bytes, the leanest first.
std::vector<std::uint32_t> efficient(const Choices& choices) {
  std::vector<std::uint32_t> order(choices.size());
  std::iota(order.begin(), order.end(), 0U);
  std::ranges::sort(order, [&](std::uint32_t a, std::uint32_t b) {
    if (choices[a].bytes != choices[b].bytes) return choices[a].bytes < choices[b].bytes;
    if (choices[a].time != choices[b].time) return choices[a].time < choices[b].time;
    return a < b;
  });
  std::vector<std::uint32_t> kept;
  for (const std::uint32_t i : order) {
    if (kept.empty() || choices[i].time < choices[kept.back()].time) kept.push_back(i);
  }
  return kept;
}

/// Choices that an item may still take: a range of the efficient ones.
struct Span {
  std::uint32_t first = 0;
  std::uint32_t last = 0;
};
/// From one choice of an item to a faster one that needs more bytes.
struct Step {
  std::uint32_t item = 0;
  std::uint32_t from = 0;
  std::uint32_t to = 0;
  double bytes = 0;
  double saved = 0;
};

class Search {
 public:
  Search(const std::vector<Choices>& items, double capacity) : items_(items), capacity_(capacity) {
    for (const Choices& choices : items) efficient_.push_back(efficient(choices));
  }

  Selection run(std::size_t most_nodes) {
    std::vector<Span> root(items_.size());
    for (std::size_t i = 0; i < items_.size(); ++i) root[i].last = static_cast<std::uint32_t>(efficient_[i].size()) - 1;
    std::vector<Node> open;
    look(std::move(root), open);
    for (std::size_t nodes = 1; !open.empty() && nodes < most_nodes; nodes += 2) {
      const Node node = std::move(open.back());
      open.pop_back();
      if (!is_promising(node.least)) continue;
      std::vector<Span> lean = node.spans;
      lean[node.item].last = node.from;
      std::vector<Span> fast = node.spans;
      fast[node.item].first = node.from + 1;
      look(std::move(lean), open);
      look(std::move(fast), open);
    }
    result_.least = result_.time;
    for (const Node& node : open) result_.least = std::min(result_.least, node.least);
    return std::move(result_);
  }

 private:
  struct Node {
    std::vector<Span> spans;
    double least;        ///< of the relaxation
    std::uint32_t item;  ///< that it mixes
    std::uint32_t from;  ///< the leaner of the two choices that it mixes
  };

  [[nodiscard]] const Choice& at(std::uint32_t item, std::uint32_t place) const {
    return items_[item][efficient_[item][place]];
  }
  [[nodiscard]] bool is_promising(double least) const { return least < result_.time * (1 - kKnapsackRounding); }

  /// Steps along the convex hull of what an item may take, each saving less per byte than those before.
  void add_steps(std::uint32_t item, Span span, std::vector<Step>& steps) const {
    for (std::uint32_t from = span.first; from < span.last;) {
      Step best;
      for (std::uint32_t to = from + 1; to <= span.last; ++to) {
        const Step step{item, from, to, at(item, to).bytes - at(item, from).bytes,
                        at(item, from).time - at(item, to).time};
        if (best.to == 0 || step.saved * best.bytes >= best.saved * step.bytes) best = step;
      }
      steps.push_back(best);
      from = best.to;
    }
  }

  /// Solves the relaxation of a node, keeps its rounded point, and opens the node if it may hold a better one.
  void look(std::vector<Span> spans, std::vector<Node>& open) {
    double time = 0;
    double left = capacity_;
    std::vector<Step> steps;
    std::vector<std::uint32_t> places(spans.size());
    for (std::uint32_t i = 0; i < spans.size(); ++i) {
      places[i] = spans[i].first;
      time += at(i, places[i]).time;
      left -= at(i, places[i]).bytes;
      add_steps(i, spans[i], steps);
    }
    if (left < 0) return;
    std::ranges::stable_sort(steps, [](const Step& a, const Step& b) { return a.saved * b.bytes > b.saved * a.bytes; });
    std::optional<Node> node;
    for (const Step& step : steps) {
      if (step.from != places[step.item]) continue;  // one before it had no room
      if (step.bytes <= left) {
        left -= step.bytes;
        time -= step.saved;
        places[step.item] = step.to;
      } else if (!node) {
        node = Node{std::exchange(spans, {}), time - step.saved * (left / step.bytes), step.item, step.from};
      }
    }
    keep(places);
    if (node && is_promising(node->least)) open.push_back(std::move(*node));
  }

  void keep(const std::vector<std::uint32_t>& places) {
    Choice sum;
    for (std::uint32_t i = 0; i < places.size(); ++i) {
      sum.time += at(i, places[i]).time;
      sum.bytes += at(i, places[i]).bytes;
    }
    if (sum.time >= result_.time || sum.bytes > capacity_) return;
    result_.time = sum.time;
    result_.bytes = sum.bytes;
    result_.chosen.resize(places.size());
    for (std::uint32_t i = 0; i < places.size(); ++i) result_.chosen[i] = efficient_[i][places[i]];
  }

  const std::vector<Choices>& items_;
  const double capacity_;
  std::vector<std::vector<std::uint32_t>> efficient_;
  Selection result_;
};

}  // namespace

Selection select_choices(const std::vector<Choices>& items, double capacity, std::size_t most_nodes) {
  return Search(items, capacity).run(std::max<std::size_t>(most_nodes, 1));
}

}  // namespace opweave::strategy
