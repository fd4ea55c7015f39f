//! What is to be started after a boot.

use crate::Result;
use crate::engine::Engine;
use crate::engine::container::ids;
use crate::engine::container::record::State;

impl Engine {
    /// The IDs of the containers that are to be started when the machine has, by their restart policy: those that ran when it
    /// stopped, and those that were stopped where the policy is `always`.
    ///
    /// # Errors
    /// [`Error::State`](crate::Error::State) when the containers' directory cannot be read.
    pub fn to_boot(&self) -> Result<Vec<String>> {
        self.reconcile()?;
        let mut found = Vec::new();
        for id in ids(&self.roots().containers())? {
            let (Ok(Some(record)), Ok(Some(State::Exited(ended)))) =
                (self.record(&id), self.state(&id))
            else {
                continue;
            };
            if record.options.restart.wants_at_boot(ended.stopped) {
                found.push((record.created, id));
            }
        }
        // In the order in which they were made: what others need is mostly older.
        found.sort();
        Ok(found.into_iter().map(|(_, id)| id).collect())
    }
}
