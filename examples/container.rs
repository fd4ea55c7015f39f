//! Whole containers from a Rust program, with the engine behind the command `rocker`.
//!
//!     sudo -E cargo run --example container
//!
//! Needs root, and a static /bin/busybox (Debian: busybox-static). Works in a directory of its own, which it takes away again.
#![expect(clippy::print_stdout, reason = "an example shows what it does")]
use rocker_cli::{Engine, ExecOptions, Network, Roots, RunOptions};
use std::{error::Error, fs::File, io, io::Read, path::Path, thread, time::Duration};

fn main() -> Result<(), Box<dyn Error>> {
    let place = tempfile::tempdir_in("/run")?; // a tmpfs: an upper directory cannot lie on an overlay
    let roots = Roots::new(place.path().join("data"), place.path().join("run"));
    put_image_into(roots.data())?;

    // A container, from its image to its end.
    let engine = Engine::open(roots)?;
    let mut options = RunOptions::new("busybox");
    options.command = busybox("sh -c", "echo process $$; exit 3");
    options.remove = true;
    println!("it ended with {}", engine.run(&options)?.code);

    // One that goes on while this thread does other things. Whoever runs it is the thread that looks after it.
    options.name = Some("server".to_owned());
    options.command = busybox("sleep", "1000");
    options.network = Network::None;
    thread::scope(|scope| {
        let server = scope.spawn(|| engine.run(&options));
        let up = || {
            engine
                .containers()
                .map(|all| all.into_iter().find(|one| one.status.is_up()))
        };
        let found = loop {
            if let Some(found) = up()? {
                break found;
            }
            thread::yield_now();
        };
        println!("{} runs {:?}", found.name, found.command);
        let mut look = ExecOptions::default();
        look.command = busybox("ps -o", "pid,args");
        engine.exec("server", &look)?;
        // Process 1 overhears what it has no handler for, so that it is killed in the end.
        engine.stop("server", Some(Duration::from_millis(100)))?;
        let exit = server
            .join()
            .map_err(|_| "the thread that ran it panicked")??;
        println!("it ended with {}", exit.code);
        Ok(())
    })
}

/// A program of busybox with its flags, and its last argument.
fn busybox(program: &str, last: &str) -> Vec<String> {
    let words = ["/bin/busybox"].into_iter().chain(program.split(' '));
    words.chain([last]).map(str::to_owned).collect()
}

/// Makes an image of one layer, with busybox in it, in place of a pull.
fn put_image_into(data: &Path) -> Result<(), Box<dyn Error>> {
    let mut tar = tar::Builder::new(Vec::new());
    tar.append_file("bin/busybox", &mut File::open("/bin/busybox")?)?;
    let (store, layers) = (
        rocker_image::Store::open(data.join("images"))?,
        rocker_fs::Layers::open(data.join("layers"))?,
    );
    let layer = tar.into_inner()?;
    store.import(
        &"busybox".parse()?,
        Default::default(),
        &*layer,
        &Sink(&layers),
    )?;
    Ok(())
}

struct Sink<'a>(&'a rocker_fs::Layers);

impl rocker_image::LayerSink for Sink<'_> {
    fn contains(&self, diff_id: &rocker_image::Digest) -> bool {
        self.0.contains(&diff_id.to_string())
    }
    fn unpack(&self, diff_id: &rocker_image::Digest, tar: &mut dyn Read) -> io::Result<()> {
        let unpacked = self
            .0
            .unpack(&diff_id.to_string(), tar, &Default::default());
        unpacked.map(drop).map_err(io::Error::other)
    }
}
