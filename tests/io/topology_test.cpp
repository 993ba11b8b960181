// Clusters from what machines say about their links. Issue 12, point 9. Expected numbers: docs/topology.md.
#include "opweave/topology.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "opweave/error.h"
#include "opweave/io.h"

namespace opweave {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

/// Two processors with a PCIe switch and a Hopper GPU each; all NVLinks end at NVSwitches.
constexpr const char* kSwitched = R"(<?xml version="1.0"?>
<!-- two of eight -->
<system version="1">
  <cpu host_hash="0x1" numaid="0" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:16:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:18:00.0" class="0x030200" link_speed="32.0 GT/s PCIe" link_width="16">
        <gpu dev="0" sm="90" rank="0" gdr="1">
          <nvlink target="0000:07:00.0" count="5" tclass="0x068000"/>
          <nvlink target="0000:06:00.0" count="13" tclass="0x068000"/>
        </gpu>
      </pci>
      <pci busid="0000:19:00.0" class="0x020000" link_speed="32.0 GT/s PCIe" link_width="16">
        <nic><net name="mlx5_0" dev="0" speed="400000" port="1" guid="0x0" maxconn="131072" gdr="1"/></nic>
      </pci>
    </pci>
  </cpu>
  <cpu host_hash="0x1" numaid="1" arch="x86_64" vendor="GenuineIntel" familyid="6" modelid="143">
    <pci busid="0000:9a:00.0" class="0x060400" link_speed="32.0 GT/s PCIe" link_width="16">
      <pci busid="0000:9B:00.0" class="0x030200" link_speed="16.0 GT/s PCIe" link_width="16">
        <gpu dev="1" sm="90" rank="1" gdr="1"><nvlink target="0000:07:00.0" count="18" tclass="0x068000"/></gpu>
      </pci>
    </pci>
  </cpu>
</system>
)";

/// Two Ampere GPUs of a virtual machine, joined by NVLinks, that says nothing about PCIe.
constexpr const char* kDirect = R"(<system version="1">
  <cpu numaid="0" arch="x86_64" vendor="AuthenticAMD" familyid="175" modelid="1">
    <pci busid="0001:00:00.0" class="0x030200" link_speed="" link_width="0">
      <gpu dev="0" sm="80" rank="0" gdr="1"><nvlink target="0002:00:00.0" count="12" tclass="0x030200"/></gpu>
    </pci>
  </cpu>
  <cpu numaid="1" arch="x86_64" vendor="AuthenticAMD" familyid="175" modelid="1">
    <pci busid="0002:00:00.0" class="0x030200" link_speed="" link_width="0">
      <gpu dev="1" sm="80" rank="1" gdr="1"><nvlink target="0001:00:00.0" count="12" tclass="0x030200"/></gpu>
    </pci>
  </cpu>
</system>
)";

constexpr const char* kMixed =
    "$ nvidia-smi topo -m\n"
    "\x1b[4m\tGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m\n"
    "GPU0\t X \tNV1\tPIX\tSYS\tSYS\t0-7\t0\t\tN/A\n"
    "GPU1\tNV1\t X \tPHB\tSYS\tSYS\t0-7\t0\t\tN/A\n"
    "GPU2\tPIX\tPHB\t X \tSYS\tSYS\t0-7\t0\t\tN/A\n"
    "GPU3\tSYS\tSYS\tSYS\t X \tSYS\t8-15\t1\t\tN/A\n"
    "NIC0\tSYS\tSYS\tSYS\tSYS\t X \t\t\t\n\n"
    "Legend:\n\n  X    = Self\n";

std::vector<std::string> links_of(const Cluster& cluster) {
  std::vector<std::string> result;
  for (const Link& link : cluster.links()) {
    result.push_back(link.name + " " + std::to_string(link.latency.value()) + " ns " +
                     std::to_string(link.bandwidth_bytes_per_s.value() / 100'000'000) + "e8");
  }
  return result;
}

std::int64_t time_between(const Cluster& cluster, const char* a, const char* b, std::int64_t bytes) {
  return cluster.transfer_time(Bytes(bytes), *cluster.find_device(a), *cluster.find_device(b)).value().value();
}

std::string topology_error(const std::string& text) {
  try {
    (void)parse_topology(text, "machine");
  } catch (const InputError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Topology, nccl_file_with_switches_becomes_devices_switches_and_links) {
  const Cluster cluster = parse_topology(kSwitched, "machine");
  // 16 lanes of 32 GT/s: 48 GB/s; Sapphire Rapids: 22 GB/s; 18 NVLinks of 20.6 GB/s: 370.8 GB/s.
  EXPECT_THAT(links_of(cluster),
              ElementsAre("pci 0000:16:00.0-cpu0 500 ns 480e8", "gpu0-pci 0000:16:00.0 500 ns 480e8",
                          "pci 0000:9a:00.0-cpu1 500 ns 480e8", "gpu1-pci 0000:9a:00.0 500 ns 240e8",
                          "cpu0-cpu1 500 ns 220e8", "gpu0-nvswitch 300 ns 3708e8", "gpu1-nvswitch 300 ns 3708e8"));
  EXPECT_EQ(cluster.devices().size(), 2U);
  EXPECT_EQ(cluster.at(DeviceId(0)).type, "sm90");
  EXPECT_EQ(time_between(cluster, "gpu0", "gpu1", 370'800'000), 600 + 1'000'000);
}

TEST(Topology, direct_nvlinks_are_one_link_and_a_silent_machine_has_third_generation_pcie) {
  // 12 x 20 GB/s; 16 lanes of 8 GT/s; AMD.
  EXPECT_THAT(links_of(parse_topology(kDirect, "machine")),
              ElementsAre("gpu0-cpu0 500 ns 120e8", "gpu1-cpu1 500 ns 120e8", "cpu0-cpu1 500 ns 160e8",
                          "gpu0-gpu1 600 ns 2400e8"));
}

TEST(Topology, users_may_know_better) {
  TopologyOptions options;
  options.nvlink_bytes_per_s = 25'000'000'000;
  options.pcie_bytes_per_s = 50'000'000'000;
  options.socket_bytes_per_s = 30'000'000'000;
  options.memory = Bytes(80);
  const Cluster cluster = parse_topology(kDirect, "machine", options);
  EXPECT_THAT(links_of(cluster), ElementsAre("gpu0-cpu0 500 ns 500e8", "gpu1-cpu1 500 ns 500e8",
                                             "cpu0-cpu1 500 ns 300e8", "gpu0-gpu1 600 ns 3000e8"));
  EXPECT_EQ(cluster.at(DeviceId(1)).memory, Bytes(80));
}

TEST(Topology, links_to_the_processor_of_a_superchip_are_read) {
  // 5 links of 44712 MB/s.
  const char* const text =
      "<system version='1'><cpu numaid='0' arch='arm64'><pci busid='0009:01:00.0' class='0x030200' "
      "link_speed='32.0 GT/s PCIe' link_width='16'><gpu dev='0' sm='100' rank='0'><c2c bw='44712' count='5'/>"
      "</gpu></pci></cpu></system>";
  EXPECT_THAT(links_of(parse_topology(text, "machine")),
              ElementsAre("gpu0-cpu0 500 ns 480e8", "gpu0-cpu0 c2c 600 ns 2235e8"));
}

TEST(Topology, devices_of_several_machines_are_told_apart_by_rank) {
  std::string text = kDirect;
  text.replace(text.find("dev=\"1\""), 7, "dev=\"0\"");
  EXPECT_TRUE(parse_topology(text, "machine").find_device("gpu1").has_value());
  text.replace(text.find("rank=\"1\""), 8, "rank=\"0\"");
  EXPECT_THAT(topology_error(text), HasSubstr("two GPUs are \"gpu0\", expected different numbers dev or rank"));
}

TEST(Topology, matrix_becomes_switches_and_processors) {
  EXPECT_THAT(links_of(parse_topology(kMixed, "machine")),
              ElementsAre("gpu0-gpu1 600 ns 200e8", "pci of gpu0-cpu0 500 ns 240e8", "gpu0-pci of gpu0 500 ns 240e8",
                          "gpu1-cpu0 500 ns 240e8", "gpu2-pci of gpu0 500 ns 240e8", "cpu0-cpu1 500 ns 100e8",
                          "gpu3-cpu1 500 ns 240e8"));
}

TEST(Topology, more_nvlinks_than_a_gpu_has_mean_switches) {
  const char* const text =
      "        GPU0    GPU1    GPU2    CPU Affinity\n"
      "GPU0     X      NV12     NV12     0-7\n"
      "GPU1    NV12      X      NV12     0-7\n"
      "GPU2    NV12     NV12      X      8-15\n";
  EXPECT_THAT(links_of(parse_topology(text, "machine")),
              ElementsAre("gpu0-nvswitch 300 ns 2400e8", "gpu1-nvswitch 300 ns 2400e8", "gpu2-nvswitch 300 ns 2400e8"));
  // Four links to each of three others are the twelve that an A100 has.
  const char* const pairwise =
      "\tGPU0\tGPU1\tGPU2\tGPU3\nGPU0\tX\tNV4\tNV4\tNV4\nGPU1\tNV4\tX\tNV4\tNV4\n"
      "GPU2\tNV4\tNV4\tX\tNV4\nGPU3\tNV4\tNV4\tNV4\tX\n";
  EXPECT_EQ(parse_topology(pairwise, "machine").links().size(), 6U);
}

TEST(Topology, defects_are_named) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "machine: line 1, column 1: expected an element of XML"},
      {"<system/>", "machine: line 1, column 1: no <gpu>"},
      {"<machine/>", "root element is <machine>, expected <system>"},
      {"<system><cpu></system>", "found </system>, expected </cpu>"},
      {"<system><cpu>", "line 1, column 14: expected </cpu>"},
      {"<system><cpu><gpu sm='90'/></cpu></system>", "<gpu>: attribute dev is missing"},
      {"<system><cpu><gpu dev='x'/></cpu></system>", "<gpu>: dev is \"x\", expected an integer of 0 to 1000000"},
      {"<system><cpu><gpu dev='0'><nvlink tclass='0x068000'/></gpu></cpu></system>", "attribute count is missing"},
      {"<system><cpu><pci><gpu dev='0'/></pci></cpu></system>", "<pci>: attribute busid is missing"},
      {"<system a=1/>", "expected the value of attribute \"a\" in quotes"},
      {"<system></system><x/>", "expected the end of the file after <system>"},
      {"\tGPU0\tGPU1\nGPU0\tX\tNV1\n", "line 2: expected the row of GPU1"},
      {"\tGPU0\tGPU1\nGPU0\tX\tNV1\nGPU1\tNV1\n", "line 3: row of GPU1 has 1 columns"},
      {"\tGPU0\tGPU1\nGPU0\tX\tNV1\nGPU1\tNV2\tX\n", "GPU0 and GPU1 are joined by \"NV1\" one way and by \"NV2\""},
      {"\tGPU0\tGPU1\nGPU0\tX\tQPI\nGPU1\tQPI\tX\n", "joined by \"QPI\", expected NV#, PIX, PXB, PHB, NODE or SYS"},
      {"{\"model_type\": \"llama\"}", "machine: is a model configuration of Hugging Face, expected a topology"},
  };
  for (const auto& [text, expected] : cases) EXPECT_THAT(topology_error(text), HasSubstr(expected)) << text;
  std::string nested;
  for (int i = 0; i < 100; ++i) nested += "<system>";
  EXPECT_THAT(topology_error(nested + "<cpu/>"), HasSubstr("nested deeper than 32 levels"));
}

TEST(Topology, damaged_texts_are_clusters_or_errors) {
  std::mt19937_64 random(7);
  std::size_t read = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = round % 2 == 0 ? kSwitched : kMixed;
    for (int change = 0; change < 2; ++change) {
      const std::size_t at = random() % text.size();
      switch (random() % 3) {
        case 0:
          text[at] = "<>/\"= 0x9\t\nNG"[random() % 13];
          break;
        case 1:
          text.erase(at, 1 + random() % 8);
          break;
        default:
          text.insert(at, text.substr(random() % text.size(), random() % 20));
      }
    }
    try {
      (void)cluster_to_json(parse_topology(text, "machine"));
      ++read;
    } catch (const InputError& error) {
      EXPECT_THAT(error.what(), HasSubstr("machine: "));
    }
  }
  EXPECT_GT(read, 300U);
}

}  // namespace
}  // namespace opweave
