#include "partition/load_model.h"

#include <algorithm>

namespace opweave::partition {

LoadModel load_model(const CutModel& model) {
  LoadModel result;
  result.devices = static_cast<std::uint32_t>(model.device_count());
  result.resources = result.devices;
  result.bytes = model.bytes;
  result.channels.resize(std::size_t{result.devices} * result.devices);
  result.route.resize(result.channels.size());
  result.work.resize(model.vertex_count());
  result.apart.resize(model.vertex_count());
  for (std::uint32_t device = 0; device < result.devices; ++device) {
    const DeviceKind& kind = model.kind_of(device);
    result.capacity.push_back(kind.capacity);
    result.exit.push_back(kind.pays_transfers ? std::optional(device) : std::nullopt);
    for (std::uint32_t from = 0; from < result.devices; ++from) {
      if (kind.pays_transfers) result.channels[std::size_t{from} * result.devices + device] = {device};
    }
    for (Vertex vertex = 0; vertex < model.vertex_count(); ++vertex) {
      auto& charges = result.work[vertex].emplace_back();
      if (kind.work[vertex] == std::numeric_limits<double>::infinity()) continue;
      charges.emplace();
      if (kind.work[vertex] > 0) charges->push_back({device, kind.work[vertex]});
    }
  }
  // Producer and readers pay alike, so any pin can stand for the producer.
  for (const Net& net : model.nets) {
    const auto number = static_cast<std::uint32_t>(result.nets.size());
    result.nets.push_back({net.pins.front(), {net.pins.begin() + 1, net.pins.end()}, number});
    result.cost.push_back({net.cost});
  }
  return result;
}

LoadState::LoadState(const LoadModel& model, Assignment assignment)
    : model_(&model),
      assignment_(std::move(assignment)),
      nets_of_(model.vertex_count()),
      load_(model.resources),
      bytes_(model.devices),
      readers_(model.nets.size() * model.devices),
      remote_(model.nets.size()) {
  for (std::uint32_t n = 0; n < model.nets.size(); ++n) {
    const LoadModel::Net& net = model.nets[n];
    nets_of_[net.source].push_back(n);
    for (const Vertex reader : net.readers) {
      nets_of_[reader].push_back(n);
      ++readers(n, assignment_[reader]);
    }
    const std::uint32_t from = assignment_[net.source];
    for (std::uint32_t device = 0; device < model.devices; ++device) {
      if (device == from || readers(n, device) == 0) continue;
      ship(net, from, device, 1);
      if (remote_[n]++ == 0) change_exit(net, from, 1);
    }
  }
  for (Vertex vertex = 0; vertex < assignment_.size(); ++vertex) {
    for (const LoadModel::Charge& charge : *model.work[vertex][assignment_[vertex]])
      add(charge.resource, charge.amount);
    bytes_[assignment_[vertex]] += model.bytes[vertex];
    for (const Vertex other : model.apart[vertex]) {
      if (other < vertex && assignment_[other] == assignment_[vertex]) ++clashes_;
    }
  }
  for (std::uint32_t device = 0; device < model.devices; ++device) {
    excess_bytes_ += std::max(0.0, bytes_[device] - model.capacity[device]);
  }
}

double LoadState::largest_load() const { return load_.empty() ? 0 : *std::max_element(load_.begin(), load_.end()); }

Resource LoadState::busiest() const {
  return static_cast<Resource>(std::max_element(load_.begin(), load_.end()) - load_.begin());
}

void LoadState::aim(double target, double pull) {
  target_ = target;
  pull_ = pull;
  energy_ = 0;
  for (const double load : load_) energy_ += price(load);
}

void LoadState::add(Resource resource, double amount) {
  double& load = load_[resource];
  energy_ -= price(load);
  load += amount;
  energy_ += price(load);
}

void LoadState::ship(const LoadModel::Net& net, std::uint32_t from, std::uint32_t to, double sign) {
  const std::size_t pair = std::size_t{from} * model_->devices + to;
  const double amount = sign * model_->cost[net.cost_class][model_->route[pair]];
  for (const Resource resource : model_->channels[pair]) add(resource, amount);
}

void LoadState::change_exit(const LoadModel::Net& net, std::uint32_t device, double sign) {
  if (!model_->exit[device]) return;
  const std::size_t pair = std::size_t{device} * model_->devices + device;
  add(*model_->exit[device], sign * model_->cost[net.cost_class][model_->route[pair]]);
}

void LoadState::move(Vertex vertex, std::uint32_t device) {
  if (assignment_[vertex] == device) return;
  journal_.emplace_back(vertex, assignment_[vertex]);
  do_move(vertex, device);
}

void LoadState::revert() {
  while (!journal_.empty()) {
    do_move(journal_.back().first, journal_.back().second);
    journal_.pop_back();
  }
}

void LoadState::do_move(Vertex vertex, std::uint32_t to) {
  const std::uint32_t from = assignment_[vertex];
  for (const LoadModel::Charge& charge : *model_->work[vertex][from]) add(charge.resource, -charge.amount);
  for (const LoadModel::Charge& charge : *model_->work[vertex][to]) add(charge.resource, charge.amount);
  const auto excess = [&](std::uint32_t device) { return std::max(0.0, bytes_[device] - model_->capacity[device]); };
  excess_bytes_ -= excess(from) + excess(to);
  bytes_[from] -= model_->bytes[vertex];
  bytes_[to] += model_->bytes[vertex];
  excess_bytes_ += excess(from) + excess(to);
  for (const Vertex other : model_->apart[vertex]) {
    if (assignment_[other] == from) --clashes_;
    if (assignment_[other] == to) ++clashes_;
  }
  for (const std::uint32_t n : nets_of_[vertex]) {
    const LoadModel::Net& net = model_->nets[n];
    if (net.source == vertex) {
      if (remote_[n] > 0) change_exit(net, from, -1);
      remote_[n] = 0;
      for (std::uint32_t device = 0; device < model_->devices; ++device) {
        if (readers(n, device) == 0) continue;
        if (device != from) ship(net, from, device, -1);
        if (device == to) continue;
        ship(net, to, device, 1);
        ++remote_[n];
      }
      if (remote_[n] > 0) change_exit(net, to, 1);
    } else {
      const std::uint32_t source = assignment_[net.source];
      if (--readers(n, from) == 0 && from != source) {
        ship(net, source, from, -1);
        if (--remote_[n] == 0) change_exit(net, source, -1);
      }
      if (readers(n, to)++ == 0 && to != source) {
        ship(net, source, to, 1);
        if (remote_[n]++ == 0) change_exit(net, source, 1);
      }
    }
  }
  assignment_[vertex] = to;
}

}  // namespace opweave::partition
