//! Cleans texts from the network: limits their length, and removes characters that move a cursor or change
//! the direction of a line.

use super::board::TEXT_MAX;

/// Returns at most [`TEXT_MAX`] bytes of a text, without blanks at its ends, control characters and invisible
/// direction marks.
pub(crate) fn clean(text: &str) -> String {
    let mut kept = String::new();
    for character in text.trim().chars().filter(|character| is_plain(*character)) {
        if kept.len() + character.len_utf8() > TEXT_MAX {
            break;
        }
        kept.push(character);
    }
    kept
}

/// The cleaned text, or `None` if nothing is left of it.
pub(crate) fn clean_some(text: &str) -> Option<String> {
    Some(clean(text)).filter(|text| !text.is_empty())
}

/// Whether a character is safe to show. Bidirectional marks and overrides make a name look like another one.
/// The line separators U+2028 and U+2029 break lines, but are not control characters for `char::is_control`.
fn is_plain(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_that_could_move_a_cursor_and_the_length_is_bounded() {
        assert_eq!(clean(" a\u{1b}[2J\r\nb\u{202e}c\u{0}\u{9b} "), "a[2Jbc");
        assert_eq!(clean_some("\u{200b}\n"), None);
        let long = clean(&"ä".repeat(1000));
        assert_eq!((long.len(), long.chars().all(|c| c == 'ä')), (TEXT_MAX, true));
    }
}
