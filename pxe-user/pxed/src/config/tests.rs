//! Tests the documented example, and the messages for files with mistakes.

use super::*;
use pxe_content::rules::{MacPattern, Network, RuleLimits};
use pxe_engine::responder::{RateLimit, RateLimits};
use pxe_proto::dhcp::Arch;

const EXAMPLE: &str = include_str!("../../../../docs/pxed.toml");

/// The problems of a text, as messages show them.
fn problems(text: &str) -> Vec<String> {
    Config::parse(text).1.iter().map(ToString::to_string).collect()
}

#[track_caller]
fn assert_problem(text: &str, words: &[&str]) {
    let problems = problems(text);
    let found = problems.iter().any(|problem| words.iter().all(|word| problem.contains(word)));
    assert!(found, "{words:?} not in {problems:#?}");
}

#[test]
fn the_documented_example_means_what_it_says() {
    let (config, problems) = Config::parse(EXAMPLE);
    assert_eq!(problems, []);
    let config = config.unwrap();
    let settings = Settings::new(config.settings.clone());
    assert_eq!(settings.interfaces, ["eth0"]);
    assert_eq!((settings.http_port, settings.http_ipxe), (Some(8080), false));
    assert_eq!(settings.board.as_ref().unwrap().listen, "127.0.0.1:7467".parse().unwrap());
    assert_eq!((settings.memory, config.settings.offload_memory), (Some(1 << 30), Some(256 << 20)));
    let names: Vec<_> = settings.images.iter().map(|image_spec| &*image_spec.name).collect();
    assert_eq!(names, ["installer", "memory-test", "memtest"]);
    for (image_spec, line) in settings.images.iter().zip(&config.image_lines) {
        let text = EXAMPLE.lines().nth(line - 1).unwrap();
        assert!(text.starts_with(&format!("[images.{}]", image_spec.name)), "{text}");
    }
    let rules: Vec<_> = settings.rules.iter().map(|rule| (&*rule.name, &rule.outcome)).collect();
    let image = |name: &str| RuleAction::Image(name.into());
    assert_eq!(
        rules,
        [
            ("not ours", &RuleAction::Ignore),
            ("production", &RuleAction::Local),
            ("old cards", &image("memtest")),
            ("install once", &image("installer")),
            ("test", &image("memory-test")),
            ("everything else", &image("memtest")),
        ]
    );
    assert_eq!(settings.rules[0].matcher.mac[1], MacPattern::Oui([0xaa, 0xbb, 0xcc]));
    assert_eq!(settings.rules[1].matcher.relay, [Network::Relays([10, 20, 0, 0].into(), 16)]);
    assert_eq!(settings.rules[2].limits, RuleLimits { blksize: Some(512), windowsize: Some(1) });
    let written = config.settings.dhcp_rate.zip(config.settings.tftp_burst);
    assert_eq!(written, Some((settings.dhcp_rate, settings.tftp_burst)));
    assert_eq!(settings.rate_limits(), RateLimits::default(), "what is written is the default");
    assert!(settings.access.is_open());
    assert_eq!(settings.rules[3].boots, Some(1));
    assert_eq!(settings.rules[4].matcher.arch.last(), Some(&Arch::ARM64));
}

/// The text with every key that a comment shows.
pub(super) fn with_every_key(text: &str) -> String {
    let is_key = |line: &str| {
        line.strip_prefix("# ").is_some_and(|rest| {
            let word = rest.split([' ', '=']).next().unwrap_or_default();
            [
                "[inbox]",
                "[access]",
                "[ledger]",
                "[segment]",
                "[[segment.responders]]",
                "[upstream]",
                "[images.",
                "[[rules]]",
            ]
            .iter()
            .any(|table| rest.starts_with(table))
                || rest.contains(" = ")
                    && word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        })
    };
    let lines = text.lines().map(|line| if is_key(line) { &line[2..] } else { line });
    lines.collect::<Vec<_>>().join("\n")
}

/// Every key that a comment of the example shows is valid.
#[test]
fn what_the_example_leaves_out_can_be_said() {
    let (config, problems) = Config::parse(&with_every_key(EXAMPLE));
    assert_eq!(problems, []);
    let config = Settings::new(config.unwrap().settings);
    assert!(config.root.is_some() && config.inbox.is_some() && config.events.is_some());
    let ledger = config.ledger.as_ref().unwrap();
    assert!(ledger.password_file.is_some() && ledger.ca_file.is_some() && ledger.responder.is_some());
    assert!(config.address.is_some() && config.board.as_ref().unwrap().token_file.is_some());
    assert_eq!((config.boot_files.len(), config.http_urls.len()), (2, 1));
    assert!(config.rules[2].boot_server.is_some() && !config.access.is_open());
    let upstream = &config.upstream;
    assert_eq!(
        (upstream.cache_max, upstream.every.as_secs()),
        (8 << 30, 300),
        "what is written is the default"
    );
    let target = &upstream.target;
    assert!(target.ca_file.is_some() && target.s3_endpoint.is_some() && target.s3_credentials_file.is_some());
    let names: Vec<_> = config.sources[0].files.keys().map(String::as_str).collect();
    assert_eq!(names, ["initrd.img", "preseed.cfg", "vmlinuz"]);
    assert!(config.sources[0].files["vmlinuz"].is_some() && !config.sources[0].is_pinned());
    assert_eq!(config.cache_directory().unwrap(), Path::new("/var/cache/pxed"));
    let segment = config.segment.as_ref().unwrap();
    assert_eq!(
        (&*segment.name, &*segment.own(), segment.listed().unwrap().0.members().len()),
        ("lab-1", "a", 3)
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line() {
    for (text, words) in [
        ("interfaces = [\"a\"]\ncolour = 1\n", &["line 2", "no key `colour`"][..]),
        ("interfacs = [\"a\"]\n", &["line 1", "did you mean `interfaces`?"]),
        ("http = 80\n", &["line 1", "`http`", "a table, such as `[http]` with `port = 8080`"]),
        ("[http]\n", &["line 1", "`http` needs the key `port`"]),
        ("[images.memtest]\n[[rules]]\nimage = \"memtets\"\n", &["line 3", "did you mean `memtest`?"]),
        ("\n\ninterfaces = 3\n", &["line 3"]),
        ("interfaces = [\"a\", \"a\"]", &["line 1", "twice"]),
        ("[[rules]]\nimage = \"x\"\n", &["line 2", "no image `x`"]),
        ("[[rules]]\naction = \"reboot\"\n", &["line 2", "local"]),
        ("\n[[rules]]\nname = \"x\"\n", &["line 2", "either `image` or `action`"]),
        ("[[rules]]\naction = \"local\"\nmatch = { mac = \"52:54\" }\n", &["line 3", "52:54"]),
        (
            "[[rules]]\naction = \"local\"\n[rules.match]\nmac = \"52:54:00\"\nuuid = \"x\"\n",
            &["line 5", "UUID"],
        ),
        ("[[rules]]\naction = \"local\"\nmatch = { macs = \"52:54\" }\n", &["line 3", "macs"]),
        ("[[rules]]\naction = \"local\"\nmatch = { relay = \"10.1.2.3/16\" }\n", &["10.1.0.0/16"]),
        ("[[rules]]\naction = \"local\"\nmatch = { vlan = 5000 }\n", &["4094"]),
        ("[[rules]]\naction = \"local\"\nmatch = { arch = \"sparc\" }\n", &["sparc", "arm64"]),
        ("[[rules]]\naction = \"local\"\nmatch = { uuid = \"x\" }\n", &["UUID"]),
        ("[[rules]]\naction = \"local\"\nonce = true\n", &["nothing that could be counted"]),
        ("[images.a]\nroot = \"/x\"\n[[rules]]\nimage = \"a\"\nonce = true\n", &["payload"]),
        (
            "[images.a]\n[[rules]]\nimage = \"a\"\nonce = true\nboot_server = \"10.0.0.9\"\n",
            &["line 2", "`boot_server` names another machine"],
        ),
        ("[images.pxed]\n", &["line 1", "pxed itself uses"]),
        ("[images.\"a/b\"]\n", &["line 1", "folder"]),
        ("[images.a]\ninitrd = [\"x\"]\n", &["no `kernel`"]),
        ("[images.a]\nkernel = \"k\"\nargs = \"{{ mca }}\"\n", &["line 3", "`mca`, which is not set"]),
        ("[images.a]\nkernel = \"k\"\nargs = \"{% if %}\"\n", &["line 3"]),
        (
            "[images.a]\nkernel = \"k\"\nargs = \"{% if http %}{{ mca }}{% endif %}\"\n",
            &["line 3", "`mca`, which is not set"],
        ),
        ("[images.a]\nipxe = \"kernel x\"\n", &["line 2", "#!ipxe"]),
        ("[images.a]\nboot_files = { x64 = \"a\", amd64 = \"b\" }\n", &["twice"]),
        ("[board]\nlisten = \"0.0.0.0:80\"\n", &["token"]),
        ("[images.a]\nsource = \"ftp://h/\"\n", &["line 2", "image `a`", "https://HOST/FOLDER/"]),
        ("[images.a]\nfiles = [\"x\"]\n", &["line 2", "need a `source`"]),
        ("[images.a]\nsource = \"https://h/\"\n", &["line 2", "no list of its files"]),
        (
            "[images.a]\nroot = \"/x\"\nsource = \"https://h/\"\nkernel = \"k\"\n",
            &["line 3", "`root` and `source`"],
        ),
        ("[images.a]\nsource = \"http://h/\"\nkernel = \"k\"\n", &["line 2", "not pinned: k"]),
        ("[images.a]\nsource = \"s3://b/\"\n", &["line 1", "add `[upstream]` with `s3_endpoint"]),
        (
            "[upstream]\ns3_endpoint = \"http://h\"\n[images.a]\nsource = \"s3://b/\"\n",
            &["line 3", "without TLS"],
        ),
        ("[upstream]\ns3_endpoint = \"h\"\n", &["line 2", "no S3 store"]),
        ("[upstream]\nevery_minutes = 0\n", &["line 2", "must be at least 1"]),
        ("[ledger]\n", &["line 1", "`ledger` needs the key `url`"]),
        ("[ledger]\nurl = \"mysql://h/d\"\n", &["line 2", "postgres://"]),
        ("[ledger]\nurl = \"postgres://u:p@h/d\"\n", &["line 2", "`password_file`"]),
        ("[ledger]\nurl = \"postgres://u@h/d\"\nspool_mib = 0\n", &["line 3", "spool_mib = 0"]),
        (
            "[ledger]\nurl = \"postgres://u@h/d\"\nresponder = \"a b\"\n",
            &["line 3", "no name for a responder"],
        ),
        ("[inbox]\ndirectory = \"/x\"\nfile_mib = 10\nmachine_mib = 5\n", &["machine_mib"]),
        ("[inbox]\ndirectory = \"/x\"\nfile_mib = 0\n", &["line 3", "file_mib = 0: write a number of MiB"]),
        ("[inbox]\ndirectory = \"/x\"\nmachine_mib = 0\n", &["line 3", "machine_mib = 0"]),
        ("[inbox]\ndirectory = \"/x\"\n\ntotal_mib = 16777217\n", &["line 4", "from 1 to 16777216"]),
        ("datapath = \"fast\"\n", &["line 1", "auto, xdp, socket"]),
        ("memory_mib = 0\n", &["line 1", "MiB"]),
        ("windowsize = 0\n", &["at least 1"]),
        ("[http]\nport = 0\n", &["line 2", "at least 1"]),
    ] {
        assert_problem(text, words);
    }
}

/// Each mistake is reported on its own line. What only follows from another mistake is not reported.
#[test]
fn every_mistake_is_reported_at_once() {
    let text = "interfacs = [\"a\"]\nhttp = 80\nwindowsize = \"x\"\nmemory_mib = 0\n\
                [images.a]\nkernl = \"k\"\ninitrd = [\"i\"]\n\
                [[rules]]\nimag = \"a\"\n[[rules]]\naction = \"local\"\nmatch = { mac = 3 }\n[[rules]]\naction = \"local\"\nmatch = { vlan = 5000 }\n";
    let problems = problems(text);
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.split(':').next()).collect();
    assert_eq!(
        lines,
        ["line 1", "line 2", "line 3", "line 4", "line 6", "line 9", "line 12", "line 15"],
        "{problems:#?}"
    );
    for (text, count) in [
        ("[board]\nlisten = \"7467\"\n", 1),
        // No comparison of sizes follows from a size that is wrong by itself.
        ("[inbox]\ndirectory = \"/x\"\nfile_mib = 100\nmachine_mib = 0\n", 1),
        ("[[rules]]\nmatch = { vlan = \"12\" }\naction = \"local\"\n[[rules]]\naction = \"ignore\"\n", 1),
    ] {
        assert_eq!(super::tests::problems(text).len(), count, "{:#?}", super::tests::problems(text));
    }
    let syntax = super::tests::problems("a = \nb = [1\nc = 1\n");
    assert!(!syntax.is_empty() && syntax.iter().all(|problem| problem.contains("error")), "{syntax:#?}");
}

/// A condition that cannot be parsed must not match every machine. Only the mistake itself is reported.
#[test]
fn a_rule_with_a_bad_condition_is_in_no_other_rules_way() {
    for bad in ["mac = \"52:54\"", "vlan = 5000", "arch = \"sparc\"", "uuid = \"x\"", "relay = \"x\""] {
        let text = format!(
            "[images.a]\n[[rules]]\nimage = \"a\"\nmatch = {{ {bad} }}\n[[rules]]\naction = \"local\"\n"
        );
        let problems = problems(&text);
        assert!(problems.len() == 1 && problems[0].contains("line 4"), "{problems:#?}");
    }
}

#[test]
fn rules_that_can_never_match_are_named_with_the_one_that_is_in_the_way() {
    let text = "[[rules]]\nname = \"maker\"\naction = \"ignore\"\nmatch = { mac = \"52:54:00\" }\n\
                [[rules]]\nname = \"one\"\naction = \"local\"\nmatch = { mac = \"52:54:00:01:02:03\", vlan = 3 }\n";
    assert_problem(text, &["line 5", "`one` can never match", "`maker` (line 1)"]);
    let swapped = "[[rules]]\nname = \"one\"\naction = \"local\"\nmatch = { mac = \"52:54:00:01:02:03\" }\n\
                   [[rules]]\nname = \"maker\"\naction = \"ignore\"\nmatch = { mac = \"52:54:00\" }\n";
    assert_eq!(problems(swapped), [""; 0]);
    assert_problem(
        "[[rules]]\naction = \"local\"\n[[rules]]\naction = \"ignore\"\n",
        &["line 3", "never match"],
    );
    assert_problem(
        "[[rules]]\nname = \"a\"\naction = \"local\"\nmatch = { vlan = 1 }\n[[rules]]\nname = \"a\"\naction = \"ignore\"\n",
        &["two rules are named `a`"],
    );
}

#[test]
fn all_problems_are_said_at_once_in_the_order_of_their_lines() {
    let (config, problems) = Config::parse("windowsize = 0\ndatapath = \"x\"\n[[rules]]\nimage = \"x\"\n");
    assert!(config.is_some());
    let lines: Vec<_> = problems.iter().filter_map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 4]);
}

#[test]
fn what_leads_nowhere_is_a_warning() {
    let warned = |text: &str, words: &[&str]| {
        assert_problem(text, words);
        assert!(Config::parse(text).1.iter().all(|problem| problem.severity == Severity::Warning));
    };
    warned("[images.a]\nkernel = \"k\"\n", &["no rule boots image `a`"]);
    warned("[[rules]]\naction = \"local\"\nmatch = { arch = \"x64-http\" }\n", &["[http]"]);
    warned(
        "interfaces = [\"a\"]\n[[rules]]\naction = \"local\"\nmatch = { interface = \"b\" }\n",
        &["b is not served"],
    );
}

#[test]
fn who_is_served_and_how_often() {
    let (config, problems) = Config::parse(
        "[access]\nallow = [\"52:54:00:*\", \"10.1.0.0/16\"]\n[limits]\ntftp_rate = 0\ndhcp_burst = 7\n",
    );
    assert_eq!(problems, []);
    let config = Settings::new(config.unwrap().settings);
    assert_eq!(config.access.to_string(), "52:54:00, 10.1.0.0/16");
    let usual = RateLimits::default();
    assert_eq!(config.rate_limits().dhcp, RateLimit { burst: 7, ..usual.dhcp });
    assert_eq!(config.rate_limits().tftp, RateLimit { rate: 0, ..usual.tftp });
    assert!(config.rate_limits().rates().tftp.is_off());
    assert_problem("[access]\nallow = []\n", &["line 1", "no machine"]);
    assert_problem("[access]\nallow = [\"52:54:00:*\",\n\"10.1.2.3/16\"]\n", &["line 3", "10.1.0.0/16"]);
    assert_problem("[access]\nallow = [\"eth0\"]\n", &["line 2", "52:54:00:*"]);
    assert_problem("[access]\n", &["line 1", "allow"]);
    assert_problem("[limits]\ndhcp_burst = 0\n", &["line 2", "at least 1"]);
    assert_problem("[limits]\ndhcp = 3\n", &["line 2", "dhcp"]);
}

#[test]
fn who_shares_the_segment() {
    let list = "[[segment.responders]]\nname = \"a\"\nweight = 2\n[[segment.responders]]\nname = \"b\"\n";
    let with = |head: &str| format!("[segment]\nname = \"lab\"\n{head}{list}");
    let (config, problems) = Config::parse(&with("responder = \"b\"\n"));
    assert_eq!(problems, []);
    let segment = config.unwrap().settings.segment.unwrap();
    let (list, table) = segment.listed().unwrap();
    assert_eq!((table.owned("a"), table.owned("b")), (171, 85));
    let share = share(&segment.own(), list, &table);
    assert!(
        share.contains("this responder (b) owns 85 of 256 buckets") && share.contains("(a 171, b 85; table "),
        "{share}"
    );
    // The host's name counts where pxed runs, so a file without `responder` may be for another host.
    let (config, problems) = Config::parse(&with(""));
    assert_eq!(problems, []);
    let error = config.unwrap().settings.segment.unwrap().require_own().unwrap_err().to_string();
    assert!(
        error.contains("this host's name") && error.contains("a, b") && error.contains("`responder`"),
        "{error}"
    );
    assert_problem(&with("responder = \"c\"\n"), &["line 3", "`c` is none of the responders", "lab"]);
    let near =
        "[segment]\nname = \"lab\"\nresponder = \"rack-11\"\n[[segment.responders]]\nname = \"rack-12\"\n";
    assert_problem(near, &["line 3", "did you mean `rack-12`?"]);
    let more = |entry: &str| format!("{}[[segment.responders]]\n{entry}\n", with("responder = \"a\"\n"));
    assert_problem(&more("name = \"a\""), &["line 9", "two responders are named `a`"]);
    assert_problem(&more("name = \"c\"\nweight = 0"), &["line 9", "`c` has weight 0", "from 1 to 100"]);
    assert_problem(&more("weight = 1"), &["line 9", "`name`"]);
    let many: String = (0..65).map(|n| format!("[[segment.responders]]\nname = \"r{n}\"\n")).collect();
    assert_problem(&format!("[segment]\nname = \"lab\"\n{many}"), &["line 1", "65 responders"]);
    assert_problem("[segment]\nname = \"lab\"\nresponders = []\n", &["line 1", "list all of them"]);
    assert_problem("[segment]\nname = \"lab\"\n", &["line 1", "[[segment.responders]]", "[ledger]"]);
}

/// Without a list, the responders find one another in the ledger.
#[test]
fn who_shares_the_segment_by_the_ledger() {
    let with = |ledger: &str, segment: &str| {
        format!("[ledger]\nurl = \"postgres://pxed@db/pxed\"\n{ledger}[segment]\nname = \"lab\"\n{segment}")
    };
    let (config, problems) = Config::parse(&with("responder = \"rack-1\"\n", "weight = 3\n"));
    assert_eq!(problems, []);
    let segment = config.unwrap().settings.segment.unwrap();
    assert_eq!((segment.responders.clone(), &*segment.own()), (Responders::InLedger { weight: 3 }, "rack-1"));
    segment.require_own().unwrap();
    let (config, problems) = Config::parse(&with("", ""));
    assert_eq!(problems, []);
    let segment = config.unwrap().settings.segment.unwrap();
    assert_eq!((segment.responders, segment.responder), (Responders::InLedger { weight: 1 }, None));
    // A list is a list, with a ledger, too.
    let list = "responder = \"a\"\n[[segment.responders]]\nname = \"a\"\n";
    let (config, problems) = Config::parse(&with("", list));
    assert_eq!(problems, []);
    assert!(config.unwrap().settings.segment.unwrap().listed().is_some());
    assert_problem(
        &with("", &format!("weight = 2\n{list}")),
        &["line 5", "has a list", "entry of this responder"],
    );
    assert_problem(&with("", "responder = \"a\"\n"), &["line 5", "name in [ledger]"]);
    assert_problem(&with("", "weight = 0\n"), &["line 5", "`weight` is 0", "from 1 to 100"]);
    assert_problem(&with("", "weight = 101\n"), &["line 5", "from 1 to 100"]);
}

#[test]
fn a_file_is_read_or_refused_with_its_name() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = dir.path().join("pxed.toml");
    let error = Config::read(&path).unwrap_err().to_string();
    assert!(error.contains("pxed.toml"), "{error}");
    std::fs::write(&path, " \n").unwrap();
    assert!(Config::read(&path).unwrap_err().to_string().contains("empty"));
    std::fs::write(&path, "windowsize = 0\n").unwrap();
    let error = Config::read(&path).unwrap_err().to_string();
    assert!(error.contains("line 1") && error.contains("pxed.toml"), "{error}");
    std::fs::write(&path, EXAMPLE).unwrap();
    assert!(Config::read(&path).is_ok());
}

proptest::proptest! {
    /// Any text gives an answer and no panic.
    #[test]
    fn nothing_in_the_file_is_fatal(text in "(\\[\\[rules\\]\\]\n|image = \"a\"\n|match = \\{ mac = \"[0-9a-f:]{0,20}\" \\}\n|[a-z]{1,8} = [0-9\"\\[\\]{}a-z]{0,12}\n){0,8}") {
        let _ = Config::parse(&text);
    }
}
