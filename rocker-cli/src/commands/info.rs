//! `rocker info`

use std::fs;

use clap::Args;
use rocker_cgroup::{Hierarchy, Version};
use serde_json::{Value, json};

use super::{engine, print};
use crate::template::Template;
use crate::{Result, Status};

/// Show what there is, and what it works with
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker info -f '{{.ContainersRunning}}'")]
pub(crate) struct Info {
    /// json, or a template such as '{{.Containers}}'
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

impl Info {
    pub(crate) fn run(self) -> Result<u8> {
        let document = document()?;
        print(&match self.format.as_deref() {
            None => text(&document),
            Some("json") => format!("{document}\n"),
            Some(text) => format!("{}\n", Template::parse(text)?.render(&document)?),
        });
        Ok(0)
    }
}

fn document() -> Result<Value> {
    let engine = engine()?;
    let containers = engine.containers()?;
    let (driver, why) = engine.storage_driver()?;
    let count =
        |wanted: fn(&Status) -> bool| containers.iter().filter(|one| wanted(&one.status)).count();
    let running = count(Status::is_up);
    let cgroups = match Hierarchy::detect().map(|hierarchy| hierarchy.version()) {
        Ok(Version::V1) => "1",
        Ok(Version::V2) => "2",
        Ok(_) => "1 and 2",
        Err(_) => "none",
    };
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = memory
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let memory = memory.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(json!({
        "Containers": containers.len(),
        "ContainersRunning": running,
        "ContainersStopped": containers.len() - running,
        "Images": engine.images()?.len(),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "Driver": driver.to_string(),
        "DriverReason": why,
        "LoggingDriver": "json-file",
        "CgroupVersion": cgroups,
        "Rootless": rocker_ns::in_user_namespace()?,
        "KernelVersion": kernel(),
        "OperatingSystem": operating_system(),
        "OSType": std::env::consts::OS,
        "Architecture": architecture(),
        "NCPU": std::thread::available_parallelism().map_or(0, usize::from),
        "MemTotal": memory.unwrap_or(0) * 1024,
        "Name": line_of("/proc/sys/kernel/hostname"),
        "RockerRootDir": engine.roots().data(),
        "RockerRunDir": engine.roots().run(),
    }))
}

/// One line for each thing, in order.
fn text(document: &Value) -> String {
    let lines = [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Version", "ServerVersion"),
        ("Storage", "Driver"),
        ("Storage, why", "DriverReason"),
        ("Log", "LoggingDriver"),
        ("Cgroups", "CgroupVersion"),
        ("Rootless", "Rootless"),
        ("Kernel", "KernelVersion"),
        ("System", "OperatingSystem"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
        ("Name", "Name"),
        ("Data", "RockerRootDir"),
        ("Run", "RockerRunDir"),
    ];
    let line = |(title, name): (&str, &str)| match &document[name] {
        Value::Null => String::new(),
        Value::String(text) => format!("{title}: {text}\n"),
        other => format!("{title}: {other}\n"),
    };
    lines.map(line).concat()
}

/// The release of the kernel.
pub(super) fn kernel() -> String {
    line_of("/proc/sys/kernel/osrelease")
}

/// The architecture as images name it.
pub(super) fn architecture() -> String {
    rocker_image::Platform::default().architecture
}

fn operating_system() -> String {
    let text = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.unwrap_or("unknown").trim_matches('"').to_owned()
}

fn line_of(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}
