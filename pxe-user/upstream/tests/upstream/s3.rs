//! Images of an S3 store: moto.

use std::fs;

use pxe_kit::store::{BUCKET, S3};
use pxe_upstream::FetchError;
use pxe_upstream::follower::Outcome;

use crate::support::{Place, files, new, source};

struct Store {
    s3: S3,
    folder: tempfile::TempDir,
}

impl Store {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { s3: S3::start(folder.path()).unwrap(), folder }
    }

    fn place(&self, key: (&str, &str)) -> Place {
        let authority = fs::read_to_string(self.folder.path().join("ca.pem")).unwrap();
        Place::new(&authority).with_s3(&self.s3.endpoint(), key)
    }
}

fn url(prefix: &str) -> String {
    format!("s3://{BUCKET}/{prefix}")
}

#[test]
fn a_prefix_is_followed_with_all_of_its_objects() {
    let store = Store::start();
    for (key, text) in
        [("deb/vmlinuz", "one"), ("deb/a/initrd", "two"), ("debian/other", "no"), ("other", "no")]
    {
        store.s3.put(key, text.as_bytes()).unwrap();
    }
    let place = store.place(store.s3.key());
    let mut running = place.start(vec![source(&url("deb/"), &[], &[])]);
    assert_eq!(running.turn(), new(2, 6));
    assert_eq!(running.served("installer"), files(&[("a/initrd", "two"), ("vmlinuz", "one")]));
    assert_eq!(running.turn(), Ok(Outcome::Same));
    store.s3.put("deb/vmlinuz", b"three").unwrap();
    store.s3.put("deb/new", b"x").unwrap();
    store.s3.remove("deb/a/initrd").unwrap();
    assert_eq!(running.turn(), new(2, 6));
    assert_eq!(running.served("installer"), files(&[("new", "x"), ("vmlinuz", "three")]));
    // An empty prefix looks like an upload that has not begun yet.
    store.s3.remove("deb/vmlinuz").unwrap();
    store.s3.remove("deb/new").unwrap();
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Empty(_)), "{error}");
    assert_eq!(running.served("installer").len(), 2);
    store.s3.stop().unwrap();
    let error = running.turn().unwrap_err();
    assert!(matches!(error, FetchError::Unreachable { .. }), "{error}");
    assert_eq!(running.served("installer").len(), 2);
    let again = place.start(vec![source(&url("deb/"), &[], &[])]);
    assert_eq!(again.served("installer"), files(&[("new", "x"), ("vmlinuz", "three")]), "a start without it");
}

#[test]
fn named_objects_are_fetched_with_the_right_key_only() {
    let store = Store::start();
    store.s3.put("deb/vmlinuz", b"one").unwrap();
    store.s3.put("deb/other", b"two").unwrap();
    store.s3.require_key().unwrap();
    let sources = || vec![source(&url("deb/"), &["vmlinuz"], &[])];
    assert_eq!(store.place(store.s3.key()).start(sources()).turn(), new(1, 3));
    let (id, _) = store.s3.key();
    // moto computes another signature for a prefix with a slash, also for boto3. So the list is that of the whole bucket.
    let whole = || vec![source(&url(""), &[], &[])];
    assert_eq!(store.place(store.s3.key()).start(whole()).turn(), new(2, 6));
    let wrong = [(("nobody", "secret"), sources()), ((id, "secret"), sources()), ((id, "secret"), whole())];
    for (key, sources) in wrong {
        let error = store.place(key).start(sources).turn().unwrap_err();
        assert!(matches!(error, FetchError::Denied { .. }), "{error}");
        assert!(error.to_string().contains("s3-credentials"), "{error}");
    }
    let mut place = store.place(store.s3.key());
    place.settings.s3_credentials_file = Some("/nonexistent".into());
    let error = place.start(sources()).turn().unwrap_err();
    assert!(matches!(error, FetchError::Credentials(_)), "{error}");
}

#[test]
fn a_hostile_name_is_refused_and_named() {
    let store = Store::start();
    let place = store.place(store.s3.key());
    for (folder, name) in [("a", "..%2F..%2Fetc/passwd"), ("b", "x//y"), ("c", "x%5Cy"), ("d", "x%7Fy")] {
        store.s3.put(&format!("{folder}/vmlinuz"), b"one").unwrap();
        store.s3.put(&format!("{folder}/{name}"), b"two").unwrap();
        let mut running = place.start(vec![source(&url(&format!("{folder}/")), &[], &[])]);
        let error = running.turn().unwrap_err();
        assert!(matches!(error, FetchError::Name { .. }), "{name}: {error}");
        assert!(running.served("installer").is_empty());
    }
}
