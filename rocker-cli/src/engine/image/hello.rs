//! The built-in image `hello`: made of the rocker program itself, which shows, inside of a container, what is isolated.

use std::fs::{self, File};
use std::io::{self, Cursor, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use oci_spec::image::{
    Arch, ConfigBuilder, ImageConfiguration, ImageConfigurationBuilder, Os, RootFsBuilder,
};
use rocker_fs::Layers;
use rocker_image::{Image, Reference, Store};
use serde::{Deserialize, Serialize};

use super::Sink;
use crate::engine::container::record;
use crate::{Error, Result};

/// The name by which it is run, and the name of its program.
pub(crate) const NAME: &str = "hello";

/// Where this process's own program is.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Which program an image was made of.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Made {
    program: String,
    manifest: String,
}

/// The image, made anew if it is missing or of another program than this one.
pub(crate) fn image(store: &Store, layers: &Layers) -> Result<Image> {
    let path = store.root().with_file_name("hello.json");
    let program = fingerprint()?;
    let reference: Reference = NAME.parse()?;
    if let Ok(Some(made)) = record::read::<Made>(&path)
        && made.program == program
        && let Some(image) = store.image(&reference)?
        && image.manifest_digest().to_string() == made.manifest
        && image
            .diff_ids()
            .all(|diff_id| layers.contains(&diff_id.to_string()))
    {
        return Ok(image);
    }
    let image = store.import(&reference, configuration()?, layer()?, &Sink::new(layers))?;
    record::write(
        &path,
        &Made {
            program,
            manifest: image.manifest_digest().to_string(),
        },
    )?;
    Ok(image)
}

/// Changes when the program does.
fn fingerprint() -> Result<String> {
    let metadata = fs::metadata(OWN_PROGRAM).map_err(failed)?;
    Ok(format!(
        "{}:{}:{}:{}.{}",
        metadata.dev(),
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec()
    ))
}

/// What the image says of itself, but for its layer.
pub(crate) fn configuration() -> Result<ImageConfiguration> {
    let config = ConfigBuilder::default()
        .entrypoint(vec![format!("/{NAME}")])
        .working_dir("/".to_owned())
        .build()?;
    Ok(ImageConfigurationBuilder::default()
        .architecture(Arch::default())
        .os(Os::default())
        .config(config)
        .rootfs(
            RootFsBuilder::default()
                .typ("layers")
                .diff_ids(Vec::new())
                .build()?,
        )
        .build()?)
}

/// A tar stream with the program as its only file.
fn layer() -> Result<impl Read> {
    let program = File::open(OWN_PROGRAM).map_err(failed)?;
    let size = program.metadata().map_err(failed)?.len();
    let mut header = tar::Header::new_ustar();
    header.set_path(Path::new(NAME)).map_err(failed)?;
    header.set_size(size);
    header.set_mode(0o755);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    // A file fills whole blocks of 512 bytes, and two empty blocks end the archive.
    let padding = size.next_multiple_of(512) - size;
    let end = io::repeat(0).take(padding + 1024);
    Ok(Cursor::new(header.as_bytes().to_vec())
        .chain(program.take(size))
        .chain(end))
}

fn failed(source: io::Error) -> Error {
    Error::State {
        operation: "read",
        path: OWN_PROGRAM.into(),
        source,
    }
}
