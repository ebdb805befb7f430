//! Suggestions for misspelt words: the known word that is most similar to the given one.

/// The lowest similarity that counts, from 0 to 1 (normalised Damerau-Levenshtein). `imag` and `image` are
/// above it, `port` and `root` below.
const ALIKE: f64 = 0.6;

/// The candidate that is most similar to `word`, without regard to upper and lower case. `None` if no
/// candidate is similar enough.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let alike = |candidate: &str| strsim::normalized_damerau_levenshtein(&word, &candidate.to_lowercase());
    let scored = candidates.into_iter().map(|candidate| (alike(candidate), candidate));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(alike, _)| *alike >= ALIKE).map(|(_, candidate)| candidate)
}

/// The text `; did you mean X?` for the end of a message, or an empty string if no candidate is similar
/// enough.
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
