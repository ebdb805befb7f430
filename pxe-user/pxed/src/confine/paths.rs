//! Landlock: which files stay reachable; no new TCP port can be opened, and connections are possible to named ports only.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetError, RulesetStatus,
    Scope,
};

use super::ConfineError;

/// The newest Landlock version whose rights this module handles. An older kernel restricts those that it knows.
const KNOWN: ABI = ABI::V6;
/// Files of the host that the daemon reads while it runs: sockets on DHCP's port, interfaces, neighbours, memory.
const HOST: [&str; 4] = ["/proc/self/net", "/proc/meminfo", "/sys/class/net", "/sys/devices"];

/// The paths that stay reachable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// Files, and directories with everything below them, that the daemon reads.
    pub read: Vec<PathBuf>,
    /// Directories in which the daemon creates, writes, renames and removes files.
    pub write: Vec<PathBuf>,
    /// Directories in which the daemon removes files.
    pub remove: Vec<PathBuf>,
    /// Whether the daemon moves files between directories. Before Linux 5.19 Landlock always forbids that.
    pub moves: bool,
}

/// A ruleset that is complete but not in force yet, or the reason why there is none.
pub(super) struct Allowed(Result<RulesetCreated, &'static str>);

impl Allowed {
    /// Opens the paths with the present privileges.
    pub(super) fn open(paths: &Paths, ports: &[u16]) -> Result<Self, ConfineError> {
        let knows_moves = Ruleset::default()
            .set_compatibility(CompatLevel::HardRequirement)
            .handle_access(AccessFs::Refer)
            .is_ok();
        if paths.moves && !knows_moves {
            return Ok(Self(Err("paths are not restricted: Landlock with an [inbox] needs Linux 5.19")));
        }
        Ok(Self(Ok(ruleset(paths, ports).map_err(|error| refused(&error))?)))
    }

    /// Forbids everything else. Returns a sentence if this kernel restricts no paths.
    pub(super) fn restrict(self) -> Result<Option<String>, ConfineError> {
        let rules = match self.0 {
            Ok(rules) => rules,
            Err(missing) => return Ok(Some(missing.to_owned())),
        };
        Ok(match rules.restrict_self().map_err(|error| refused(&error))?.ruleset {
            // Partially enforced: an older kernel restricts the rights that it knows.
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => None,
            RulesetStatus::NotEnforced => Some(
                "paths are not restricted: Landlock needs Linux 5.13, and `landlock` in the kernel's list of security modules".into(),
            ),
        })
    }
}

/// A sentence if this kernel restricts files in part only. Landlock restricts TCP ports, devices and abstract sockets
/// only in later versions; these do not count here, because seccomp closes them or the paths do not contain them.
pub(super) fn incomplete() -> Option<String> {
    let is_known = |access: AccessFs| {
        let strictly = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        strictly.handle_access(access).is_ok()
    };
    incomplete_if(is_known)
}

fn incomplete_if(is_known: impl Fn(AccessFs) -> bool) -> Option<String> {
    (!is_known(AccessFs::Truncate))
        .then(|| "paths are restricted in part only: files can still be cut, until Linux 6.2".into())
}

fn refused(error: &RulesetError) -> ConfineError {
    ConfineError::refused("paths (Landlock)")(error)
}

fn ruleset(paths: &Paths, ports: &[u16]) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(KNOWN))?
        // No rule allows to listen, because all listening sockets are open already.
        .handle_access(AccessNet::from_all(KNOWN))?
        .scope(scopes())?
        .create()?;
    for port in ports {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
    }
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    for path in paths.read.iter().map(PathBuf::as_path).chain(HOST.map(Path::new)) {
        ruleset = allow(ruleset, path, read)?;
    }
    let write = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    for path in &paths.write {
        ruleset = allow(ruleset, path, write)?;
    }
    for path in &paths.remove {
        ruleset = allow(ruleset, path, AccessFs::RemoveFile.into())?;
    }
    Ok(ruleset)
}

/// The service manager may listen on an abstract socket (`NOTIFY_SOCKET=@...`). Then abstract sockets stay reachable.
fn scopes() -> BitFlags<Scope> {
    let is_abstract =
        std::env::var_os("NOTIFY_SOCKET").is_some_and(|path| path.as_encoded_bytes().starts_with(b"@"));
    if is_abstract { Scope::Signal.into() } else { Scope::from_all(KNOWN) }
}

/// Adds a rule for a path. A path that does not exist adds none.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    let Ok(fd) = PathFd::new(path) else { return Ok(ruleset) };
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    ruleset.add_rule(PathBeneath::new(fd, access))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpListener, TcpStream};
    use std::{fs, io, thread};

    use super::*;

    fn denied<T>(result: io::Result<T>) -> bool {
        result.is_err_and(|error| error.kind() == PermissionDenied)
    }

    fn listener() -> TcpListener {
        TcpListener::bind("127.0.0.1:0").unwrap()
    }

    #[test]
    fn a_kernel_that_knows_a_part_is_named() {
        assert_eq!(incomplete_if(|_| true), None);
        let said = incomplete_if(|access| access != AccessFs::Truncate).unwrap();
        assert!(said.contains("in part only") && said.contains("6.2"), "{said}");
    }

    /// Landlock restricts only a thread of this test's own. No other user and no seccomp filter can cause the errors
    /// here.
    #[test]
    fn the_rules_alone_close_what_they_do_not_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["served", "state", "run", "other"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("file"), "x").unwrap();
        }
        let paths = Paths {
            read: vec![path("served")],
            write: vec![path("state")],
            remove: vec![path("run")],
            moves: true,
        };
        let strictly = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        let knows_ports = strictly.handle_access(AccessNet::from_all(ABI::V4)).is_ok();
        let (allowed, other) = (listener(), listener());
        let port = allowed.local_addr().unwrap().port();
        let restricted = || {
            assert_eq!(Allowed::open(&paths, &[port]).unwrap().restrict().unwrap(), None);
            assert!(fs::read(path("served/file")).is_ok() && denied(fs::read(path("other/file"))));
            assert!(denied(fs::write(path("served/file"), "y")));
            assert!(denied(fs::remove_file(path("served/file"))));
            fs::write(path("state/new"), "y").unwrap();
            assert!(denied(std::os::unix::fs::symlink("new", path("state/link"))), "no links are made");
            assert!(denied(fs::write(path("run/new"), "y")) && denied(fs::read(path("run/file"))));
            fs::remove_file(path("run/file")).unwrap();
            assert_eq!(denied(TcpListener::bind("127.0.0.1:0")), knows_ports, "no port is opened any more");
            TcpStream::connect(allowed.local_addr().unwrap()).unwrap();
            let refused = denied(TcpStream::connect(other.local_addr().unwrap()));
            assert_eq!(refused, knows_ports, "only the port of the ledger is connected to");
        };
        thread::scope(|scope| scope.spawn(restricted).join().unwrap());
    }
}
