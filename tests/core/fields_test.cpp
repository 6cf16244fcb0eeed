#include "heed/core/fields.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "support/error_text.hpp"

namespace heed {
namespace {

enum class Flavour { sweet, salty };
constexpr std::array<NameOf<Flavour>, 2> value_names(Flavour) {
  return {{{"sweet", Flavour::sweet}, {"salty", Flavour::salty}}};
}

struct Turning {
  static constexpr std::string_view name = "turning";
  double base = 10000;
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("base", config.base);
  }
};
struct Standing {
  static constexpr std::string_view name = "standing";
};

struct Inner {
  Index groups = 1;
  std::vector<double> factors = {};
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("groups", config.groups);
    f("factors", config.factors);
  }
};
struct Empty {};

struct Config {
  bool biases = false;
  Index left = 5;
  double scale = 0.5;
  std::string label = "none";
  Flavour flavour = Flavour::sweet;
  std::optional<double> cap = {};
  std::variant<Turning, Standing> positions = {};
  Inner inner = {};
  std::vector<Inner> more = {};
  Empty empty = {};

  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("biases", config.biases);
    f("left", config.left);
    f("scale", config.scale);
    f("label", config.label);
    f("flavour", config.flavour);
    f("cap", config.cap);
    f("positions", config.positions);
    f("inner", config.inner);
    f("more", config.more);
    f("empty", config.empty);
  }
};

using Members = Description::Members;
using List = Description::List;

// Every kind of member, none at its default.
const Description everything = Members{
    {"biases", true},
    {"left", "unbounded"},
    {"scale", 2.0},
    {"label", "some"},
    {"flavour", "salty"},
    {"cap", 50.0},
    {"positions", Members{{"type", "turning"}, {"base", 5e5}}},
    {"inner", Members{{"groups", 3}, {"factors", List{0.5, 1.5}}}},
    {"more", List{Members{{"groups", 2}}, Members{}}},
};

Config read(const Description& from) {
  Config config;
  read_described(from, config, Place("model.json").member("layer"));
  return config;
}

TEST(Fields, SetEveryKindOfMember) {
  const Config config = read(everything);
  EXPECT_TRUE(config.biases);
  EXPECT_EQ(config.left, (std::numeric_limits<Index>::max)() / 4);
  EXPECT_EQ(config.scale, 2);
  EXPECT_EQ(config.label, "some");
  EXPECT_EQ(config.flavour, Flavour::salty);
  EXPECT_EQ(config.cap, 50);
  ASSERT_TRUE(std::holds_alternative<Turning>(config.positions));
  EXPECT_EQ(std::get<Turning>(config.positions).base, 5e5);
  EXPECT_EQ(config.inner.groups, 3);
  EXPECT_EQ(config.inner.factors, (std::vector<double>{0.5, 1.5}));
  ASSERT_EQ(config.more.size(), 2u);
  EXPECT_EQ(config.more[0].groups, 2);
  EXPECT_EQ(config.more[1].groups, 1);
}

TEST(Fields, ComeBackAsTheyWereDescribed) {
  EXPECT_EQ(described(read(everything)), everything);
  EXPECT_EQ(described(Config()), Description(Members{}));
}

TEST(Fields, ThatAreNotSaidKeepTheirDefaults) {
  const Config config = read(Members{{"scale", 3}});
  EXPECT_EQ(config.scale, 3);
  EXPECT_EQ(config.left, 5);
  EXPECT_TRUE(std::holds_alternative<Turning>(config.positions));
}

TEST(Fields, NameAnAlternativeWithoutMembersByATextToo) {
  EXPECT_TRUE(std::holds_alternative<Standing>(read(Members{{"positions", "standing"}}).positions));
  EXPECT_TRUE(std::holds_alternative<Standing>(read(Members{{"positions", Members{{"type", "standing"}}}}).positions));
  Config config;
  config.positions = Standing();
  EXPECT_EQ(described(config), Description(Members{{"positions", "standing"}}));
}

struct Tied {
  Index length = 0;
  const double* table = nullptr;  // no member
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("length", config.length);
  }
  static void check_described(const Tied& tied, const Place& place) {
    if (tied.table != nullptr) place.member("table").refuse("expected none, found one");
  }
};
struct Holding {
  std::vector<Tied> tied = {};
  template <class F, class C>
  static void fields(F&& f, C& config) {
    f("tied", config.tied);
  }
};

TEST(Fields, RefuseToDescribeWhatADescriptionCannotSay) {
  const double number = 1;
  const Holding holding = {.tied = {{}, {.table = &number}}};
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(described(holding, Place("layer 3").member("mixer"))); }),
            "layer 3: mixer.tied[1].table: expected none, found one");
  Config config;
  config.cap = std::numeric_limits<double>::infinity();
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(described(config)); }),
            "cap: expected a finite number, found inf");
  config.cap = {};
  config.inner.factors = {1, std::nan("")};
  EXPECT_EQ(error_text<ConfigError>([&] { static_cast<void>(described(config)); }),
            "inner.factors[1]: expected a finite number, found nan");
}

TEST(Fields, EmptyAnOptionalByNothing) {
  Config config;
  config.cap = 3;
  read_described(Members{{"cap", Description()}}, config, Place());
  EXPECT_FALSE(config.cap.has_value());
}

std::string error(const Description& from) {
  return error_text<ConfigError>([&] { static_cast<void>(read(from)); });
}

TEST(Fields, RefuseWhatDoesNotFitByItsPlace) {
  EXPECT_EQ(error(Members{{"biases", 1}}), "model.json: layer.biases: expected true or false, found 1");
  EXPECT_EQ(error(Members{{"left", 1.5}}), "model.json: layer.left: expected a whole number, found 1.500000");
  EXPECT_EQ(error(Members{{"left", "far"}}), "model.json: layer.left: expected a whole number, found \"far\"");
  EXPECT_EQ(error(Members{{"scale", "much"}}), "model.json: layer.scale: expected a finite number, found \"much\"");
  EXPECT_EQ(error(Members{{"scale", std::numeric_limits<double>::infinity()}}),
            "model.json: layer.scale: expected a finite number, found inf");
  EXPECT_EQ(error(Members{{"label", List{}}}), "model.json: layer.label: expected a text, found a list of 0");
  EXPECT_EQ(error(Members{{"flavour", "sour"}}), "model.json: layer.flavour: expected one of sweet, salty, found \"sour\"");
  EXPECT_EQ(error(Members{{"positions", "sitting"}}),
            "model.json: layer.positions: expected one of turning, standing, found \"sitting\"");
  EXPECT_EQ(error(Members{{"positions", 3}}),
            "model.json: layer.positions: expected a name or members with \"type\", found 3");
  EXPECT_EQ(error(Members{{"positions", Members{{"base", 3}}}}),
            "model.json: layer.positions: expected a member \"type\" (one of turning, standing), found none");
  EXPECT_EQ(error(Members{{"inner", Members{{"factors", List{1, true}}}}}),
            "model.json: layer.inner.factors[1]: expected a finite number, found true");
  EXPECT_EQ(error(Members{{"more", List{Members{}, Members{{"group", 1}}}}}),
            "model.json: layer.more[1].group: expected one of groups, factors, found this one");
  EXPECT_EQ(error(Members{{"empty", Members{{"a", 1}}}}), "model.json: layer.empty.a: expected no members, found this one");
  EXPECT_EQ(error(Members{{"inner", Members{{"groups, factors", 1}}}}),
            "model.json: layer.inner.groups, factors: expected one of groups, factors, found this one");
  EXPECT_EQ(error("all"), "model.json: layer: expected members, found \"all\"");
  EXPECT_EQ(error(Members{{"left", 1}, {"left", 2}}), "model.json: layer: expected every member once");
}

}  // namespace
}  // namespace heed
