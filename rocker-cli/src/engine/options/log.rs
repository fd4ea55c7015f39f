//! What is kept of what a container writes.

use serde::{Deserialize, Serialize};

/// Where what a container's program writes is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum LogDriver {
    /// In a file of JSON lines, in Docker's format.
    #[serde(rename = "json-file")]
    JsonFile,
    /// Nowhere.
    #[serde(rename = "none")]
    None,
}

/// How a container's log is kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// Where. Without, in a file; nowhere for a container that runs in the foreground and is removed when it ends, so that
    /// its streams are the caller's own.
    pub driver: Option<LogDriver>,
    /// At how many bytes a file is full, and a new one is begun; none for never.
    pub max_size: Option<u64>,
    /// How many files there are at most, the one that is written to included; 1 without.
    pub max_files: Option<u32>,
}
