//! Checks every property with its seeds, and with all inputs that once violated it: the files in
//! `tests/fuzz/regressions/PROPERTY`, each named after the error.

use std::fs;
use std::path::Path;

use pxe_properties::{ALL, Property};

fn holds(property: &Property, name: &str, input: &[u8]) {
    // Print the input's name, because a panic does not contain it.
    println!("{}: {name}", property.name);
    (property.check)(input);
}

#[test]
fn properties_hold_for_their_seeds() {
    for property in &ALL {
        let seeds = (property.seeds)();
        assert!(!seeds.is_empty(), "{}", property.name);
        seeds.iter().for_each(|(name, input)| holds(property, name, input));
        // Also check truncated seeds.
        for (name, input) in &seeds {
            let step = input.len() / 16 + 1;
            (0..input.len()).step_by(step).for_each(|end| holds(property, name, &input[..end]));
        }
    }
}

#[test]
fn what_broke_a_property_once_does_so_no_more() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let entry = entry.expect("an entry");
        if entry.file_name() == "README.md" {
            continue;
        }
        let named = |property: &&Property| entry.file_name() == property.name;
        let property =
            ALL.iter().find(named).unwrap_or_else(|| panic!("no property has the name of {entry:?}"));
        for file in fs::read_dir(entry.path()).expect("a folder") {
            let path = file.expect("a file").path();
            let input = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            holds(property, &path.display().to_string(), &input);
        }
    }
}
