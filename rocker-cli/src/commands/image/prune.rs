//! `rocker image prune`

use clap::Args;

use crate::commands::filter::Filters;
use crate::commands::images::{has_label, made};
use crate::commands::request::value;
use crate::commands::{ask, engine, plainly, print};
use crate::{ImagePrune, Result, table};

/// Remove images that no container is made of
///
/// Those without a name; all with -a; or with --keep-storage the least recently used, until the others fit.
#[derive(Debug, Args)]
#[command(after_help = "Example: rocker image prune -f\n\
                  Example: rocker image prune --keep-storage 10g --dry-run")]
pub(crate) struct Prune {
    /// Also images with a name, and downloads that broke off less than a day ago
    #[arg(short, long)]
    all: bool,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
    /// Only those with: label=NAME[=VALUE], without: label!=NAME[=VALUE], or made before until=TIME
    #[arg(long, value_name = "NAME=VALUE")]
    filter: Vec<String>,
    /// Only the least recently used, with a name or without, until all images take no more than this
    #[arg(long, value_name = "SIZE")]
    keep_storage: Option<String>,
    /// Only show what would be removed
    #[arg(long)]
    dry_run: bool,
}

impl Prune {
    pub(crate) fn run(self) -> Result<u8> {
        plainly(|| self.prune())
    }

    fn prune(&self) -> Result<()> {
        let filters = Filters::parse(&self.filter, &["label", "label!", "until"])?;
        let until = filters.of("until").last();
        let until = until
            .map(|text| value::moment("--filter", text))
            .transpose()?;
        let keep_bytes = match self.keep_storage.as_deref() {
            None => None,
            Some("0") => Some(0),
            Some(text) => Some(value::bytes("--keep-storage", text)?),
        };
        let which = match (&self.keep_storage, self.all) {
            (Some(size), _) => {
                format!("the least recently used images, until all take no more than {size}")
            }
            (None, true) => "all images of which no container is made".to_owned(),
            (None, false) => "all images without a name".to_owned(),
        };
        if !self.force && !self.dry_run && !ask(&format!("This removes {which}.")) {
            return Ok(());
        }
        let prune = ImagePrune {
            all: self.all,
            keep_bytes,
            dry_run: self.dry_run,
        };
        let (title, total) = match self.dry_run {
            true => (
                "Images that would be deleted:",
                "Space that would be reclaimed",
            ),
            false => ("Deleted Images:", "Total reclaimed space"),
        };
        let mut list = Titled::new(title);
        let wanted = |image: &_| {
            until.is_none_or(|until| made(image).is_none_or(|made| made < until))
                && filters.all(|name, wanted| name != "label" || has_label(image, wanted))
                && !filters
                    .of("label!")
                    .iter()
                    .any(|label| has_label(image, label))
        };
        let freed = engine()?.prune_images(&prune, wanted, |line| list.print(line))?;
        list.end();
        print(&format!("{total}: {}\n", table::size(freed)));
        Ok(())
    }
}

/// Lines that are printed one by one, below a title if there are any.
pub(in crate::commands) struct Titled {
    title: &'static str,
    is_empty: bool,
}

impl Titled {
    pub(in crate::commands) fn new(title: &'static str) -> Self {
        let is_empty = true;
        Self { title, is_empty }
    }

    pub(in crate::commands) fn print(&mut self, line: &str) {
        if std::mem::take(&mut self.is_empty) {
            print(&format!("{}\n", self.title));
        }
        print(&format!("{line}\n"));
    }

    pub(in crate::commands) fn end(&self) {
        if !self.is_empty {
            print("\n");
        }
    }
}
