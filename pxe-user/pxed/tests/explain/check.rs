//! `pxed check --config`: errors and warnings with their lines.

use crate::support::*;

#[test]
fn a_file_is_checked_without_its_interfaces_and_everything_is_said_with_its_line() {
    let lab = Lab::new();
    lab.write("top/test/x", "hidden");
    let run = lab.run("check", "--no-host");
    for text in [
        "ROOT/pxed.toml:11: warning: image `test` hides the directory ROOT/top/test",
        "ROOT/pxed.toml:11: error: image `test`: initrd.img: no such file below the root",
    ] {
        assert!(run.error.contains(text), "{text} not in:\n{}", run.error);
    }
    for text in
        ["image plain: bios pxelinux.0, x64 memtest.efi", "HTTP: port 8080", "machines: all", "board: off"]
    {
        assert!(run.out.contains(text), "{text} not in:\n{}", run.out);
    }
    assert_eq!(run.code, Some(1), "{}", run.error);
    assert!(run.error.contains("pxed: errors: 1. pxed would not start"), "{}", run.error);
    lab.write("test/initrd.img", "initrd");
    assert_eq!(lab.run("check", "--no-host").code, Some(0));
}

#[test]
fn what_would_boot_past_an_images_kernel_is_warned_of() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    lab.write("test/memtest86+ia32.efi", "memtest");
    let run = lab.run("check", "--no-host");
    let text =
        "pxed.toml:11: warning: image `test`: ia32 machines do not start memtest86+ia32.efi in its root";
    assert!(run.error.contains(text), "{}", run.error);
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
        "pxed.toml:61: error: image `other`: cannot serve ROOT/no-other: No such file",
        "pxed.toml:11: error: image `test`: no-linux: no such file",
        "pxed.toml:11: error: image `test`: initrd.img: no such file",
        "no interface is named",
    ] {
        assert!(run.error.contains(text), "{text} not in:\n{}", run.error);
    }
    let line = |text: &str| text.split(':').nth(1).and_then(|line| line.parse::<usize>().ok()).unwrap_or(0);
    assert!(run.error.lines().filter(|text| text.starts_with("ROOT")).map(line).is_sorted(), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

/// `serve` cannot use an interface that this host lacks, whether the command line or the file names it.
#[test]
fn interfaces_must_be_on_this_host_unless_the_file_is_for_another() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let missing = "no-such-if0";
    let run = lab.run("check", &format!("--interface {missing}"));
    assert!(run.out.contains("image plain") && run.error.contains(missing), "{}", run.error);
    assert_eq!(run.code, Some(1), "{}", run.error);
    lab.write("pxed.toml", &CONFIG.replace("eth0", missing));
    let run = lab.run("check", "");
    assert!(run.error.contains(missing) && run.error.contains("--no-host"), "{}", run.error);
    assert_eq!(run.code, Some(1), "{}", run.error);
    assert_eq!(lab.run("check", "--no-host").code, Some(0));
}

#[test]
fn what_is_no_configuration_is_said_with_its_line() {
    let lab = Lab::new();
    lab.write("pxed.toml", "interfaces = [\"a\"]\ncolour = 1\nhttp = 80\n");
    let run = lab.run("check", "--no-host");
    assert!(run.error.contains("pxed.toml:2: error: there is no key `colour`"), "{}", run.error);
    assert!(run.error.contains("pxed.toml:3: error: `http`"), "{}", run.error);
    assert_eq!(run.code, Some(1));
}

#[test]
fn a_template_that_stays_empty_without_http_is_an_error() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    lab.write("pxed.toml", &CONFIG.replace("[http]\nport = 8080\n", ""));
    let run = lab.run("check", "--interface lo");
    assert!(run.error.contains("image `test` uses `{{ report_url }}`"), "{}", run.error);
    let run = lab.run("check", "--interface lo --http-port 8080");
    assert!(!run.error.contains("report_url"), "{}", run.error);
}

#[test]
fn programs_read_the_same_as_people() {
    let lab = Lab::new();
    let run = lab.run("check", "--no-host --json");
    let report: serde_json::Value = serde_json::from_str(&run.out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let missing = findings.iter().find(|finding| finding["severity"] == "error").unwrap();
    assert_eq!((missing["line"].as_u64(), run.code), (Some(11), Some(1)), "{}", run.out);
    assert!(missing["text"].as_str().unwrap().contains("initrd.img"), "{}", run.out);
    assert_eq!(report["images"][1]["programs"]["bios"], "pxelinux.0");
    assert_eq!(report["settings"]["http_port"], 8080);
}

/// The same tree would boot if it were served as `root`.
#[test]
fn absolute_names_in_an_images_tree_are_said_to_lead_elsewhere() {
    let lab = Lab::new();
    let config = "interfaces = [\"eth0\"]\nroot = \"ROOT/top\"\n[images.deb]\nroot = \"ROOT/deb\"\n\
                  boot_files = { x64 = \"grubx64.efi\", bios = \"pxelinux.0\" }\n[[rules]]\nimage = \"deb\"\n";
    lab.write("pxed.toml", config);
    for (name, text) in [
        ("deb/grubx64.efi", "GRUB"),
        ("deb/boot/grub/grub.cfg", "linux /vmlinuz quiet\ninitrd /initrd.gz\n"),
        ("deb/pxelinux.0", "PXELINUX 6.04"),
        ("deb/ldlinux.c32", "module"),
        ("deb/pxelinux.cfg/default", "label x\nkernel ::vmlinuz\nappend initrd=initrd.gz\n"),
        ("deb/vmlinuz", "kernel"),
        ("deb/initrd.gz", "initrd"),
    ] {
        lab.write(name, text);
    }
    let run = lab.run("check", "--no-host");
    for text in [
        "pxed.toml:3: warning: image `deb`: GRUB looks for /boot/grub/grub.cfg",
        "warning: image `deb`: deb/boot/grub/grub.cfg loads /vmlinuz, which is served as /deb/vmlinuz here",
        "deb/boot/grub/grub.cfg loads /initrd.gz",
        "deb/pxelinux.cfg/default loads ::vmlinuz",
    ] {
        assert!(run.error.contains(text), "{text} not in:\n{}", run.error);
    }
    assert_eq!(run.error.matches("warning").count(), 4, "{}", run.error);
    let explained = lab.explain("--mac 52:54:00:99:00:10 --arch bios");
    assert!(
        explained.error.contains("loads ::vmlinuz, which is served as /deb/vmlinuz"),
        "{}",
        explained.error
    );
    let explained = lab.explain("--mac 52:54:00:99:00:10 --arch x64");
    assert!(explained.error.contains("the image has deb/boot/grub/grub.cfg"), "{}", explained.error);
}

#[test]
fn a_file_that_nearly_fits_and_a_link_to_nothing_are_named() {
    let lab = Lab::new();
    lab.write("test/initrd.img", "initrd");
    let config = CONFIG.replace("kernel = \"linux\"", "kernel = \"linx\"");
    let config =
        config.replace("root = \"ROOT/top\"", "root = \"ROOT/top\"\nboot_files = { bios = \"pxelinx.0\" }");
    lab.write("pxed.toml", &config);
    std::os::unix::fs::symlink("/no/such/file", lab.path().join("test/initrd2.img")).unwrap();
    lab.write("pxed.toml", &config.replace("[\"initrd.img\"]", "[\"initrd2.img\"]"));
    let run = lab.run("check", "--no-host");
    for text in [
        "pxed.toml:4: error: boot file bios=pxelinx.0 (--boot-file, `boot_files`): no such file below the root; did you mean `pxelinux.0`?",
        "image `test`: linx: no such file below the root; did you mean `linux`?",
        "image `test`: initrd2.img: a symbolic link on the way leads to nothing",
    ] {
        assert!(run.error.contains(text), "{text} not in:\n{}", run.error);
    }
}

/// Without these files the machine would stop at a prompt that nobody may see.
#[test]
fn what_a_trees_configuration_leads_to_must_be_there() {
    let lab = Lab::new();
    lab.write("pxed.toml", "interfaces = [\"eth0\"]\nroot = \"ROOT/top\"\n");
    let run = lab.run("check", "--no-host");
    let text = "pxed.toml:2: warning: bios machines start pxelinux.0, which finds no configuration: there is no pxelinux.cfg/default";
    assert!(run.error.contains(text), "{}", run.error);
    let config = "default x\nlabel x\nkernel vmlinuz\nappend initrd=initrd.gz\nlabel y\nkernel menu\n";
    lab.write("top/pxelinux.cfg/default", config);
    lab.write("top/menu.c32", "module");
    lab.write("top/vmlinuz", "kernel");
    let run = lab.run("check", "--no-host");
    let text = "pxed.toml:2: warning: pxelinux.cfg/default loads initrd.gz, which does not exist";
    assert!(run.error.contains(text) && run.error.matches("warning").count() == 1, "{}", run.error);
    lab.write("top/initrd.gz", "initrd");
    assert_eq!(lab.run("check", "--no-host").error, "");
}
