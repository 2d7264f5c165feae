//! The key file: the ring of an embedded store, readable by its owner alone.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use super::key_ring::KeyRing;
use crate::clock::SystemClock;
use crate::error::{Error, ErrorKind, Result};

impl KeyRing {
    /// Reads the key file at `path`, or makes one with a new key, mode 0600.
    ///
    /// A lost key file is lost sessions: [`was_created`](KeyRing::was_created) says that the user must keep a
    /// copy, and a warning in the log does so once. `Crypto` if others can read the file, `Invalid` if it is
    /// malformed, `Store` if it cannot be read or written.
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        match File::open(path) {
            Ok(file) => read(file, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => create(path),
            Err(error) => Err(failed("cannot read", path, error)),
        }
    }

    /// Replaces the key file at `path` by this ring, for rotation: whole or not at all, mode 0600.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let draft = self.write_draft(path)?;
        let moved = fs::rename(&draft, path).and_then(|()| sync_folder(path));
        moved.map_err(|error| {
            // The draft holds keys; if the rename took place it is gone already.
            let _ = fs::remove_file(&draft);
            failed("cannot write", path, error)
        })
    }

    /// Writes the ring beside `path`, durably, under a name that nobody else has.
    fn write_draft(&self, path: &Path) -> Result<PathBuf> {
        let mut random = [0; 8];
        self.clock().fill_random(&mut random);
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{:016x}.new", u64::from_le_bytes(random)));
        let draft = path.with_file_name(name);
        let write = || {
            let mut file = private().open(&draft)?;
            file.write_all(self.expose().expose_secret().as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| {
            let _ = fs::remove_file(&draft);
            failed("cannot write", path, error)
        })?;
        Ok(draft)
    }
}

fn create(path: &Path) -> Result<KeyRing> {
    let clock = SystemClock::shared();
    // A random id: values sealed with a lost key then name a key that is missing, not one that is wrong.
    let mut random = [0; 4];
    clock.fill_random(&mut random);
    let ring = KeyRing::generate(&format!("k{:08x}", u32::from_le_bytes(random)), clock)?;

    // A link fails if another process was quicker, and never shows a half-written file.
    let draft = ring.write_draft(path)?;
    let linked = fs::hard_link(&draft, path).or_else(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => Err(error),
        // A file system without links.
        _ => private().open(path).and_then(|mut file| {
            file.write_all(ring.expose().expose_secret().as_bytes())?;
            file.sync_all()
        }),
    });
    fs::remove_file(&draft).map_err(|error| failed("cannot tidy up beside", path, error))?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return KeyRing::open_or_create(path),
        linked => {
            linked.and_then(|()| sync_folder(path)).map_err(|error| failed("cannot write", path, error))?
        }
    }
    tracing::warn!(
        path = %path.display(),
        "created a key file; keep a copy of it in a safe place: without it the stored sessions cannot be read"
    );
    Ok(ring.mark_created())
}

fn read(file: File, path: &Path) -> Result<KeyRing> {
    check_private(&file, path)?;
    let text = io::read_to_string(file).map(Zeroizing::new);
    let text = text.map_err(|error| failed("cannot read", path, error))?;
    KeyRing::parse(&text).map_err(|error| {
        let message = format!("the key file {} is malformed: {}", path.display(), error.message());
        Error::new(error.kind(), message).during("key file")
    })
}

#[cfg(unix)]
fn check_private(file: &File, path: &Path) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let mode = file.metadata().map_err(|error| failed("cannot read", path, error))?.mode();
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let path = path.display();
    Err(Error::new(
        ErrorKind::Crypto,
        format!(
            "the key file {path} can be read by others (mode {:03o}); run chmod 600 {path}",
            mode & 0o777
        ),
    )
    .during("key file"))
}

#[cfg(not(unix))]
fn check_private(_file: &File, _path: &Path) -> Result<()> {
    Ok(())
}

/// A file that is new and its owner's alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes the name durable: without it a crash may lose the file though its content was synced.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(not(unix))]
fn sync_folder(_path: &Path) -> io::Result<()> {
    Ok(())
}

fn failed(what: &str, path: &Path, error: io::Error) -> Error {
    Error::new(ErrorKind::Store, format!("{what} the key file {}: {}", path.display(), error.kind()))
        .during("key file")
        .caused_by(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ring: &KeyRing) -> Vec<&str> {
        ring.ids().collect()
    }

    #[test]
    fn the_second_open_reads_what_the_first_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("centralita.key");
        let first = KeyRing::open_or_create(&path).unwrap();
        assert!(first.was_created());
        let second = KeyRing::open_or_create(&path).unwrap();
        assert!(!second.was_created());
        assert_eq!(first.expose().expose_secret(), second.expose().expose_secret());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "the draft is gone");
    }

    #[test]
    fn of_many_that_create_at_once_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("centralita.key");
        let open = || KeyRing::open_or_create(&path).unwrap();
        let rings: Vec<KeyRing> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(open)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(rings.iter().filter(|ring| ring.was_created()).count(), 1);
        assert!(rings.iter().all(|ring| ids(ring) == ids(&rings[0])));
    }

    #[cfg(unix)]
    #[test]
    fn it_is_its_owners_alone() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("centralita.key");
        let ring = KeyRing::open_or_create(&path).unwrap();
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        ring.save(&path).unwrap();
        assert_eq!(mode(), 0o600);

        for open in [0o640, 0o604, 0o660] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            let error = KeyRing::open_or_create(&path).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Crypto);
            assert!(error.message().contains("chmod 600"), "{error}");
        }
    }

    #[test]
    fn a_rotated_ring_is_saved_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("centralita.key");
        let ring = KeyRing::open_or_create(&path).unwrap();
        let old = ids(&ring)[0].to_owned();
        let new = KeyRing::generate("new", SystemClock::shared()).unwrap();
        ring.with_keys(new).unwrap().with_primary("new").unwrap().save(&path).unwrap();
        assert_eq!(ids(&KeyRing::open_or_create(&path).unwrap()), ["new", &old]);
    }

    #[test]
    fn a_broken_file_is_reported_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("centralita.key");
        private().open(&path).unwrap().write_all(b"k1:c2VjcmV0").unwrap();
        let error = KeyRing::open_or_create(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.message().contains("centralita.key") && !error.message().contains("c2VjcmV0"));
        assert_eq!(fs::read(&path).unwrap(), b"k1:c2VjcmV0");

        let nowhere = folder.path().join("no/such/folder.key");
        assert_eq!(KeyRing::open_or_create(nowhere).unwrap_err().kind(), ErrorKind::Store);
    }
}
