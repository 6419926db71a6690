//! Group commit: one fdatasync for all that wait for one.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::Journal;
use crate::seam::AppendError;

/// Syncs the journal on a thread of its own while somebody waits for it.
pub(crate) struct Flusher {
    demand: Arc<(Mutex<Demand>, Condvar)>,
    synced: watch::Receiver<Synced>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Demand {
    /// How many entries must be durable.
    size: u64,
    is_over: bool,
}

#[derive(Clone)]
enum Synced {
    UpTo(u64),
    Stopped(String),
}

impl Flusher {
    pub(crate) fn start(journal: Arc<Journal>) -> io::Result<Self> {
        let demand = Arc::new((Mutex::new(Demand::default()), Condvar::new()));
        let (sender, synced) = watch::channel(Synced::UpTo(0));
        let thread = thread::Builder::new()
            .name("audit-flusher".to_owned())
            .spawn({
                let demand = Arc::clone(&demand);
                move || flush(&journal, &demand, &sender)
            })?;
        Ok(Self {
            demand,
            synced,
            thread: Some(thread),
        })
    }

    /// Returns when entry `index` is durable.
    pub(crate) async fn wait(&self, index: u64) -> Result<(), AppendError> {
        let (demand, wake) = &*self.demand;
        {
            let mut demand = demand.lock();
            demand.size = demand.size.max(index + 1);
        }
        wake.notify_one();
        let mut synced = self.synced.clone();
        let synced = synced
            .wait_for(|synced| match synced {
                Synced::UpTo(size) => *size > index,
                Synced::Stopped(_) => true,
            })
            .await;
        match synced.as_deref() {
            Ok(Synced::UpTo(_)) => Ok(()),
            Ok(Synced::Stopped(reason)) => Err(AppendError::Stopped {
                reason: reason.clone(),
            }),
            Err(_) => Err(AppendError::Stopped {
                reason: "the thread that syncs the journal is gone".to_owned(),
            }),
        }
    }
}

fn flush(journal: &Journal, demand: &(Mutex<Demand>, Condvar), synced: &watch::Sender<Synced>) {
    let (demand, wake) = demand;
    let mut durable = 0;
    loop {
        {
            let mut demand = demand.lock();
            while demand.size <= durable && !demand.is_over {
                wake.wait(&mut demand);
            }
            if demand.is_over {
                return;
            }
        }
        match journal.sync() {
            Ok(size) => {
                durable = size;
                synced.send_replace(Synced::UpTo(size));
            }
            Err(error) => {
                synced.send_replace(Synced::Stopped(error.to_string()));
                return;
            }
        }
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        let (demand, wake) = &*self.demand;
        demand.lock().is_over = true;
        wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // The thread ends by itself; a panic in it has already stopped every waiter.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Flusher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Flusher")
    }
}
