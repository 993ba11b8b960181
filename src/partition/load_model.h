/// Placement as loads on resources: what every vertex and every transfer adds to which of them.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "partition/cut_model.h"

namespace opweave::partition {

/// Values that differ by less than this share are the same: loads are sums of rounded decimals.
inline constexpr double kTolerance = 1e-12;

/// What a device, a stream of it, an endpoint or a link has to do; its load is a time in any one unit.
using Resource = std::uint32_t;

/// A more general model than CutModel: devices of several streams, charges on endpoints and links that depend on both
/// ends, vertices that must be kept apart. The value of an assignment is its largest load.
struct LoadModel {
  struct Charge {
    Resource resource;
    double amount;
  };
  /// What one producer sends. Each device other than the producer's that holds a reader receives it once.
  struct Net {
    Vertex source = 0;
    std::vector<Vertex> readers;   ///< ascending, distinct, without the source
    std::uint32_t cost_class = 0;  ///< row of `cost`
  };

  std::uint32_t devices = 0;
  std::uint32_t resources = 0;
  std::vector<double> capacity;  ///< bytes, by device
  std::vector<double> bytes;     ///< by vertex
  /// By vertex, then device: what it adds where it runs; nothing where it may not.
  std::vector<std::vector<std::optional<std::vector<Charge>>>> work;
  std::vector<Net> nets;
  std::vector<std::vector<Vertex>> apart;  ///< by vertex: not on its device; empty if no vertex has such
  /// By source * devices + destination.
  std::vector<std::vector<Resource>> channels;
  std::vector<std::uint32_t> route;  ///< column of `cost`
  /// Of a transfer over each of its channels: by cost class, then route.
  std::vector<std::vector<double>> cost;
  /// By device: charged once (by the route from the device to itself) when what it makes is read elsewhere.
  std::vector<std::optional<Resource>> exit;

  [[nodiscard]] std::size_t vertex_count() const { return bytes.size(); }
};

/// The same placement program with a resource per device.
[[nodiscard]] LoadModel load_model(const CutModel& model);

/// An assignment under change. Moves cost O(nets of the vertex x devices that read them) and can be taken back.
class LoadState {
 public:
  /// \pre every vertex is where it may run.
  LoadState(const LoadModel& model, Assignment assignment);

  [[nodiscard]] const LoadModel& model() const { return *model_; }
  [[nodiscard]] const Assignment& assignment() const { return assignment_; }
  [[nodiscard]] std::uint32_t device(Vertex vertex) const { return assignment_[vertex]; }
  [[nodiscard]] const std::vector<std::uint32_t>& nets_of(Vertex vertex) const { return nets_of_[vertex]; }
  [[nodiscard]] const std::vector<double>& loads() const { return load_; }
  [[nodiscard]] double largest_load() const;
  /// Most busy resource.
  [[nodiscard]] Resource busiest() const;
  /// Bytes beyond the capacities, and vertices that share a device with one they must be apart from.
  [[nodiscard]] double excess_bytes() const { return excess_bytes_; }
  [[nodiscard]] std::int64_t clashes() const { return clashes_; }

  /// Sum over resources of what they do beyond `target`, plus `pull` x the load.
  void aim(double target, double pull);
  [[nodiscard]] double energy() const { return energy_; }

  [[nodiscard]] bool may_run(Vertex vertex, std::uint32_t device) const {
    return model_->work[vertex][device].has_value();
  }
  /// \pre may_run(vertex, device)
  void move(Vertex vertex, std::uint32_t device);
  /// Keeps the moves made so far.
  void commit() { journal_.clear(); }
  /// Takes back all moves since the last commit.
  void revert();

 private:
  void add(Resource resource, double amount);
  void ship(const LoadModel::Net& net, std::uint32_t from, std::uint32_t to, double sign);
  void change_exit(const LoadModel::Net& net, std::uint32_t device, double sign);
  [[nodiscard]] std::uint32_t& readers(std::uint32_t net, std::uint32_t device) {
    return readers_[std::size_t{net} * model_->devices + device];
  }
  void do_move(Vertex vertex, std::uint32_t device);
  [[nodiscard]] double price(double load) const { return (load > target_ ? load - target_ : 0) + pull_ * load; }

  const LoadModel* model_;
  Assignment assignment_;
  std::vector<std::vector<std::uint32_t>> nets_of_;
  std::vector<double> load_;
  std::vector<double> bytes_;
  std::vector<std::uint32_t> readers_;  ///< by net, then device: vertices there that read it
  std::vector<std::uint32_t> remote_;   ///< by net: devices other than the source's with a reader
  std::vector<std::pair<Vertex, std::uint32_t>> journal_;
  double excess_bytes_ = 0;
  std::int64_t clashes_ = 0;
  double target_ = 0;
  double pull_ = 0;
  double energy_ = 0;
};

}  // namespace opweave::partition
