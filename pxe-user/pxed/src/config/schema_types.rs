//! Parts of the schema that serde's types do not express: words, architectures, names. Only the tests contain this module, as
//! [`super::schema`], which generates the schema.

use std::borrow::Cow;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::bounds::{RESERVED, VLAN_MAX};
use super::words::Words;
use pxe_proto::dhcp::Arch;

/// The words of a type. Both parsers and the schema use the same list, [`Words::WORDS`].
pub(super) struct WordsSchema<T>(PhantomData<T>);

impl<T: Words> JsonSchema for WordsSchema<T> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        std::any::type_name::<T>().into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::words().collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// An architecture as a table key: its name, or its number as text, because table keys are texts.
fn arch_text() -> Value {
    let names: Vec<_> = Arch::names().collect();
    json!({ "anyOf": [{ "enum": names }, { "pattern": "^[0-9]{1,5}$" }] })
}

/// An architecture as a value: its name or its number.
pub(super) struct ArchWord;

impl JsonSchema for ArchWord {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "ArchWord".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let mut text = arch_text();
        text["type"] = "string".into();
        json_schema!({ "anyOf": [text, { "type": "integer", "minimum": 0, "maximum": u16::MAX }] })
    }
}

/// A VLAN's number. 0 means untagged.
pub(super) struct Vlan;

impl JsonSchema for Vlan {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Vlan".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 0, "maximum": VLAN_MAX })
    }
}

/// A table from architectures to texts.
pub(super) fn by_arch(_: &mut SchemaGenerator) -> Schema {
    let names = arch_text();
    json_schema!({ "type": "object", "propertyNames": names, "additionalProperties": { "type": "string" } })
}

/// A table from names to images. The pattern allows the names that `check` accepts.
pub(super) fn images<Image: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let image = generator.subschema_for::<Image>();
    json_schema!({
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z0-9_-][A-Za-z0-9._-]{0,31}$", "not": { "enum": RESERVED } },
        "additionalProperties": image
    })
}
