//! How a container's files are kept, as a person types it.

use super::value;
use crate::{Result, StorageDriver, StorageOptions};

/// `driver=overlay|tmpfs|vfs`, and `size=BYTES` for what is in memory.
pub(super) fn options(texts: &[String]) -> Result<StorageOptions> {
    const FLAG: &str = "--storage-opt";
    let mut options = StorageOptions::default();
    for text in texts {
        match text.split_once('=') {
            Some(("driver", "overlay")) => options.driver = Some(StorageDriver::Overlay),
            Some(("driver", "tmpfs")) => options.driver = Some(StorageDriver::Tmpfs),
            Some(("driver", "vfs")) => options.driver = Some(StorageDriver::Vfs),
            Some(("size", size)) => options.size_bytes = Some(value::bytes(FLAG, size)?),
            _ => {
                let expected = "driver=overlay, driver=tmpfs, driver=vfs or size=BYTES";
                return Err(value::bad(FLAG, text, expected));
            }
        }
    }
    if options.size_bytes.is_some() && options.driver != Some(StorageDriver::Tmpfs) {
        let expected =
            "size beside driver=tmpfs: what is on a disk would take quotas of its file system";
        return Err(value::bad(FLAG, "size", expected));
    }
    Ok(options)
}
