// Files of others where one of ours is expected get one line that says what reads them. Issue 12, point 9.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "opweave/error.h"
#include "opweave/io.h"
#include "opweave/msr.h"
#include "opweave/pytorch_csv.h"

namespace opweave {
namespace {

using ::testing::HasSubstr;

template <class Read>
std::pair<std::string, std::string> refusal(Read read) {
  try {
    read();
  } catch (const InputError& error) {
    return {error.what(), error.hint()};
  }
  return {"no error", ""};
}

TEST(ForeignFiles, what_reads_them_is_named_wherever_they_are_given) {
  const std::string onnx = "\x08\x0a\x12\x07pytorch";
  const std::tuple<std::string, const char*, const char*> files[] = {
      {R"({"model_type": "llama", "layers": 8})", "a model configuration of Hugging Face", "opweave.capture(model"},
      {R"({"architectures": ["GPT2LMHeadModel"]})", "a model configuration of Hugging Face", "opweave.capture(model"},
      {R"({"metadata": {}, "weight_map": {}})", "an index of weights", "opweave.capture(model"},
      {R"({"schema": "1.1.1-chakra.0.0.4", "nodes": []})", "an execution trace of PyTorch", "opweave.capture(model"},
      {R"({"traceEvents": []})", "a trace of the PyTorch profiler", "opweave.costs.profiled(graph, \"theirs\")"},
      {R"({"maxFPGAs": 1, "nodes": []})", "a placement instance", "opweave convert msr theirs"},
      {onnx, "an ONNX file", "opweave.capture_onnx(\"theirs\")"},
      {std::string("PK\x03\x04") + "data", "a saved model of PyTorch", "opweave.capture(model"},
      {std::string("\x1f\x8b\x08") + "data", "packed by gzip", "unpack it first"},
      {std::string("\x07\x0a\x05") + "0.0.4xx", "a Chakra trace", "opweave.capture(model"},
      {std::string("\x10\0\0\0\0\0\0\0{\"weight\"", 17), "a file of weights", "opweave.capture(model"},
      {"0F0,0B0\n", "a pipeline schedule (CSV)", "opweave convert csv theirs GRAPH CLUSTER"},
      {"2 2\n1 1 1 5\n1 1 2 5\n", "a job shop", "opweave convert fjs theirs"},
      {"<system version=\"1\"><cpu/></system>", "a topology of NCCL or nvidia-smi", "opweave convert topology theirs"},
      {"\tGPU0\tGPU1\nGPU0\tX\tNV1\nGPU1\tNV1\tX\n", "a topology of NCCL", "opweave convert topology theirs"},
  };
  for (const auto& [text, what, hint] : files) {
    for (const auto& [line, advice] : {refusal([&, t = text] { (void)parse_graph(t, "theirs"); }),
                                       refusal([&, t = text] { (void)parse_cluster(t, "theirs"); }),
                                       refusal([&, t = text] { (void)parse_pipeline_spec(t, "theirs"); })}) {
      EXPECT_THAT(line, HasSubstr(std::string("theirs: is ") + what)) << text;
      EXPECT_THAT(line, HasSubstr(", expected ")) << text;
      EXPECT_THAT(advice, HasSubstr(hint)) << text;
    }
  }
  const std::string config = R"({"model_type": "llama"})";
  EXPECT_THAT(refusal([&] { (void)parse_pytorch_csv(config, "c"); }).first, HasSubstr("c: is a model configuration"));
  EXPECT_THAT(refusal([&] { (void)parse_fjs(config, "c"); }).first, HasSubstr("c: is a model configuration"));
  EXPECT_THAT(refusal([&] { (void)parse_msr(config, "c"); }).first, HasSubstr("c: is a model configuration"));
  EXPECT_THAT(refusal([&] { (void)parse_pytorch_csv(R"({"format": "opweave.graph"})", "c"); }).first,
              HasSubstr("c: is an opweave.graph, expected a pipeline schedule (CSV)"));
}

TEST(ForeignFiles, specification_where_a_graph_is_expected_names_its_command) {
  const auto [line, hint] =
      refusal([] { (void)parse_graph(R"({"format": "opweave.pipeline", "version": 1, "layers": []})", "spec.json"); });
  EXPECT_EQ(line, "spec.json: /format: value is \"opweave.pipeline\", expected \"opweave.graph\"");
  EXPECT_THAT(hint, HasSubstr("opweave convert pipeline"));
}

TEST(ForeignFiles, what_nobody_knows_keeps_its_error) {
  EXPECT_EQ(refusal([] { (void)parse_graph(R"({"operators": []})", "g"); }).first, "g: key \"format\" is missing");
  EXPECT_THAT(refusal([] { (void)parse_graph("hello", "g"); }).first, HasSubstr("g: line 1, column 1: syntax error"));
  EXPECT_THAT(refusal([] { (void)parse_graph("12", "g"); }).first, HasSubstr("expected an object"));
}

}  // namespace
}  // namespace opweave
