//! What is counted.

use rustix::process::{Pid, Signal, kill_process};
use strongroom_pkcs11::{KeyLabel, Token};
use strongroom_testkit::{Counts, SoftHsm};

/// On one thread, since the recorder is the thread's.
#[tokio::test]
async fn every_call_and_every_restart_is_counted() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let mac = KeyLabel("mac".into());
    token.create_mac_key(&mac).await.expect("made");
    for _ in 0..3 {
        token.mac(&mac, b"message").await.expect("a MAC");
    }
    token
        .mac(&KeyLabel("nobody's".into()), b"message")
        .await
        .expect_err("a refused call is a call");
    let count = |name: &str| counts.of(name);
    assert_eq!(count("strongroom_hsm_calls_total function=mac"), 4);
    assert_eq!(
        count("strongroom_hsm_calls_total function=create_mac_key"),
        1
    );
    assert_eq!(count("strongroom_hsm_restarts_total"), 0);

    let pid = token.pid().and_then(|pid| i32::try_from(pid).ok());
    kill_process(
        pid.and_then(Pid::from_raw).expect("a process"),
        Signal::KILL,
    )
    .expect("killed");
    // A call that is answered before the death is noticed is not made again.
    while count("strongroom_hsm_restarts_total") == 0 {
        token.health().await.expect("well");
    }
    assert_eq!(count("strongroom_hsm_restarts_total"), 1);
    assert_eq!(count("strongroom_hsm_calls_total function=mac"), 4);
}
