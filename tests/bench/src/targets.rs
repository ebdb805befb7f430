//! What is aimed at: each target is judged by the samples, in one place and by one rule.

mod list;

use super::figures::{Figure, Samples, Spread};
use super::responders::Who;
pub use list::TARGETS;

/// One aim.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// For people.
    pub work: &'static str,
    /// Names of cases that show it; the first that was measured counts.
    pub cases: &'static [&'static str],
    /// What is judged.
    pub figure: Figure,
    /// Whose figure.
    pub mine: Pick,
    /// Over what, in the same round.
    pub over: Over,
    /// The threshold.
    pub bound: Bound,
}

/// Whose figure of several.
#[derive(Clone, Copy, Debug)]
pub enum Pick {
    /// Whoever is best by the median.
    Best(&'static [Who]),
    /// Whoever is worst: all have to meet it.
    Worst(&'static [Who]),
}

/// Over what a figure is judged.
#[derive(Clone, Copy, Debug)]
pub enum Over {
    /// Nothing: the figure itself.
    Nothing,
    /// Somebody's figure in the same case.
    Who(Pick),
    /// The same responder's figure in another case.
    Case(&'static str),
}

/// What a figure has to keep to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Bound {
    /// More is better.
    AtLeast(f64),
    /// Less is better.
    AtMost(f64),
}

/// What came of a target.
#[derive(Clone, Debug)]
pub struct TargetResult {
    /// Which.
    pub target: &'static Target,
    /// In which case.
    pub case: &'static str,
    /// Who was judged, and over whom.
    pub who: Option<(Who, Option<Who>)>,
    /// The figure; none if it was not measured.
    pub seen: Option<Spread>,
    /// The generator was the limit, so that the figure says nothing of the server.
    pub is_limited: bool,
    /// If the generator was the limit, it was so for ours alone, and more is better: the true figure is no smaller.
    pub is_lower_bound: bool,
}

impl Bound {
    /// Whether a value keeps to it.
    #[must_use]
    pub fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }

    /// Whether more is better.
    fn better(self, a: f64, b: f64) -> bool {
        match self {
            Self::AtLeast(_) => a > b,
            Self::AtMost(_) => a < b,
        }
    }
}

impl TargetResult {
    /// `met`, or by how much not.
    #[must_use]
    pub fn words(&self) -> String {
        let Some(seen) = self.seen else { return "not measured".into() };
        let is_met = self.target.bound.is_met(seen.median);
        if self.is_limited {
            let words = if is_met && self.is_lower_bound {
                "met, at least"
            } else {
                "not judged: the generator is the limit"
            };
            return words.into();
        }
        if is_met {
            return "met".into();
        }
        match self.target.bound {
            Bound::AtLeast(least) => format!("missed by {:.0} %", 100.0 * (1.0 - seen.median / least)),
            Bound::AtMost(most) if most > 0.0 => {
                format!("missed: {:.1} times as much", seen.median / most)
            }
            Bound::AtMost(_) => "missed".into(),
        }
    }
}

/// Judges all; with `limited` also those of which the generator was the limit.
#[must_use]
pub(super) fn judge(samples: &Samples, limited: bool) -> Vec<TargetResult> {
    let mut judged: Vec<_> = TARGETS.iter().map(|target| target.judge(samples)).collect();
    judged.iter_mut().for_each(|result| result.is_limited &= !limited);
    judged
}

impl Target {
    fn judge(&'static self, samples: &Samples) -> TargetResult {
        let measured = |case: &&str| samples.0.iter().any(|sample| sample.case == **case);
        let case = *self.cases.iter().find(|case| measured(case)).unwrap_or(&self.cases[0]);
        let mine = self.pick(samples, case, self.mine);
        let (who, seen) = match (mine, self.over) {
            (Some(mine), Over::Nothing) => (Some((mine, None)), samples.spread(case, mine, self.figure)),
            (Some(mine), Over::Case(other)) => {
                (Some((mine, None)), samples.ratio_of_cases(mine, self.figure, case, other))
            }
            (Some(mine), Over::Who(over)) => match self.pick(samples, case, over) {
                Some(other) => {
                    let ratio = samples.ratio(case, (mine, self.figure), (other, self.figure));
                    (Some((mine, Some(other))), ratio)
                }
                None => (None, None),
            },
            (None, _) => (None, None),
        };
        let limited = |who| samples.is_limited(case, who);
        let is_other_limited = who.is_some_and(|(_, other)| other.is_some_and(limited));
        let is_limited =
            self.figure.is_about_speed() && (is_other_limited || who.is_some_and(|(mine, _)| limited(mine)));
        let is_lower_bound = matches!(self.bound, Bound::AtLeast(_)) && !is_other_limited;
        TargetResult { target: self, case, who, seen, is_limited, is_lower_bound }
    }

    fn pick(&self, samples: &Samples, case: &str, pick: Pick) -> Option<Who> {
        let (all, best) = match pick {
            Pick::Best(all) => (all, true),
            Pick::Worst(all) => (all, false),
        };
        let measured =
            all.iter().filter_map(|&who| Some((who, samples.spread(case, who, self.figure)?.median)));
        let chosen = measured.reduce(|kept, next| {
            let next_is_better = self.bound.better(next.1, kept.1);
            let equal = next.1 == kept.1;
            if next_is_better == best && !equal { next } else { kept }
        });
        chosen.map(|(who, _)| who)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::cases::{Case, Form, cases};
    use super::super::figures::Sample;
    use super::list::{SMALL, STORM};
    use super::*;

    #[test]
    fn every_target_has_its_case_and_its_responders() {
        let all = [cases(Form::Targets, None), cases(Form::Faults, None)].concat();
        for target in TARGETS {
            let found: Option<&Case> = all.iter().find(|case| target.cases.contains(&case.name().as_str()));
            let case = found.unwrap_or_else(|| panic!("no case for {}", target.work));
            let (Pick::Best(mine) | Pick::Worst(mine)) = target.mine;
            assert!(mine.iter().all(|who| case.who.contains(who)), "{}: {mine:?}", target.work);
            match target.over {
                Over::Nothing => {}
                Over::Who(Pick::Best(who) | Pick::Worst(who)) => {
                    assert!(who.iter().all(|who| case.who.contains(who)), "{}: {who:?}", target.work);
                }
                Over::Case(name) => {
                    let other = all.iter().find(|case| case.name() == name).expect(name);
                    assert!(mine.iter().all(|who| other.who.contains(who)), "{}: {mine:?}", target.work);
                }
            }
        }
    }

    fn sample(case: &str, who: Who, report: Value) -> Sample {
        Sample { case: case.into(), who, round: 0, report, blocks: Some(100) }
    }

    #[test]
    fn the_best_counts_where_one_may_choose_and_the_worst_where_all_must() {
        let rate = |who, bytes: f64| sample(SMALL[0], who, json!({ "bytes": bytes, "seconds": 1.0 }));
        let failed = |who, failed: u64| sample(STORM[0], who, json!({ "failed": failed }));
        let samples = Samples(vec![
            rate(Who::Dnsmasq, 100.0),
            rate(Who::Generic, 300.0),
            rate(Who::Native, 800.0),
            failed(Who::Generic, 0),
            failed(Who::Native, 3),
        ]);
        let judged = judge(&samples, false);
        let ratio = &judged[0];
        assert_eq!(ratio.who, Some((Who::Native, Some(Who::Dnsmasq))));
        assert_eq!(ratio.words(), "met");
        let failures = judged
            .iter()
            .find(|result| result.case == STORM[0] && result.target.figure == Figure::Failed)
            .unwrap();
        assert_eq!(failures.who, Some((Who::Native, None)));
        assert_eq!(failures.words(), "missed");
        assert_eq!(judged[1].words(), "not measured");
    }

    #[test]
    fn a_miss_says_by_how_much() {
        let rate = |who, bytes: f64| sample(SMALL[0], who, json!({ "bytes": bytes, "seconds": 1.0 }));
        let judged = judge(&Samples(vec![rate(Who::Dnsmasq, 100.0), rate(Who::Native, 525.0)]), false);
        assert_eq!(judged[0].words(), "missed by 25 %");
    }

    #[test]
    fn what_the_generator_limits_is_not_judged_unless_told_to() {
        let rate = |who, bytes: f64, share: f64| {
            sample(SMALL[0], who, json!({ "bytes": bytes, "seconds": 1.0, "generator_share": share }))
        };
        let words = |[dnsmasq, native]: [f64; 2], bytes, limited| {
            let samples = vec![rate(Who::Dnsmasq, 100.0, dnsmasq), rate(Who::Native, bytes, native)];
            judge(&Samples(samples), limited)[0].words()
        };
        let not_judged = "not judged: the generator is the limit";
        assert_eq!(words([0.2, 0.84], 900.0, false), "met");
        // A slow generator hides how fast pxed is. So what it shows is met, and what it does not show is unknown.
        assert_eq!(words([0.2, 0.86], 900.0, false), "met, at least");
        assert_eq!(words([0.2, 0.86], 300.0, false), not_judged);
        assert_eq!(words([0.86, 0.2], 900.0, false), not_judged);
        for shares in [[0.2, 0.86], [0.86, 0.2]] {
            assert_eq!(words(shares, 900.0, true), "met");
        }
    }
}
