//! Curves: a figure against the number of machines, one for each responder, with its name at its end.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use plotters::style::text_anchor::HPos;

use super::{DARK, MARGIN, Picture, colour, text};
use crate::cases::{Case, Play};
use crate::faults::Noise;
use crate::figures::{Figure, Samples};
use crate::responders::Who;
use crate::show::short;

/// One picture: its file, its title, what the height means, which cases are its points, and their figure.
struct Curves {
    file: &'static str,
    title: &'static str,
    meaning: &'static str,
    point: fn(&Case) -> Option<u32>,
    figure: Figure,
}

const PICTURES: &[Curves] = &[
    Curves {
        file: "machines-throughput.svg",
        title: "Throughput against the number of machines",
        meaning: "MB/s, 150 KB in lock-step, median of the rounds. More is better. Both axes are logarithmic.",
        point: loading,
        figure: Figure::Rate,
    },
    Curves {
        file: "machines-processor.svg",
        title: "Processor time for a gigabyte against the number of machines",
        meaning: "Seconds of the server, 150 KB in lock-step. Less is better. Both axes are logarithmic.",
        point: loading,
        figure: Figure::Cpu,
    },
    Curves {
        file: "machines-time.svg",
        title: "Time until the slowest machine has its file, against the number of machines",
        meaning: "Seconds, 150 KB in lock-step. Less is better. Both axes are logarithmic.",
        point: loading,
        figure: Figure::Max,
    },
    Curves {
        file: "machines-boot.svg",
        title: "Cost of a boot against the number of machines",
        meaning: "Milliseconds of the server's processor for a whole boot. Less is better. Both axes are logarithmic.",
        point: booting,
        figure: Figure::PerBoot,
    },
];

/// The small file in lock-step, where nothing goes wrong: how many load it.
fn loading(case: &Case) -> Option<u32> {
    match case.play {
        Play::Load { machines, window: 1, power_on: 0, file: crate::cases::File::Small }
            if case.noise == Noise::NONE =>
        {
            Some(machines)
        }
        _ => None,
    }
}

/// Whole boots: how many.
fn booting(case: &Case) -> Option<u32> {
    match case.play {
        Play::Boots { machines, power_on: 1000, known: 0, .. } if case.noise == Noise::NONE => Some(machines),
        _ => None,
    }
}

/// Sizes in pixels; the names of the curves stand at the right.
const SIZE: (i32, i32) = (900, 480);
const LEFT: i32 = 70;
const RIGHT: i32 = 160;
const TOP: i32 = 80;
const BOTTOM: i32 = 50;
/// Names of curves that end at the same height are moved so far apart.
const LINE: i32 = 17;

type Curve = (Who, Vec<(u32, f64)>);

/// All pictures with two points or more.
pub(super) fn all(cases: &[Case], samples: &Samples) -> Result<Vec<Picture>> {
    let mut pictures = Vec::new();
    for picture in PICTURES {
        let curves = curves(picture, cases, samples);
        if curves.is_empty() {
            continue;
        }
        let svg = draw(picture, &curves).map_err(|error| anyhow!("drawing {}: {error}", picture.file))?;
        pictures.push(Picture { file: picture.file, title: picture.title, svg });
    }
    Ok(pictures)
}

fn curves(picture: &Curves, cases: &[Case], samples: &Samples) -> Vec<Curve> {
    let mut curves: Vec<Curve> = Vec::new();
    for case in cases {
        let Some(machines) = (picture.point)(case) else { continue };
        for &who in case.who {
            let Some(value) = samples.spread(&case.name(), who, picture.figure) else { continue };
            let value = (machines, value.median.max(f64::MIN_POSITIVE));
            match curves.iter_mut().find(|(other, _)| *other == who) {
                Some((_, points)) => points.push(value),
                None => curves.push((who, vec![value])),
            }
        }
    }
    // One point is no curve; the bars show it.
    curves.retain(|(_, points)| points.len() > 1);
    curves.iter_mut().for_each(|(_, points)| points.sort_by_key(|(machines, _)| *machines));
    curves
}

fn draw(picture: &Curves, curves: &[Curve]) -> Result<String, Box<dyn std::error::Error>> {
    let values = || curves.iter().flat_map(|(_, points)| points.iter().map(|(_, value)| *value));
    let (low, high) = (values().fold(f64::MAX, f64::min), values().fold(f64::MIN_POSITIVE, f64::max));
    let mut numbers: Vec<u32> =
        curves.iter().flat_map(|(_, points)| points.iter().map(|(n, _)| *n)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let (first, last) = (f64::from(numbers[0]), f64::from(numbers[numbers.len() - 1]));
    let across = |machines: u32| LEFT + scaled(f64::from(machines), first, last, SIZE.0 - LEFT - RIGHT);
    let up = |value: f64| SIZE.1 - BOTTOM - scaled(value, low, high, SIZE.1 - TOP - BOTTOM);
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (SIZE.0 as u32, SIZE.1 as u32)).into_drawing_area();
        area.fill(&WHITE)?;
        text(&area, picture.title, 19, (MARGIN, 26), HPos::Left)?;
        text(&area, picture.meaning, 13, (MARGIN, 51), HPos::Left)?;
        let corner = (LEFT, SIZE.1 - BOTTOM);
        area.draw(&PathElement::new([(LEFT, TOP), corner, (SIZE.0 - RIGHT, corner.1)], DARK))?;
        for value in [low, (low * high).sqrt(), high] {
            text(&area, &short(value), 13, (LEFT - 8, up(value)), HPos::Right)?;
        }
        for &number in &numbers {
            text(&area, &number.to_string(), 13, (across(number), corner.1 + 16), HPos::Center)?;
        }
        text(&area, "machines", 13, (SIZE.0 - RIGHT, corner.1 + 34), HPos::Right)?;
        let mut names: Vec<(i32, Who)> = Vec::new();
        for (who, points) in curves {
            let line: Vec<_> =
                points.iter().map(|&(machines, value)| (across(machines), up(value))).collect();
            let colour = colour(*who);
            area.draw(&PathElement::new(line.clone(), colour.stroke_width(2)))?;
            for &point in &line {
                area.draw(&Circle::new(point, 3, colour.filled()))?;
            }
            names.extend(line.last().map(|&(_, height)| (height, *who)));
        }
        names.sort_unstable();
        let heights = apart(&names.iter().map(|(height, _)| *height).collect::<Vec<_>>(), SIZE.1 - BOTTOM);
        for (height, (_, who)) in heights.into_iter().zip(names) {
            text(&area, who.title(), 13, (SIZE.0 - RIGHT + 10, height), HPos::Left)?;
        }
        area.present()?;
    }
    Ok(svg)
}

/// Moves sorted heights so far apart that names fit, and none below the lowest: the scale stands there.
fn apart(heights: &[i32], lowest: i32) -> Vec<i32> {
    let mut moved = heights.to_vec();
    for index in 1..moved.len() {
        moved[index] = moved[index].max(moved[index - 1] + LINE);
    }
    let mut most = lowest;
    for height in moved.iter_mut().rev() {
        *height = (*height).min(most);
        most = *height - LINE;
    }
    moved
}

/// Where a value is between two others on a logarithmic scale of so many pixels.
fn scaled(value: f64, low: f64, high: f64, pixels: i32) -> i32 {
    let decades = (high / low).ln();
    if decades <= 0.0 { 0 } else { ((value / low).ln() / decades * f64::from(pixels)).round() as i32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_apart_and_above_the_scale() {
        assert_eq!(apart(&[10, 12, 300], 400), [10, 10 + LINE, 300]);
        assert_eq!(apart(&[10, 395, 400], 400), [10, 400 - LINE, 400]);
    }

    #[test]
    fn a_logarithmic_scale_has_equal_steps_for_equal_factors() {
        assert_eq!([1.0, 10.0, 100.0].map(|value| scaled(value, 1.0, 100.0, 200)), [0, 100, 200]);
        assert_eq!(scaled(5.0, 5.0, 5.0, 200), 0);
    }
}
