//! What may be read from and written to one block device.

use std::fmt;

use crate::Max;

/// Limits of one block device: a whole disk, as the kernel counts no partitions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct IoLimit {
    /// The device's major number.
    pub major: u32,
    /// The device's minor number.
    pub minor: u32,
    /// Its weight on this device, 10 to 1000: see [`Limits::io_weight`](crate::Limits::io_weight).
    pub weight: Option<u16>,
    /// The most bytes that are read in a second.
    pub read_bps: Option<Max>,
    /// The most bytes that are written in a second.
    pub write_bps: Option<Max>,
    /// The most read operations in a second.
    pub read_iops: Option<Max>,
    /// The most write operations in a second.
    pub write_iops: Option<Max>,
}

impl IoLimit {
    /// No limit yet, of the device of these numbers.
    #[must_use]
    pub fn new(major: u32, minor: u32) -> IoLimit {
        IoLimit {
            major,
            minor,
            weight: None,
            read_bps: None,
            write_bps: None,
            read_iops: None,
            write_iops: None,
        }
    }

    /// Sets [`IoLimit::weight`].
    #[must_use]
    pub fn weight(mut self, weight: u16) -> IoLimit {
        self.weight = Some(weight);
        self
    }

    /// Sets [`IoLimit::read_bps`].
    #[must_use]
    pub fn read_bps(mut self, bytes: impl Into<Max>) -> IoLimit {
        self.read_bps = Some(bytes.into());
        self
    }

    /// Sets [`IoLimit::write_bps`].
    #[must_use]
    pub fn write_bps(mut self, bytes: impl Into<Max>) -> IoLimit {
        self.write_bps = Some(bytes.into());
        self
    }

    /// Sets [`IoLimit::read_iops`].
    #[must_use]
    pub fn read_iops(mut self, operations: impl Into<Max>) -> IoLimit {
        self.read_iops = Some(operations.into());
        self
    }

    /// Sets [`IoLimit::write_iops`].
    #[must_use]
    pub fn write_iops(mut self, operations: impl Into<Max>) -> IoLimit {
        self.write_iops = Some(operations.into());
        self
    }

    /// The four rates, with the key of each in `io.max` of v2 and its file of v1.
    pub(crate) fn rates(&self) -> [(Option<Max>, &'static str, &'static str); 4] {
        [
            (self.read_bps, "rbps", "blkio.throttle.read_bps_device"),
            (self.write_bps, "wbps", "blkio.throttle.write_bps_device"),
            (self.read_iops, "riops", "blkio.throttle.read_iops_device"),
            (self.write_iops, "wiops", "blkio.throttle.write_iops_device"),
        ]
    }

    pub(crate) fn bounds(&self) -> impl Iterator<Item = Max> {
        self.rates().into_iter().filter_map(|rate| rate.0)
    }
}

/// As `io.max` of v2 has it.
impl fmt::Display for IoLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)?;
        for (rate, key, _) in self.rates() {
            match rate {
                Some(Max::At(rate)) => write!(f, " {key}={rate}")?,
                Some(Max::Unlimited) => write!(f, " {key}=max")?,
                None => {}
            }
        }
        Ok(())
    }
}

/// The most RDMA resources of one device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RdmaLimit {
    /// The most handles.
    pub handles: Option<u32>,
    /// The most objects.
    pub objects: Option<u32>,
}

impl RdmaLimit {
    /// So many handles and objects; None leaves a bound as it is.
    #[must_use]
    pub fn new(handles: Option<u32>, objects: Option<u32>) -> RdmaLimit {
        RdmaLimit { handles, objects }
    }
}
