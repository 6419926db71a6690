//! The child process that holds the module: starting it, talking to it, replacing it.

use std::collections::HashMap;
use std::io;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use metrics::counter;
use parking_lot::Mutex;
use secrecy::ExposeSecret;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::{Child, Command};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tracing::{info, warn};

use crate::config::HsmConfig;
use crate::token::{TokenError, TokenIdentity};
use crate::wire::{
    self, Frame, Profile, Request, ServeLimits, Setup, SetupAnswer, Task, WORKER_MARK,
};

/// What the child keeps of the daemon's environment.
const ENVIRONMENT_KEPT: [&str; 9] = [
    "HOME",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "LD_LIBRARY_PATH",
    "PATH",
    "TMPDIR",
    "TZ",
    "XDG_RUNTIME_DIR",
];
/// After so many restarts in a row that did not succeed, callers are no longer kept waiting.
const FAILED_RESTARTS_MAX: u32 = 6;
/// A child that was let go and is still there after so long is killed.
const RETIREMENT_TIME_MAX: Duration = Duration::from_secs(5);
/// The delay before a child is replaced that died before it answered a call, for each such death
/// in a row, up to ten.
const SHORT_LIFE_DELAY: Duration = Duration::from_millis(100);
const RESTART_DELAY_MIN: Duration = Duration::from_millis(100);
const RESTART_DELAY_MAX: Duration = Duration::from_secs(5);

/// A child process that has answered its setup.
pub(crate) struct Launched {
    pub(crate) answer: SetupAnswer,
    child: Child,
    stream: UnixStream,
}

pub(crate) fn wrong_answer() -> TokenError {
    unavailable("the process of the module gave an answer to another question")
}

pub(crate) fn unavailable(reason: impl Into<String>) -> TokenError {
    TokenError::Unavailable {
        reason: reason.into(),
    }
}

/// Starts a child process, gives it `task`, and waits for its answer.
///
/// A refusal is an error. The child goes by itself when the socket in what is returned is closed.
pub(crate) async fn launch(config: &HsmConfig, task: Task<'_>) -> Result<Launched, TokenError> {
    let (mut child, mut stream) = spawn(config)
        .map_err(|error| unavailable(format!("its process did not start: {error}")))?;
    let setup = wire::encode_setup(&Setup {
        module: config.module.clone(),
        pin: config.pin.expose_secret(),
        task,
    })
    .map_err(|error| TokenError::Invalid {
        reason: format!("the token's configuration is not usable: {error}"),
    })?;
    let answered = tokio::time::timeout(config.start_time_max, async {
        stream.write_all(&setup).await?;
        drop(setup);
        read_frame(&mut stream).await
    })
    .await;
    let frame = match answered {
        Ok(Ok(frame)) => frame,
        Ok(Err(error)) => {
            // The socket closes a moment before the process can be reaped.
            let status = tokio::time::timeout(Duration::from_secs(1), child.wait()).await;
            return Err(unavailable(match status {
                Ok(Ok(status)) => {
                    format!("the process of the module ended at its start ({status})")
                }
                _ => format!("the process of the module does not answer: {error}"),
            }));
        }
        Err(_) => {
            // An error means that it is dead already.
            let _ = child.start_kill();
            return Err(unavailable(format!(
                "the module was not ready within {} s",
                config.start_time_max.as_secs()
            )));
        }
    };
    match wire::message_of(&frame) {
        Ok(SetupAnswer::Refused(refusal)) => Err(refusal.into_error(&config.module)),
        Ok(answer) => Ok(Launched {
            answer,
            child,
            stream,
        }),
        Err(_) => Err(unavailable(
            "the program started for the module does not speak its language",
        )),
    }
}

fn spawn(config: &HsmConfig) -> io::Result<(Child, UnixStream)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let child = Command::new(&config.worker.program)
        .args(&config.worker.args)
        .env_clear()
        .envs(
            ENVIRONMENT_KEPT
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        )
        .envs(config.module.env.iter().map(|(name, value)| (name, value)))
        .env(WORKER_MARK, "1")
        .arg0("strongroom-pkcs11-worker")
        // The socket is the child's standard input; a module that prints does no harm.
        .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        // Ctrl-C at a terminal goes to the daemon's process group, not to the child: the daemon
        // needs its token until it has finished.
        .process_group(0)
        .spawn()?;
    Ok((child, UnixStream::from_std(ours)?))
}

async fn read_frame(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Frame> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).await?;
    let mut frame = wire::room_for(length)?;
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}

/// The child died, hung or talked nonsense before it answered a call.
#[derive(Debug)]
pub(crate) struct Lost;

/// A child process in service.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Counts the children; a caller waits for one younger than that which failed it.
    pub(crate) generation: u64,
    pub(crate) pid: Option<u32>,
    frames: mpsc::UnboundedSender<Frame>,
    pending: Mutex<Pending>,
    condemned: Notify,
    has_answered: AtomicBool,
}

#[derive(Debug, Default)]
struct Pending {
    calls: HashMap<u64, oneshot::Sender<Frame>>,
    next_number: u64,
    closed: bool,
}

impl Worker {
    /// Sends `request` and waits for the frame of its answer.
    ///
    /// A call that takes longer than `time_max` condemns the child.
    pub(crate) async fn call(
        &self,
        request: &Request<'_>,
        time_max: Duration,
    ) -> Result<Frame, Lost> {
        let (answer, answered) = oneshot::channel();
        let number = {
            let mut pending = self.pending.lock();
            if pending.closed {
                return Err(Lost);
            }
            let number = pending.next_number;
            pending.next_number += 1;
            pending.calls.insert(number, answer);
            number
        };
        let frame = wire::encode_request(number, request).map_err(|_| Lost)?;
        self.frames.send(frame).map_err(|_| Lost)?;
        match tokio::time::timeout(time_max, answered).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(Lost),
            Err(_) => {
                warn!(
                    pid = self.pid,
                    "the process of the PKCS#11 module hangs; it is killed"
                );
                counter!("strongroom_hsm_hangs_total").increment(1);
                self.condemn();
                Err(Lost)
            }
        }
    }

    /// Has the child killed and replaced.
    pub(crate) fn condemn(&self) {
        self.close();
        self.condemned.notify_one();
    }

    /// Lets all who wait for an answer know that none will come.
    fn close(&self) {
        let mut pending = self.pending.lock();
        pending.closed = true;
        pending.calls.clear();
    }
}

/// Where the supervision stands.
#[derive(Clone, Debug)]
pub(crate) enum Stage {
    Serving(Arc<Worker>),
    Recovering {
        reason: String,
        /// Restarts have failed for so long that waiting is no use.
        hopeless: bool,
    },
    /// For good: only a restart of the daemon with another configuration helps.
    Stopped(TokenError),
}

struct Running {
    worker: Arc<Worker>,
    child: Child,
    /// Reading and writing, which hold the socket, end with this.
    traffic: JoinSet<()>,
}

impl Running {
    fn new(generation: u64, child: Child, stream: UnixStream) -> Self {
        let (reader, writer) = stream.into_split();
        let (frames, queue) = mpsc::unbounded_channel();
        let worker = Arc::new(Worker {
            generation,
            pid: child.id(),
            frames,
            pending: Mutex::default(),
            condemned: Notify::new(),
            has_answered: AtomicBool::new(false),
        });
        let mut traffic = JoinSet::new();
        traffic.spawn(write_requests(writer, queue));
        traffic.spawn(read_answers(reader, Arc::clone(&worker)));
        Self {
            worker,
            child,
            traffic,
        }
    }

    /// Lets the child finish what it is making on the token and go.
    async fn retire(mut self) {
        self.worker.close();
        self.traffic.shutdown().await;
        let left = tokio::time::timeout(RETIREMENT_TIME_MAX, self.child.wait()).await;
        if left.is_err() {
            self.kill().await;
        }
    }

    async fn kill(&mut self) {
        // An error means that it is dead already.
        let _ = self.child.kill().await;
    }
}

async fn write_requests(mut writer: OwnedWriteHalf, mut queue: mpsc::UnboundedReceiver<Frame>) {
    while let Some(frame) = queue.recv().await {
        // The reader sees the end of the socket too, and tells all who wait.
        if writer.write_all(&frame).await.is_err() {
            return;
        }
    }
}

async fn read_answers(mut reader: OwnedReadHalf, worker: Arc<Worker>) {
    while let Ok(frame) = read_frame(&mut reader).await {
        let Ok(number) = wire::number_of(&frame) else {
            break;
        };
        worker.has_answered.store(true, Ordering::Relaxed);
        let caller = worker.pending.lock().calls.remove(&number);
        if let Some(caller) = caller {
            // A caller that no longer waits has dropped its end; the frame is wiped.
            let _ = caller.send(frame);
        }
    }
    worker.condemn();
}

/// What the first start found, to which every later one is held.
pub(crate) struct Supervised {
    pub(crate) config: HsmConfig,
    pub(crate) identity: TokenIdentity,
    pub(crate) profile: Profile,
}

impl Supervised {
    /// The task of a child that serves.
    pub(crate) fn task(config: &HsmConfig, profile: Option<Profile>) -> Task<'static> {
        Task::Serve {
            profile,
            limits: ServeLimits {
                sessions: config.sessions.clamp(1, 64),
                cached_keys_max: config.cached_keys_max.max(1),
                checks_answers: config.checks_answers,
            },
        }
    }

    /// Starts to supervise `child`, the first that serves, until every receiver is dropped.
    pub(crate) fn supervise(self, launched: Launched) -> watch::Receiver<Stage> {
        let running = Running::new(0, launched.child, launched.stream);
        info!(
            pid = running.worker.pid,
            token = self.identity.label,
            serial = self.identity.serial,
            profile = self.profile.name,
            "the token serves"
        );
        let (stage, stages) = watch::channel(Stage::Serving(Arc::clone(&running.worker)));
        tokio::spawn(self.run(running, stage));
        stages
    }

    async fn run(self, mut running: Running, stage: watch::Sender<Stage>) {
        let mut short_lives = 0;
        loop {
            let reason = tokio::select! {
                status = running.child.wait() => match status {
                    Ok(status) => format!("the process of the module ended ({status})"),
                    Err(error) => format!("the process of the module is lost: {error}"),
                },
                () = running.worker.condemned.notified() => {
                    running.kill().await;
                    "the process of the module was replaced".to_owned()
                }
                () = stage.closed() => return running.retire().await,
            };
            running.worker.close();
            warn!(
                pid = running.worker.pid,
                reason, "the token is started again"
            );
            stage.send_replace(Stage::Recovering {
                reason,
                hopeless: false,
            });
            // A module that dies at once, again and again, is not restarted in a hurry.
            if running.worker.has_answered.load(Ordering::Relaxed) {
                short_lives = 0;
            } else {
                short_lives = 10.min(short_lives + 1);
                tokio::time::sleep(SHORT_LIFE_DELAY * short_lives).await;
            }
            let generation = running.worker.generation + 1;
            drop(running);
            running = tokio::select! {
                () = stage.closed() => return,
                restarted = self.restart(generation, &stage) => match restarted {
                    Ok(running) => running,
                    Err(error) => {
                        warn!(%error, "the token is not started again");
                        stage.send_replace(Stage::Stopped(error));
                        return;
                    }
                },
            };
            info!(pid = running.worker.pid, "the token serves again");
            stage.send_replace(Stage::Serving(Arc::clone(&running.worker)));
        }
    }

    /// Tries until a child serves; fails only for what no trying will mend.
    async fn restart(
        &self,
        generation: u64,
        stage: &watch::Sender<Stage>,
    ) -> Result<Running, TokenError> {
        let mut failures = 0;
        let mut delay = RESTART_DELAY_MIN;
        loop {
            counter!("strongroom_hsm_restarts_total").increment(1);
            match self.restart_once().await {
                Ok(launched) => {
                    return Ok(Running::new(generation, launched.child, launched.stream));
                }
                // A token locks after a few wrong PINs: it is never tried again.
                Err(error @ TokenError::Pin { .. }) => return Err(error),
                Err(error) => {
                    failures += 1;
                    warn!(%error, failures, "the token could not be started again");
                    stage.send_replace(Stage::Recovering {
                        reason: error.to_string(),
                        hopeless: failures >= FAILED_RESTARTS_MAX,
                    });
                    tokio::time::sleep(delay).await;
                    delay = RESTART_DELAY_MAX.min(delay * 2);
                }
            }
        }
    }

    async fn restart_once(&self) -> Result<Launched, TokenError> {
        let task = Self::task(&self.config, Some(self.profile.clone()));
        let launched = launch(&self.config, task).await?;
        match &launched.answer {
            // The conformance test was passed by one token, not by whatever bears its label.
            SetupAnswer::Serving { identity, .. } if *identity != self.identity => {
                Err(unavailable(format!(
                    "another token (serial {}) is in the place of the one with serial {}; restart to take it",
                    identity.serial, self.identity.serial
                )))
            }
            SetupAnswer::Serving { .. } => Ok(launched),
            _ => Err(wrong_answer()),
        }
    }
}
