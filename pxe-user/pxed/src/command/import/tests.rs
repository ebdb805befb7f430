//! Imports configurations that are used in practice. `pxe-user/pxed/testdata/import` has each of them with its result and its
//! report. `PXED_BLESS=1` writes results and reports anew.

use std::collections::BTreeMap;
use std::io;

use super::*;

/// Files in memory.
#[derive(Default)]
struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    fn with(files: &[(&str, &[u8])]) -> Self {
        Self(files.iter().map(|(path, bytes)| (PathBuf::from(path), bytes.to_vec())).collect())
    }
}

impl Files for Memory {
    fn kind(&self, path: &Path) -> Option<Kind> {
        if self.0.contains_key(path) {
            return Some(Kind::File);
        }
        self.0.keys().any(|known| known.starts_with(path)).then_some(Kind::Directory)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| ErrorKind::NotFound.into())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let below = self.0.keys().filter_map(|known| known.strip_prefix(path).ok());
        let mut names: Vec<_> =
            below.filter_map(|rest| Some(rest.iter().next()?.to_string_lossy().into_owned())).collect();
        names.dedup();
        if names.is_empty() { Err(ErrorKind::NotFound.into()) } else { Ok(names) }
    }
}

fn lab() -> Vec<HostInterface> {
    let interface = |name: &str, address: [u8; 4]| HostInterface {
        name: name.to_owned(),
        address: address.into(),
        mask: [255, 255, 255, 0].into(),
    };
    vec![
        interface("lo", [127, 0, 0, 1]),
        interface("eth0", [192, 168, 178, 20]),
        interface("eth1", [192, 168, 67, 1]),
    ]
}

fn of(text: &str) -> Imported {
    let files = Memory::with(&[("dnsmasq.conf", text.as_bytes())]);
    import(&files, &["dnsmasq.conf".into()], &lab()).unwrap_or_else(|error| panic!("{error:#}\n{text}"))
}

fn report(imported: &Imported) -> String {
    imported.findings.iter().map(|finding| format!("{finding}\n")).collect()
}

/// The report's text for source line `line`.
#[track_caller]
fn finding(imported: &Imported, line: usize) -> String {
    let found = imported.findings.iter().find(|finding| finding.place.line == line);
    found.unwrap_or_else(|| panic!("no line {line}:\n{}", report(imported))).to_string()
}

#[track_caller]
fn has(text: &str, part: &str) {
    assert!(text.contains(part), "no `{part}` in:\n{text}");
}

#[test]
fn configurations_of_the_field_become_what_they_were() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/import");
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "conf") {
            continue;
        }
        count += 1;
        let bytes = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap();
        let files = Memory::with(&[(name, &bytes)]);
        let imported =
            import(&files, &[name.into()], &lab()).unwrap_or_else(|error| panic!("{name}: {error:#}"));
        // Each line with content has exactly one finding.
        let text = String::from_utf8(bytes).unwrap();
        let said =
            text.lines().filter(|line| !line.trim().is_empty() && !line.trim().starts_with('#')).count();
        let found = imported.findings.iter().filter(|finding| &*finding.place.file == name).count();
        assert_eq!(said, found, "{name}:\n{}", report(&imported));
        for (end, new) in [("toml", imported.text.clone()), ("report", report(&imported))] {
            let golden = path.with_extension(end);
            if std::env::var_os("PXED_BLESS").is_some() {
                std::fs::write(&golden, &new).unwrap();
            }
            let old = std::fs::read_to_string(&golden).unwrap_or_default();
            assert_eq!(new, old, "{}: PXED_BLESS=1 writes it anew", golden.display());
        }
        let (_, problems) = Config::parse(&imported.text);
        assert_eq!(problems, [], "{name}:\n{}", imported.text);
    }
    assert!(count >= 7, "{count} configurations");
}

#[test]
fn files_and_directories_are_read_where_dnsmasq_reads_them() {
    let files = Memory::with(&[
        (
            "/etc/dnsmasq.conf",
            b"conf-dir=/etc/dnsmasq.d,.bak,*.conf\r\nconf-file=/etc/more\r\ntftp-root=/srv/tftp\r\n",
        ),
        ("/etc/dnsmasq.d/b.conf", b"dhcp-boot=last.0\n"),
        ("/etc/dnsmasq.d/a.conf", b"dhcp-boot=first.0\nconf-file=/etc/dnsmasq.conf\n"),
        ("/etc/dnsmasq.d/c.conf~", b"dhcp-boot=tilde.0\n"),
        ("/etc/dnsmasq.d/.hidden.conf", b"dhcp-boot=hidden.0\n"),
        ("/etc/dnsmasq.d/README", b"dhcp-boot=readme.0\n"),
        ("/etc/dnsmasq.d/old.conf.bak", b"dhcp-boot=bak.0\n"),
        ("/srv/tftp/last.0", b""),
    ]);
    let imported = import(&files, &["/etc/dnsmasq.conf".into()], &lab()).unwrap();
    has(&imported.text, "bios = \"last.0\"");
    let report = report(&imported);
    for part in [
        "read: /etc/dnsmasq.d/a.conf, /etc/dnsmasq.d/b.conf",
        "read: /etc/dnsmasq.conf (read already)",
        "/etc/dnsmasq.conf:2: not supported: conf-file=/etc/more: it cannot be read",
    ] {
        has(&report, part);
    }
    for unread in ["tilde", "hidden", "readme", "bak.0"] {
        assert!(!report.contains(unread), "{report}");
    }
    // The import reads a directory as Debian's service does.
    let imported = import(&files, &["/etc/dnsmasq.d".into()], &lab()).unwrap();
    assert!(super::tests::report(&imported).contains("readme.0"));
}

#[test]
fn a_tree_is_checked_and_kept() {
    let default = b"default memtest86\nlabel memtest86\n  kernel /memtest/memtest86+-5.01\nlabel x\n  LINUX vmlinuz\n  append initrd=a.img,b.img\n\
        label menu\n  com32 vesamenu\nlabel url\n  kernel http://x/y\nMENU INCLUDE more.cfg\nINCLUDE pxelinux.cfg/default\n";
    let files = Memory::with(&[
        ("/t/pxelinux.cfg/default", default),
        ("/t/pxelinux.cfg/01-52-54-00-12-34-56", b"label y\n kernel ::gone\n"),
        ("/t/memtest/memtest86+-5.01", b""),
        ("/t/a.img", b""),
        ("/t/vesamenu.c32", b""),
        ("/t/pxelinux.0", b""),
    ]);
    for source in ["/t", "/t/pxelinux.cfg"] {
        let imported = import(&files, &[source.into()], &lab()).unwrap();
        has(&imported.text, "root = \"/t\"");
        let report = report(&imported);
        for part in [
            "/t/pxelinux.cfg/01-52-54-00-12-34-56: unchanged: the machine 52:54:00:12:34:56",
            "/t/pxelinux.cfg/01-52-54-00-12-34-56:2: missing: kernel ::gone: there is no /t/gone",
            "/t/pxelinux.cfg/default:5: missing: LINUX vmlinuz: there is no /t/vmlinuz",
            "/t/pxelinux.cfg/default:6: missing: append initrd=a.img,b.img: there is no /t/b.img",
            "/t/pxelinux.cfg/default:11: missing: MENU INCLUDE more.cfg: there is no /t/more.cfg",
        ] {
            has(&report, part);
        }
        assert_eq!(report.lines().count(), 5, "{report}");
    }
    let files = Memory::with(&[("/t/pxelinux.cfg/01-52-54-00-12-34-56", b"")]);
    let report = report(&import(&files, &["/t".into()], &lab()).unwrap());
    has(&report, "/t/pxelinux.cfg/default: missing: machines without a file of their own: PXELINUX tries");
}

#[test]
fn lines_are_reported_with_a_reason_and_a_remedy() {
    for (line, part) in [
        ("dhcp-boot=tag:nobody,x.0", "not needed: dhcp-boot=tag:nobody,x.0: no kind of machine"),
        ("dhcp-boot=x.0,,tftp.example", "boot_server"),
        (
            "dhcp-boot=x.0,,192.168.178.20",
            "taken over: dhcp-boot=x.0,,192.168.178.20 -> boot_files.bios = \"x.0\"",
        ),
        ("dhcp-boot=", "not supported: dhcp-boot=: it needs a file's name"),
        ("dhcp-boot=http://x/y.ipxe", "rule \"iPXE\""),
        ("dhcp-option=67,pxelinux.0", "boot_files.bios = \"pxelinux.0\""),
        ("dhcp-option=66,192.168.178.20", "not needed"),
        ("dhcp-option=210,/srv/tftp/x/", "move the boot file"),
        ("dhcp-option=3,192.168.178.1", "your DHCP server's"),
        ("pxe-service=x86PC,Menu,pxelinux,192.168.178.9", "images.tree.boot_files.bios = \"pxelinux.0\""),
        ("pxe-service=7,Menu,boot.efi", "boot_files.x64 = \"boot.efi\""),
        ("pxe-service=PC99,Menu,boot", "no architecture"),
        ("pxe-service=x86PC,\"Local disk\"", "action = \"local\""),
        ("pxe-prompt=\"open", "a quote is not closed"),
        ("interface=wlan*", "no interface of this host"),
        ("interface=eth*", "interfaces: eth0, eth1"),
        ("listen-address=192.168.67.1,127.0.0.1", "interfaces: eth1"),
        ("tftp-root=srv", "not absolute"),
        ("tftp-root=/a,eth0", "images.eth0.root = \"/a\", rule \"eth0\""),
        ("tftp-max=0", "it needs a number"),
        ("dhcp-match=set:x,option:client-arch,7", "nothing that boots asks for tag x"),
        ("port=53", "unchanged: port=53: stays with dnsmasq (DNS)"),
        ("server=/x/10.0.0.1", "unchanged"),
        ("dhcp-boot=\u{fffd}.0", "not UTF-8"),
    ] {
        let imported = of(&format!("{line}\n"));
        has(&finding(&imported, 1), part);
    }
    // Conditions other than the architecture become rules.
    let imported = of(
        "dhcp-vendorclass=set:old,Etherboot\ndhcp-boot=tag:old,old.0\ndhcp-boot=new.0\ndhcp-boot=tag:eth1,one.0\n",
    );
    for part in ["class = \"*Etherboot*\"", "interface = \"eth1\"", "bios = \"new.0\"", "bios = \"one.0\""] {
        has(&imported.text, part);
    }
    // pxed offers this script to iPXE without a rule.
    let imported =
        of("dhcp-match=set:ipxe,175\ndhcp-boot=tag:ipxe,boot.ipxe\ndhcp-boot=tag:!ipxe,undionly.kpxe\n");
    has(&finding(&imported, 2), "-> pxed offers boot.ipxe to iPXE by itself");
    assert!(!imported.text.contains("[[rules]]"), "{}", imported.text);
    // dnsmasq offers nothing to iPXE, so pxed must not offer iPXE the file that starts iPXE.
    let imported = of("dhcp-match=set:ipxe,175\ndhcp-boot=tag:!ipxe,undionly.kpxe\n");
    has(&imported.text, "match = { user_class = \"iPXE\" }\naction = \"ignore\"");
}

#[test]
fn odd_bytes_do_no_harm() {
    let mut long = b"dhcp-boot=".to_vec();
    long.extend(std::iter::repeat_n(b'a', 100_000));
    for bytes in [
        &b"\xff\xfe=\x00,\n\xff"[..],
        b"=\n==\n,\n\"\"\n",
        b"tag-if=set:a,tag:b\ntag-if=set:b,tag:!a\ndhcp-boot=tag:a,x.0",
        &long,
    ] {
        let files = Memory::with(&[("x.conf", bytes)]);
        match import(&files, &["x.conf".into()], &[]) {
            Ok(imported) => {
                assert!(report(&imported).lines().all(|line| line.len() < 1500), "{}", report(&imported))
            }
            Err(error) => has(&format!("{error:#}"), "nothing to import"),
        }
    }
    assert!(import(&Memory::default(), &["none".into()], &[]).is_err());
}

#[test]
fn the_next_steps_stop_what_pxed_takes_the_place_of() {
    let steps = |text: &str| {
        let import = Import { sources: vec!["dnsmasq.conf".into()], out: None };
        import.next(&of(text)).join("\n")
    };
    let all = steps("port=0\nenable-tftp\ndhcp-range=192.168.178.0,proxy\n");
    has(&all, "stop dnsmasq: sudo systemctl disable --now dnsmasq\n");
    assert!(!all.contains("UDP 69"), "{all}");
    has(&steps("port=0\ndhcp-range=192.168.178.5,192.168.178.9\n"), "which keeps DHCP addresses\n");
    has(&steps("dhcp-boot=x.0\n"), "which keeps DNS\n");
    has(&steps("port=0\ntftp-root=/tftpboot\n"), "UDP 69");
}

#[test]
fn only_regular_files_of_the_disk_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRUSR).unwrap();
    for path in [fifo.as_path(), dir.path(), Path::new("/dev/zero"), &dir.path().join("none")] {
        assert!(Disk.read(path).is_err(), "{}", path.display());
    }
    let out = dir.path().join("pxed.toml");
    create(&out, "x = 1\n").unwrap();
    has(&create(&out, "").unwrap_err().to_string(), "does not overwrite");
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "x = 1\n");
}

mod any {
    use proptest::prelude::*;

    use super::*;

    /// Valid lines. Their tags are from a small set, so that lines use each other's tags.
    fn line() -> impl Strategy<Value = String> {
        let tag = prop::sample::select(vec!["a", "b", "ipxe", "efi", "lab", "eth0", "known"]);
        let need = (any::<bool>(), tag.clone())
            .prop_map(|(not, tag)| format!("tag:{}{tag},", if not { "!" } else { "" }));
        let needs = prop::collection::vec(need, 0..3).prop_map(|needs| needs.concat());
        let file = prop::sample::select(vec![
            "p.0",
            "x.efi",
            "boot.ipxe",
            "http://h/x",
            "s.ipxe",
            "{{ x",
            "/srv/q.0",
        ]);
        let mac = prop::sample::select(vec![
            "52:54:00:00:00:01",
            "52:54:00:00:00:02",
            "52:54:00:*:*:*",
            "52:*:*:*:*:*",
        ]);
        let arch = prop::sample::select(vec!["x86PC", "X86-64_EFI", "BC_EFI", "ARM64_EFI", "2"]);
        prop_oneof![
            (needs.clone(), file.clone()).prop_map(|(needs, file)| format!("dhcp-boot={needs}{file}")),
            (needs.clone(), file.clone())
                .prop_map(|(needs, file)| format!("dhcp-boot={needs}{file},s,10.0.0.9")),
            (needs.clone(), arch.clone(), file)
                .prop_map(|(n, arch, file)| format!("pxe-service={n}{arch},\"m, #\",{file}")),
            (needs.clone(), arch).prop_map(|(needs, arch)| format!("pxe-service={needs}{arch},local")),
            (tag.clone(), mac.clone()).prop_map(|(tag, mac)| format!("dhcp-mac=set:{tag},{mac}")),
            (tag.clone(), mac.clone()).prop_map(|(tag, mac)| format!("dhcp-host={mac},set:{tag}")),
            mac.clone().prop_map(|mac| format!("dhcp-host={mac},ignore")),
            mac.prop_map(|mac| format!("dhcp-host={mac}")),
            needs.clone().prop_map(|needs| format!("dhcp-ignore={}", needs.trim_end_matches(','))),
            (tag.clone(), needs)
                .prop_map(|(tag, needs)| format!("tag-if=set:{tag},{}", needs.trim_end_matches(','))),
            (tag.clone(), 0u16..12).prop_map(|(tag, arch)| format!("dhcp-match=set:{tag},93,{arch}")),
            tag.clone().prop_map(|tag| format!("dhcp-userclass=set:{tag},Linux")),
            tag.clone().prop_map(|tag| format!("dhcp-vendorclass=set:{tag},Etherboot")),
            tag.clone().prop_map(|tag| format!("dhcp-circuitid=set:{tag},7")),
            tag.prop_map(|tag| format!("dhcp-range=set:{tag},192.168.178.0,proxy")),
            Just("dhcp-match=set:ipxe,175".to_owned()),
            Just("tftp-root=/srv".to_owned()),
            Just("tftp-root=/one,eth0".to_owned()),
            Just("tftp-no-blocksize".to_owned()),
            Just("interface=eth1".to_owned()),
            Just("pxe-prompt=\"x\"".to_owned()),
            Just("pxe-prompt=\"x\",3".to_owned()),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(600))]

        /// For any lines, pxed reads what the import writes, and each line has a finding.
        #[test]
        fn configuration_becomes_one_that_pxed_reads(lines in prop::collection::vec(line(), 1..14)) {
            let imported = of(&lines.join("\n"));
            let own = imported.findings.iter().filter(|finding| &*finding.place.file == "dnsmasq.conf").count();
            prop_assert_eq!(own, lines.len(), "{}", report(&imported));
        }

        #[test]
        fn text_is_no_reason_to_panic(text in "([a-z-]{0,12}=[ -~]{0,30}\n|\\PC{0,40}\n){0,8}") {
            let files = Memory::with(&[("x.conf", text.as_bytes())]);
            let _ = import(&files, &["x.conf".into()], &lab());
        }
    }
}
