#include "partition/best_set.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/infinity.h"

namespace opweave::partition {
namespace {

/// Loads are sums of rounded decimals: below the limit is what is below by more than this share.
constexpr double kLoadTolerance = 1e-11;
constexpr std::uint32_t kNobody = std::numeric_limits<std::uint32_t>::max();

// Of an open net: pins so far all in the set, all out of it, or both.
constexpr std::uint64_t kIn = 1;
constexpr std::uint64_t kOut = 2;

}  // namespace

BestSet::BestSet(const CutModel& model, std::size_t kind, double limit)
    : model_(model), kind_(model.kinds[kind]), limit_(limit * (1 - kLoadTolerance)), nets_of_(model.vertex_count()) {
  if (kind_.pays_transfers) nets_of_ = model.nets_of_vertices();
  choose_order();
  lay_out_slots();
}

/// Greedily the vertex that leaves the fewest nets open, the last opened first among equals. Tried from several
/// vertices.
void BestSet::choose_order() {
  const std::size_t count = model_.vertex_count();
  double best = kInfinity;
  const std::size_t tries = std::min<std::size_t>(count, 12);
  for (std::size_t t = 0; t < tries; ++t) {
    std::vector<std::size_t> seen(model_.nets.size());
    std::vector<std::size_t> touched(count);
    std::vector<std::uint8_t> is_done(count);
    std::vector<Vertex> order;
    std::ptrdiff_t open = 0;
    double width = 0;
    const auto growth = [&](Vertex vertex) {
      std::ptrdiff_t sum = 0;
      for (const std::uint32_t n : nets_of_[vertex]) {
        if (seen[n] == 0) ++sum;
        if (seen[n] + 1 == model_.nets[n].pins.size()) --sum;
      }
      return sum;
    };
    auto next = static_cast<Vertex>(t * count / tries);
    while (order.size() < count) {
      open += growth(next);
      is_done[next] = 1;
      order.push_back(next);
      for (const std::uint32_t n : nets_of_[next]) {
        ++seen[n];
        for (const Vertex other : model_.nets[n].pins) touched[other] = order.size();
      }
      width += std::pow(2.0, std::min<double>(static_cast<double>(open), 60));
      std::ptrdiff_t least = std::numeric_limits<std::ptrdiff_t>::max();
      std::size_t latest = 0;
      for (Vertex vertex = 0; vertex < count; ++vertex) {
        if (is_done[vertex] != 0) continue;
        const std::ptrdiff_t g = growth(vertex);
        if (g < least || (g == least && touched[vertex] > latest)) {
          least = g;
          latest = touched[vertex];
          next = vertex;
        }
      }
    }
    if (width < best) {
      best = width;
      order_ = std::move(order);
    }
  }
}

void BestSet::lay_out_slots() {
  std::vector<std::size_t> position(order_.size());
  for (std::size_t p = 0; p < order_.size(); ++p) position[order_[p]] = p;
  struct Span {
    std::size_t first;
    std::size_t last;
    std::uint32_t net;
  };
  std::vector<Span> spans;
  if (kind_.pays_transfers) {
    for (std::uint32_t n = 0; n < model_.nets.size(); ++n) {
      Span span{order_.size(), 0, n};
      for (const Vertex vertex : model_.nets[n].pins) {
        span.first = std::min(span.first, position[vertex]);
        span.last = std::max(span.last, position[vertex]);
      }
      spans.push_back(span);
    }
  }
  // The dearest nets first: each takes a slot that is free from its first to its last pin.
  std::stable_sort(spans.begin(), spans.end(),
                   [&](const Span& a, const Span& b) { return model_.nets[a.net].cost > model_.nets[b.net].cost; });
  std::vector<std::vector<std::uint8_t>> taken(kMostOpen, std::vector<std::uint8_t>(order_.size()));
  visits_.resize(order_.size());
  for (const Span& span : spans) {
    for (std::uint32_t slot = 0; slot < kMostOpen; ++slot) {
      const auto begin = taken[slot].begin() + static_cast<std::ptrdiff_t>(span.first);
      const auto end = taken[slot].begin() + static_cast<std::ptrdiff_t>(span.last) + 1;
      if (std::any_of(begin, end, [](std::uint8_t t) { return t != 0; })) continue;
      std::fill(begin, end, std::uint8_t{1});
      const Net& net = model_.nets[span.net];
      for (const Vertex vertex : net.pins) {
        visits_[position[vertex]].push_back({slot, net.cost, position[vertex] == span.last});
      }
      break;
    }
  }
}

void BestSet::rank(const std::vector<double>& price) {
  std::vector<std::size_t> positions;
  for (std::size_t p = 0; p < order_.size(); ++p) {
    if (price[order_[p]] > 0 && kind_.work[order_[p]] < kInfinity) positions.push_back(p);
  }
  std::sort(positions.begin(), positions.end(), [&](std::size_t a, std::size_t b) {
    return price[order_[a]] * kind_.work[order_[b]] > price[order_[b]] * kind_.work[order_[a]];
  });
  ranked_.assign(order_.size() + 1, {});
  for (std::size_t from = 0; from <= order_.size(); ++from) {
    Ranked sum{0, 0};
    ranked_[from].push_back(sum);
    for (const std::size_t p : positions) {
      if (p < from) continue;
      sum.work += kind_.work[order_[p]];
      sum.price += price[order_[p]];
      ranked_[from].push_back(sum);
    }
  }
}

double BestSet::most_after(std::size_t position, double left) const {
  // The relaxation of the knapsack that takes a share of one vertex (Dantzig 1957), and pays no transfer.
  const std::vector<Ranked>& ranked = ranked_[position];
  const auto above =
      std::upper_bound(ranked.begin(), ranked.end(), left, [](double l, const Ranked& r) { return l < r.work; });
  const auto below = above - 1;
  if (above == ranked.end()) return below->price;
  return below->price + (left - below->work) * (above->price - below->price) / (above->work - below->work);
}

void BestSet::step(std::size_t position, double price, std::vector<Label>& labels, std::vector<Label>& next) {
  const Vertex vertex = order_[position];
  next.clear();
  const auto offer = [&](Label label) {
    if (label.load > limit_ || label.price + most_after(position + 1, limit_ - label.load) <= floor_) return false;
    next.push_back(label);
    return true;
  };
  std::uint64_t closed = 0;
  for (const Visit& visit : visits_[position]) {
    if (visit.closes) closed |= std::uint64_t{3} << 2 * visit.slot;
  }
  const auto decide = [&](Label& label, std::uint64_t now) {
    for (const Visit& visit : visits_[position]) {
      const std::uint64_t so_far = label.state >> 2 * visit.slot & 3;
      if (so_far == 3 - now) label.load += visit.cost;
      label.state |= now << 2 * visit.slot;
    }
    label.state &= ~closed;
  };
  for (const Label& label : labels) {
    Label without = label;
    decide(without, kOut);
    offer(without);
    if (kind_.work[vertex] == kInfinity) continue;
    Label with = label;
    decide(with, kIn);
    with.load += kind_.work[vertex];
    with.price += price;
    if (with.load > limit_) continue;
    with.last = static_cast<std::uint32_t>(chosen_.size());
    if (offer(with)) chosen_.push_back({vertex, label.last});
  }
  work_ += next.size();
  std::sort(next.begin(), next.end(), [](const Label& a, const Label& b) {
    if (a.state != b.state) return a.state < b.state;
    return a.load != b.load ? a.load < b.load : a.price > b.price;
  });
  labels.clear();
  for (const Label& label : next) {
    if (!labels.empty() && labels.back().state == label.state && labels.back().price >= label.price) continue;
    labels.push_back(label);
  }
}

/// Joins neighbours of one state, which then have the least load and the greatest price of both: a relaxation.
void BestSet::thin_out(std::vector<Label>& labels, std::size_t most) {
  while (labels.size() > most) {
    std::size_t kept = 0;
    bool any = false;
    for (std::size_t i = 0; i < labels.size(); ++i) {
      Label label = labels[i];
      if (i + 1 < labels.size() && labels[i + 1].state == label.state) {
        label.price = labels[i + 1].price;
        label.last = labels[i + 1].last;
        ++i;
        any = true;
      }
      labels[kept++] = label;
    }
    labels.resize(kept);
    if (!any) return;
  }
}

std::optional<BestSet::Answer> BestSet::find(const std::vector<double>& price, double threshold, const Budget& budget,
                                             std::size_t most_labels) {
  Answer answer;
  answer.most = threshold;
  floor_ = threshold;
  rank(price);
  chosen_.clear();
  std::vector<Label> labels{{0, 0, 0, kNobody}};
  std::vector<Label> next;
  for (std::size_t position = 0; position < order_.size(); ++position) {
    if (budget.expired()) return std::nullopt;
    step(position, price[order_[position]], labels, next);
    thin_out(labels, most_labels);
  }
  std::sort(labels.begin(), labels.end(), [](const Label& a, const Label& b) { return a.price > b.price; });
  constexpr std::size_t kMostFound = 12;
  for (const Label& label : labels) {
    if (answer.found.size() == kMostFound) break;
    answer.most = std::max(answer.most, label.price);
    Found found{{}, label.price};
    for (std::uint32_t at = label.last; at != kNobody; at = chosen_[at].previous)
      found.vertices.push_back(chosen_[at].vertex);
    std::sort(found.vertices.begin(), found.vertices.end());
    answer.found.push_back(std::move(found));
  }
  return answer;
}

}  // namespace opweave::partition
