//! The child process: it loads the module, and answers what comes over its standard input.
//!
//! One thread reads; a few threads, each with a session of its own, work. When the daemon's end of
//! the socket closes, this process goes, whatever the module is doing; a key that is just being
//! made is finished first.

mod canary;
mod engine;
mod escrow;
mod examination;
mod fault;
mod import;
mod module;
mod oaep;
mod objects;
mod shared;
mod signing;

use std::convert::Infallible;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{DumpableBehavior, Resource, Rlimit};

use self::engine::{Engine, Reply, Seat};
use self::examination::Examination;
use self::fault::Fault;
use self::module::Module;
use crate::config::ModuleConfig;
use crate::token::TokenIdentity;
use crate::wire::{
    self, Answer, Frame, Profile, Refusal, Request, Setup, SetupAnswer, Task, WORKER_MARK,
};

const DAEMON_GONE: i32 = 0;
const PANICKED: i32 = 70;
/// So long a step on the token may take to be finished when the daemon is gone.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(2);

/// Whether this process was started to be the worker of a
/// [`HsmToken`](crate::HsmToken), for programs whose arguments are not their own.
#[must_use]
pub fn is_worker() -> bool {
    std::env::var_os(WORKER_MARK).is_some()
}

/// The whole life of the child process: what the hidden subcommand of the daemon calls.
///
/// It returns only when it was not started by a daemon.
#[must_use]
pub fn worker_main() -> ExitCode {
    if let Err(error) = harden() {
        complain(&format!("core dumps cannot be switched off: {error}"));
        return ExitCode::FAILURE;
    }
    std::panic::set_hook(Box::new(|panic| {
        // The place only: the message may hold what was worked on. A thread that is gone would
        // leave its caller waiting, so the whole process goes, and the daemon starts another.
        let place = panic.location().map(ToString::to_string);
        complain(&format!("panicked at {}", place.unwrap_or_default()));
        leave(PANICKED);
    }));
    let socket = io::stdin().as_fd().try_clone_to_owned();
    let Err(error) = socket.and_then(|socket| serve(&mut UnixStream::from(socket)));
    complain(&format!(
        "this command is started by strongroom itself, not by hand: {error}"
    ));
    ExitCode::FAILURE
}

fn complain(complaint: &str) {
    // With standard error closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "strongroom-pkcs11-worker: {complaint}");
}

/// No core file may hold a PIN or a plaintext, and no other process of the same user may read
/// this one's memory.
fn harden() -> io::Result<()> {
    rustix::process::setrlimit(
        Resource::Core,
        Rlimit {
            current: Some(0),
            maximum: Some(0),
        },
    )?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    Ok(())
}

/// Ends the process without running what libraries registered for its end: the clean-up of
/// modules is known to crash, and nothing of it is needed.
fn leave(status: i32) -> ! {
    #[expect(unsafe_code, reason = "declares a function of the C library")]
    // SAFETY: this is the declaration of POSIX.1-2024 `_exit`; it takes any status, touches no
    // memory of the caller, and does not return.
    unsafe extern "C" {
        safe fn _exit(status: std::ffi::c_int) -> !;
    }
    _exit(status)
}

fn read_frame(socket: &mut UnixStream) -> io::Result<Frame> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let mut frame = wire::room_for(length)?;
    socket.read_exact(&mut frame)?;
    Ok(frame)
}

/// Reads until the daemon's end of the socket closes, and ends the process.
///
/// This thread never calls the module, so that it notices the end whatever the module is doing.
fn serve(socket: &mut UnixStream) -> io::Result<Infallible> {
    let setup = read_frame(socket)?;
    // It is asked here whether the first message is one, since nobody would answer another.
    wire::message_of::<Setup<'_>>(&setup)?;
    let engine = Arc::new(OnceLock::new());
    let answers = Arc::new(Mutex::new(socket.try_clone()?));
    let (requests, queue) = mpsc::channel::<Frame>();
    let (setting_up, set_up) = mpsc::channel::<Infallible>();
    std::thread::Builder::new().name("setup".into()).spawn({
        let engine = Arc::clone(&engine);
        move || {
            if begin(setup, &engine, &answers, queue).is_err() {
                hang_up(&answers);
            }
            drop(setting_up);
        }
    })?;
    while let Ok(frame) = read_frame(socket) {
        if requests.send(frame).is_err() {
            break;
        }
    }
    // What is being made on the token is finished first: SoftHSM leaves half a key otherwise.
    let _ = set_up.recv_timeout(SETTLING_TIME_MAX);
    let _settled = engine
        .get()
        .map(|engine: &Engine| engine.settle(SETTLING_TIME_MAX));
    leave(DAEMON_GONE)
}

/// Lets the reading thread see the end of the socket.
fn hang_up(answers: &Mutex<UnixStream>) {
    // An error means that the daemon has hung up already.
    let _ = answers.lock().shutdown(Shutdown::Both);
}

/// Does what the first message asks for, answers it, and starts the threads that serve.
fn begin(
    setup: Frame,
    shared: &Arc<OnceLock<Engine>>,
    answers: &Arc<Mutex<UnixStream>>,
    queue: mpsc::Receiver<Frame>,
) -> io::Result<()> {
    let done = wire::message_of(&setup).map(set_up)?;
    // The PIN is in it.
    drop(setup);
    let (serving, answer) = match done {
        Ok(SetUp::Done(answer)) => (None, *answer),
        Ok(SetUp::Serving {
            engine,
            sessions,
            answer,
        }) => (Some((engine, sessions)), *answer),
        Err(refusal) => (None, SetupAnswer::Refused(refusal)),
    };
    if let Some((engine, sessions)) = serving {
        shared.get_or_init(|| *engine);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..sessions {
            let (shared, answers, queue) =
                (Arc::clone(shared), Arc::clone(answers), Arc::clone(&queue));
            std::thread::Builder::new()
                .name("session".into())
                .spawn(move || {
                    if let Some(engine) = shared.get() {
                        work(engine, &queue, &answers);
                    }
                })?;
        }
    }
    answers
        .lock()
        .write_all(&wire::encode_setup_answer(&answer)?)
}

enum SetUp {
    Done(Box<SetupAnswer>),
    Serving {
        engine: Box<Engine>,
        sessions: usize,
        answer: Box<SetupAnswer>,
    },
}

fn set_up(setup: Setup<'_>) -> Result<SetUp, Refusal> {
    let Setup { module, pin, task } = setup;
    let loaded = Module::load(&module)?;
    match task {
        Task::Initialise {
            security_officer_pin,
        } => loaded
            .initialise(security_officer_pin, pin)
            .map(|identity| SetUp::Done(Box::new(SetupAnswer::Initialised(identity)))),
        Task::Examine => {
            let token = loaded.open(pin)?;
            let report = examine(&token, &module).0;
            Ok(SetUp::Done(Box::new(SetupAnswer::Examined(report))))
        }
        Task::Serve { profile, limits } => {
            let token = loaded.open(pin)?;
            let (profile, report) = match profile {
                Some(profile) => (profile, None),
                None => {
                    let (report, profile) = examine(&token, &module);
                    let profile = profile.ok_or_else(|| Refusal::Unsupported(report.refusal()))?;
                    (profile, Some(report))
                }
            };
            let identity = TokenIdentity {
                profile: profile.name.clone(),
                ..token.identity.clone()
            };
            let engine =
                Engine::new(token, profile.clone(), &limits).map_err(|fault| match fault {
                    Fault::Refused(refusal) => refusal,
                    other => Refusal::Unavailable(other.reason().to_owned()),
                })?;
            Ok(SetUp::Serving {
                engine: Box::new(engine),
                sessions: limits.sessions,
                answer: Box::new(SetupAnswer::Serving {
                    identity,
                    profile,
                    report,
                }),
            })
        }
    }
}

fn examine(
    token: &module::OpenToken,
    module: &ModuleConfig,
) -> (crate::conformance::Report, Option<Profile>) {
    Examination::of(token, module).run()
}

/// One thread with one session.
fn work(engine: &Engine, queue: &Mutex<mpsc::Receiver<Frame>>, answers: &Mutex<UnixStream>) {
    let mut seat = Seat::default();
    loop {
        let received = queue.lock().recv();
        let Ok(frame) = received else {
            return;
        };
        let outcome = wire::number_of(&frame).and_then(|number| {
            let request: Request<'_> = wire::message_of(&frame)?;
            let answered = engine.perform(&mut seat, &request);
            let answer = match &answered {
                Ok(Reply::Done) => Answer::Done,
                Ok(Reply::Truth(truth)) => Answer::Truth(*truth),
                Ok(Reply::Attributes(attributes)) => Answer::Attributes(attributes.clone()),
                Ok(Reply::Bytes(bytes)) => Answer::Bytes(bytes),
                Ok(Reply::Sealed { nonce, bytes }) => Answer::Sealed {
                    nonce: *nonce,
                    bytes,
                },
                Ok(Reply::Carried(carried)) => Answer::Carried(carried.clone()),
                Ok(Reply::Keys { transport, keys }) => Answer::Keys {
                    transport: transport.clone(),
                    keys: keys.clone(),
                },
                Ok(Reply::Imported { wrapped, path }) => Answer::Imported {
                    wrapped,
                    path: *path,
                },
                Ok(Reply::Pair { private, public }) => Answer::Pair { private, public },
                Err(Fault::Refused(refusal)) => Answer::Refused(refusal.clone()),
                Err(other) => Answer::Broken {
                    reason: other.reason().to_owned(),
                },
            };
            answers
                .lock()
                .write_all(&wire::encode_answer(number, &answer)?)
        });
        if outcome.is_err() {
            // The daemon is gone, or the two no longer understand each other.
            hang_up(answers);
            return;
        }
    }
}
