//! Generates and tests `docs/pxed.schema.json`, the JSON schema of the file for editors. The generator uses the types of `raw`,
//! so the schema has the keys that the daemon reads. `schema_types` adds what the types do not express: words, architectures and
//! names. Only the tests contain this module, because the program prints the committed file.
//!
//! The schema checks more than the JSON types and less than `check` and `pxed check`. It does not know most rules about
//! several keys, and nothing about this host. It is draft 7, because editors' TOML support does not know a later draft.

use std::path::{Path, PathBuf};

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::{Transform, transform_subschemas};
use serde_json::Value;

use super::raw::Raw;
use super::settings::{Effect, Settings};

/// The schema as JSON text, with a final line feed.
fn schema() -> String {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let settings = settings.with_transform(WithoutNull);
    let schema = settings.into_generator().into_root_schema_for::<Raw>();
    format!("{:#}\n", schema.to_value())
}

/// Removes `null` from the schema. TOML has no null: a key is present or absent.
#[derive(Clone)]
struct WithoutNull;

impl Transform for WithoutNull {
    fn transform(&mut self, schema: &mut Schema) {
        if schema.get("default").is_some_and(Value::is_null) {
            schema.remove("default");
        }
        if let Some(Value::Array(types)) = schema.get_mut("type") {
            types.retain(|one| one != "null");
            if let [one] = types.as_slice() {
                let one = one.clone();
                schema.insert("type".into(), one);
            }
        }
        transform_subschemas(self, schema);
    }
}

const EXAMPLE: &str = include_str!("../../../../docs/pxed.toml");
const INSTALLED: &str = include_str!("../../../../packaging/pxed.toml");

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// The schema's errors for a text, each with its place in the text.
fn complaints(text: &str) -> Vec<String> {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    let value: Value = toml::from_str(text).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect()
}

#[test]
fn the_printed_schema_is_that_of_the_types() {
    if std::env::var_os("PXED_RENEW_SCHEMA").is_some() {
        std::fs::write(docs().join("pxed.schema.json"), schema()).unwrap();
        return;
    }
    assert!(
        super::SCHEMA == schema(),
        "docs/pxed.schema.json is not that of the types in raw.rs. Renew it, then run the test again: \
         PXED_RENEW_SCHEMA=1 cargo test --package pxed --lib schema"
    );
}

/// Both files as they are, and the example with every key that a comment shows.
#[test]
fn our_own_files_are_valid() {
    let all = super::tests::with_every_key(EXAMPLE);
    for text in [EXAMPLE, INSTALLED, &all, ""] {
        assert_eq!(complaints(text), [] as [String; 0], "{text}");
    }
}

#[test]
fn a_table_needs_only_the_keys_without_a_default() {
    for text in [
        "[http]\nport = 80",
        "[board]\nlisten = \"127.0.0.1:9469\"",
        "[inbox]\ndirectory = \"/srv/inbox\"",
        "[ledger]\nurl = \"postgres://pxed@db/pxed\"",
        "[access]\nallow = [\"52:54:00:00:00:01\"]",
        "[limits]\ndhcp_burst = 9",
        "[segment]\nname = \"a\"\n[[segment.responders]]\nname = \"a\"",
        "[segment]\nname = \"a\"\n[ledger]\nurl = \"postgres://pxed@db/pxed\"",
        "[images.a]\nroot = \"/srv/a\"",
        "[images.a]\nsource = \"https://files.example/a/\"\nkernel = \"k\"",
        "[upstream]\ncache_mib = 1",
        "[[rules]]\naction = \"local\"",
    ] {
        assert_eq!(complaints(text), [] as [String; 0], "{text}");
    }
}

#[test]
fn our_own_files_name_the_schema() {
    let named = |text: &'static str| text.lines().next().and_then(|line| line.strip_prefix("#:schema "));
    assert!(docs().join(named(EXAMPLE).unwrap()).is_file());
    assert_eq!(named(INSTALLED), Some("file:///usr/share/pxed/pxed.schema.json"));
}

#[test]
fn mistakes_are_refused() {
    let rule = "[[rules]]\nimage = \"i\"\n";
    for text in [
        "interface = [\"eth0\"]",
        "interfaces = \"eth0\"",
        "datapath = \"fast\"",
        "xdp_mode = \"skb\"",
        "offload = true",
        "style = \"pxe\"",
        "confinement = \"on\"",
        "address = 10",
        "memory_mib = 0",
        "[images.a]\nsource = \"files.example\"",
        "[upstream]\nevery_minutes = 0",
        "[upstream]\ns3_endpoint = \"s3.example\"",
        "memory_mib = \"1G\"",
        "menu_timeout = 256",
        "boot_files = { x46 = \"a.efi\" }",
        "boot_files = { x64 = 1 }",
        "[http]\nipxe = true",
        "[http]\nport = 70000",
        "[http]\nport = 0",
        "[board]",
        "[inbox]\ndirectory = \"/srv/inbox\"\nfile_mib = 0",
        "[inbox]\ndirectory = \"/srv/inbox\"\ntotal_mib = 16777217",
        "[ledger]\nresponder = \"a\"",
        "[ledger]\nurl = \"mysql://h/d\"",
        "[access]\nallow = []",
        "[limits]\ndhcp_burst = 0",
        "[segment]\nweight = 1",
        "[segment]\nname = \"a\"\nweight = 101",
        "[segment]\nname = \"a\"\nresponders = []",
        "[segment]\nname = \"a\"\n[[segment.responders]]\nname = \"a\"\nweight = 0",
        "[segment]\nname = \"a\"\n[[segment.responders]]\nname = \"a\"\nweight = 101",
        "[segment]\nname = \"a\"\n[[segment.responders]]\nweight = 1",
        "[images.pxed]",
        "[images.\"a b\"]",
        "[images.a]\nroots = \"/srv\"",
        "[images.a]\nipxe = \"boot\"",
        "[[rules]]\nname = \"nothing to do\"",
        "[[rules]]\naction = \"reboot\"",
        "[[rules]]\naction = \"local\"\nimage = \"i\"",
        &format!("{rule}match = {{ mca = \"52:54:00\" }}"),
        &format!("{rule}match = {{ arch = \"x46\" }}"),
        &format!("{rule}match = {{ vlan = 4095 }}"),
        &format!("{rule}match = {{ vlan = \"1\" }}"),
        &format!("{rule}blksize = 7"),
        &format!("{rule}boots = 0"),
    ] {
        assert_ne!(complaints(text), [] as [String; 0], "{text}");
    }
}

/// `(read at the start)` stands at a key, or at a key of a table, if and only if a change needs a restart.
#[test]
fn each_key_is_a_setting_and_says_whether_it_needs_a_restart() {
    let schema: Value = serde_json::from_str(&schema()).unwrap();
    // `links` is a part of the setting `root`.
    for (key, schema) in schema["properties"].as_object().unwrap().iter().filter(|(key, _)| *key != "links") {
        let found = Settings::KEYS.iter().find(|(known, _)| known == key);
        let (_, effect) = found.unwrap_or_else(|| panic!("`{key}` is no setting"));
        let says_so = schema.to_string().contains("(read at the start)");
        assert_eq!(says_so, *effect == Effect::Restart, "{key}");
    }
}

/// This includes keys in tables. The inner types of a list or a choice need no description.
#[test]
fn every_key_has_a_sentence() {
    fn keys(path: &str, schema: &Value, seen: &mut usize) {
        for (key, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{key}");
            let text = inner["description"].as_str().unwrap_or_default();
            assert!(text.ends_with('.') && text.len() < 130, "{path}: {text:?}");
            *seen += 1;
            keys(&path, inner, seen);
        }
        for inner in ["items", "additionalProperties"].iter().filter_map(|key| schema.get(key)) {
            keys(path, inner, seen);
        }
        schema["anyOf"].as_array().into_iter().flatten().for_each(|inner| keys(path, inner, seen));
    }
    let mut seen = 0;
    keys("", &serde_json::from_str(&schema()).unwrap(), &mut seen);
    assert!(seen > 60, "{seen}");
}
