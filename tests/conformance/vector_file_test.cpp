#include "vector_file.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace heed::conformance {
namespace {

using testing::ElementsAre;

VectorFile read(const std::string& text) {
  std::istringstream stream(text);
  return read_vector_file("file", stream);
}
std::string error(const std::string& text) {
  try {
    read(text);
  } catch (const VectorFileError& wrong) {
    return wrong.what();
  }
  return "none";
}

const std::string head = "test name\nop Operator\nopset 23\nnode_inputs a _ b\nnode_outputs y\n";
const std::string a = "input a f32 2 2 2\n1 -2.5 inf nan\n";
const std::string b = "input b bool 1 3\n1 0 1\n";
const std::string y = "output y i64 0\n-7\n";

TEST(VectorFile, HoldsTheOperatorItsAttributesAndItsTensors) {
  const VectorFile file = read(head + "attr scale 0.5\nattr rule gated\n" + a + b + y);
  EXPECT_EQ(file.test, "name");
  EXPECT_EQ(file.op, "Operator");
  EXPECT_EQ(file.opset, 23);
  EXPECT_EQ(file.attributes.at("scale"), "0.5");
  EXPECT_EQ(file.attributes.at("rule"), "gated");
  ASSERT_NE(file.input(0), nullptr);
  EXPECT_THAT(file.input(0)->dims, ElementsAre(2, 2));
  EXPECT_EQ(file.input(0)->values[1], -2.5);
  EXPECT_EQ(file.input(0)->values[2], std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(file.input(0)->values[3]));
  EXPECT_EQ(file.input(1), nullptr) << "left out";
  ASSERT_NE(file.input(2), nullptr);
  EXPECT_EQ(file.input(2)->type, Type::boolean);
  EXPECT_THAT(file.input(2)->values, ElementsAre(1, 0, 1));
  EXPECT_EQ(file.input(3), nullptr) << "beyond the last";
  ASSERT_NE(file.output(0), nullptr);
  EXPECT_EQ(file.output(0)->rank(), 0);
  EXPECT_THAT(file.output(0)->values, ElementsAre(-7));
}

TEST(VectorFile, MayHaveEmptyTensorsAndLineEndsOfWindows) {
  const VectorFile file = read(
      "test n\r\nop O\r\nopset 1\r\nnode_inputs x\r\nnode_outputs y\r\ninput x f16 2 0 3\r\n\r\n"
      "output y f32 1 0");
  EXPECT_THAT(file.input(0)->dims, ElementsAre(0, 3));
  EXPECT_EQ(file.input(0)->size(), 0);
  EXPECT_EQ(file.output(0)->size(), 0);
}

TEST(VectorFile, NamesTheLineOfAWrongHeader) {
  EXPECT_EQ(error("test a b\n"), "file:1: expected 'test NAME'");
  EXPECT_EQ(error("test a\ntest b\n"), "file:2: a second line 'test'");
  EXPECT_EQ(error("test a\nopset x\n"), "file:2: expected 'opset N', N >= 1");
  EXPECT_EQ(error("test a\nopset -1\n"), "file:2: expected 'opset N', N >= 1");
  EXPECT_EQ(error("test a\n\nattr axis\n"), "file:3: expected 'attr NAME VALUE', found 1 words");
  EXPECT_EQ(error("attr axis 1\nattr axis 1\n"), "file:2: a second attribute 'axis'");
  EXPECT_EQ(error("node_inputs a\nnode_inputs a\n"), "file:2: a second line 'node_inputs'");
  EXPECT_EQ(error("hello\n"),
            "file:1: expected test, op, opset, node_inputs, node_outputs, attr, input or output, found 'hello'");
}

TEST(VectorFile, NamesTheLineOfAWrongTensor) {
  EXPECT_EQ(error(head + "input a f32\n"), "file:6: expected 'NAME TYPE RANK' and as many dimensions as the rank");
  EXPECT_EQ(error(head + "input a f32 2 3\n"), "file:6: expected 'NAME TYPE RANK' and as many dimensions as the rank");
  EXPECT_EQ(error(head + "input a f32 -1\n"), "file:6: expected 'NAME TYPE RANK' and as many dimensions as the rank");
  EXPECT_EQ(error(head + "input a f31 1 3\n"), "file:6: expected a type (f64 f32 f16 bf16 i8 ... u64 bool), found 'f31'");
  EXPECT_EQ(error(head + "input a f32 1 -3\n"), "file:6: expected a dimension, found '-3'");
  EXPECT_EQ(error(head + "input a f32 1 3x\n"), "file:6: expected a dimension, found '3x'");
  EXPECT_EQ(error(head + "input c f32 1 1\n1\n"), "file:6: 'c' is not in node_inputs");
  EXPECT_EQ(error(head + a + a), "file:9: a second tensor 'a'");
  EXPECT_EQ(error(head + "input a f32 1 3\n1 2\n"), "file:7: 'a': expected 3 values, found 2");
  EXPECT_EQ(error(head + "input a f32 1 3\n1 2 3 4\n"), "file:7: 'a': expected 3 values, found 4");
  EXPECT_EQ(error(head + "input a f32 1 3"), "file:7: expected the values of 'a', found the end of the file");
  EXPECT_EQ(error(head + "input a f32 1 1\n1,5\n"), "file:7: expected a number, found '1,5'");
  EXPECT_EQ(error(head + "input a f32 1 1\n1e400\n"), "file:7: expected a number, found '1e400'");
  EXPECT_EQ(error(head + "input a i64 1 1\n1.5\n"), "file:7: expected an integer, found '1.5'");
  EXPECT_EQ(error(head + "input a i64 1 1\n9007199254740993\n"), "file:7: expected an integer, found '9007199254740993'");
  EXPECT_EQ(error(head + "input a bool 1 1\n2\n"), "file:7: expected 0 or 1, found '2'");
}

// Dimensions whose product overflows, or that would take all memory, are refused before anything is allocated.
TEST(VectorFile, RefusesTensorsBeyondReason) {
  EXPECT_EQ(error(head + "input a f32 2 4294967296 4294967296\n1\n"), "file:6: 'a' has more than 67108864 values");
  EXPECT_EQ(error(head + "input a f32 2 60000 60000\n1\n"), "file:6: 'a' has more than 67108864 values");
  EXPECT_EQ(error(head + "input a f32 1 99999999999999999999\n"),
            "file:6: expected a dimension, found '99999999999999999999'");
}

TEST(VectorFile, MustBeWhole) {
  EXPECT_EQ(error(""), "file:0: expected a line 'test NAME', found none");
  EXPECT_EQ(error("test a\n"), "file:1: expected a line 'op OPERATOR', found none");
  EXPECT_EQ(error("test a\nop b\n"), "file:2: expected a line 'opset N', found none");
  EXPECT_EQ(error(head + a + y), "file:9: expected a tensor for the input 'b', found none");
  EXPECT_EQ(error(head + a + b), "file:9: expected a tensor for the output 'y', found none");
  EXPECT_EQ(error("test a\nop b\nopset 1\n"), "file:3: expected an output, found none");
}

}  // namespace
}  // namespace heed::conformance
