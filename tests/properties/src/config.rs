//! `pxed.toml`: each mistake has a message, with a line of the file.

use pxed::config::{Config, Severity};

/// Takes any text as the file.
pub fn check(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let (config, problems) = Config::parse(text);
    let lines = text.split('\n').count();
    for problem in &problems {
        assert!(problem.line.is_none_or(|line| (1..=lines).contains(&line)), "{problem}, of {lines} lines");
        assert!(!problem.text.trim().is_empty());
    }
    let is_wrong = problems.iter().any(|problem| problem.severity == Severity::Error);
    assert!(config.is_some() || is_wrong, "rejected without an error");
    if let Some(config) = &config {
        assert_eq!(config.images().len(), config.image_lines.len());
        let rules = config.rules().iter().map(|rule| &rule.line);
        assert!(config.image_lines.iter().chain(rules).all(|line| *line <= lines));
    }
    assert_eq!(Config::parse(text), (config, problems), "parsing twice gives two results");
}
