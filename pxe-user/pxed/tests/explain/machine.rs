//! `pxed explain` of one machine that the command line describes.

use crate::support::*;

const ONE: &str = "--mac 52:54:00:99:00:10";

/// The text from the first line on that begins with `from`.
fn from<'t>(text: &'t str, from: &str) -> &'t str {
    text.find(&format!("\n{from}")).map_or("", |at| &text[at + 1..])
}

#[test]
fn a_bios_machine_is_explained_from_its_request_to_its_last_file() {
    let run = Lab::new().explain(&format!("{ONE} --arch bios --uuid c0ffee00-0099-4000-8000-000000000010"));
    assert_text(&run.out, include_str!("expected/bios.txt"));
    assert!(run.error.contains("test/initrd.img: no such file below the root"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_uefi_machine_that_loads_ipxe_is_followed_into_its_script() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let run = lab.explain(&format!("{ONE} --arch x64 --interface lo"));
    assert_text(&run.out, include_str!("expected/chain.txt"));
    assert_eq!((run.code, run.error.as_str()), (Some(0), ""));
}

#[test]
fn a_menu_is_explained_with_what_comes_on_4011_and_names_that_are_tried() {
    let run = Lab::new()
        .explain("--mac 52:54:00:99:00:11 --arch bios --vlan 7 --uuid c0ffee00-0099-4000-8000-000000000011");
    assert_text(from(&run.out, "reply"), include_str!("expected/menu.txt"));
    assert!(run.error.contains("PXELINUX's configuration: none of the tried names"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

#[test]
fn binl_is_explained_with_what_comes_on_4011() {
    let run = Lab::new().explain("--mac 52:54:00:99:00:11 --arch x64 --vlan 8");
    assert!(
        run.out.contains("4011    asked at once\nreply   ACK, 300 bytes, port 4011 to 192.0.2.100:4011"),
        "{}",
        run.out
    );
    assert_eq!(run.code, Some(0), "{}", run.error);
}

#[test]
fn counted_boots_end_in_the_own_disk() {
    let run = Lab::new().explain(&format!("{ONE} --arch x64 --boots 1"));
    assert!(
        run.out.contains("once, as if it had booted once by this rule; so it boots its own disk"),
        "{}",
        run.out
    );
    assert!(run.out.contains("a menu that has only the machine's own disk"), "{}", run.out);
    assert_eq!(run.code, Some(0), "{}", run.error);
}

#[test]
fn a_machine_that_is_not_on_the_list_is_said_to_get_nothing() {
    let lab = Lab::new();
    let allow = |text: &str| lab.write("pxed.toml", &format!("{CONFIG}\n[access]\nallow = [\"{text}\"]\n"));
    allow("52:54:00:*");
    assert_eq!(lab.explain(&format!("{ONE} --arch x64 --boots 1")).code, Some(0));
    allow("aa:bb:cc:*");
    let run = lab.explain(&format!("{ONE} --arch x64"));
    assert!(run.out.contains("reply   none: [access] does not allow it"), "{}", run.out);
    assert_eq!(run.code, Some(1), "{}", run.error);
}

#[test]
fn the_end_says_whether_the_machine_would_do_what_was_meant() {
    let lab = Lab::new();
    for (words, code, text) in [
        ("--mac aa:bb:cc:00:00:01 --arch bios", 0, "reply   none: the rules ignore it"),
        ("--mac 52:54:00:99:00:12 --arch x64 --relay 10.20.3.1", 0, "boots its own disk"),
        ("--mac 52:54:00:99:00:12 --arch x64-http --relay 10.20.3.1", 0, "boots its own disk"),
        ("--mac 52:54:00:99:00:12 --arch bios --user-class iPXE --relay 10.20.3.1", 0, "| exit 1"),
        ("--mac 52:54:00:99:00:12 --arch bios --vlan 9", 0, "the files are on another machine, 10.99.0.9"),
        ("--mac 52:54:00:99:00:12 --arch bios", 1, "no rule matches: pxed ignores the machine"),
        ("--mac 52:54:00:99:00:12 --arch arm64 --vlan 8", 1, "there is no boot program for arm64"),
        ("--mac 52:54:00:99:00:12 --arch bios --class x", 1, "neither PXEClient nor HTTPClient"),
    ] {
        let run = lab.explain(words);
        assert!(run.out.contains(text), "{words}: {text} not in\n{}", run.out);
        assert_eq!(run.code, Some(code), "{words}: {}", run.error);
    }
}

#[test]
fn an_address_that_nobody_gave_is_said_to_be_an_example() {
    let lab = Lab::new();
    lab.write("pxed.toml", &CONFIG.replace("address = ", "# ").replace("eth0", "no-such-if0"));
    let run = lab.explain("--mac 52:54:00:99:00:11 --arch x64 --vlan 8");
    assert!(run.out.starts_with("server  192.0.2.1, an example address: give --address"), "{}", run.out);
    let run = lab.explain("--mac 52:54:00:99:00:11 --arch x64 --vlan 8 --address 10.0.0.7");
    assert!(run.out.starts_with("server  10.0.0.7\n"), "{}", run.out);
}

/// A name that neither this host nor the file has is a typing error.
#[test]
fn an_interface_that_nobody_knows_is_refused() {
    let run = Lab::new().explain("--mac 52:54:00:99:00:11 --arch x64 --interface no-such-if0");
    assert!(run.error.contains("there is no interface `no-such-if0`"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

/// An image that cannot be opened affects only the machines that would boot it.
#[test]
fn an_image_that_is_not_there_is_in_the_way_of_its_own_machines_only() {
    let lab = Lab::new();
    lab.write("pxed.toml", &CONFIG.replace("ROOT/test", "ROOT/no-test"));
    let run = lab.explain("--mac 52:54:00:99:00:11 --arch x64 --vlan 8");
    assert_eq!((run.code, run.error.as_str()), (Some(0), ""), "{}", run.out);
    let run = lab.explain(&format!("{ONE} --arch x64"));
    assert!(run.out.contains("boots image test, which cannot be opened"), "{}", run.out);
    assert!(run.error.contains("image `test`: cannot serve ROOT/no-test"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

#[test]
fn programs_read_the_same_as_people() {
    let run = Lab::new().explain(&format!("{ONE} --arch x64 --json"));
    let explained: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    assert_eq!(explained["server"], "10.99.0.2");
    let requests = explained["requests"].as_array().unwrap();
    assert_eq!(requests.len(), 2, "the firmware's, and iPXE's: {}", run.out);
    assert_eq!(requests[0]["rule"], "once");
    assert_eq!(requests[0]["rules"][0]["fate"], "misses");
    assert_eq!(requests[0]["reply"]["answer"], "test/snponly.efi");
    let files = requests[1]["files"].as_array().unwrap();
    assert!(files[0]["text"].as_str().unwrap().starts_with("#!ipxe"), "{}", run.out);
    assert!(files.iter().any(|file| file["name"] == "test/initrd.img" && file["refusal"].is_string()));
    assert!(explained["obstacles"][0].as_str().unwrap().contains("initrd.img"), "{}", run.out);
    assert_eq!(run.code, Some(1));
}
