// SVG plots: where values land, what is left out, and what is refused.
#include <gmock/gmock.h>

#include <cmath>

#include "report/plot.h"
#include "support/expect_error.h"
#include "support/temporary_dir.h"

namespace lasnet::test {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

Plot diagonal() {
  return {.title = "d",
          .x = {.label = "x", .min = 0, .max = 10},
          .y = {.label = "y", .min = 0, .max = 10},
          .series = {{.label = "s", .x = {0, 10}, .y = {0, 10}}}};
}

int count(const std::string& text, const std::string& part) {
  int found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

TEST(AxisTicks, AreRoundNumbersInside) {
  EXPECT_THAT(axis_ticks(0, 1, AxisScale::linear, 5),
              ElementsAre(0, 0.2, 0.4, testing::DoubleEq(0.6), 0.8, 1));
  EXPECT_THAT(axis_ticks(3, 47, AxisScale::linear), ElementsAre(10, 20, 30, 40));
  EXPECT_THAT(axis_ticks(0.9, 120, AxisScale::log), ElementsAre(1, 2, 5, 10, 20, 50, 100));
  EXPECT_THAT(axis_ticks(0.9, 2e6, AxisScale::log, 4), ElementsAre(1, 10, 100, 1000, 1e4, 1e5, 1e6));
}

TEST(Plots, ValuesLandOnTheFramesCorners) {
  // The frame of a 200 x 100 plot is what the margins leave: x from 62 to 186, y from 56 up to 30.
  EXPECT_THAT(to_svg({diagonal()}, {.columns = 1, .width = 200, .height = 100}),
              HasSubstr("points=\"62.0,56.0 186.0,30.0\""));
}

TEST(Plots, ALogAxisPutsEqualRatiosAtEqualDistances) {
  Plot plot = diagonal();
  plot.x = {.label = "x", .scale = AxisScale::log, .min = 1, .max = 100};
  plot.series = {{.label = "s", .x = {1, 10, 100}, .y = {0, 0, 0}, .mark = SeriesMark::line}};
  EXPECT_THAT(to_svg({plot}, {.columns = 1, .width = 200, .height = 100}),
              HasSubstr("points=\"62.0,56.0 124.0,56.0 186.0,56.0\""));
}

TEST(Plots, CrowdedLabelsGiveWayToPowersOfTen) {
  Plot plot = diagonal();
  plot.x = {.label = "x", .scale = AxisScale::log, .min = 4, .max = 12000};
  plot.series.clear();
  const std::string wide = to_svg({plot}, {.columns = 1, .width = 1000}),
                    narrow = to_svg({plot}, {.columns = 1});
  for (const char* power : {">10<", ">100<", ">1000<", ">10000<"}) EXPECT_THAT(narrow, HasSubstr(power));
  EXPECT_THAT(narrow, Not(HasSubstr(">5000<"))) << "it would touch 10000";
  EXPECT_THAT(wide, HasSubstr(">5000<"));
}

TEST(Plots, ALineBreaksWhereAPointCannotBeDrawn) {
  Plot plot = diagonal();
  plot.series = {{.label = "s", .x = {0, 1, 2, 3, 4}, .y = {1, 1, NAN, 1, 1}, .mark = SeriesMark::line}};
  const std::string svg = to_svg({plot});
  EXPECT_EQ(count(svg, "<polyline"), 2);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
}

TEST(Plots, TextIsEscaped) {
  Plot plot = diagonal();
  plot.title = "a < b & \"c\"";
  EXPECT_THAT(to_svg({plot}), HasSubstr("a &lt; b &amp; &quot;c&quot;"));
}

TEST(Plots, AreLaidOutInColumns) {
  const std::string svg =
      to_svg({diagonal(), diagonal(), diagonal()}, {.columns = 2, .width = 200, .height = 100});
  EXPECT_THAT(svg, HasSubstr("width=\"400\" height=\"200\""));
  EXPECT_THAT(svg, HasSubstr("points=\"262.0,56.0"));
  EXPECT_THAT(svg, HasSubstr("points=\"62.0,156.0"));
}

TEST(Plots, SeriesWithoutLabelsHaveNoLegend) {
  Plot plot = diagonal();
  const int with = count(to_svg({plot}), "<text");
  plot.series[0].label = "";
  EXPECT_EQ(count(to_svg({plot}), "<text"), with - 1);
}

TEST(Plots, ALegendCanBeLeftOutAsAWholeOrForASeries) {
  Plot plot = diagonal();
  const int with = count(to_svg({plot}), "<text");
  plot.series[0].in_legend = false;
  EXPECT_EQ(count(to_svg({plot}), "<text"), with - 1);
  plot.series[0].in_legend = true;
  plot.legend = false;
  EXPECT_EQ(count(to_svg({plot}), "<text"), with - 1);
}

TEST(Plots, PointsSayWhatTheyStandFor) {
  Plot plot = diagonal();
  plot.x.label = "rate", plot.y.label = "time, ms";
  plot.series = {{.label = "S < 4", .x = {0.25}, .y = {3}, .mark = SeriesMark::points}};
  EXPECT_THAT(to_svg({plot}), HasSubstr("<title>S &lt; 4; rate: 0.25, time, ms: 3</title>"));
}

TEST(Plots, CompactPointsAreOnePath) {
  Plot plot = diagonal();
  plot.legend = false;
  plot.series = {{.label = "s", .x = {1, 2, 3}, .y = {1, 2, 3}, .mark = SeriesMark::points, .compact = true}};
  const std::string svg = to_svg({plot});
  EXPECT_EQ(count(svg, "<circle"), 0);
  EXPECT_EQ(count(svg, "h0"), 3);
}

TEST(Plots, TheLegendKeepsOffALineBetweenItsPoints) {
  const auto legend_left = [](double y) {
    Plot plot = diagonal();  // a line over the plot at the top, two points at its ends
    plot.series = {{.label = "s", .x = {0, 10}, .y = {y, y}, .mark = SeriesMark::line}};
    const std::string svg = to_svg({plot}, {.columns = 1});
    return svg.substr(svg.find("fill-opacity=\"0.8\"") - 70, 70);
  };
  EXPECT_NE(legend_left(9.8), legend_left(0.2));
}

TEST(Plots, TheLegendStandsInTheCornerWithTheFewestPoints) {
  // A plot of 400 x 300: the frame is 62 ... 386 by 30 ... 256, a legend 104 wide.
  const PlotLayout layout{.columns = 1, .width = 400, .height = 300};
  Plot plot = diagonal();
  plot.series[0].x = plot.series[0].y = {0.5, 9.5};
  EXPECT_THAT(to_svg({plot}, layout), HasSubstr("<rect x=\"66.0\" y=\"33.0\" width=\"104\"")) << "upper left";
  plot.series[0].y = {9.5, 0.5};
  EXPECT_THAT(to_svg({plot}, layout), HasSubstr("<rect x=\"278.0\" y=\"33.0\" width=\"104\""))
      << "upper right";
  plot.series.push_back({.x = {9.5, 9.5}, .y = {9.5, 9.5}});
  EXPECT_THAT(to_svg({plot}, layout), HasSubstr("<rect x=\"66.0\" y=\"235.0\" width=\"104\""))
      << "lower left";
}

TEST(Plots, ACalloutRingsItsPlaceAndNamesIt) {
  Plot plot = diagonal();  // the frame of 200 x 100: x from 62 to 186, y from 56 up to 30
  plot.callouts = {{5, 5, "S = 4"}, {20, 5, "outside"}};
  const std::string svg = to_svg({plot}, {.columns = 1, .width = 200, .height = 100});
  EXPECT_THAT(svg, HasSubstr("<circle cx=\"124.0\" cy=\"43.0\" r=\"7\" fill=\"none\""));
  EXPECT_THAT(svg, HasSubstr(">S = 4</text>"));
  EXPECT_THAT(svg, Not(HasSubstr("outside")));
}

TEST(Plots, AnEmphasisedSeriesIsThickAndAboveTheOthers) {
  Plot plot = diagonal();
  plot.series = {{.label = "a", .x = {0, 10}, .y = {0, 10}, .mark = SeriesMark::line, .emphasised = true},
                 {.label = "b", .x = {0, 10}, .y = {10, 0}, .mark = SeriesMark::line}};
  const std::string svg = to_svg({plot}, {.columns = 1, .width = 200, .height = 100});
  const size_t thick = svg.find("points=\"62.0,56.0 186.0,30.0\" stroke=\"#0072b2\" stroke-width=\"3.2\""),
               thin = svg.find("points=\"62.0,30.0 186.0,56.0\" stroke=\"#d55e00\" stroke-width=\"1.6\"");
  ASSERT_NE(thick, std::string::npos) << svg;
  ASSERT_NE(thin, std::string::npos) << svg;
  EXPECT_GT(thick, thin);
}

TEST(Plots, NoValuesStillDrawAxes) {
  Plot plot{.title = "empty", .x = {.label = "x"}, .y = {.label = "y", .scale = AxisScale::log}};
  EXPECT_THAT(to_svg({plot}), HasSubstr("empty"));
}

TEST(Plots, WrongValuesAreRefused) {
  Plot plot = diagonal();
  plot.series[0].y.pop_back();
  EXPECT_ERROR(to_svg({plot}), HasSubstr("2 x and 1 y"));
  plot = diagonal();
  plot.x.max = -1;
  EXPECT_ERROR(to_svg({plot}), HasSubstr("axis 'x'"));
  EXPECT_ERROR(to_svg({diagonal()}, {.columns = 0}), HasSubstr("columns"));
}

TEST(Plots, AFileHoldsTheText) {
  TemporaryDir dir;
  write_svg({diagonal()}, {}, dir / "p.svg");
  EXPECT_EQ(read_text(dir / "p.svg"), to_svg({diagonal()}));
  EXPECT_EQ(dir.entries(), 1);
}

}  // namespace
}  // namespace lasnet::test
