//! A chart: layers over two axes, as SVG with a caption that has the legend.

use maud::{Markup, PreEscaped, html};
use plotters::backend::SVGBackend;
use plotters::chart::{ChartBuilder, ChartContext};
use plotters::coord::Shift;
use plotters::coord::cartesian::Cartesian2d;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::{Color as _, IntoFont, RGBColor, ShapeStyle, TextStyle};

use super::axis::Axis;

/// Width of every chart, in the units of its SVG.
const WIDTH: u32 = 860;

/// Width of the labels of durations, rates and shares: charts below each other are aligned by it.
pub const LABEL_WIDTH: u32 = 90;

/// Points of a label's font, at that width.
const FONT: i32 = 17;

/// Half the height of the ends of an interval, in rows.
const CAP: f64 = 0.12;

type Plane<'a, 'b> = ChartContext<'b, SVGBackend<'a>, Cartesian2d<&'b Axis, &'b Axis>>;

/// A colour of the theme. An SVG is drawn in stand-ins, for which the stylesheet has those of the reader's theme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Color {
    /// The first of the colours of series, which differ for people with any colour vision.
    A,
    /// The second.
    B,
    /// The third.
    C,
    /// The fourth.
    D,
    /// That of text.
    Text,
    /// That of what is less important.
    Muted,
}

impl Color {
    const ALL: [Color; 6] = [Color::A, Color::B, Color::C, Color::D, Color::Text, Color::Muted];

    /// The colours of series, in turn.
    pub fn of_series(index: usize) -> Color {
        Color::ALL[index % 4]
    }

    /// Its class in the stylesheet.
    fn class(self) -> &'static str {
        match self {
            Color::A => "a",
            Color::B => "b",
            Color::C => "c",
            Color::D => "d",
            Color::Text => "text",
            Color::Muted => "muted",
        }
    }

    /// What stands for it in an SVG: #000001 to #000006, in the order of [`Color::ALL`].
    fn stand_in(self) -> RGBColor {
        let index = Color::ALL.iter().position(|&one| one == self);
        RGBColor(0, 0, 1 + index.unwrap_or(0) as u8)
    }

    fn solid(self) -> ShapeStyle {
        self.stand_in().filled().stroke_width(2)
    }

    fn filled(self, opacity: f64) -> ShapeStyle {
        // Two decimals are enough, and a page has thousands of them.
        self.stand_in().mix((opacity * 100.0).round() / 100.0).filled()
    }
}

/// A part of the plane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rectangle {
    /// Lower and upper end on the abscissa.
    pub x: [f64; 2],
    /// Lower and upper end on the ordinate.
    pub y: [f64; 2],
    /// From 0, transparent, to 1.
    pub opacity: f64,
}

/// What is drawn, from the first layer to the last.
pub enum Layer {
    /// Rectangles of one colour.
    Cells {
        /// Their colour.
        color: Color,
        /// Where, and how strong.
        cells: Vec<Rectangle>,
    },
    /// An area between two lines.
    Band {
        /// In the legend.
        name: String,
        /// Its colour, made faint.
        color: Color,
        /// Abscissa, lower and upper line.
        points: Vec<(f64, f64, f64)>,
    },
    /// A line. Where a point has no ordinate, it is interrupted.
    Line {
        /// In the legend; empty to leave it out.
        name: String,
        /// Its colour.
        color: Color,
        /// Its points, in order of the abscissa.
        points: Vec<(f64, Option<f64>)>,
        /// True for a dashed line.
        dashed: bool,
    },
    /// Dots.
    Dots {
        /// In the legend; empty to leave it out.
        name: String,
        /// Their colour.
        color: Color,
        /// Where.
        points: Vec<(f64, f64)>,
    },
    /// A vertical line over the whole chart.
    Mark {
        /// In the legend.
        name: String,
        /// Its colour.
        color: Color,
        /// Its abscissa.
        x: f64,
    },
    /// A point with a horizontal interval, in a row.
    Interval {
        /// Its colour.
        color: Color,
        /// Row from 0, at the top; a fraction is below it.
        row: f64,
        /// The point.
        at: f64,
        /// Its interval, if there is one.
        ends: Option<[f64; 2]>,
    },
}

/// A chart.
pub struct Chart {
    /// What it shows, in a few words.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Height in the units of its SVG, of which it is 860 wide.
    pub height: u32,
    /// Space for the labels of the ordinate.
    pub label_width: u32,
    /// The abscissa.
    pub x: Axis,
    /// The ordinate.
    pub y: Axis,
    /// What is drawn.
    pub layers: Vec<Layer>,
}

impl Chart {
    /// As a figure.
    pub fn figure(&self) -> Markup {
        let svg = self.svg();
        html! {
            figure {
                figcaption {
                    strong { (self.title) } " "
                    @for (name, class) in self.layers.iter().filter_map(Layer::legend) { span.legend.(*class) { (name) } " " }
                    @if !self.note.is_empty() { div { (self.note) } }
                }
                div.wide { (PreEscaped(svg)) }
            }
        }
    }

    fn svg(&self) -> String {
        let mut svg = String::new();
        let area = SVGBackend::with_string(&mut svg, (WIDTH, self.height)).into_drawing_area();
        let drawn = self.draw(&area);
        drawn.expect("an SVG in memory takes whatever is drawn");
        drop(area);
        // A name for screen readers, and for the stylesheet.
        let open = html! { svg class="chart" role="img" aria-label=(self.title) {} }.into_string();
        svg.replacen("<svg", open.trim_end_matches("></svg>"), 1)
    }

    fn draw<'a>(&self, area: &DrawingArea<SVGBackend<'a>, Shift>) -> DrawResult {
        let text = Color::Text.stand_in();
        let label = TextStyle::from(("sans-serif", FONT).into_font()).color(&text);
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_right(48)
            .x_label_area_size(28)
            .y_label_area_size(self.label_width)
            .build_cartesian_2d(&self.x, &self.y)?;
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(Color::Muted.filled(0.3))
            .axis_style(Color::Muted.filled(1.0))
            .label_style(label)
            .x_labels(7)
            .y_labels((self.height / 45) as usize)
            .draw()?;
        self.layers.iter().try_for_each(|layer| layer.draw(&mut chart))?;
        area.present()
    }
}

type DrawResult = Result<
    (),
    plotters::drawing::DrawingAreaErrorKind<<SVGBackend<'static> as plotters::backend::DrawingBackend>::ErrorType>,
>;

impl Layer {
    /// Its name and classes in the legend, if it has any.
    fn legend(&self) -> Option<(&str, String)> {
        let (name, color, kind) = match self {
            Layer::Cells { .. } | Layer::Interval { .. } => return None,
            Layer::Band { name, color, .. } => (name, color, " area"),
            Layer::Line {
                name,
                color,
                dashed: true,
                ..
            }
            | Layer::Mark { name, color, .. } => (name, color, " dashed"),
            Layer::Line { name, color, .. } | Layer::Dots { name, color, .. } => (name, color, ""),
        };
        (!name.is_empty()).then(|| (name.as_str(), format!("{}{kind}", color.class())))
    }

    fn draw(&self, chart: &mut Plane<'_, '_>) -> DrawResult {
        match self {
            Layer::Cells { color, cells } => {
                let shapes = cells.iter().map(|cell| {
                    let corners = [(cell.x[0], cell.y[0]), (cell.x[1], cell.y[1])];
                    plotters::element::Rectangle::new(corners, color.filled(cell.opacity))
                });
                chart.draw_series(shapes)?;
            }
            Layer::Band { color, points, .. } => {
                let there = points.iter().map(|&(x, low, _)| (x, low));
                let back = points.iter().rev().map(|&(x, _, high)| (x, high));
                let outline: Vec<_> = there.chain(back).collect();
                chart.draw_series([Polygon::new(outline, color.filled(0.25))])?;
            }
            Layer::Line {
                color, points, dashed, ..
            } => {
                for piece in points
                    .split(|point| point.1.is_none())
                    .filter(|piece| !piece.is_empty())
                {
                    draw_line(chart, piece, *color, *dashed)?;
                }
            }
            Layer::Dots { color, points, .. } => {
                let dots = points.iter().map(|&point| Circle::new(point, 4, color.filled(0.9)));
                chart.draw_series(dots)?;
            }
            &Layer::Mark { color, x, .. } => {
                let range = chart.y_range();
                chart.draw_series(DashedLineSeries::new(
                    [(x, range.start), (x, range.end)],
                    6,
                    5,
                    color.solid(),
                ))?;
            }
            &Layer::Interval { color, row, at, ends } => draw_interval(chart, color, -row, at, ends)?,
        }
        Ok(())
    }
}

/// A line without interruptions; a single point is a dot.
fn draw_line(chart: &mut Plane<'_, '_>, points: &[(f64, Option<f64>)], color: Color, dashed: bool) -> DrawResult {
    let points: Vec<(f64, f64)> = points.iter().filter_map(|&(x, y)| Some((x, y?))).collect();
    match (points.as_slice(), dashed) {
        (&[alone], _) => {
            chart.draw_series([Circle::new(alone, 2, color.filled(1.0))])?;
        }
        (_, true) => {
            chart.draw_series(DashedLineSeries::new(points, 6, 5, color.solid()))?;
        }
        (_, false) => {
            chart.draw_series(LineSeries::new(points, color.solid()))?;
        }
    }
    Ok(())
}

fn draw_interval(chart: &mut Plane<'_, '_>, color: Color, y: f64, at: f64, ends: Option<[f64; 2]>) -> DrawResult {
    if let Some([low, high]) = ends {
        let line = |from, to| PathElement::new(vec![from, to], color.solid());
        let cap = |x| line((x, y - CAP), (x, y + CAP));
        chart.draw_series([line((low, y), (high, y)), cap(low), cap(high)])?;
    }
    chart.draw_series([Circle::new((at, y), 5, color.filled(1.0))])?;
    Ok(())
}
