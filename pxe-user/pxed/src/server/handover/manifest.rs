//! A parcel as a letter in JSON, and the descriptors that it names by their numbers.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::{self, Read as _, Seek as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

use pxe_common::wire;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};

use super::{HandoverState, InterfaceState, Refusal};
use pxe_content::boot::{Catalogue, Contents, FileName, Image, Origin, Role};
use pxe_engine::responder::TransferSnapshot;
use pxe_nic::programs::Mode;
use pxe_proto::datagram::Link;
use pxe_proto::mac::Mac;
use pxe_proto::tftp::send_session::SendSnapshot;

/// Which letters this program reads.
const VERSION: u32 = 1;
/// The most descriptors that one message carries (`SCM_MAX_FD` in net/scm.h), the letter's among them.
pub(super) const DESCRIPTORS_MAX: usize = 253;
/// A letter of 65,536 transfers has 20 MiB.
const LETTER_MAX: u64 = 256 << 20;

#[derive(Debug, Serialize, Deserialize)]
struct HandoverManifest {
    version: u32,
    since: u64,
    interfaces: Vec<Interface>,
    images: Vec<HandedImage>,
}

/// What every letter begins with.
#[derive(Debug, Deserialize)]
struct Version {
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Interface {
    name: String,
    /// 0 in letters that were written before it was named: an interface that is taken for another one.
    #[serde(default)]
    index: u32,
    /// Whether the program is in the driver, and the link.
    link: Option<(bool, usize)>,
    sockets: Vec<usize>,
    transfers: Vec<HandedTransfer>,
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedImage {
    name: Vec<u8>,
    role: Role,
    /// Nothing if we have written it.
    path: Option<Vec<u8>>,
    contents: HandedContents,
}

#[derive(Debug, Serialize, Deserialize)]
enum HandedContents {
    Bytes(Vec<u8>),
    Memory(usize),
}

#[derive(Debug, Serialize, Deserialize)]
struct HandedTransfer {
    client: SocketAddrV4,
    port: u16,
    peer: [u8; 6],
    tags: Vec<[u8; wire::VLAN_LEN]>,
    server: Ipv4Addr,
    image: usize,
    /// The key is that of all versions of the manifest so far.
    #[serde(rename = "standing")]
    session: SendSnapshot,
}

/// Descriptors in the order of their numbers; the first is the letter's.
#[derive(Default)]
struct Descriptors(Vec<OwnedFd>);

impl Descriptors {
    fn add(&mut self, fd: OwnedFd) -> Option<usize> {
        let number = self.0.len() + 1;
        (number < DESCRIPTORS_MAX).then(|| {
            self.0.push(fd);
            number
        })
    }
}

/// Images by the numbers of their own process.
#[derive(Default)]
struct Images {
    numbers: HashMap<u64, Option<usize>>,
    handed: Vec<HandedImage>,
}

impl Images {
    /// The number of an image in the letter. `None` if there is no room for another descriptor.
    fn number(&mut self, image: &Image, descriptors: &mut Descriptors) -> Option<usize> {
        if let Some(number) = self.numbers.get(&image.id()) {
            return *number;
        }
        let contents = match image.memory() {
            None => Some(HandedContents::Bytes(image.bytes().to_vec())),
            Some(fd) => {
                fd.try_clone_to_owned().ok().and_then(|fd| descriptors.add(fd)).map(HandedContents::Memory)
            }
        };
        let number = contents.map(|contents| {
            let path = match image.origin() {
                Origin::Generated => None,
                Origin::File(path) => Some(path.as_os_str().as_bytes().to_vec()),
            };
            let name = image.name().as_bytes().to_vec();
            self.handed.push(HandedImage { name, role: image.role(), path, contents });
            self.handed.len() - 1
        });
        self.numbers.insert(image.id(), number);
        number
    }
}

impl HandoverState {
    /// The descriptors of the parcel, the letter's first. Transfers of files for which there are no more descriptors are left out.
    pub(super) fn pack(self) -> io::Result<Vec<OwnedFd>> {
        let (mut descriptors, mut images) = (Descriptors::default(), Images::default());
        // What interfaces need before what files need.
        let add = |descriptors: &mut Descriptors, interface_state: InterfaceState| {
            let link = interface_state
                .link
                .and_then(|(mode, fd)| Some((mode == Mode::Native, descriptors.add(fd)?)));
            let sockets = interface_state.sockets.into_iter().filter_map(|fd| descriptors.add(fd)).collect();
            let InterfaceState { name, index, snapshots, .. } = interface_state;
            (Interface { name, index, link, sockets, transfers: Vec::new() }, snapshots)
        };
        let added: Vec<_> = self
            .interfaces
            .into_iter()
            .map(|interface_state| add(&mut descriptors, interface_state))
            .collect();
        let mut interfaces = Vec::new();
        for (mut interface, snapshots) in added {
            let handed = |snapshot: TransferSnapshot| {
                handed(&snapshot, images.number(&snapshot.image, &mut descriptors)?)
            };
            interface.transfers = snapshots.into_iter().filter_map(handed).collect();
            interfaces.push(interface);
        }
        let manifest =
            HandoverManifest { version: VERSION, since: self.since, interfaces, images: images.handed };
        descriptors.0.insert(0, write(&manifest)?);
        Ok(descriptors.0)
    }

    /// Reads a parcel. Transfers whose files cannot be had are left out.
    pub(super) fn unpack(descriptors: Vec<OwnedFd>, catalogue: &Catalogue) -> Result<Self, Refusal> {
        let mut descriptors: Vec<Option<OwnedFd>> = descriptors.into_iter().map(Some).collect();
        let mut take = |number: usize| descriptors.get_mut(number).and_then(Option::take);
        let manifest = read(take(0).ok_or(Refusal::OtherWords)?)?;
        let images: Vec<_> =
            manifest.images.into_iter().map(|image| adopt(image, &mut take, catalogue)).collect();
        let interface_state = |interface: Interface| {
            let mode = |is_native| if is_native { Mode::Native } else { Mode::Generic };
            let snapshot = |transfer: HandedTransfer| {
                let image = images.get(transfer.image)?.as_ref()?;
                Some(TransferSnapshot {
                    client: transfer.client,
                    port: transfer.port,
                    link: Link::tagged(Mac(transfer.peer), &transfer.tags)?,
                    server: transfer.server,
                    image: image.clone(),
                    session: transfer.session,
                })
            };
            InterfaceState {
                link: interface.link.and_then(|(native, number)| Some((mode(native), take(number)?))),
                sockets: interface.sockets.into_iter().filter_map(&mut take).collect(),
                snapshots: interface.transfers.into_iter().filter_map(snapshot).collect(),
                name: interface.name,
                index: interface.index,
            }
        };
        Ok(Self {
            since: manifest.since,
            interfaces: manifest.interfaces.into_iter().map(interface_state).collect(),
        })
    }
}

fn handed(snapshot: &TransferSnapshot, image: usize) -> Option<HandedTransfer> {
    Some(HandedTransfer {
        client: snapshot.client,
        port: snapshot.port,
        peer: snapshot.link.peer.0,
        tags: snapshot.link.tags().copied().collect(),
        server: snapshot.server,
        image,
        session: snapshot.session,
    })
}

fn adopt(
    image: HandedImage,
    take: &mut impl FnMut(usize) -> Option<OwnedFd>,
    catalogue: &Catalogue,
) -> Option<std::sync::Arc<Image>> {
    let name = FileName::normalise(&image.name).ok()?;
    let file = |path| Origin::File(PathBuf::from(OsString::from_vec(path)));
    let origin = image.path.map_or(Origin::Generated, file);
    let contents = match image.contents {
        HandedContents::Bytes(bytes) => Contents::Bytes(bytes),
        HandedContents::Memory(number) => Contents::Memory(take(number)?),
    };
    let adopted = catalogue.adopt(name, origin, image.role, contents);
    adopted.inspect_err(|error| tracing::warn!(%name, "cannot hand over a file in transfer: {error}")).ok()
}

fn write(manifest: &HandoverManifest) -> io::Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("pxed-letter", MemfdFlags::CLOEXEC)?;
    let mut file = std::fs::File::from(memory);
    file.write_all(&serde_json::to_vec(manifest)?)?;
    Ok(file.into())
}

fn read(fd: OwnedFd) -> Result<HandoverManifest, Refusal> {
    let mut file = std::fs::File::from(fd);
    file.rewind()?;
    let mut text = Vec::new();
    file.take(LETTER_MAX).read_to_end(&mut text)?;
    // By itself first: of a letter of another version nothing else is known.
    let Version { version } = serde_json::from_slice(&text)?;
    if version != VERSION {
        return Err(Refusal::Version { theirs: version, ours: VERSION });
    }
    Ok(serde_json::from_slice(&text)?)
}
