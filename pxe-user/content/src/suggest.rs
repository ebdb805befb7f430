//! The known word that somebody most likely meant.

/// How much alike two words must be, from 0 to 1 (Damerau-Levenshtein): `imag` and `image`, not `port` and `root`.
const ALIKE: f64 = 0.6;

/// The candidate that is most like `word`, if one is like it at all.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = |candidate: &str| strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
    let scored = candidates.into_iter().map(|candidate| (alike(candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, candidate)| candidate)
}

/// `; did you mean X?`, or nothing.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> String {
    nearest(word, candidates).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_like_a_word_is_found_and_what_is_not_is_not() {
        let known = ["interfaces", "image", "images", "rules", "port"];
        assert_eq!(nearest("interfacs", known), Some("interfaces"));
        assert_eq!(nearest("imag", known), Some("image"));
        assert_eq!(nearest("Rule", known), Some("rules"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(did_you_mean("imgae", known), "; did you mean `image`?");
        assert_eq!(did_you_mean("x", []), "");
    }
}
