//! `pxed check --config`.

use crate::support::*;

#[test]
fn a_file_is_checked_without_its_interfaces_and_everything_is_said_with_its_line() {
    let lab = Lab::new();
    lab.write("top/test/x", "hidden");
    let run = lab.run("check", "");
    for text in [
        "line 11: warning: image `test` hides the directory ROOT/top/test",
        "line 11: error: image `test`: initrd.img: no such file below the root",
        "image plain: bios pxelinux.0, x64 memtest.efi",
        "eth0",
    ] {
        assert!(run.out.contains(text), "{text} not in:\n{}", run.out);
    }
    assert_eq!(run.code, Some(1), "{}", run.error);
    assert!(run.error.contains("there is an error"), "{}", run.error);
    lab.write("test/initrd.img", "initrd");
    assert_eq!(lab.run("check", "").code, Some(0));
}

#[test]
fn what_would_boot_past_an_images_kernel_is_warned_of() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    lab.write("test/memtest86+ia32.efi", "memtest");
    let run = lab.run("check", "");
    let text =
        "line 11: warning: image `test`: memtest86+ia32.efi in its root is not what ia32 machines start with";
    assert!(run.out.contains(text), "{}", run.out);
    assert_eq!(run.code, Some(0), "{}", run.error);
}

#[test]
fn one_mistake_hides_no_other() {
    let lab = Lab::new();
    let config = CONFIG.replace("ROOT/top", "ROOT/no-top").replace("\"linux\"", "\"no-linux\"");
    let config = config.replace("once = true", "once = true\nblksize = 1").replace("interfaces", "#");
    let other = "\n[images.other]\nroot = \"ROOT/no-other\"\nboot_files = { bios = \"a\" }\n";
    lab.write("pxed.toml", &format!("{config}{other}"));
    let run = lab.run("check", "");
    for text in [
        ": error: blksize is from 8",
        "warning: no rule boots image `other`",
        "error: cannot serve ROOT/no-top: No such file",
        "line 61: error: image `other`: cannot serve ROOT/no-other: No such file",
        "line 11: error: image `test`: no-linux: no such file",
        "line 11: error: image `test`: initrd.img: no such file",
        "no interface is named",
    ] {
        assert!(run.out.contains(text), "{text} not in:\n{}", run.out);
    }
    assert_eq!(run.code, Some(1));
}

#[test]
fn interfaces_that_are_asked_for_must_be_there_and_those_of_the_file_need_not() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let missing = "no-such-if0";
    let run = lab.run("check", &format!("--interface {missing}"));
    assert!(run.out.contains("image plain") && run.out.contains(missing), "{}", run.out);
    assert_eq!(run.code, Some(1), "{}", run.out);
    lab.write("pxed.toml", &CONFIG.replace("eth0", missing));
    let run = lab.run("check", "");
    assert!(run.out.contains(&format!("{missing}: not to be served on this host: ")), "{}", run.out);
    assert_eq!(run.code, Some(0), "{}", run.out);
}

#[test]
fn what_is_no_configuration_is_said_with_its_line() {
    let lab = Lab::new();
    lab.write("pxed.toml", "interfaces = [\"a\"]\ncolour = 1\n");
    let run = lab.run("check", "");
    assert!(run.out.contains("line 2: error: unknown field `colour`"), "{}", run.out);
    assert_eq!(run.code, Some(1));
}
