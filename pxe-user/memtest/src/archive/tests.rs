//! The scripts, run by the shell that runs them in the guest.

use std::fs;

use super::*;

/// Runs lines of shell behind the functions of all scripts.
fn shell(lines: &str) -> String {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("pxed-image-{}-{number}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    let functions: String = SCRIPTS.iter().map(|(_, text)| *text).collect();
    let set = "ERRORS=$PWD/errors SHOWN=$PWD/shown consoles= errors=0 errors_of_pass=0 flags=3 tester=none offline=\n\
               : >$ERRORS; : >$SHOWN\n";
    let script = format!("{functions}\n{set}\n{lines}\n");
    let out = Command::new("busybox").args(["sh", "-c", &script]).current_dir(&folder).output().unwrap();
    fs::remove_dir_all(&folder).unwrap();
    assert!(out.stderr.is_empty(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

#[test]
fn every_script_can_be_read() {
    for text in SCRIPTS.iter().map(|(_, text)| *text).chain([INIT]) {
        let status = Command::new("busybox").args(["sh", "-n", "-c", text]).status().unwrap();
        assert!(status.success(), "{text}");
    }
}

/// What 1.0.6 printed on Linux 6.18, where the tester has ended before its page map could be asked.
#[test]
fn the_address_that_old_testers_print_is_put_right() {
    let said = shell(
        "line 'Stats: SAT revision 1.0.6_autoconf, 64 bit binary'\n\
         line 'Hardware Error: miscompare on CPU 0(0x1) at 0x7f2b4112c078(0x1617480:DIMM Unknown): \
         read:0x000000ba00000008, reread:0x000000ba00000008 expected:0x0000000800000008'\n\
         cat $ERRORS $SHOWN",
    );
    let lines: Vec<_> = said.lines().collect();
    let error: serde_json::Value = serde_json::from_str(lines[0]).unwrap();
    // Page 0x1617480 >> 3; the bad byte is the fifth of the eight at ...078.
    assert_eq!(error["address"], "0x2c2e9007c");
    assert_eq!(error["actual"], "0x000000ba00000008");
    assert_eq!(error["expected"], "0x0000000800000008");
    assert!(lines[1].starts_with("  ERROR at 0x2c2e9007c: is 0x000000ba"), "{}", lines[1]);
}

#[test]
fn the_address_that_new_testers_print_is_taken() {
    let said = shell(
        "line '2026/11/24-01:55:46(UTC) Stats: SAT revision 1.0.11_autoconf, 64 bit binary'\n\
         line \"2026/11/24-01:55:46(UTC) Hardware Error: miscompare on CPU 3(<-1) at 0x7f2b4112c078(0x2c2e9007f:DIMM \
         Unknown): read:0xffffffffffffffff, reread:0xffffffffffffffff expected:0x7fffffffffffffff. 'walk' read error.\"\n\
         cat $ERRORS",
    );
    let error: serde_json::Value = serde_json::from_str(said.trim()).unwrap();
    assert_eq!((&error["address"], &error["cpu"]), (&"0x2c2e9007f".into(), &3.into()));
    assert_eq!(error["expected"], "0x7fffffffffffffff");
}

#[test]
fn the_end_of_a_pass_is_understood() {
    let said = shell(
        "complete= found=0\nline 'Stats: Found 7 hardware incidents'\n\
         line 'Status: FAIL - test encountered procedural errors'\necho \"$found,$complete,$last_words\"\n\
         line 'Status: FAIL - test discovered HW problems'\nline ''\necho \"$complete\"",
    );
    assert_eq!(said, "7,,Status: FAIL - test encountered procedural errors\nyes\n");
}

#[test]
fn what_is_reported_is_json_whatever_is_in_it() {
    let said = shell(
        "now=70 began=10 megabytes=5 cpus=2 corrected=1 uncorrected=0\n\
         printf 'a \"name\"\\\\ \\033[2J\\n' >name\n\
         field_from() { [ \"$1\" = serial ] && printf '\"%s\":%s,' \"$1\" \"$(head -c 256 name | quoted)\"; }\n\
         echo '{\"address\":\"0x1\"}' >>$ERRORS\necho '{\"address\":\"0x2\"}' >>$ERRORS\n\
         compose progress 7 'says \"x\\y\"' ''",
    );
    let report: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["serial"], "a \"name\"\\ [2J");
    assert_eq!(report["message"], "says \"x\\y\"");
    assert_eq!((&report["seconds"], &report["memory"]), (&60.into(), &5_242_880.into()));
    assert_eq!(report["errors"][1]["address"], "0x2");
}

#[test]
fn passes_end_with_the_time_or_with_their_number() {
    let lengths = |limits: &str| {
        shell(&format!(
            "tested=0 passes=0 broken=0 {limits}\n\
             while next_length && [ $passes -lt 5 ]; do echo $length; tested=$((tested + length)) passes=$((passes + 1)); done"
        ))
    };
    assert_eq!(lengths("seconds=1300 wanted_passes="), "600\n600\n100\n");
    assert_eq!(lengths("seconds= wanted_passes=2"), "600\n600\n");
    assert_eq!(lengths("seconds=20 wanted_passes=2"), "20\n");
    assert_eq!(lengths("seconds= wanted_passes=").lines().count(), 5, "for ever");
}
