//! Splits the lines of a dnsmasq configuration file as dnsmasq does (`read_file` in its option.c). Commas and `#` inside quotes
//! are plain characters. A `#` at the start of a line or after white space begins a comment. `\` escapes only inside quotes.

use super::finding::Place;

/// A line with content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) place: Place,
    /// The line as written, without its comment and surrounding white space.
    pub(super) text: String,
    /// The part before the first `=`; the whole line if it has no `=`.
    pub(super) key: String,
    /// The part after that `=`, split at commas. Empty if the line has no `=`.
    pub(super) fields: Vec<String>,
}

impl Line {
    /// The field at `index`, from 0. `None` if it is missing or empty.
    pub(super) fn field(&self, index: usize) -> Option<&str> {
        self.fields.get(index).map(String::as_str).filter(|field| !field.is_empty())
    }
}

/// The text, the key and the fields of a line, as in [`Line`].
pub(super) type Split = (String, String, Vec<String>);

/// Splits a line. Returns `None` for a comment or an empty line.
///
/// # Errors
/// The reason why dnsmasq rejects the line.
pub(super) fn split(line: &str) -> Result<Option<Split>, &'static str> {
    let mut parts = Parts { current: String::new(), key: None, fields: Vec::new() };
    let mut text = String::new();
    let mut is_after_space = true;
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => {
                text.push(c);
                let mut is_closed = false;
                while let Some(c) = chars.next() {
                    text.push(c);
                    match (c, chars.peek()) {
                        ('"', _) => {
                            is_closed = true;
                            break;
                        }
                        ('\\', Some(&escaped @ ('"' | '\\' | 't' | 'n' | 'e' | 'b' | 'r'))) => {
                            text.push(escaped);
                            chars.next();
                            parts.current.push(meaning(escaped));
                        }
                        _ => parts.current.push(c),
                    }
                }
                if !is_closed {
                    return Err("a quote is not closed");
                }
                is_after_space = false;
            }
            '#' if is_after_space => break,
            c if c.is_whitespace() => {
                text.push(' ');
                parts.current.push(' ');
                is_after_space = true;
            }
            c => {
                text.push(c);
                is_after_space = false;
                match c {
                    '=' if parts.key.is_none() => parts.end_key(),
                    ',' if parts.key.is_some() => parts.end_field(),
                    c => parts.current.push(c),
                }
            }
        }
    }
    let text = text.trim().to_owned();
    if text.is_empty() {
        return Ok(None);
    }
    match parts.key {
        Some(_) => parts.end_field(),
        None => parts.end_key(),
    }
    Ok(Some((text, parts.key.unwrap_or_default(), parts.fields)))
}

struct Parts {
    current: String,
    key: Option<String>,
    fields: Vec<String>,
}

impl Parts {
    fn end_key(&mut self) {
        self.key = Some(std::mem::take(&mut self.current).trim().to_owned());
    }

    fn end_field(&mut self) {
        self.fields.push(std::mem::take(&mut self.current).trim().to_owned());
    }
}

fn meaning(escaped: char) -> char {
    match escaped {
        't' => '\t',
        'n' => '\n',
        'b' => '\u{8}',
        'r' => '\r',
        'e' => '\u{1b}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(line: &str) -> (String, Vec<String>) {
        let (_, key, fields) = split(line).unwrap().unwrap();
        (key, fields)
    }

    #[test]
    fn lines_are_split_as_dnsmasq_splits_them() {
        for (line, key, expected) in [
            ("port=0", "port", &["0"][..]),
            ("log-dhcp", "log-dhcp", &[]),
            ("\tdhcp-boot = pxelinux.0 , , 10.0.0.1\r", "dhcp-boot", &["pxelinux.0", "", "10.0.0.1"]),
            (r#"pxe-service=x86PC,"a, # b",pxelinux # c"#, "pxe-service", &["x86PC", "a, # b", "pxelinux"]),
            (r#"pxe-prompt="say \"x\" \\ \q", 3"#, "pxe-prompt", &[r#"say "x" \ \q"#, "3"]),
            ("dhcp-boot=a#b", "dhcp-boot", &["a#b"]),
            ("dhcp-boot=tag:ipxe,http://x/?a=b", "dhcp-boot", &["tag:ipxe", "http://x/?a=b"]),
            ("tftp-root=\"/srv/my files\"", "tftp-root", &["/srv/my files"]),
            ("dhcp-boot=", "dhcp-boot", &[""]),
        ] {
            assert_eq!(
                fields(line),
                (key.to_owned(), expected.iter().map(ToString::to_string).collect()),
                "{line}"
            );
        }
        for nothing in ["", "  \t\r", "# x", "  # port=0", "#"] {
            assert_eq!(split(nothing), Ok(None), "{nothing:?}");
        }
        assert!(split("pxe-prompt=\"open").is_err());
    }

    proptest::proptest! {
        #[test]
        fn no_line_is_too_odd(line in ".{0,80}") {
            let _ = split(&line);
        }
    }
}
