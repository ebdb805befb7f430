//! Pictures: horizontal bars, each with its name and its figures beside it, so that no colour has to be told from
//! another; and curves over the number of machines. The colours are those of Okabe and Ito all the same.

mod curves;

use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::cases::{Case, Play};
use super::faults::Noise;
use super::figures::{Figure, Samples};
use super::responders::Who;
use super::show::short;

/// One picture: its file, its title, what its bars mean, and which cases it shows.
struct Plot {
    file: &'static str,
    title: &'static str,
    meaning: &'static str,
    shows: fn(&Case) -> bool,
    bar: fn(&Samples, &str, Who) -> Option<Bar>,
}

const PLOTS: &[Plot] = &[
    Plot {
        file: "throughput.svg",
        title: "Throughput in lock-step",
        meaning: "MB/s, median of the rounds; the line is their range. More is better. Each panel has its own scale.",
        shows: |case| {
            case.noise == Noise::NONE && matches!(case.play, Play::Load { window: 1, power_on: 0, .. })
        },
        bar: |samples, case, who| ranged(samples, case, who, Figure::Rate, "MB/s"),
    },
    Plot {
        file: "power-on.svg",
        title: "Time until a machine has its file, when many are switched on at once",
        meaning: "Seconds: dark, the median machine; light, 99 of 100. Less is better.",
        shows: |case| matches!(case.play, Play::Load { power_on: 1.., .. } | Play::Boots { .. }),
        bar: |samples, case, who| {
            let value = |figure| Some(samples.spread(case, who, figure)?.median);
            let (p50, p99) = (value(Figure::P50)?, value(Figure::P99)?);
            let failed = value(Figure::Failed).unwrap_or(0.0);
            let mut text = format!("p50 {} s, p99 {} s", short(p50), short(p99));
            if failed > 0.0 {
                text += &format!(", {} failed", short(failed));
            }
            Some(Bar { segments: vec![(p50, 1.0), (p99, 0.4)], range: None, text })
        },
    },
    Plot {
        file: "processor.svg",
        title: "Processor time of the server for a gigabyte",
        meaning: "Seconds: dark, in the program; middle, in the kernel for it; light, in the receiving thread. Less is better.",
        shows: |case| case.noise == Noise::NONE && matches!(case.play, Play::Load { power_on: 0, .. }),
        bar: |samples, case, who| {
            let value = |figure| samples.spread(case, who, figure).map(|spread| spread.median);
            let (user, system) = (value(Figure::User)?, value(Figure::System)?);
            let softirq = value(Figure::Softirq).unwrap_or(0.0);
            let segments = vec![(user, 1.0), (user + system, 0.6), (user + system + softirq, 0.3)];
            let text = format!("{} s/GB", short(value(Figure::Cpu)?));
            Some(Bar { segments, range: None, text })
        },
    },
    Plot {
        file: "dhcp.svg",
        title: "DHCP replies",
        meaning: "Thousands a second, median of the rounds; the line is their range. More is better.",
        shows: |case| matches!(case.play, Play::Offers { .. }),
        bar: |samples, case, who| ranged(samples, case, who, Figure::Offers, "k/s"),
    },
];

/// One bar: its parts as (where it ends, how opaque it is), the range of its value, and its figures.
struct Bar {
    segments: Vec<(f64, f64)>,
    range: Option<(f64, f64)>,
    text: String,
}

impl Bar {
    fn end(&self) -> f64 {
        let ends = self.segments.iter().map(|(end, _)| *end).chain(self.range.map(|(_, high)| high));
        ends.fold(0.0, f64::max)
    }
}

fn ranged(samples: &Samples, case: &str, who: Who, figure: Figure, unit: &str) -> Option<Bar> {
    let spread = samples.spread(case, who, figure)?;
    Some(Bar {
        segments: vec![(spread.median, 1.0)],
        range: (spread.low < spread.high).then_some((spread.low, spread.high)),
        text: format!("{} {unit}", short(spread.median)),
    })
}

/// The colours of Okabe and Ito; the peers are all grey.
fn colour(who: Who) -> RGBColor {
    match who {
        Who::Nginx | Who::Caddy | Who::Dnsmasq | Who::TftpdHpa | Who::Atftpd | Who::TftpdRs | Who::Nobody => {
            RGBColor(120, 120, 120)
        }
        Who::Socket => RGBColor(86, 180, 233),
        Who::Generic => RGBColor(0, 114, 178),
        Who::Native => RGBColor(0, 158, 115),
        Who::GenericOffload => RGBColor(230, 159, 0),
        Who::NativeOffload => RGBColor(213, 94, 0),
        Who::CopyTcx | Who::CopyRedirect | Who::CopyTx | Who::Reflect => RGBColor(204, 121, 167),
    }
}

/// Sizes in pixels.
const WIDTH: i32 = 900;
const MARGIN: i32 = 20;
/// Room for names at the left, and for figures at the right.
const NAMES: i32 = 170;
const FIGURES: i32 = 240;
const HEAD: i32 = 72;
const PANEL_HEAD: i32 = 44;
const ROW: i32 = 26;
const FONT: &str = "DejaVu Sans, Verdana, sans-serif";
const DARK: RGBColor = RGBColor(34, 34, 34);

/// A picture, ready to be written.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    /// The file's name.
    pub(super) file: &'static str,
    /// What it shows.
    pub(super) title: &'static str,
    /// The SVG.
    pub(super) svg: String,
}

/// All pictures for which something was measured.
///
/// # Errors
/// When one cannot be drawn.
pub(super) fn all(cases: &[Case], samples: &Samples) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for plot in PLOTS {
        let panels: Vec<_> = cases.iter().filter(|case| (plot.shows)(case)).collect();
        let panels: Vec<_> = panels.into_iter().filter_map(|case| panel(plot, case, samples)).collect();
        if !panels.is_empty() {
            let svg = draw(plot, &panels).map_err(|error| anyhow!("drawing {}: {error}", plot.file))?;
            pictures.push(Picture { file: plot.file, title: plot.title, svg });
        }
    }
    pictures.extend(curves::all(cases, samples)?);
    Ok(pictures)
}

type Panel = (String, Vec<(Who, Bar)>);

fn panel(plot: &Plot, case: &Case, samples: &Samples) -> Option<Panel> {
    let name = case.name();
    let bars: Vec<_> =
        case.who.iter().filter_map(|&who| Some((who, (plot.bar)(samples, &name, who)?))).collect();
    (!bars.is_empty()).then_some((name, bars))
}

type Drawn = Result<(), Box<dyn std::error::Error>>;

fn draw(plot: &Plot, panels: &[Panel]) -> Result<String, Box<dyn std::error::Error>> {
    let rows: i32 = panels.iter().map(|(_, bars)| PANEL_HEAD + ROW * bars.len() as i32).sum();
    let mut svg = String::new();
    {
        let size = (WIDTH as u32, (HEAD + rows + MARGIN) as u32);
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, plot.title, 19, (MARGIN, 26), HPos::Left)?;
        text(&area, plot.meaning, 13, (MARGIN, 51), HPos::Left)?;
        let mut top = HEAD;
        for panel in panels {
            top = draw_panel(&area, panel, top)?;
        }
        area.present()?;
    }
    Ok(svg)
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a panel from `top` on, and tells where it ends.
fn draw_panel(area: &Area<'_>, (name, bars): &Panel, top: i32) -> Result<i32, Box<dyn std::error::Error>> {
    text(area, name, 15, (MARGIN, top + PANEL_HEAD - 16), HPos::Left)?;
    let left = MARGIN + NAMES;
    let longest = bars.iter().map(|(_, bar)| bar.end()).fold(f64::MIN_POSITIVE, f64::max);
    let at =
        |value: f64| left + (value / longest * f64::from(WIDTH - MARGIN - FIGURES - left)).round() as i32;
    for (row, (who, bar)) in (0..).zip(bars) {
        let (high, low) = (top + PANEL_HEAD + ROW * row + 4, top + PANEL_HEAD + ROW * (row + 1) - 4);
        let middle = i32::midpoint(high, low);
        text(area, who.title(), 13, (left - 8, middle), HPos::Right)?;
        let mut from = 0.0;
        for &(end, opacity) in &bar.segments {
            let fill = colour(*who).mix(opacity).filled();
            area.draw(&Rectangle::new([(at(from), high), (at(end).max(at(from) + 1), low)], fill))?;
            from = end;
        }
        if let Some((least, most)) = bar.range {
            area.draw(&PathElement::new([(at(least), middle), (at(most), middle)], DARK.stroke_width(2)))?;
        }
        text(area, &bar.text, 13, (at(bar.end()) + 8, middle), HPos::Left)?;
    }
    let bottom = top + PANEL_HEAD + ROW * bars.len() as i32;
    area.draw(&PathElement::new([(left, top + PANEL_HEAD), (left, bottom)], DARK))?;
    Ok(bottom)
}

fn text(area: &Area<'_>, words: &str, size: i32, at: (i32, i32), side: HPos) -> Drawn {
    let style = (FONT, size).into_font().color(&DARK).pos(Pos::new(side, VPos::Center));
    area.draw(&Text::new(words.to_owned(), at, style))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::cases::{Form, cases};
    use super::super::figures::Sample;
    use super::*;

    #[test]
    fn pictures_are_drawn_of_what_was_measured_and_name_it() {
        let cases = cases(Form::Targets, None);
        let report = json!({ "done": 1, "failed": 0, "bytes": 1e9, "seconds": 2.0, "p50": 0.5, "p99": 1.0, "max": 1.0, "server_user": 0.1,
            "server_system": 0.2, "server_softirq": 0.3, "offers_per_second": 1000.0 });
        let of = |who| cases.iter().map(move |case| (case, who));
        let samples = of(Who::Dnsmasq)
            .chain(of(Who::Generic))
            .map(|(case, who)| Sample::new(case, who, 0, report.clone()));
        let pictures = all(&cases, &Samples(samples.collect())).unwrap();
        assert_eq!(pictures.len(), PLOTS.len() + 4, "four of them against the number of machines");
        for picture in pictures {
            assert!(picture.svg.starts_with("<svg") && picture.svg.trim_end().ends_with("</svg>"));
            for words in [picture.title, "dnsmasq", "pxed generic"] {
                assert!(picture.svg.contains(words), "{} has no `{words}`", picture.file);
            }
            assert!(!picture.svg.contains("tftpd-hpa"), "it was not measured");
        }
    }

    #[test]
    fn nothing_measured_is_no_picture() {
        assert!(all(&cases(Form::Targets, None), &Samples::default()).unwrap().is_empty());
    }
}
