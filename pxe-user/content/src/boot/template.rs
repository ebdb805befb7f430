//! Templates: texts with `{{ variables }}`, which pxed fills in for one machine. `check_template` runs when
//! the configuration is read, `fill` when a boot loader requests the text.

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use minijinja::value::{Object, Value};
use minijinja::{Environment, UndefinedBehavior, context};

use super::facts::{FOLDER, ServedAt};
use super::image_spec::ImageSpec;
use crate::boot::MachineFacts;
use crate::suggest::nearest;
use pxe_proto::dhcp::{Arch, Uuid};
use pxe_proto::mac::Mac;

/// The variables that a template may use.
const VARIABLES: [&str; 12] = [
    "arch",
    "http",
    "image",
    "ip",
    "mac",
    "mac_dashed",
    "name",
    "report_url",
    "rule",
    "serial",
    "server",
    "uuid",
];
/// The variables that are empty if HTTP is off.
const OF_HTTP: [&str; 2] = ["http", "report_url"];

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The template uses a variable that does not exist.
    #[error("the template uses `{name}`, which is not set{near} A template may use {}", VARIABLES.join(", "))]
    Unknown {
        /// The name of the variable.
        name: String,
        /// The end of the message: a suggestion if a similar variable exists.
        near: String,
    },
    /// Any other error: of the syntax, or of an operation on a value.
    #[error("line {line} of the template: {text}")]
    Invalid {
        /// The line in the template, starting at 1.
        line: usize,
        /// The description of the error.
        text: String,
    },
}

impl From<minijinja::Error> for TemplateError {
    fn from(error: minijinja::Error) -> Self {
        let text = error.detail().map_or_else(|| error.kind().to_string(), str::to_owned);
        Self::Invalid { line: error.line().unwrap_or(1), text }
    }
}

/// Checks that a template can be filled in, both for a machine about which nothing is known and for one about
/// which everything is known.
///
/// # Errors
/// The error in the template, with the name of the variable or the line.
pub fn check_template(template: &str) -> Result<(), TemplateError> {
    let environment = environment();
    let used = environment.template_from_str(template)?.undeclared_variables(false);
    let is_known =
        |name: &str| VARIABLES.contains(&name) || environment.globals().any(|(global, _)| global == name);
    // Report the first variable by name, so that the message is always the same: a set has no order.
    if let Some(name) = used.into_iter().filter(|name| !is_known(name)).min() {
        let near = nearest(&name, VARIABLES);
        let near = near.map_or_else(|| ".".to_owned(), |near| format!("; did you mean `{near}`?"));
        return Err(TemplateError::Unknown { name, near });
    }
    for (facts, http) in [(MachineFacts::unknown(Mac::default()), None), (all_known(), Some(80))] {
        fill(template, &ImageSpec::default(), &facts, ServedAt { server: Ipv4Addr::UNSPECIFIED, http })?;
    }
    Ok(())
}

/// The first variable that the template writes although it is empty without `[http]`. `None` if there is
/// none, for example because the template tests `{% if http %}` first.
#[must_use]
pub fn needs_http(template: &str) -> Option<&'static str> {
    [MachineFacts::unknown(Mac::default()), all_known()].iter().find_map(|facts| {
        let values = context! {
            http => Value::from_object(Unset("http")),
            report_url => Value::from_object(Unset("report_url")),
            ..values(&ImageSpec::default(), facts, ServedAt { server: Ipv4Addr::UNSPECIFIED, http: None })
        };
        let text = environment().render_str(template, values).ok()?;
        OF_HTTP.into_iter().find(|name| text.contains(&Unset(name).to_string()))
    })
}

fn all_known() -> MachineFacts {
    MachineFacts {
        uuid: Some(Uuid([1; 16])),
        address: Some(Ipv4Addr::LOCALHOST),
        arch: Some(Arch::BIOS),
        serial: Some("1".into()),
        name: Some("1".into()),
        rule: Some("1".into()),
        ..MachineFacts::unknown(Mac::default())
    }
}

/// A variable without a value: it is false in a condition, and leaves a mark in the text where it is written.
#[derive(Debug)]
struct Unset(&'static str);

impl Object for Unset {
    fn is_true(self: &Arc<Self>) -> bool {
        false
    }

    fn render(self: &Arc<Self>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Unset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The mark contains a control character, so no configuration contains it.
        write!(f, "\u{1}{}\u{1}", self.0)
    }
}

fn environment<'e>() -> Environment<'e> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment
}

/// The text for one machine.
///
/// # Errors
/// The error in the template.
pub(super) fn fill(
    template: &str,
    image_spec: &ImageSpec,
    facts: &MachineFacts,
    here: ServedAt,
) -> Result<String, TemplateError> {
    // The template engine removes the last line end.
    let end = if template.ends_with('\n') { "\n" } else { "" };
    Ok(environment().render_str(template, values(image_spec, facts, here))? + end)
}

fn values(image_spec: &ImageSpec, facts: &MachineFacts, here: ServedAt) -> Value {
    let http = here.http.map(|port| format!("http://{}:{port}", here.server)).unwrap_or_default();
    // pxed accepts reports only below an address with the nonce of the machine's current boot.
    let reports = facts.nonce.filter(|_| here.http.is_some()).map(|nonce| format!("{http}/{FOLDER}/{nonce}"));
    context! {
        mac => facts.mac.to_string(),
        mac_dashed => facts.mac.dashed().as_str(),
        uuid => facts.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
        ip => facts.address.map(|address| address.to_string()).unwrap_or_default(),
        arch => facts.arch.map(|arch| arch.to_string()).unwrap_or_default(),
        serial => harmless(facts.serial.as_deref()),
        name => harmless(facts.name.as_deref()),
        image => &*image_spec.name,
        rule => harmless(facts.rule.as_deref()),
        server => here.server.to_string(),
        report_url => reports.as_ref().unwrap_or(&http),
        http => http,
    }
}

/// Reduces a text to harmless characters, because it gets into a script. Serial numbers come from machines or
/// their consoles, and must not be able to start a second command.
fn harmless(text: Option<&str>) -> String {
    let is_harmless = |c: char| c.is_ascii_alphanumeric() || "._:-+@".contains(c);
    text.unwrap_or_default().chars().map(|c| if is_harmless(c) { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_named_in_the_templates_own_words() {
        let said = |template: &str| check_template(template).unwrap_err().to_string();
        let unknown = said("mac={{ mca }}");
        assert!(
            unknown.starts_with("the template uses `mca`, which is not set; did you mean `mac`?"),
            "{unknown}"
        );
        assert!(said("{% if http %}{{ colour }}{% endif %}").contains("`colour`"));
        let syntax = said("a\n{% if %}");
        assert!(syntax.starts_with("line 2 of the template: ") && !syntax.contains("<string>"), "{syntax}");
        assert!(said("{{ mac | nothing }}").contains("nothing"));
        for fine in [
            "",
            "{{ mac }}",
            "{% for n in range(2) %}{{ n }}{{ mac_dashed }}{% endfor %}",
            "{% set x = 1 %}{{ x }}",
        ] {
            assert_eq!(check_template(fine), Ok(()), "{fine}");
        }
    }

    #[test]
    fn what_stays_empty_without_http_is_named() {
        for (template, needed) in [
            ("report={{ report_url }}", Some("report_url")),
            ("base={{ http ~ '/x' }}", Some("http")),
            ("{% if http %}base={{ http }}{% endif %}", None),
            ("{% if report_url %}r={{ report_url }}{% else %}none{% endif %}", None),
            ("{% if serial %}{{ report_url }}{% endif %}", Some("report_url")),
            ("mac={{ mac }}", None),
        ] {
            assert_eq!(needs_http(template), needed, "{template}");
        }
    }
}
