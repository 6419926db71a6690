//! What the child process keeps to itself, and when it goes.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use strongroom_pkcs11::{HsmToken, Token};
use strongroom_testkit::{Act, FaultyHsm, SoftHsm};

fn exists(pid: u32) -> bool {
    // A dead process that nobody has waited for has no command line.
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

pub(crate) async fn gone(pid: u32) {
    while exists(pid) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The processes this one has started and not waited for.
pub(crate) fn children() -> HashSet<u32> {
    fs::read_dir("/proc/self/task")
        .expect("this process has threads")
        .filter_map(|thread| fs::read_to_string(thread.ok()?.path().join("children")).ok())
        .flat_map(|children| {
            children
                .split_whitespace()
                .filter_map(|pid| pid.parse().ok())
                .collect::<Vec<u32>>()
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_its_arguments_environment_or_core() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let pid = token.pid().expect("it serves");
    for file in ["cmdline", "environ"] {
        let content = fs::read(format!("/proc/{pid}/{file}")).expect("readable by root");
        let text = String::from_utf8_lossy(&content);
        assert!(!text.contains(SoftHsm::PIN), "{file}");
        if file == "environ" {
            assert!(text.contains("SOFTHSM2_CONF="));
            // Set by the test runner or cargo for this process, and kept from the child.
            assert!(!text.contains("CARGO_"), "{text}");
        }
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("readable by root");
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .expect("the limit of core files");
    assert_eq!(
        core.split_whitespace().filter(|word| *word == "0").count(),
        2
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_in_a_process_group_of_its_own() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let pid = token.pid().expect("it serves");
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("its state");
    // After the name in parentheses: state, parent, process group.
    let group = stat
        .rsplit_once(')')
        .and_then(|(_, fields)| fields.split_whitespace().nth(2))
        .and_then(|group| group.parse::<u32>().ok());
    assert_eq!(group, Some(pid));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_when_the_token_is_dropped() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let pid = token.pid().expect("it serves");
    drop(token);
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_when_the_daemon_goes_while_the_module_hangs() {
    let hsm = FaultyHsm::new().await;
    hsm.once("C_UnwrapKey", Act::Hang);
    let before = children();
    let config = hsm.config();
    let mut starting = Box::pin(HsmToken::start(config));
    while hsm.calls("C_UnwrapKey") == 0 {
        let started = tokio::time::timeout(Duration::from_millis(1), &mut starting).await;
        assert!(started.is_err(), "the module hangs");
    }
    let hung: Vec<u32> = children().difference(&before).copied().collect();
    assert_eq!(hung.len(), 1);
    drop(starting);
    gone(hung[0]).await;
}

/// The daemon of the next test: it has a token serve, says so, and waits to be killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a process of another test lives in it"]
async fn a_daemon() {
    let Some(directory) = std::env::var_os("STRONGROOM_TEST_DAEMON") else {
        return;
    };
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    token.health().await.expect("well");
    let pid = token.pid().expect("it serves");
    fs::write(directory, pid.to_string()).expect("written");
    println!("ready");
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_when_the_daemon_is_killed() {
    let directory = tempfile::tempdir().expect("a directory");
    let told = directory.path().join("pid");
    let mut daemon = Command::new("/proc/self/exe")
        .args(["--exact", "process::a_daemon", "--ignored", "--nocapture"])
        .env("STRONGROOM_TEST_DAEMON", &told)
        // What the killed daemon leaves of its token goes with this directory.
        .env("TMPDIR", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("this test binary");
    let output = BufReader::new(daemon.stdout.take().expect("piped"));
    let mut lines = output.lines();
    assert!(
        lines.any(|line| line.expect("text").ends_with("ready")),
        "the daemon did not come up"
    );
    let pid = fs::read_to_string(&told).expect("told");
    let pid = pid.parse().expect("a process number");
    assert!(exists(pid));
    daemon.kill().expect("killed");
    daemon.wait().expect("waited for");
    gone(pid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_shows_no_secret() {
    let hsm = SoftHsm::new().await;
    let mut config = hsm.config();
    config
        .module
        .env
        .push(("VENDOR_PASSWORD".into(), "hunter2".into()));
    let text = format!("{config:?}");
    assert!(text.contains("VENDOR_PASSWORD"), "{text}");
    assert!(
        !text.contains("hunter2") && !text.contains(SoftHsm::PIN),
        "{text}"
    );
    let token = HsmToken::start(config).await.expect("it starts");
    let text = format!("{token:?}");
    assert!(
        !text.contains("hunter2") && !text.contains(SoftHsm::PIN),
        "{text}"
    );
}
